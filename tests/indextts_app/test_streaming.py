"""Promises of streaming: sound before all of it is made, over a real connection, and clear ends."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
import soundfile
import uvicorn
from playing import played
from starlette.requests import Request

from indextts_app import answers, errors, streaming
from indextts_app.stream_encoder import stream_encoder
from indextts_app.streaming import BrokenOff, Live, LiveAudio, StreamedAudio
from indextts_app.synthesis import AudioFormat, Caller, SynthesisRequest

if TYPE_CHECKING:
    from conftest import Running

pytestmark = pytest.mark.anyio

Until = Callable[[Callable[[], object]], Awaitable[None]]

ID = "01JZ0000000000000000000000"
TEXT = "好的。今天天气很好，我们一起去公园。"
PIECE = np.arange(100, dtype=np.int16)


def request(kind: AudioFormat = AudioFormat.WAV, *, stream: bool = True) -> SynthesisRequest:
    """A valid request of the drill's."""
    return SynthesisRequest("hello", "steady", "neutral", 1.0, kind, stream=stream)


# --- The answer of POST /tts ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Site:
    """A service behind a real socket, and a client of it."""

    running: Running
    client: httpx.AsyncClient

    def ask(self, **asked: Any) -> Any:
        """`async with site.ask(...) as answer:`, its body still to be read."""
        return self.client.stream("POST", "/tts", json={"text": TEXT, "stream": True, **asked})


@pytest.fixture(scope="module")
async def site(
    running: Callable[..., Any],
    drill_settings: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Site]:
    """One service for all tests of this module; its engine takes half a second."""
    settings = drill_settings(
        tmp_path_factory.mktemp("streaming"), drill_seconds=0.5, drill_slow_seconds=60
    )
    async with running(settings) as service:
        listener = socket.create_server(("127.0.0.1", 0))
        logging.getLogger("uvicorn.error").addFilter(streaming.is_no_cut)
        config = uvicorn.Config(service.app, lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve([listener]))
        host, port = listener.getsockname()
        async with httpx.AsyncClient(base_url=f"http://{host}:{port}") as client:
            yield Site(service, client)
        server.should_exit = True
        await serving


@pytest.mark.parametrize("kind", ["wav", "mp3", "flac", "pcm"])
async def test_the_audio_comes_while_it_is_made(kind: str, site: Site) -> None:
    """The first bytes are there before the engine is done, and all of it plays."""
    data, when = b"", []
    async with site.ask(format=kind) as answer:
        assert answer.status_code == 200
        assert answer.headers["transfer-encoding"] == "chunked"
        assert answer.headers["content-type"] == streaming.MEDIA_TYPES[AudioFormat(kind)]
        request_id = answer.headers["x-request-id"]
        assert f'{request_id}.{kind}"' in answer.headers["content-disposition"]
        async for chunk in answer.aiter_raw():
            when.append(time.perf_counter())
            data += chunk
    assert when[-1] - when[0] > 0.05
    line = await site.running.log.finished(request_id)
    assert (line["status"], line["audio_verdict"], line["streamed"]) == ("success", "ok", True)
    assert line["first_audio_ms"] < line["duration_ms"] - 50
    if kind == "pcm":
        assert answer.headers["x-sample-rate"] == "24000"
        heard = played(stream_encoder(AudioFormat.WAV, 24_000, ID).close() + data, 22_050)
    else:
        heard = played(data, 22_050)
    assert len(heard) / 22_050 == pytest.approx(line["audio_seconds"], abs=0.1)


async def test_a_wav_of_unknown_length_says_so(site: Site) -> None:
    """Sizes of 0xFFFFFFFF, as ffmpeg writes them into a pipe; the samples are those of the file."""
    async with site.ask() as answer:
        data = await answer.aread()
    assert struct.unpack_from("<4sI4s", data) == (b"RIFF", 0xFFFFFFFF, b"WAVE")
    assert struct.unpack_from("<4sI", data, data.index(b"data")) == (b"data", 0xFFFFFFFF)
    request_id = answer.headers["x-request-id"]
    await site.running.log.finished(request_id)
    stored = site.running.service.settings.output_dir / f"{request_id}.wav"
    samples, _ = soundfile.read(stored, dtype="int16")
    assert data.endswith(samples.astype("<i2").tobytes())


