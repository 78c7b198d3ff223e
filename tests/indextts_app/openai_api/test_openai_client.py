"""What OpenAI's own Python client gets from the service: audio, events, models, and its errors."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import openai
import pytest
from playing import played

from indextts_app import audio
from indextts_app.synthesis import AudioFormat

if TYPE_CHECKING:
    from conftest import Site  # type: ignore[attr-defined]

pytestmark = pytest.mark.anyio

TEXT = "好的。今天天气很好，我们一起去公园。"
SPEECH: dict[str, Any] = {"model": "tts-1", "voice": "steady", "input": TEXT}


@pytest.fixture
async def client(site: Site) -> AsyncIterator[openai.AsyncOpenAI]:
    """The async client, which tries everything once."""
    async with openai.AsyncOpenAI(base_url=site.base, api_key="any", max_retries=0) as client:
        yield client


def event_lines(lines: list[str]) -> list[dict[str, Any]]:
    """The content of server-sent events."""
    return [json.loads(line.removeprefix("data: ")) for line in lines if line]


@pytest.mark.parametrize("kind", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
async def test_every_format_of_theirs(kind: Any, client: openai.AsyncOpenAI, site: Site) -> None:
    """As long as the event says, and bare PCM at the 24 kHz that everybody takes it for."""
    answer = await client.audio.speech.create(**SPEECH, response_format=kind)
    headers, data = answer.response.headers, answer.content
    assert headers["content-type"] == audio.MEDIA_TYPES[AudioFormat(kind)]
    assert headers["x-speaker"] == "steady"
    line = await site.running.log.finished(headers["x-request-id"])
    assert (line["status"], line["format"], line["source"]) == ("success", kind, "api")
    if kind == "pcm":
        heard = np.frombuffer(data, "<i2")
        assert headers["x-sample-rate"] == "24000"
    else:
        heard = played(data, 24_000)
    assert len(heard) / 24_000 == pytest.approx(line["audio_seconds"], abs=0.15)


async def test_the_sync_client_writes_a_file(site: Site, tmp_path: Any) -> None:
    """MP3 where no format is asked for, as there; the client's own way to a file."""

    def speak() -> str:
        with openai.OpenAI(base_url=site.base, api_key="any") as client:
            answer = client.audio.speech.create(**SPEECH)
            answer.write_to_file(tmp_path / "hello.mp3")
            return str(answer.response.headers["x-request-id"])

    request_id = await asyncio.to_thread(speak)
    assert (await site.running.log.finished(request_id))["format"] == "mp3"
    assert len(played((tmp_path / "hello.mp3").read_bytes(), 22_050)) > 22_050


@pytest.mark.parametrize("kind", ["wav", "pcm"])
async def test_the_audio_streams(kind: Any, client: openai.AsyncOpenAI, site: Site) -> None:
    """With `stream_format` the first bytes are there before the engine is done."""
    async with client.audio.speech.with_streaming_response.create(
        **SPEECH, response_format=kind, stream_format="audio"
    ) as answer:
        assert answer.headers["x-speaker"] == "steady"
        when = [time.perf_counter() async for _ in answer.iter_bytes(1_024)]
    assert when[-1] - when[0] > 0.03
    line = await site.running.log.finished(answer.headers["x-request-id"])
    assert (line["status"], line["streamed"]) == ("success", True)


async def test_without_it_the_audio_is_checked_before_it_is_sent(
    client: openai.AsyncOpenAI,
) -> None:
    """So that its length and its verdict are in the head."""
    async with client.audio.speech.with_streaming_response.create(**SPEECH) as answer:
        assert answer.headers["x-audio-verdict"] == "ok"
        assert int(answer.headers["content-length"]) == len(await answer.read())


async def test_the_sync_client_streams_to_a_file(site: Site, tmp_path: Any) -> None:
    """As their documentation has it."""

    def speak() -> None:
        with (
            openai.OpenAI(base_url=site.base, api_key="any") as client,
            client.audio.speech.with_streaming_response.create(
                **SPEECH, stream_format="audio"
            ) as answer,
        ):
            answer.stream_to_file(tmp_path / "hello.mp3")

    await asyncio.to_thread(speak)
    assert len(played((tmp_path / "hello.mp3").read_bytes(), 22_050)) > 22_050


