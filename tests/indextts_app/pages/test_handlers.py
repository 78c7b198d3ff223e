"""Promises of the page's handlers, kept without a browser."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from structlog.testing import capture_logs

from indextts_app import errors
from indextts_app.engines import features
from indextts_app.engines.base import Features, Segment
from indextts_app.pages import gradio_environment, offers, panels, served_files
from indextts_app.pages.fields import Fields
from indextts_app.pages.handlers import Handlers
from indextts_app.settings import Settings
from indextts_app.streaming import LiveAudio
from indextts_app.synthesizer import Synthesizer

ID = "01M7YJZ7XXPSBDBZMAQ9K7C20C"

SIMPLE = Features()
CLONING = features("indextts2", {"model_version": "2"})
FIELDS = ("text", "speaker", "emotion", "speed", "format", "reference")


class Scripted:
    """A synthesizer that does what the test says, and keeps what it was asked."""

    def __init__(self, act: Callable[[Any], Any] = lambda watcher: None) -> None:
        self.asked: dict[str, Any] = {}
        self.cancelled = False
        self.live = LiveAudio(keep_seconds=0)
        self.library = SimpleNamespace(
            presets=SimpleNamespace(all=lambda: [SimpleNamespace(id="kept")])
        )
        self._act = act

    @property
    def capabilities(self) -> Any:
        raise errors.NotReady(reason="loading.", reason_zh="加载。")

    async def synthesize(
        self, asked: Any, caller: Any, *, recordings: Any, watcher: Any, live: Any, needs_file: bool
    ) -> Any:
        assert needs_file, "the page plays what is stored"
        self.asked = {"asked": asked, "caller": caller, "recordings": recordings, "live": live}
        try:
            return await self._act(watcher)
        except asyncio.CancelledError:
            self.cancelled = True
            raise

    async def preview(self, asked: Any) -> Any:
        self.asked = asked
        return await self._act(None)


def page_of(
    scripted: Scripted,
    settings: Settings,
    can: Features = SIMPLE,
    names: tuple[str, ...] = FIELDS,
) -> Handlers:
    """The page of a scripted synthesizer, with fields of these names."""
    fields = Fields()
    for name in names:
        fields.add(name, cast("Any", object()))
    return Handlers(cast("Synthesizer", scripted), settings, can, fields)


def request(language: str = "en") -> Any:
    """A visitor's request, with the headers that the door puts there."""
    return SimpleNamespace(
        headers={"accept-language": language, "x-request-id": ID},
        client=SimpleNamespace(host="203.0.113.9"),
        session_hash="session",
    )


def generate(handlers: Handlers, reference: Any = None, language: str = "en") -> Any:
    """The handler's updates, as the browser would get them."""
    return handlers.generate(request(language), "hello", "steady", "neutral", 1, "wav", reference)


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
        status, _live, player, _details, told, button, cancel = asyncio.run(last())
    assert "12345" not in status["value"] + told["value"]
    kept = {"request_id": ID, "verdict": "service_error", "said": "No audio"}
    assert json.loads(told["value"]) == kept
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
    caller, upload = scripted.asked["caller"], scripted.asked["recordings"]["reference"]
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
                assert update[6]["visible"] is True
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


def test_what_is_made_can_be_listened_to_once_there_is_something(settings: Settings) -> None:
    """The id to listen to is told with the first audio, once, and only to who wants to."""
    told: list[Any] = []

    async def sound(watcher: Any) -> None:
        await asyncio.sleep(0.15)
        watcher.audio(np.zeros(1, np.int16), 22_050)
        await asyncio.sleep(0.6)
        raise errors.EngineError

    async def run(live: bool) -> list[Any]:
        scripted = Scripted(sound)
        handlers = page_of(scripted, settings, CLONING, ("text", "live"))
        told = [update[1] async for update in handlers.generate(request(), "hello", live)]
        assert (scripted.asked["live"] is not None) is live
        return [update.get("value") for update in told]

    told = asyncio.run(run(live=True))
    # Nothing of the request before, then the id, then no change, and nothing after it failed.
    assert (told[0], told[-1]) == ("", "")
    assert [value for value in told if value] == [ID]
    assert not any(asyncio.run(run(live=False)))