@pytest.mark.parametrize("kind", ["opus", "aac"])
async def test_formats_that_lag_behind_are_whole_at_the_end(kind: str, site: Site) -> None:
    """Their last bytes come with the last sound."""
    async with site.ask(format=kind) as answer:
        assert answer.headers["content-type"] == streaming.MEDIA_TYPES[AudioFormat(kind)]
        data = await answer.aread()
    line = await site.running.log.finished(answer.headers["x-request-id"])
    assert (line["status"], line["streamed"]) == ("success", True)
    assert len(played(data, 22_050)) / 22_050 == pytest.approx(line["audio_seconds"], abs=0.1)


async def test_a_form_streams_as_well(site: Site) -> None:
    """`stream=true`, as any field of a form."""
    fields = {"text": (None, "hello"), "stream": (None, "true")}
    answer = await site.client.post("/tts", files=fields)
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.content[:4] == b"RIFF"


@pytest.mark.parametrize(
    ("asked", "status", "code"),
    [
        ({"speaker": "error"}, 503, "engine_error"),
        ({"speaker": "crash"}, 503, "worker_died"),
        ({"speaker": "empty"}, 503, "no_audio"),
        ({"speaker": "nobody"}, 422, "unknown_speaker"),
        ({"format": "ogg"}, 422, "invalid_field"),
        ({"stream": "yes"}, 422, "invalid_field"),
    ],
)
async def test_an_error_before_the_first_audio_is_an_ordinary_one(
    asked: dict[str, Any], status: int, code: str, site: Site, until: Until
) -> None:
    """With its status, its body and its one event."""
    async with site.ask(**asked) as answer:
        body = json.loads(await answer.aread())
    assert (answer.status_code, body["error"]) == (status, code)
    line = await site.running.log.finished(body["request_id"])
    assert line["error_type"] == code
    assert "streamed" not in line
    await until(lambda: site.running.service.pool.ready_workers)


async def test_ogg_is_refused_with_what_can_be_had(site: Site) -> None:
    """The message names the formats that are sent while they are made."""
    async with site.ask(format="ogg") as answer:
        message = json.loads(await answer.aread())["message"]
    assert "wav, mp3, flac, opus, aac, pcm" in message


async def test_an_error_after_the_first_audio_cuts_the_connection(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """The client sees that it has not got all, the event says why; the server complains not."""
    async with site.ask(speaker="breaks_off") as answer:
        assert answer.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            await answer.aread()
    line = await site.running.log.finished(answer.headers["x-request-id"])
    assert (line["status"], line["error_type"]) == ("failed", "engine_error")
    assert line["streamed"] is True
    assert not site.running.log.lines("http.unexpected")
    assert not [record for record in caplog.records if record.name == "uvicorn.error"]


async def test_another_answer_that_is_not_complete_is_complained_about() -> None:
    """Only what was cut on purpose is no fault."""
    message = "ASGI callable returned without completing response."
    record = logging.LogRecord("uvicorn.error", logging.ERROR, "", 0, message, (), None)
    assert streaming.is_no_cut(record)
    with Live(ID) as live:
        live.audio(PIECE, 24_000)
        live.audio(PIECE, 24_000)
    answer = StreamedAudio(live, AudioFormat.WAV, {}, streaming._nothing)
    with suppress(RuntimeError), Live(ID) as broken:
        broken.audio(PIECE, 24_000)
        raise RuntimeError

    async def send(_message: Any) -> None: ...

    async def receive() -> Any:
        await asyncio.Event().wait()

    await answer({"type": "http"}, receive, send)
    assert streaming.is_no_cut(record)
    await StreamedAudio(broken, AudioFormat.WAV, {}, streaming._nothing)(
        {"type": "http"}, receive, send
    )
    assert not streaming.is_no_cut(record)
    record.msg = "another"
    assert streaming.is_no_cut(record)


async def test_whatever_ends_the_work_early_cuts_the_connection() -> None:
    """The deadline, say: there is a first chunk, and no last one. The seed is told all the same."""
    sent: list[dict[str, Any]] = []
    began = asyncio.Event()

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)
        if message["type"] == "http.response.body":
            began.set()

    async def work(live: Live) -> Any:
        live.accepted(replace(request(), seed=17))
        live.audio(PIECE, 24_000)
        await began.wait()
        raise errors.DeadlineExceeded(seconds=1)

    live, scope = Live(ID), {"type": "http"}
    asking = Request(scope, receive)
    answer = await streaming.answer(
        asking, live, work(live), whole=answers.audio, until=AsyncExitStack()
    )
    await answer(scope, receive, send)
    assert answer.headers["x-seed"] == "17"
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert sent[-1]["more_body"] is True


