"""
Where a request comes in: it gets its request_id, and its size is bounded before it is read.

The id travels as a header inside the ASGI scope, because Gradio's queued handlers see the
request's headers and not the context variables of the middleware.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
from collections.abc import Mapping

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from indextts_app import errors
from indextts_app.attempts import address_of
from indextts_app.error_body import ID_HEADER, error_response
from indextts_app.settings import Network
from indextts_app.synthesis import Caller
from observability import request_id, tracing
from observability.frames import frames_of

log = structlog.get_logger("indextts_app.door")

CLIENT_ID_HEADER = "x-client-request-id"
USER_HEADER = "x-indextts-user"
"""Whose API key came with the request; no client can set it."""

STALL_SECONDS = 60.0
"""A client that takes no byte of its answer for so long is gone."""

CLOSED = "the handler is closed"
"""What uvloop says where the client has closed the connection already."""

SOURCE_HEADER = "x-request-source"
CANARY = "canary"
"""Requests of the canary are told from those of people, by their source."""


_OURS = tuple(name.encode() for name in (ID_HEADER, CLIENT_ID_HEADER, USER_HEADER))


class RequestIdMiddleware:
    """
    Gives every HTTP request a new request_id, and every response the header that tells it.

    A client's own `X-Request-ID` is kept beside it if it is short and plain, else dropped.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its id."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        new_id = request_id.new()
        client_id = request_id.clean_client_id(Headers(scope=scope).get(ID_HEADER))
        # In place: whoever handles an error further out still sees the id.
        headers = scope["headers"] = [
            (name, value) for name, value in scope["headers"] if name not in _OURS
        ]
        headers.append((ID_HEADER.encode(), new_id.encode()))
        if client_id:
            headers.append((CLIENT_ID_HEADER.encode(), client_id.encode()))

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).setdefault(ID_HEADER, new_id)
            await send(message)

        token = request_id.current.set(new_id)
        try:
            await self._app(scope, receive, send_with_id)
        finally:
            request_id.current.reset(token)


class EdgeMiddleware:
    """
    Bounds every request body as it arrives, in size and in time, and lets no exception out
    unanswered.

    Over a limit, reading the body raises `errors.TooLarge`, whatever Content-Length claims, or
    `errors.DeadlineExceeded`; an application that makes a 500 of it (a mounted one, say) is
    overruled. A client that takes no byte of its answer for `STALL_SECONDS` is cut off.
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, body_seconds: float = math.inf) -> None:
        """
        Args:
            app: what answers.
            max_bytes: of a body.
            body_seconds: in which a body must be there.
        """
        self._app = app
        self._max_bytes = max_bytes
        self._body_seconds = body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and answer for what goes wrong."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(receive, self._max_bytes, self._body_seconds)
        started = False
        is_gone = False

        async def send_unless_overruled(message: Message) -> None:
            nonlocal started, is_gone
            if message["type"] == "http.response.start":
                if body.refusal and message["status"] >= 500:
                    raise body.refusal
                started = True
            try:
                async with asyncio.timeout(STALL_SECONDS):
                    await send(message)
            except (TimeoutError, RuntimeError) as error:
                is_gone = isinstance(error, TimeoutError) or CLOSED in str(error)
                if is_gone:
                    raise errors.ClientGone from None
                raise

        try:
            await self._app(scope, body.receive, send_unless_overruled)
        except Exception as error:  # noqa: BLE001  # the edge: every request gets an answer
            if is_gone:
                # Whatever the application makes of it.
                return
            answer = body.refusal or error
            if not isinstance(answer, errors.ServiceError):
                log.error("http.unexpected", traceback=frames_of(error))
                answer = errors.ServiceError()
            if not started:
                response = error_response(Headers(scope=scope), answer, scope["path"])
                await response(scope, receive, send)


class _Body:
    """The body of one request as it arrives."""

    def __init__(self, receive: Receive, max_bytes: int, seconds: float) -> None:
        self.refusal: errors.ServiceError | None = None
        self._receive = receive
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._received = 0
        self._is_whole = False

    async def receive(self) -> Message:
        """The next message; behind the body, that the client has left, whenever it does."""
        if self._is_whole:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            self.refusal = errors.DeadlineExceeded(seconds=self._seconds)
            raise self.refusal from None
        self._received += len(message.get("body", b""))
        self._is_whole = not message.get("more_body", False)
        if self._received > self._max_bytes:
            self.refusal = errors.TooLarge(limit_mb=f"{self._max_bytes / 1e6:g}")
            raise self.refusal
        return message


def caller_of(headers: Mapping[str, str], client_host: str | None, source: str) -> Caller:
    """
    Who asks, from the headers that `RequestIdMiddleware` and `AccessMiddleware` put there.

    A request to the API that says it is the canary's is believed from this machine only.
    """
    if source == "api" and headers.get(SOURCE_HEADER) == CANARY and _is_here(client_host):
        source = CANARY
    return Caller(
        request_id=headers.get(ID_HEADER) or request_id.new(),
        source=source,
        client_ip=masked_ip(client_host),
        client_request_id=headers.get(CLIENT_ID_HEADER),
        user=headers.get(USER_HEADER),
        client=client_of(headers, client_host),
        traceparent=headers.get(tracing.HEADER),
        cache_control=next(
            (rule for rule in ("no-store", "no-cache") if rule in headers.get("cache-control", "")),
            None,
        ),
    )


def client_of(headers: Mapping[str, str], client_host: str | None) -> str | None:
    """
    Whose requests are counted together: those of a key, or else of an address.

    Requests from this machine without a key are not: its own programs are trusted, and a proxy that
    does not say who asks would make one client of everybody.
    """
    if user := headers.get(USER_HEADER):
        return f"key {user}"
    return None if _is_here(client_host) else f"address {address_of(client_host)}"


def _is_here(client_host: str | None) -> bool:
    address = masked_ip(client_host)
    return address is not None and ipaddress.ip_address(address).is_loopback


def masked_ip(host: str | None) -> str | None:
    """An address without its last part (IPv4 /24, IPv6 /48); None for what is no address."""
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return None
    if address.version == 6 and address.ipv4_mapped:
        address = address.ipv4_mapped
    if address.is_loopback:
        return str(address)
    prefix = 24 if address.version == 4 else 48
    return str(ipaddress.ip_network(f"{address}/{prefix}", strict=False).network_address)


def only_from(
    client_host: str | None,
    allowed: tuple[Network, ...],
    setting: str,
    refusal: type[errors.Forbidden] = errors.Forbidden,
) -> None:
    """
    Let pass who comes from one of these networks; for pages and API alike.

    Raises:
        errors.Forbidden: the `refusal`, which names the setting that allows more.
    """
    try:
        address = ipaddress.ip_address(client_host or "")
    except ValueError:
        raise refusal(setting=setting) from None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if not any(address in network for network in allowed):
        raise refusal(setting=setting)