@pytest.mark.parametrize("kind", ["mp3", "wav", "ogg"])
async def test_events(kind: Any, client: openai.AsyncOpenAI) -> None:
    """Deltas whose audio joined is a file, then one done with usage; also where none can stream."""
    async with client.audio.speech.with_streaming_response.create(
        **SPEECH, response_format=kind, stream_format="sse"
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        told = event_lines([line async for line in answer.iter_lines()])
    *deltas, done = told
    assert {one["type"] for one in deltas} == {"speech.audio.delta"}
    assert done == {
        "type": "speech.audio.done",
        "usage": {"input_tokens": len(TEXT), "output_tokens": 0, "total_tokens": len(TEXT)},
    }
    data = b"".join(base64.b64decode(one["audio"]) for one in deltas)
    assert len(played(data, 22_050)) / 22_050 == pytest.approx(len(TEXT) / 5, abs=0.2)


async def test_events_tell_what_broke_off(client: openai.AsyncOpenAI, site: Site) -> None:
    """Where a bare stream can only be cut, the last event says why, with the request_id."""
    async with client.audio.speech.with_streaming_response.create(
        **{**SPEECH, "voice": "breaks_off"}, stream_format="sse"
    ) as answer:
        told = event_lines([line async for line in answer.iter_lines()])
    request_id = answer.headers["x-request-id"]
    assert told[-1]["type"] == "error"
    assert told[-1]["error"]["code"] == "engine_error"
    assert told[-1]["error"]["request_id"] == request_id
    assert (await site.running.log.finished(request_id))["status"] == "failed"


async def test_what_openai_has_no_word_for(client: openai.AsyncOpenAI, site: Site) -> None:
    """Extra fields have the names that they have in /tts."""
    answer = await client.audio.speech.create(
        **SPEECH, speed=1.5, extra_body={"emotion": "happy"}, response_format="wav"
    )
    line = await site.running.log.finished(answer.response.headers["x-request-id"])
    assert (line["emotion"], line["speed"]) == ("happy", 1.5)


async def test_models_and_voices(client: openai.AsyncOpenAI) -> None:
    """One model, the engine; its speakers and the operator's names for them."""
    assert [model.id async for model in client.models.list()] == ["drill"]
    assert (await client.models.retrieve("drill")).owned_by == "indextts"
    for path in ("/voices", "/audio/voices"):
        told = await client.get(path, cast_to=object)
        assert told["voices"] == told["data"]  # type: ignore[index]
        voices = {one["id"]: one for one in told["data"]}  # type: ignore[index]
        assert voices["steady"]["name"] == "Steady tone, no fault"
        assert voices["narrator"]["speaker"] == "steady"


@pytest.mark.parametrize("voice", ["narrator", {"id": "narrator"}, {"id": "steady"}])
async def test_a_voice_may_have_the_operators_name(voice: Any, client: openai.AsyncOpenAI) -> None:
    """And may come as an object, as a voice of one's own does there."""
    answer = await client.audio.speech.create(**{**SPEECH, "voice": voice})
    assert answer.response.headers["x-speaker"] == "steady"


UNFIT = openai.UnprocessableEntityError


@pytest.mark.parametrize(
    ("change", "kind", "code", "param", "says"),
    [
        ({"voice": "nobody"}, UNFIT, "unknown_speaker", "voice", "steady"),
        ({"voice": "alloy"}, UNFIT, "unknown_speaker", "voice", "steady"),
        ({"model": "gpt-9"}, openai.NotFoundError, "model_not_found", "model", "drill, tts-1"),
        ({"input": ""}, UNFIT, "text_empty", "input", "no text"),
        ({"input": 3}, UNFIT, "invalid_field", "input", "'input'"),
        (
            {"response_format": "m4a"},
            UNFIT,
            "unknown_format",
            "response_format",
            "mp3",
        ),
        (
            {"stream_format": "ndjson"},
            UNFIT,
            "unknown_format",
            "stream_format",
            "sse",
        ),
        ({"speed": 4.0}, UNFIT, "speed_out_of_range", "speed", "2.0"),
        (
            {"instructions": "Whisper."},
            UNFIT,
            "field_not_offered",
            "instructions",
            "input, voice",
        ),
        ({"extra_body": {"text": "x"}}, UNFIT, "unknown_field", None,
         "Did you mean 'input'"),
        ({"voice": "error"}, openai.InternalServerError, "engine_error", None, "again"),
    ],
)  # fmt: skip
async def test_errors(
    change: dict[str, Any],
    kind: type[openai.APIStatusError],
    code: str,
    param: str | None,
    says: str,
    client: openai.AsyncOpenAI,
    site: Site,
) -> None:
    """The client's own exceptions, with code, param, a message in its words and the request_id."""
    with pytest.raises(kind) as raised:
        await client.audio.speech.create(**{**SPEECH, **change})
    error = raised.value
    assert (error.code, error.param) == (code, param)
    assert says in error.message
    assert error.type == ("server_error" if error.status_code >= 500 else "invalid_request_error")
    body: Any = error.body
    assert body["request_id"] == error.request_id
    line = await site.running.log.finished(str(error.request_id))
    assert line["error_type"] == code


async def test_a_key_is_needed_where_there_are_keys(
    served: Callable[..., Any],
    drill_settings: Callable[..., Any],
    tmp_path: Any,
    until: Callable[..., Any],
) -> None:
    """The client's `api_key` is ours; a wrong one is its AuthenticationError."""
    digest = hashlib.sha256(b"k" * 43).hexdigest()
    settings = drill_settings(tmp_path, api_keys=f"shop:sha256:{digest}", max_per_client=1)
    async with served(settings) as site:
        for key, wrong in (("x" * 43, True), ("k" * 43, False)):
            client = openai.AsyncOpenAI(base_url=site.base, api_key=key, max_retries=0)
            if wrong:
                with pytest.raises(openai.AuthenticationError) as raised:
                    await client.audio.speech.create(**SPEECH)
                body: Any = raised.value.body
                assert body["request_id"] == raised.value.request_id
            else:
                slow = asyncio.create_task(
                    client.audio.speech.create(**{**SPEECH, "voice": "slow"})
                )
                await until(lambda: site.running.service.synthesizer.in_flight)
                with pytest.raises(openai.RateLimitError) as limited:
                    await client.audio.speech.create(**SPEECH)
                assert limited.value.type == "rate_limit_error"
                line = await site.running.log.finished(
                    (await slow).response.headers["x-request-id"]
                )
                assert line["user"] == "shop"
            await client.close()