async def test_a_client_that_leaves_in_the_middle_cancels(site: Site, until: Until) -> None:
    """The engine stops, and the worker is free for others."""
    async with site.ask(text=TEXT * 10) as answer:
        body = answer.aiter_raw()
        await anext(body)
    line = await site.running.log.finished(answer.headers["x-request-id"])
    assert (line["status"], line["streamed"]) == ("cancelled", True)
    await until(lambda: not site.running.service.pool.busy)


async def test_a_client_that_leaves_before_the_first_audio_cancels(
    site: Site, until: Until
) -> None:
    """Long before there would be anything to hear."""
    with pytest.raises(httpx.ReadTimeout):
        await site.client.post(
            "/tts", json={"text": "hello", "speaker": "slow", "stream": True}, timeout=0.2
        )
    await until(lambda: site.running.log.lines("synthesis.finished", speaker="slow"))
    (line,) = site.running.log.lines("synthesis.finished", speaker="slow")
    assert line["status"] == "cancelled"
    await until(lambda: not site.running.service.pool.busy)


async def test_bad_audio_is_judged_as_ever(site: Site) -> None:
    """What was streamed is checked as a whole; the event has the verdict."""
    async with site.ask(speaker="clipped") as answer:
        await answer.aread()
    line = await site.running.log.finished(answer.headers["x-request-id"])
    assert (line["status"], line["audio_verdict"]) == ("degraded", "clipped")


async def test_uploads_are_deleted_when_it_is_over(site: Site) -> None:
    """Not when the answer begins."""
    fields = {"text": (None, "hello"), "stream": (None, "true"), "reference": ("a.wav", b"x" * 99)}
    answer = await site.client.post("/tts", files=fields)
    assert answer.status_code == 422
    uploads = site.running.service.settings.output_dir / "uploads"
    assert list(uploads.glob("*")) == []


# --- GET /live -----------------------------------------------------------------------------------


async def test_a_player_hears_a_request_while_it_runs(site: Site) -> None:
    """From its start to its end, as MP3 and as WAV, whenever it connects before the end."""
    synthesizer = site.running.service.synthesizer
    caller = Caller(ID, "page")
    with synthesizer.live.open(ID) as live:
        work = asyncio.create_task(synthesizer.synthesize({"text": TEXT}, caller, live=live))
        async with site.client.stream("GET", f"/live/{ID}") as answer:
            assert answer.headers["content-type"] == "audio/mpeg"
            assert answer.headers["cache-control"] == "no-store"
            body = answer.aiter_raw()
            await anext(body)
            assert not work.done()
        result = await work
    wav = (await site.client.get(f"/live/{ID}?format=wav")).content
    seconds = result.signal.audio_seconds
    assert len(wav[wav.index(b"data") + 8 :]) / 2 / 22_050 == pytest.approx(seconds, abs=0.01)
    mp3 = (await site.client.get(f"/live/{ID}")).content
    assert soundfile.info(io.BytesIO(mp3)).duration == pytest.approx(seconds, abs=0.15)
    assert (await site.running.log.finished(ID))["streamed"] is True


@pytest.mark.parametrize(
    ("address", "status", "code"),
    [
        (f"/live/{ID[:-1]}1", 404, "unknown_request"),
        ("/live/nonsense", 404, "unknown_request"),
    ],
)
async def test_what_cannot_be_heard_is_not_found(
    address: str, status: int, code: str, site: Site
) -> None:
    """An id that nobody opened, and what is no id at all."""
    answer = await site.client.get(address)
    assert (answer.status_code, answer.json()["error"]) == (status, code)


async def test_a_player_is_given_no_format_that_cannot_be_streamed(site: Site) -> None:
    """The formats that can are named."""
    with site.running.service.synthesizer.live.open(ID):
        answer = await site.client.get(f"/live/{ID}?format=ogg")
    assert (answer.status_code, answer.json()["error"]) == (422, "unknown_format")


async def test_a_request_that_fails_before_its_first_sound_is_not_found(site: Site) -> None:
    """The player has nothing to play, and does not wait for it."""
    with site.running.service.synthesizer.live.open(ID):
        listening = asyncio.create_task(site.client.get(f"/live/{ID}"))
        await asyncio.sleep(0)
    assert (await listening).status_code == 404


