"""
What each bad input gets, and that nothing is lost over it.

Whatever is sent: one clear error of the one shape, one started and one finished line with the
request_id that was returned, status rejected, every line valid JSON, the text nowhere, and the
next request served. With the espeak engine, which takes references and knows what it can read.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
import soundfile

if TYPE_CHECKING:
    from conftest import Running

pytestmark = pytest.mark.anyio

Until = Callable[[Callable[[], object]], Awaitable[None]]

CANARY = "canary of a text"


@pytest.fixture(scope="module")
async def espeak(
    running: Any, drill_settings: Any, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Running]:
    """One service with the real espeak library for all cases."""
    folder = tmp_path_factory.mktemp("espeak")
    async with running(drill_settings(folder, engine="espeak")) as service:
        yield service


async def check(service: Running, answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The whole promise for one refused request; returns its finished line."""
    body = answer.json()
    assert (answer.status_code, body["error"]) == (status, code), body
    assert set(body) == {"error", "message", "request_id"}
    assert body["request_id"] == answer.headers["x-request-id"]
    _, finished = await service.log.pair(body["request_id"])
    assert (finished["status"], finished["error_type"]) == ("rejected", code)
    assert len(finished["error_message"]) <= 100
    assert CANARY not in service.log.text()
    return finished


async def check_next(service: Running) -> None:
    """The next request is served."""
    answer = await service.speak(text="你好")
    assert answer.status_code == 200
    assert (await service.log.finished(answer.headers["x-request-id"]))["status"] == "success"


TEXTS = {
    "empty": ("", "text_empty"),
    "blank": (" \t\n\u3000", "text_empty"),
    "emoji only": ("😀🎉👍🏽", "text_not_speakable"),
    "NUL": (f"{CANARY}\0", "text_unreadable"),
    "lone surrogate": (f"{CANARY}\ud800", "text_unreadable"),
    "both surrogates apart": (f"\udc00{CANARY}\ud800", "text_unreadable"),
    "escape sequence": (f"{CANARY}\x1b[31m", "text_unreadable"),
    "Arabic": ("مرحبا بالعالم", "script_not_spoken"),
    "Hebrew": (f"{CANARY} שלום", "script_not_spoken"),
    "900 kilobytes": (CANARY * 56_250, "text_too_long"),
    "ten megabytes": (CANARY * 625_000, "too_large"),
    "no text but a number": (7, "invalid_field"),
    "no text but a list": ([CANARY], "invalid_field"),
    "null": (None, "invalid_field"),
}


@pytest.mark.parametrize(("text", "code"), TEXTS.values(), ids=TEXTS)
async def test_text(text: object, code: str, espeak: Running) -> None:
    """Text that cannot be said is refused with its own code, as JSON."""
    answer = await espeak.speak(text=text)
    finished = await check(espeak, answer, 413 if code == "too_large" else 422, code)
    known = isinstance(text, str) and code != "too_large"
    assert finished.get("text_len") == (len(str(text)) if known else None)
    await check_next(espeak)


FORM_TEXTS = ("empty", "blank", "emoji only", "NUL", "Arabic", "900 kilobytes", "ten megabytes")


@pytest.mark.parametrize("name", FORM_TEXTS)
async def test_text_in_a_form(name: str, espeak: Running) -> None:
    """The same text in a form, which may be as long as a recording, is refused by its name."""
    text, code = TEXTS[name]
    answer = await espeak.client.post("/tts", files={"text": (None, str(text))})
    await check(espeak, answer, 422, code if code != "too_large" else "text_too_long")


async def test_text_written_by_hand_as_escapes(espeak: Running) -> None:
    """JSON may hold half of a character, and that is no character."""
    content = b'{"text": "\\ud800"}'
    answer = await espeak.client.post("/tts", content=content)
    await check(espeak, answer, 422, "text_unreadable")


