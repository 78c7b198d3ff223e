"""
Turns away who asks for speech in a flood, before the request is read.

The first who find no place are refused like anybody else, and their lines tell all that was asked.
When they are many, the refusals are the work: each must cost so little that the last one is still
told within a second, and that the requests that have a place go on. So nothing more is read than
the head, and the two lines that every request gets are written when the flood is over, by a thread
of their own. What such lines do not tell is what was asked; the request_id tells when.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from http import HTTPStatus

import httptools
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from indextts_app import errors
from indextts_app.admission import Admission
from indextts_app.door import CLIENT_ID_HEADER, caller_of
from indextts_app.error_body import ID_HEADER, error_response
from indextts_app.security_headers import HEADERS as SECURITY_HEADERS
from indextts_app.synthesis import Caller
from observability import request_id
from observability.deferred import Deferred
from observability.observe import observe, record

SPEECH_PATHS = ("/tts", "/v1/audio/speech")

TOLD_IN_FULL = 50
"""So many refusals in one moment are no flood yet."""

CALM_SECONDS = 0.25
"""So long nobody was refused: the flood is over. Lines written meanwhile would slow the answers."""

MAX_HELD = 20_000
"""Refusals whose lines wait for that; with more they are written at once."""

FORWARDED = "x-forwarded-for"


class Turnstile:
    """Knows whether there is a flood, and keeps the books of those who were turned away in it."""

    def __init__(self, admission: Admission, *, engine: str) -> None:
        self._admission = admission
        self._engine = engine
        self._lines = Deferred(threads=1)
        self._held: list[tuple[Caller, errors.ServiceError]] = []
        self._refused = 0
        self._refused_before = 0
        self._look: asyncio.TimerHandle | None = None

    def refusal(self) -> errors.ServiceError | None:
        """What whoever asks for speech now is turned away with; None if the request is read."""
        error = self._admission.refusal()
        if error is None:
            return None
        self._refused += 1
        if self._look is None:
            self._look_again()
        return error if self._refused > TOLD_IN_FULL else None

    def turned_away(self, caller: Caller, error: errors.ServiceError) -> None:
        """Write the lines of this request once there is time."""
        self._held.append((caller, error))

    def answer(self, request: bytes, host: str) -> bytes | None:
        """
        The whole answer to a request that has not been let in yet; None if it is to be let in.

        Args:
            request: what the client has sent so far.
            host: its address.
        """
        head = _Head(request)
        if not head.asks_for_speech or (error := self.refusal()) is None:
            return None
        sent = head.headers
        # Of what the client sends, no more than this: other names are the door's own.
        headers = {ID_HEADER: request_id.new(), "accept-language": sent.get("accept-language", "")}
        if client_id := request_id.clean_client_id(sent.get(ID_HEADER)):
            headers[CLIENT_ID_HEADER] = client_id
        # Behind a proxy the address is the proxy's: none is better than a wrong one.
        self.turned_away(caller_of(headers, None if FORWARDED in sent else host, "api"), error)
        response = error_response(Headers(headers), error, head.path)
        told = {
            **response.headers,
            **SECURITY_HEADERS,
            ID_HEADER: headers[ID_HEADER],
            "connection": "close",
        }
        lines = [f"HTTP/1.1 {response.status_code} {HTTPStatus(response.status_code).phrase}"]
        lines += [f"{name}: {value}" for name, value in told.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + bytes(response.body)

    def drain(self, timeout_seconds: float) -> bool:
        """Write the lines that are still to be written; False if time ran out."""
        self._write_held()
        return self._lines.drain(timeout_seconds)

    def _look_again(self) -> None:
        self._refused_before = self._refused
        loop = asyncio.get_running_loop()
        self._look = loop.call_later(CALM_SECONDS, self._look_for_calm)

    def _look_for_calm(self) -> None:
        self._look = None
        if self._refused_before < self._refused and len(self._held) < MAX_HELD:
            self._look_again()
        else:
            self._refused = 0
            self._write_held()

    def _write_held(self) -> None:
        held, self._held = self._held, []
        if held:
            self._lines.submit(partial(_write_lines, held, self._engine))


class TurnstileMiddleware:
    """The same for requests on connections that are open already."""

    def __init__(self, app: ASGIApp, *, turnstile: Turnstile) -> None:
        self._app = app
        self._turnstile = turnstile

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or raise why not."""
        if _asks_for_speech(scope) and (error := self._turnstile.refusal()):
            client = scope.get("client")
            caller = caller_of(Headers(scope=scope), client[0] if client else None, "api")
            self._turnstile.turned_away(caller, error)
            raise error
        await self._app(scope, receive, send)


def _asks_for_speech(scope: Scope) -> bool:
    return scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in SPEECH_PATHS


class _Head:
    """What a request says of itself, as far as it has come."""

    def __init__(self, request: bytes) -> None:
        self.headers: dict[str, str] = {}
        self._url = b""
        self._is_whole = False
        parser = httptools.HttpRequestParser(self)
        try:
            parser.feed_data(request)
            self._is_post = parser.get_method() == b"POST"
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._is_post = False

    @property
    def path(self) -> str:
        """What is asked for, without what follows a question mark."""
        return self._url.partition(b"?")[0].decode("latin-1")

    @property
    def asks_for_speech(self) -> bool:
        """Whether it can be answered now: a client that still sends would not hear the answer."""
        return self._is_whole and self._is_post and self.path in SPEECH_PATHS

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_message_complete(self) -> None:
        self._is_whole = True


def _write_lines(held: list[tuple[Caller, errors.ServiceError]], engine: str, _whole: bool) -> None:
    """All of them in any case: nothing of a refusal could be left out."""
    for caller, error in held:
        with suppress(errors.ServiceError):
            _refused(caller, engine, error)


@observe("synthesis", fields=lambda caller, *_: caller.fields())
def _refused(
    caller: Caller,  # noqa: ARG001  # the decorator stamps it on the event
    engine: str,
    error: errors.ServiceError,
) -> None:
    record(engine=engine)
    # Another one: the first is being answered meanwhile, and each has a traceback of its own.
    raise errors.of(error.code, error.details, retry_after_seconds=error.retry_after_seconds)
