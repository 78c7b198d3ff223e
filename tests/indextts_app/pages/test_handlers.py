"""Promises of the page's handlers, kept without a browser."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from indextts_app import errors
from indextts_app.pages import gradio_environment
from indextts_app.pages.handlers import Handlers
from indextts_app.settings import Settings
from indextts_app.synthesizer import Synthesizer

ID = "01M7YJZ7XXPSBDBZMAQ9K7C20C"


class Scripted:
    """A synthesizer that does what the test says, and keeps what it was asked."""

    def __init__(self, act: Callable[[Any], Any] = lambda watcher: None) -> None:
        self.asked: dict[str, Any] = {}
        self.cancelled = False
        self._act = act

    @property
    def capabilities(self) -> Any:
        raise errors.NotReady(reason="loading")

    async def synthesize(
        self, asked: Any, caller: Any, *, reference: Any, watcher: Any, needs_file: bool
    ) -> Any:
        assert needs_file, "the page plays what is stored"
        self.asked = {"asked": asked, "caller": caller, "reference": reference}
        try:
            return await self._act(watcher)
        except asyncio.CancelledError:
            self.cancelled = True
            raise


def page_of(scripted: Scripted, settings: Settings) -> Handlers:
    """The page of a scripted synthesizer."""
    return Handlers(cast("Synthesizer", scripted), settings)


def request(language: str = "en") -> Any:
    """A visitor's request, with the headers that the door puts there."""
    return SimpleNamespace(
        headers={"accept-language": language, "x-request-id": ID},
        client=SimpleNamespace(host="203.0.113.9"),
        session_hash="session",
    )


def generate(handlers: Handlers, reference: Any = None, language: str = "en") -> Any:
    """The handler's updates, as the browser would get them."""
    return handlers.generate("hello", "steady", "neutral", 1, "wav", reference, request(language))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings in a folder of this test's own."""
    return Settings(_env_file=None, output_dir=tmp_path)


def test_what_went_wrong_unexpectedly_is_not_told(settings: Settings) -> None:
    """The visitor gets a safe sentence and the request_id; the log gets the kind of the error."""

    async def fail(_watcher: Any) -> None:
        raise RuntimeError("the key is 12345")

    async def last() -> Any:
        return [update async for update in generate(page_of(Scripted(fail), settings))][-1]

    with capture_logs() as lines:
        status, player, _details, button, cancel = asyncio.run(last())
    assert "12345" not in status["value"]
    assert ID in status["value"]
    assert (player["visible"], cancel["visible"], button["interactive"]) == (False, False, True)
    assert lines == [
        {
            "event": "page.unexpected",
            "log_level": "error",
            "request_id": ID,
            "kind": "RuntimeError",
        }
    ]


def test_a_refusal_is_told_in_the_visitors_language(settings: Settings) -> None:
    """The message of a service error reaches the page in Chinese as in English."""

    async def refuse(_watcher: Any) -> None:
        raise errors.TextTooLong(length=501, limit=500)

    async def last(language: str) -> str:
        updates = generate(page_of(Scripted(refuse), settings), language=language)
        return str([update async for update in updates][-1][0]["value"])

    assert "文本有 501 个字" in asyncio.run(last("zh-CN"))
    assert "501 characters" in asyncio.run(last("en"))


def test_the_synthesizer_gets_the_fields_as_they_came(settings: Settings) -> None:
    """Caller, fields and upload are handed on unjudged."""
    scripted = Scripted()

    async def run() -> None:
        async for _ in generate(page_of(scripted, settings), {"path": "/etc/passwd"}):
            pass

    asyncio.run(run())
    assert scripted.asked["asked"] == {
        "text": "hello",
        "speaker": "steady",
        "emotion": "neutral",
        "speed": 1,
        "format": "wav",
    }
    caller, upload = scripted.asked["caller"], scripted.asked["reference"]
    assert (caller.request_id, caller.source, caller.client_ip) == (ID, "page", "203.0.113.0")
    # Whether the path may be read is for `references.accept` to say: it gets the folder with it.
    assert (upload.path, upload.folder) == (
        Path("/etc/passwd"),
        gradio_environment.upload_folder(settings.output_dir),
    )


def test_progress_is_shown_until_the_visitor_cancels(settings: Settings) -> None:
    """The place in the queue, then the stage, then that it was cancelled."""
    seen: list[str] = []

    async def wait(watcher: Any) -> None:
        watcher.waiting(2)
        await asyncio.sleep(0.3)
        watcher.stage("vocoder")
        await asyncio.sleep(60)

    scripted = Scripted(wait)
    handlers = page_of(scripted, settings)

    async def run() -> None:
        async for update in generate(handlers):
            seen.append(update[0]["value"])
            if "Vocoder" in seen[-1]:
                assert update[4]["visible"] is True
                await handlers.cancel(request())

    asyncio.run(run())
    assert "Number 3 in the queue" in seen[0]
    assert "Cancelled" in seen[-1]
    assert ID in seen[-1]
    assert scripted.cancelled


def test_a_visitor_who_leaves_cancels(settings: Settings) -> None:
    """Closing the generator, as Gradio does for a closed tab, stops the synthesis."""

    async def wait(_watcher: Any) -> None:
        await asyncio.sleep(60)

    scripted = Scripted(wait)

    async def run() -> None:
        updates = generate(page_of(scripted, settings))
        await anext(updates)
        await updates.aclose()
        await asyncio.sleep(0)

    asyncio.run(run())
    assert scripted.cancelled


def test_a_page_opened_too_early_asks_again(settings: Settings) -> None:
    """While the engine loads there is nothing to choose, and the timer runs."""
    header, speaker, *_, timer = asyncio.run(page_of(Scripted(), settings).offer(request()))
    assert "still loading" in header["value"]
    assert speaker["choices"] == []
    assert timer["active"] is True


def test_the_environment_is_ready_before_gradio_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No telemetry, no slowing statistics, and uploads where retention reaches them."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    gradio_environment.prepare(tmp_path / "outputs")
    folder = tmp_path / "outputs" / "gradio"
    assert folder.is_dir()
    assert os.environ["GRADIO_TEMP_DIR"] == str(folder)
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert os.environ["GRADIO_ANALYTICS_MAX_EVENTS"] == "1"


def test_the_audio_is_stored_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Gradio serves is a link to the stored file, or a copy where no link can be."""
    folder = gradio_environment.upload_folder(settings.output_dir)
    folder.mkdir()
    handlers = page_of(Scripted(), settings)
    audio = settings.output_dir / f"{ID}.wav"
    audio.write_bytes(b"RIFF")
    served = handlers._served(audio)
    assert Path(served["path"]).samefile(audio)
    assert served["orig_name"] == audio.name

    shutil.rmtree(folder)
    folder.mkdir()
    monkeypatch.setattr(os, "link", _other_device)
    served = handlers._served(audio)
    assert not Path(served["path"]).samefile(audio)
    assert Path(served["path"]).read_bytes() == b"RIFF"


def _other_device(*_: object) -> None:
    raise OSError(18, "Invalid cross-device link")
