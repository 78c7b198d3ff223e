"""How a synthesis is answered over HTTP: the audio, what is known of it, and who waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from indextts_app import errors, streaming
from indextts_app.audio import FIXED_RATE, MEDIA_TYPES
from indextts_app.synthesis import AudioFormat, SynthesisResult

T = TypeVar("T")


def audio(result: SynthesisResult, headers: Mapping[str, str] | None = None) -> Response:
    """The audio, with `headers_of` or these headers."""
    return Response(
        result.audio,
        media_type=MEDIA_TYPES[result.request.format],
        headers=headers_of(result) if headers is None else headers,
    )


def headers_of(result: SynthesisResult) -> dict[str, str]:
    """What is known of an audio when its answer goes out."""
    timing = [f"{name};dur={spent}" for name, spent in result.times.stages_ms.items()]
    timing.append(f"total;dur={result.times.duration_ms}")
    name = f"{result.request_id}.{result.request.format.value}"
    headers = {
        "X-Audio-Verdict": result.verdict,
        "X-Audio-Seconds": f"{result.signal.audio_seconds:.3f}",
        "Server-Timing": ", ".join(timing),
        "Content-Disposition": f'attachment; filename="{name}"',
    }
    if result.request.format is AudioFormat.PCM:
        headers["X-Sample-Rate"] = str(FIXED_RATE)
    if result.result_cache_hit is not None:
        headers["X-Result-Cache"] = "hit" if result.result_cache_hit else "miss"
    if result.seed is not None:
        headers["X-Seed"] = str(result.seed)
    if result.hints:
        headers["X-Hints"] = ", ".join(hint.code for hint in result.hints)
    return headers


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of the work; it is cancelled when the client closes the connection."""
    task = asyncio.create_task(work)
    gone = asyncio.create_task(streaming.disconnected(request.receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
        return await task
    except asyncio.CancelledError:
        if gone.done() and not gone.cancelled():
            raise errors.ClientGone from None
        task.cancel()
        raise
    finally:
        gone.cancel()


def host_of(request: Request) -> str | None:
    """The address that a request comes from."""
    return request.client.host if request.client else None