FIELDS = {
    "unknown speaker": ({"speaker": "nobody"}, "unknown_speaker"),
    "speaker of a list": ({"speaker": ["f2"]}, "invalid_field"),
    "unknown emotion": ({"emotion": "furious"}, "unknown_emotion"),
    "unknown format": ({"format": "exe"}, "unknown_format"),
    "speed 0": ({"speed": 0}, "speed_out_of_range"),
    "speed below zero": ({"speed": -1}, "speed_out_of_range"),
    "speed in words": ({"speed": "fast"}, "speed_out_of_range"),
    "speed huge": ({"speed": 10**400}, "speed_out_of_range"),
    "reference by path": ({"reference": "/etc/passwd"}, "unknown_field"),
    "field that does not exist": ({"__proto__": 1}, "unknown_field"),
    "field named half a character": ({"\ud800" + CANARY: 1}, "unknown_field"),
    "field with a line end": ({'x\n","level":"error': CANARY}, "unknown_field"),
}


@pytest.mark.parametrize(("fields", "code"), FIELDS.values(), ids=FIELDS)
async def test_field(fields: dict[str, object], code: str, espeak: Running) -> None:
    """A field that does not fit is named, and nothing of it becomes a label or a line."""
    finished = await check(espeak, await espeak.speak(**fields), 422, code)
    assert "speaker" not in finished
    assert "passwd" not in espeak.log.text()
    await check_next(espeak)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400"])
async def test_speed_that_is_no_number(number: str, espeak: Running) -> None:
    """Python reads NaN and Infinity from JSON and forms; neither gets further than the door."""
    as_json = f'{{"text": "{CANARY}", "speed": {number}}}'
    await check(
        espeak, await espeak.client.post("/tts", content=as_json), 422, "speed_out_of_range"
    )
    form = {"text": (None, CANARY), "speed": (None, number.lower())}
    await check(espeak, await espeak.client.post("/tts", files=form), 422, "speed_out_of_range")


def wav(seconds: float) -> bytes:
    """A buzz with the pitch of a voice."""
    moments = np.arange(round(seconds * 24_000)) / 24_000
    buzz = sum(np.sin(2 * np.pi * 140 * part * moments) / part for part in range(1, 12))
    buffer = io.BytesIO()
    soundfile.write(buffer, np.round(4_000 * buzz).astype(np.int16), 24_000, format="WAV")
    return buffer.getvalue()


REFERENCES = {
    "empty": b"",
    "corrupt": b"RIFF\xff\xff\xff\xffWAVEfmt " + b"\x99" * 5_000,
    "text": b"this is no recording" * 100,
    "playlist": b"#EXTM3U\n#EXTINF:2,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    "list of files": b"ffconcat version 1.0\nfile /etc/passwd\n",
    "too short": wav(0.05),
}


async def speak_like(service: Running, recording: bytes, name: str = "voice.wav") -> httpx.Response:
    return await service.client.post(
        "/tts", data={"text": CANARY}, files={"reference": (name, recording)}
    )


@pytest.mark.parametrize("recording", REFERENCES.values(), ids=REFERENCES)
async def test_reference(recording: bytes, espeak: Running) -> None:
    """What is no recording is refused; it is deleted, and no file it names was opened."""
    await check(espeak, await speak_like(espeak, recording), 422, "reference_refused")
    assert not list((espeak.service.settings.output_dir / "uploads").glob("*"))
    await check_next(espeak)


async def test_reference_of_two_hours(espeak: Running, tmp_path: Path) -> None:
    """Three megabytes that play for two hours are refused at once, with what to send instead."""
    path = tmp_path / "two_hours.flac"
    source = ["-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono", "-t", "7200"]
    encoder = ["-c:a", "flac", "-frame_size", "256", "-compression_level", "0"]
    subprocess.run(  # noqa: ASYNC221  # nothing else goes on meanwhile
        ["ffmpeg", "-v", "error", *source, *encoder, path], check=True
    )
    answer = await speak_like(espeak, path.read_bytes(), "two_hours.flac")
    finished = await check(espeak, answer, 422, "reference_refused")
    assert "120 minutes" in answer.json()["message"]
    assert "3 to 15 seconds" in answer.json()["message"]
    assert finished["duration_ms"] < 5_000