@pytest.mark.parametrize(
    ("preset", "sent"), [("kept", "kept"), ("gone", None), (["x"], None), ("", None)]
)
def test_a_preset_that_was_deleted_is_no_longer_named(
    settings: Settings, preset: Any, sent: Any
) -> None:
    """Who loaded it before still has its fields, and is not refused for its name."""
    scripted = Scripted()

    async def run() -> None:
        handlers = page_of(scripted, settings, CLONING, ("text", "preset"))
        async for _ in handlers.generate(request(), "hello", preset):
            pass

    asyncio.run(run())
    assert scripted.asked["asked"].get("preset") == sent


@pytest.mark.parametrize(
    ("outcome", "shown"),
    [
        ((Segment("HELLO .", 3), Segment("YOU .", 300)), "over the limit of 120"),
        (errors.TextEmpty(limit=500), "Type a text"),
        (errors.NotReady(reason="it is loading.", reason_zh="加载。"), "cannot take requests now"),
    ],
)
def test_the_segments_are_shown_or_why_not(settings: Settings, outcome: Any, shown: str) -> None:
    """A preview never ends in an error of the page, and marks what is too long."""

    async def act(_watcher: Any) -> Any:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    scripted = Scripted(act)
    handler = page_of(scripted, settings, CLONING).previewing(["text", "control_segment_tokens"])
    assert shown in asyncio.run(handler(request(), "hello", 120))["value"]
    assert scripted.asked == {"text": "hello", "segment_tokens": 120}


def test_a_page_opened_too_early_asks_again(settings: Settings) -> None:
    """While the engine loads there is nothing to choose, and the timer runs."""
    parts = [offers.header, offers.speakers, offers.emotions, offers.reference, offers.ask_again]
    offer = page_of(Scripted(), settings).offering(parts)
    header, speaker, emotion, reference, timer = asyncio.run(offer(request()))
    assert "still loading" in header["value"]
    assert speaker["choices"] == emotion["choices"] == []
    assert reference["visible"] is False
    assert timer["active"] is True


def test_the_page_greets_in_the_visitors_language(settings: Settings) -> None:
    """What is no label is said in Chinese as in English."""
    greet = page_of(Scripted(), settings).greeting([panels.idle, panels.vector_sum])
    idle, total = asyncio.run(greet(request("zh-CN")))
    assert "音频会显示在这里" in idle["value"]
    assert "总和" in total["value"]


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


IMPORTED = """
import sys
opened = []
sys.addaudithook(lambda event, told: opened.append(str(told[0])) if event == "open" else None)
from pathlib import Path
from indextts_app.pages import gradio_environment
gradio_environment.prepare(Path(sys.argv[1]))
import gradio
print(gradio.Textbox.__name__, [path for path in opened if path.endswith(".pyi")])
"""


def test_gradio_does_not_write_into_its_installation(tmp_path: Path) -> None:
    """Nor does it read all of itself for that at every start."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, tmp_path], capture_output=True, text=True, check=True
    )
    assert done.stdout == "Textbox []\n"


def test_the_audio_is_stored_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Gradio serves is a link to the stored file, or a copy where no link can be."""
    folder = tmp_path / "gradio"
    folder.mkdir()
    audio = tmp_path / f"{ID}.wav"
    audio.write_bytes(b"RIFF")
    served = served_files.linked(audio, folder)
    assert Path(served["path"]).samefile(audio)
    assert served["orig_name"] == audio.name

    shutil.rmtree(folder)
    folder.mkdir()
    monkeypatch.setattr(os, "link", _other_device)
    served = served_files.linked(audio, folder)
    assert not Path(served["path"]).samefile(audio)
    assert Path(served["path"]).read_bytes() == b"RIFF"


def test_an_old_recording_is_served_as_a_new_file(tmp_path: Path) -> None:
    """What is kept for good does not go with the next sweep of what is served."""
    folder = tmp_path / "gradio"
    folder.mkdir()
    recording = tmp_path / "a.wav"
    recording.write_bytes(b"RIFF")
    os.utime(recording, (1, 1))
    served = Path(served_files.copied(recording, folder)["path"])
    assert served.stat().st_mtime > 1
    assert not served.samefile(recording)


def _other_device(*_: object) -> None:
    raise OSError(18, "Invalid cross-device link")
