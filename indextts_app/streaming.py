"""
Audio on its way while it is made: over REST as the answer itself, and to a page's player.

`POST /tts` with `stream: true` is answered with the first audio. An error before it is an ordinary
error; one after it cuts the connection, so that the client knows the audio is not whole.

A page lets its visitor listen while the request runs:

    with synthesizer.live.open(caller.request_id) as live:
        # show a player for f"/live/{caller.request_id}" (MP3; ?format=wav for WAV), then
        result = await synthesizer.synthesize(asked, caller, live=live)

The page's request leaves `stream` out, so that its file may have any format. The id is all that a
listener needs to know. A player that connects late hears all of it from the
start; a second one takes over from the first. Some time after the end the address is gone, and the
page shows the file.

What is held: the samples of each request that is still listened to, once more than nothing for a
client that keeps up. A request's audio is bounded by the longest text (about 0.4 s of audio a
character at half the speed: 9 MB for 500 characters at 22 kHz). A slow client holds this and no
worker; one that takes nothing for `STALL_SECONDS` is given up, and `MAX_LIVE` bounds the players.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from indextts_app import errors
from indextts_app.audio import FIXED_RATE, MEDIA_TYPES
from indextts_app.engines.base import Samples
from indextts_app.stream_encoder import STREAMED, StreamEncoder, stream_encoder
from indextts_app.synthesis import AudioFormat, SynthesisRequest, SynthesisResult

STALL_SECONDS = 60.0
"""A client that takes no byte for so long is gone."""

MAX_LIVE = 64
"""Requests that can be listened to at a time; one more, and the oldest cannot any longer."""

KEEP_SECONDS = 30.0
"""So long after its end an audio can still be listened to: its player may just be connecting."""

_UNCOMPLETED = "ASGI callable returned without completing response."

Begun = Callable[[asyncio.Task[SynthesisResult], Callable[[], Awaitable[None]]], Response]
"""Makes an answer of what will come of the work, and of whom to tell that nobody listens."""

_is_cut: ContextVar[bool] = ContextVar("is_cut", default=False)
"""Whether the answer to the request of this context was cut on purpose."""


class BrokenOff(Exception):
    """The audio is not whole: its synthesis failed, or somebody else listens now."""


class Live:
    """
    The audio of one request while it is made; lives on the event loop.

    Whoever makes it calls `accepted`, then `audio` for each piece, and leaves the context, with an
    exception if it failed. Whoever listens reads `encoded`.
    """

    def __init__(self, request_id: str, closed: Callable[[], None] = lambda: None) -> None:
        self.request_id = request_id
        self.request: SynthesisRequest | None = None
        self._closed = closed
        self._pieces: list[tuple[Samples, int]] = []
        self._is_closed = False
        self._is_whole = False
        self._listeners = 0
        self._news = asyncio.Event()

    def accepted(self, request: SynthesisRequest) -> None:
        """
        What was asked, once it is valid.

        Raises:
            errors.InvalidField: it is to be streamed in a format that cannot be.
        """
        if request.stream and request.format not in STREAMED:
            formats = ", ".join(kind.value for kind in STREAMED)
            raise errors.InvalidField(
                field="format",
                reason=f"{request.format.value} cannot be sent while it is made. "
                f"Choose one of {formats}, or leave stream out.",
                reason_zh=f"{request.format.value} 不支持流式输出。"
                f"请选择 {formats} 之一，或去掉 stream。",
            )
        self.request = request

    def audio(self, samples: Samples, sample_rate: int) -> None:
        """The next samples."""
        self._pieces.append((samples, sample_rate))
        self._tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing follows; without an exception, what came is whole."""
        if not self._is_closed:
            self._is_closed = True
            self._is_whole = error is None
            self._tell()
            self._closed()

    async def begun(self) -> bool:
        """Wait until there is audio; False if there will be none."""
        while not self._pieces and not self._is_closed:
            await self._news.wait()
        return bool(self._pieces)

    async def encoded(self, kind: AudioFormat) -> AsyncIterator[bytes]:
        """
        The bytes of a file of all audio from the start, each as soon as it can be told.

        Raises:
            BrokenOff: there will not be more, and this is not all.
        """
        encoder: StreamEncoder | None = None
        # A thread costs more than these two do.
        is_plain = kind in (AudioFormat.WAV, AudioFormat.PCM)
        try:
            async for samples, sample_rate in self._heard():
                if encoder is None:
                    encoder = stream_encoder(kind, sample_rate, self.request_id)
                if is_plain:
                    data = encoder.write(samples)
                else:
                    data = await asyncio.to_thread(encoder.write, samples)
                if data:
                    yield data
            if encoder:
                yield await asyncio.to_thread(encoder.close)
        finally:
            if encoder and not is_plain:
                encoder.abandon()

    async def _heard(self) -> AsyncIterator[tuple[Samples, int]]:
        self._listeners += 1
        listener, heard = self._listeners, 0
        self._tell()
        while True:
            if listener != self._listeners:
                raise BrokenOff
            if heard < len(self._pieces):
                yield self._pieces[heard]
                heard += 1
            elif self._is_whole:
                return
            elif self._is_closed:
                raise BrokenOff
            else:
                await self._news.wait()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()