@pytest.mark.parametrize(
    "name", ["../../../etc/passwd", "/etc/cron.d/x", "-version.wav", "a\0b.wav", "a\n.m3u8"]
)
async def test_reference_with_a_hostile_name(name: str, espeak: Running) -> None:
    """The client's file name is used for nothing, so that a good recording is good."""
    answer = await speak_like(espeak, wav(2.0), name)
    assert answer.status_code == 200
    await espeak.log.finished(answer.headers["x-request-id"])
    assert not list((espeak.service.settings.output_dir / "uploads").glob("*"))
    assert "passwd" not in espeak.log.text()


async def test_reference_with_a_name_of_5_kb(espeak: Running) -> None:
    """Nobody's file has such a name; the form is not read further."""
    answer = await speak_like(espeak, wav(2.0), "x" * 5_000)
    await check(espeak, answer, 400, "malformed_request")


async def test_reference_that_is_good(espeak: Running) -> None:
    """After all these, a recording that can be used is used."""
    answer = await speak_like(espeak, wav(3.0))
    assert answer.status_code == 200
    finished = await espeak.log.finished(answer.headers["x-request-id"])
    assert finished["reference_seconds"] == 3.0
    assert len(finished["reference_hash"]) == 64
    assert finished["stage_speaker_enc_ms"] > 0


async def test_request_id_of_50_kb(espeak: Running) -> None:
    """The client's own id is dropped, its request is served."""
    answer = await espeak.speak(headers={"X-Request-ID": "a" * 50_000})
    assert answer.status_code == 200
    assert len(answer.headers["x-request-id"]) == 26
    assert "client_request_id" not in await espeak.log.finished(answer.headers["x-request-id"])


@pytest.mark.parametrize(
    "content", [f'{{"text": "{CANARY}"', CANARY, "[]", "\x00", ""], ids=lambda text: ascii(text)[:9]
)
async def test_json_that_is_not_json(content: str, espeak: Running) -> None:
    """What cannot be read has its event, too, without a word of what it was."""
    answer = await espeak.client.post("/tts", content=content)
    finished = await check(espeak, answer, 400, "malformed_request")
    assert "text_len" not in finished
    await check_next(espeak)


@pytest.mark.parametrize("parts", [61, 5_000])
async def test_too_many_fields(parts: int, espeak: Running) -> None:
    """A form of thousands of parts is not read to its end."""
    files = [(f"field{number}", (None, "x")) for number in range(parts)]
    answer = await espeak.client.post("/tts", files=files)
    await check(espeak, answer, 400, "malformed_request")


async def test_nothing_was_lost(espeak: Running) -> None:
    """After all of the above: started = finished, every line is JSON, and none holds a text."""
    for line in espeak.log.text().splitlines():
        assert isinstance(json.loads(line), dict)
    started = [line["request_id"] for line in espeak.log.lines("synthesis.started")]
    finished = [line["request_id"] for line in espeak.log.lines("synthesis.finished")]
    assert sorted(started) == sorted(finished)
    assert len(started) == len(set(started)) > 50
    assert CANARY not in espeak.log.text()


async def test_worker_killed(
    running: Any, drill_settings: Any, tmp_path: Path, until: Until
) -> None:
    """kill -9 of the worker under a request: a clear error, its event, and the next is served."""
    async with running(drill_settings(tmp_path)) as service:
        asked = asyncio.create_task(service.speak(text=CANARY, speaker="slow"))
        await until(lambda: service.service.pool.busy)
        os.kill(service.service.pool.pids()["0"], signal.SIGKILL)
        answer = await asked
        assert (answer.status_code, answer.json()["error"]) == (503, "worker_died")
        assert "a new one takes over" in answer.json()["message"]
        line = await service.log.finished(answer.headers["x-request-id"])
        assert (line["status"], line["error_type"]) == ("failed", "worker_died")
        assert (await service.speak()).status_code == 200
        assert CANARY not in service.log.text()
