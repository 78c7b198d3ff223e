"""Speech as server-sent events: `speech.audio.delta` with audio in base64, `speech.audio.done`."""

from __future__ import annotations

import asyncio
import base64
import json
from asyncio import Task
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

from starlette.responses import Response, StreamingResponse

from indextts_app import errors
from indextts_app.error_body import openai_body
from indextts_app.streaming import BrokenOff, Live, StreamedAudio
from indextts_app.synthesis import AudioFormat, SynthesisResult

MEDIA_TYPE = "text/event-stream"
DELTA_BYTES = 32_768
"""Of audio in one event, where all of it is there already."""


class StreamedEvents(StreamedAudio):
    """
    A live audio as events; one that breaks off ends with an event of type `error`.

    So a client is told why, where a bare stream could only be cut.
    """

    def __init__(
        self,
        live: Live,
        kind: AudioFormat,
        headers: Mapping[str, str],
        unheard: Callable[[], Awaitable[None]],
        *,
        outcome: Task[SynthesisResult],
        language: str,
    ) -> None:
        super().__init__(live, kind, headers, unheard)
        self.body_iterator = _events(live, kind, outcome, language)
        self.media_type = MEDIA_TYPE
        self.init_headers(headers)


def whole(result: SynthesisResult, headers: Mapping[str, str]) -> Response:
    """An audio that is there already, as events."""
    return StreamingResponse(_whole(result), media_type=MEDIA_TYPE, headers=headers)


async def _events(
    live: Live, kind: AudioFormat, outcome: Task[SynthesisResult], language: str
) -> AsyncIterator[bytes]:
    try:
        async for data in live.encoded(kind):
            yield _delta(data)
        yield _done(await outcome)
    except BrokenOff:
        yield _error(await _why(outcome), live.request_id, language)


async def _why(outcome: Task[SynthesisResult]) -> errors.ServiceError:
    """What ended the synthesis, in words that are safe to show; its event holds the rest."""
    await asyncio.wait({outcome})
    error = None if outcome.cancelled() else outcome.exception()
    return error if isinstance(error, errors.ServiceError) else errors.ServiceError()


def _whole(result: SynthesisResult) -> Iterator[bytes]:
    for start in range(0, len(result.audio), DELTA_BYTES):
        yield _delta(result.audio[start : start + DELTA_BYTES])
    yield _done(result)


def _delta(data: bytes) -> bytes:
    return _event({"type": "speech.audio.delta", "audio": base64.b64encode(data).decode()})


def _done(result: SynthesisResult) -> bytes:
    """Tokens where the engine counts any; characters stand for those of the text else."""
    taken = len(result.request.text) if result.text_tokens is None else result.text_tokens
    made = result.acoustic_tokens or 0
    usage = {"input_tokens": taken, "output_tokens": made, "total_tokens": taken + made}
    return _event({"type": "speech.audio.done", "usage": usage})


def _error(error: errors.ServiceError, request_id: str, language: str) -> bytes:
    return _event({"type": "error", **openai_body(error, request_id, language).model_dump()})


def _event(content: Mapping[str, object]) -> bytes:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n".encode()