class LiveAudio:
    """The requests that a page's player can listen to, by request_id."""

    def __init__(self, *, max_live: int = MAX_LIVE, keep_seconds: float = KEEP_SECONDS) -> None:
        self._max_live = max_live
        self._keep_seconds = keep_seconds
        self._live: dict[str, Live] = {}

    def open(self, request_id: str) -> Live:
        """Make a request one that can be listened to, until some time after it was closed."""
        while len(self._live) >= self._max_live:
            del self._live[next(iter(self._live))]
        live = self._live[request_id] = Live(request_id, lambda: self._closed(request_id))
        return live

    def get(self, request_id: str) -> Live:
        """
        The audio of a request.

        Raises:
            errors.UnknownRequest: it cannot be listened to, or not any longer.
        """
        live = self._live.get(request_id)
        if live is None:
            raise _gone()
        return live

    def _closed(self, request_id: str) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(self._keep_seconds, self._live.pop, request_id, None)


class StreamedAudio(StreamingResponse):
    """
    Sends a live audio; a connection whose audio breaks off is cut, not ended.

    `unheard` is called when the client leaves, or takes nothing for too long.
    """

    def __init__(
        self,
        live: Live,
        kind: AudioFormat,
        headers: Mapping[str, str],
        unheard: Callable[[], Awaitable[None]],
    ) -> None:
        super().__init__(live.encoded(kind), media_type=MEDIA_TYPES[kind], headers=headers)
        self._unheard = unheard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send until the end, or until nobody listens."""
        sending = asyncio.create_task(self._send(send))
        leaving = asyncio.create_task(disconnected(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            whole = sending.done() and sending.result()
        finally:
            sending.cancel()
            leaving.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
            await self._unheard()
        if whole:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        else:
            _is_cut.set(True)

    async def _send(self, send: Send) -> bool:
        """Whether all of it was sent."""
        head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(head)
        try:
            async for data in self.body_iterator:
                async with asyncio.timeout(STALL_SECONDS):
                    await send({"type": "http.response.body", "body": data, "more_body": True})
        except (BrokenOff, TimeoutError):
            return False
        return True


def is_no_cut(record: logging.LogRecord) -> bool:
    """
    A filter for the server's log: False for its complaint about an answer cut on purpose.

    A server closes the connection of an application that returns before its answer is complete,
    which is the only way to cut one, and takes it for a fault. Of any other answer it is one, and
    stays in the log.
    """
    return not (_is_cut.get() and record.getMessage() == _UNCOMPLETED)


def is_asked(asked: Mapping[str, object] | errors.ServiceError) -> bool:
    """Whether a request wants its audio while it is made."""
    return not isinstance(asked, errors.ServiceError) and asked.get("stream") is True


async def answer(
    request: Request,
    live: Live,
    work: Coroutine[Any, Any, SynthesisResult],
    *,
    whole: Callable[[SynthesisResult], Response],
    until: AsyncExitStack,
    begun: Begun | None = None,
) -> Response:
    """
    The answer to a request whose audio is sent while `work` makes it, from the first audio on.

    The work is cancelled when the client leaves; `until` is closed when it is over. `begun` makes
    the answer once there is audio, where it is not to be the bare audio; `whole` that to a request
    whose audio was there already.

    Raises:
        errors.ServiceError: there is no audio.
    """
    task = asyncio.create_task(_lived(live, work, until))
    task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def give_up() -> None:
        task.cancel()
        await asyncio.wait({task})

    begins = asyncio.create_task(live.begun())
    leaving = asyncio.create_task(disconnected(request.receive))
    streamed: Response | None = None
    try:
        await asyncio.wait({begins, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not begins.done():
            raise errors.ClientGone
        if begins.result():
            streamed = begun(task, give_up) if begun else _streamed(live, give_up)
        else:
            streamed = whole(await task)
        return streamed
    finally:
        begins.cancel()
        leaving.cancel()
        if streamed is None:
            await give_up()


def head_of(live: Live) -> tuple[AudioFormat, dict[str, str]]:
    """The format of a request's audio, and what its answer can tell before the audio is made."""
    asked = live.request
    if asked is None:
        raise errors.NoAudio
    name = f"{live.request_id}.{asked.format.value}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    if asked.format is AudioFormat.PCM:
        headers["X-Sample-Rate"] = str(FIXED_RATE)
    if asked.seed is not None:
        headers["X-Seed"] = str(asked.seed)
    return asked.format, headers


def _streamed(live: Live, unheard: Callable[[], Awaitable[None]]) -> StreamedAudio:
    kind, headers = head_of(live)
    return StreamedAudio(live, kind, headers, unheard)


async def listen(live: Live, kind: str, patience_seconds: float) -> Response:
    """
    The answer to a player: the audio of a request that somebody else makes.

    Raises:
        errors.UnknownFormat: no format for audio whose end is not known yet.
        errors.UnknownRequest: it has no audio, or none within the patience.
    """
    formats = tuple(one.value for one in STREAMED)
    if kind not in formats:
        raise errors.UnknownFormat("format", formats)
    begun = False
    try:
        async with asyncio.timeout(patience_seconds):
            begun = await live.begun()
    except TimeoutError:
        pass
    if not begun:
        raise _gone()
    return StreamedAudio(live, AudioFormat(kind), {"Cache-Control": "no-store"}, _nothing)


async def disconnected(receive: Receive) -> None:
    """Wait until the client leaves."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _lived(
    live: Live, work: Coroutine[Any, Any, SynthesisResult], until: AsyncExitStack
) -> SynthesisResult:
    with live:
        async with until:
            return await work


async def _nothing() -> None:
    """A player that leaves changes nothing for the request."""


def _gone() -> errors.UnknownRequest:
    return errors.UnknownRequest(
        reason="There is nothing to listen to under this id any more. Use the audio file.",
        reason_zh="该编号已没有可试听的音频，请使用音频文件。",
    )
