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


def handlers_of(client: httpx.Client) -> list[tuple[dict[str, Any], list[Any]]]:
    """Every handler that is sent something, with what a page sends that a text was typed into."""
    config = client.get("/config").json()
    props = {part["id"]: part["props"] for part in config["components"]}

    def sent(part: int) -> Any:
        chosen = {"text": "text", "emotion": "neutral"}
        return chosen.get(str(props[part].get("elem_id")), props[part].get("value"))

    return [
        (handler, [sent(part) for part in handler["inputs"]])
        for handler in config["dependencies"]
        if handler["backend_fn"] and handler["inputs"]
    ]


@pytest.mark.parametrize("path", [STOLEN, URL, "logs", "outputs/.hash_key"])
def test_a_file_that_was_not_uploaded_reaches_no_handler(
    intruder: httpx.Client, speech: Site, path: str
) -> None:
    """A path or an address in any field is refused before a handler sees it, and nothing leaks."""
    if not path.startswith(("/", "http")):
        path = str(speech.folder / path)
    handlers = handlers_of(intruder)
    assert handlers
    before = len(speech.lines(event="synthesis.finished"))
    for handler, untouched in handlers:
        for place in range(len(untouched)):
            data = [*untouched[:place], handed_in(path), *untouched[place + 1 :]]
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
    ((handler, untouched),) = [
        found for found in handlers_of(intruder) if found[0]["api_name"] == "generate"
    ]
    before = len(speech.lines(event="synthesis.finished", status="success"))
    assert call(intruder, handler, untouched)["success"] is True
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


@pytest.mark.parametrize("prefix", ["/gradio_api", "/operations/gradio_api"])
def test_no_route_answers_that_no_page_uses(
    intruder: httpx.Client, speech: Site, prefix: str
) -> None:
    """None runs ffmpeg for strangers, writes a session to the disk, or asks another host."""
    video = {"video": ("x.mp4", b"#EXTM3U\n#EXTINF:2,\n/etc/passwd\n", "video/mp4")}
    for answer in (
        intruder.post(f"{prefix}/process_recording", files=video),
        intruder.get(f"{prefix}/deep_link", params={"session_hash": "x"}),
        intruder.post(f"{prefix}/component_server", json={"session_hash": "x"}),
        intruder.get(f"{prefix}/proxy=http://127.0.0.1/"),
        intruder.get(f"{prefix}/stream/x/1/2/playlist.m3u8"),
        intruder.post(f"{prefix}/call/generate", json={"data": []}),
        intruder.get(f"{prefix}/file/{speech.folder}/outputs"),
    ):
        assert (answer.status_code, answer.json()["error"]) == (404, "not_found"), answer.url
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
    for left in ("*_processed*", "deep_links"):
        assert not list((speech.folder / "outputs").rglob(left))


def test_what_gradio_stumbles_over_is_answered_as_any_fault(intruder: httpx.Client) -> None:
    """An upload without a name: JSON, with the request_id that its line in the log has."""
    unnamed = b'--b\r\nContent-Disposition: form-data; name="files"\r\n\r\nx\r\n--b--\r\n'
    answer = intruder.post(
        "/gradio_api/upload",
        content=unnamed,
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )
    assert (answer.status_code, answer.json()["error"]) == (500, "service_error")
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_several_ranges_of_a_file_are_no_fault(intruder: httpx.Client) -> None:
    """All of it is sent instead, as a server may; one range is served as one."""
    (path,) = intruder.post(
        "/gradio_api/upload", files={"files": ("voice.wav", b"0123456789", "audio/wav")}
    ).json()
    for ranges, status, content in (("0-0,2-3", 200, b"0123456789"), ("2-3", 206, b"23")):
        answer = intruder.get(f"/gradio_api/file={path}", headers={"Range": f"bytes={ranges}"})
        assert (answer.status_code, answer.content) == (status, content)


def test_an_upload_over_the_limit_is_refused(intruder: httpx.Client) -> None:
    """Twenty-one megabytes are not kept."""
    answer = intruder.post(
        "/gradio_api/upload", files={"files": ("voice.wav", b"\0" * 21_000_000, "audio/wav")}
    )
    assert answer.status_code in {400, 413}
