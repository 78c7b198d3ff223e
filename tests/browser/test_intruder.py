"""Promises to whoever owns the machine: what the page's own interface does not give away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from visiting import Site

pytestmark = pytest.mark.browser

STOLEN = "/etc/passwd"
URL = "http://example.org/voice.wav"


def handed_in(path: str) -> dict[str, Any]:
    """A file as Gradio's own page would describe it, that nobody uploaded."""
    return {"path": path, "orig_name": "voice.wav", "meta": {"_type": "gradio.FileData"}}


@pytest.fixture
def intruder(speech: Site) -> Iterator[httpx.Client]:
    """Somebody who speaks Gradio's protocol without its page."""
    with httpx.Client(base_url=speech.url, timeout=20) as client:
        yield client


def call(client: httpx.Client, handler: dict[str, Any], data: list[Any]) -> dict[str, Any]:
    """The outcome of one of the page's handlers, called through Gradio's queue."""
    session = f"intruder{handler['id']}"
    joined = client.post(
        "/gradio_api/queue/join",
        json={"data": data, "fn_index": handler["id"], "session_hash": session},
    )
    if joined.status_code != 200:
        return {"success": False, "output": joined.text}
    with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as told:
        for line in told.iter_lines():
            message = json.loads(line.removeprefix("data: ")) if line else {}
            if message.get("msg") == "process_completed":
                return dict(message)
    raise AssertionError("the queue never answered")


@pytest.mark.parametrize("path", [STOLEN, URL, "logs", "outputs/.hash_key"])
def test_a_file_that_was_not_uploaded_reaches_no_handler(
    intruder: httpx.Client, speech: Site, path: str
) -> None:
    """A path or an address in any field is refused before a handler sees it, and nothing leaks."""
    if not path.startswith(("/", "http")):
        path = str(speech.folder / path)
    handlers = [
        handler
        for handler in intruder.get("/config").json()["dependencies"]
        if handler["backend_fn"] and handler["inputs"]
    ]
    assert handlers
    before = len(speech.lines(event="synthesis.finished"))
    for handler in handlers:
        for place in range(len(handler["inputs"])):
            data: list[Any] = ["text", None, "neutral", 1.0, "wav", None][: len(handler["inputs"])]
            data[place] = handed_in(path)
            outcome = call(intruder, handler, data)
            assert outcome["success"] is False
            assert "root:" not in json.dumps(outcome)
            # Not even the reason: it would tell which files there are.
            assert path not in json.dumps(outcome)
    assert len(speech.lines(event="synthesis.finished")) == before


def test_a_request_that_gradio_cannot_read_leaves_no_text_in_the_log(
    intruder: httpx.Client, speech: Site
) -> None:
    """Gradio prints what it stumbled over; the log says where, and not what was typed."""
    canary = "我住在幸福路十八号的小明"
    handlers = intruder.get("/config").json()["dependencies"]
    handler = next(item for item in handlers if item["backend_fn"] and len(item["inputs"]) > 1)
    call(intruder, handler, [canary])
    call(intruder, handler, [handed_in(f"/nowhere/{canary}"), canary, "neutral", 1.0, "wav", None])
    assert speech.lines(event="page.unexpected")
    assert canary not in "".join(
        path.read_text(encoding="utf-8") for path in (speech.folder / "logs").glob("*.jsonl")
    )


def test_the_handler_is_reached_without_a_file(intruder: httpx.Client, speech: Site) -> None:
    """The same call without the stolen file works, so that the refusals above mean something."""
    (handler,) = [
        handler
        for handler in intruder.get("/config").json()["dependencies"]
        if handler["backend_fn"] and handler["inputs"]
    ]
    before = len(speech.lines(event="synthesis.finished", status="success"))
    assert call(intruder, handler, ["text", None, "neutral", 1, "wav", None])["success"] is True
    speech_lines = speech.lines(event="synthesis.started")
    speech.finished(speech_lines[-1]["request_id"])
    assert len(speech.lines(event="synthesis.finished", status="success")) == before + 1


@pytest.mark.parametrize("path", [STOLEN, URL, "logs/x.jsonl", "outputs/.hash_key"])
def test_no_file_is_served_that_is_not_the_pages_own(
    intruder: httpx.Client, speech: Site, path: str
) -> None:
    """Gradio's file route serves neither the machine's files nor the rest of the world's."""
    if path.startswith("logs"):
        path = str(next((speech.folder / "logs").glob("*.jsonl")))
    elif path.startswith("outputs"):
        path = str(speech.folder / path)
        assert Path(path).exists()
    assert intruder.get(f"/gradio_api/file={path}").status_code == 403


def test_the_page_has_no_public_interface_of_its_own(intruder: httpx.Client) -> None:
    """Programs are sent to `/tts`: Gradio names no endpoint and takes no direct call."""
    assert intruder.get("/gradio_api/info").json()["named_endpoints"] == {}
    assert intruder.post("/gradio_api/run/generate", json={"data": []}).status_code >= 400


def test_an_upload_over_the_limit_is_refused(intruder: httpx.Client) -> None:
    """Twenty-one megabytes are not kept."""
    answer = intruder.post(
        "/gradio_api/upload", files={"files": ("voice.wav", b"\0" * 21_000_000, "audio/wav")}
    )
    assert answer.status_code in {400, 413}