# --- Live ----------------------------------------------------------------------------------------


async def heard(live: Live) -> bytes:
    """All that a listener gets."""
    return b"".join([data async for data in live.encoded(AudioFormat.WAV)])


async def test_whoever_connects_late_hears_all_of_it() -> None:
    """From the first sample, at once."""
    with Live(ID) as live:
        live.audio(PIECE, 24_000)
        live.audio(PIECE, 24_000)
    assert (await heard(live)).endswith(PIECE.tobytes() * 2)


async def test_what_failed_breaks_off() -> None:
    """After what there was of it."""
    live = Live(ID)
    with suppress(RuntimeError), live:
        live.audio(PIECE, 24_000)
        raise RuntimeError
    listener = live.encoded(AudioFormat.WAV)
    assert (await anext(listener)).endswith(PIECE.tobytes())
    with pytest.raises(BrokenOff):
        await anext(listener)


async def test_a_second_listener_takes_over() -> None:
    """A browser that connects anew gets all of it; the connection it left behind ends."""
    with Live(ID) as live:
        live.audio(PIECE, 24_000)
        first = live.encoded(AudioFormat.WAV)
        await anext(first)
        waiting = asyncio.create_task(anext(first))
        await asyncio.sleep(0)
        second = live.encoded(AudioFormat.WAV)
        assert (await anext(second)).endswith(PIECE.tobytes())
        with pytest.raises(BrokenOff):
            await waiting


async def test_there_is_no_audio_where_none_came() -> None:
    """Whoever waits for the first is told so."""
    live = Live(ID)
    waiting = asyncio.create_task(live.begun())
    await asyncio.sleep(0)
    with live:
        pass
    assert await waiting is False


@pytest.mark.parametrize("stream", [True, False])
async def test_only_what_is_streamed_needs_a_format_for_it(stream: bool) -> None:
    """A page's file may be an OGG: its player hears another format."""
    live, asked = Live(ID), request(AudioFormat.OGG, stream=stream)
    if stream:
        with pytest.raises(errors.InvalidField, match="ogg cannot be sent"):
            live.accepted(asked)
    else:
        live.accepted(asked)
        assert live.request == asked


async def test_what_is_over_is_gone_after_a_while(until: Until) -> None:
    """Its samples are let go, and its address leads nowhere."""
    audio = LiveAudio(keep_seconds=0)
    with audio.open(ID) as live:
        assert audio.get(ID) is live
    await asyncio.sleep(0.01)
    with pytest.raises(errors.UnknownRequest):
        audio.get(ID)


async def test_only_so_many_can_be_listened_to() -> None:
    """One more, and the oldest cannot any longer."""
    audio = LiveAudio(max_live=2)
    first, second, third = (audio.open(str(number)) for number in range(3))
    with pytest.raises(errors.UnknownRequest):
        audio.get("0")
    assert (audio.get("1"), audio.get("2")) == (second, third)
    with first:
        pass


async def test_a_client_that_takes_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection is cut, and whoever makes the audio is told."""
    monkeypatch.setattr(streaming, "STALL_SECONDS", 0.01)
    given_up: list[bool] = []
    sent: list[str] = []

    async def unheard() -> None:
        given_up.append(True)

    async def send(message: Any) -> None:
        sent.append(message["type"])
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    with Live(ID) as live:
        live.audio(PIECE, 24_000)
        answer = StreamedAudio(live, AudioFormat.WAV, {}, unheard)
        await answer({"type": "http"}, lambda: asyncio.Event().wait(), send)  # type: ignore[arg-type, return-value]
    assert given_up == [True]
    assert sent == ["http.response.start", "http.response.body"]


async def test_a_slow_client_holds_no_worker(site: Site, until: Until) -> None:
    """The engine is done and works for others while one client still reads."""
    async with site.ask(text="早。" * 100) as answer:
        body = answer.aiter_raw(1_000)
        await anext(body)
        line = await site.running.log.finished(answer.headers["x-request-id"])
        assert line["status"] == "success"
        other = await site.client.post("/tts", json={"text": "hello"})
        assert other.status_code == 200
        rest = b"".join([chunk async for chunk in body])
    assert len(rest) / 2 / 22_050 > 30
