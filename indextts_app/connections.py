"""
Connections: whoever opens many, or sends nothing, takes room from nobody.

A client has `HEAD_SECONDS` to send the head of a request, which may have `MAX_HEAD_BYTES`. There
are `max_connections` at a time; one more, and the one that has been idle for longest is closed.
What lasts is bounded by `crowd`, well below, so that there is an idle one to close: a health check
gets through however many connect.
"""

from __future__ import annotations

import asyncio
import resource
from collections import OrderedDict
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

HEAD_SECONDS = 10.0
"""From the connection, or the first byte of a further request, to the end of the head."""

MAX_HEAD_BYTES = 65_536
"""A request line and headers of any client; uvicorn's other parser has the same limit."""

OTHER_DESCRIPTORS = 256
"""For log and audio files, workers, ffprobe and what libraries open."""

_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-type: application/json\r\nconnection: close\r\n"
)
_TOO_LARGE_BODY = (
    b'{"error":"head_too_large","message":"The headers of the request are larger than 64 kB. '
    b'Send less.","request_id":""}'
)


def possible(wanted: int) -> int:
    """
    So many connections as are wanted, or as there are file descriptors for.

    Asks the system for as many descriptors as this process may have; half of a few, and all but
    `OTHER_DESCRIPTORS` of many, are left for connections.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # As many again may be open and have said nothing yet.
    enough = 2 * wanted + OTHER_DESCRIPTORS
    if soft < enough:
        soft = enough if hard == resource.RLIM_INFINITY else min(enough, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(
        min(wanted, soft - OTHER_DESCRIPTORS if soft > 2 * OTHER_DESCRIPTORS else soft // 2), 8
    )


def unheard(max_connections: int) -> int:
    """
    So many more may be open that have said nothing yet: as many again, or half where descriptors
    are few. Clients that come in the same moment are all silent at first.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    left = soft - OTHER_DESCRIPTORS - max_connections
    return max(min(max_connections, left), max_connections // 2)


class Connections:
    """All connections of one server that are not being answered, the longest idle first."""

    def __init__(self, max_connections: int) -> None:
        self.max_connections = max_connections
        self.closed_idle = 0
        """Connections that were closed to make room."""
        self.closed_slow = 0
        """Connections that were closed because no request came in time."""
        self.are_last = False
        """Whether the server is ending: each answer is the last of its connection."""
        self._idle: OrderedDict[BoundedProtocol, None] = OrderedDict()

    def idle(self, protocol: BoundedProtocol) -> None:
        """This one waits for its client."""
        self._idle[protocol] = None
        self._idle.move_to_end(protocol)

    def busy(self, protocol: BoundedProtocol) -> None:
        """This one is being answered, or gone."""
        self._idle.pop(protocol, None)

    def make_room(self, count: int) -> None:
        """Close the longest idle while there are too many."""
        if count > self.max_connections and self._idle:
            protocol, _ = self._idle.popitem(last=False)
            self.closed_idle += 1
            protocol.transport.abort()

    def protocol(self, *arguments: Any, **named: Any) -> BoundedProtocol:  # noqa: ANN401
        """The factory that the server makes its protocols with."""
        protocol = BoundedProtocol(*arguments, **named)
        protocol.bound_by(self)
        return protocol


class BoundedProtocol(HttpToolsProtocol):
    """The server's own protocol, with the limits that it lacks."""

    _all: Connections
    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True

    def bound_by(self, connections: Connections) -> None:
        """Count among these."""
        self._all = connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a head, and see that there are not too many."""
        super().connection_made(transport)
        self._await_head()
        self._all.idle(self)
        self._all.make_room(len(self.connections))

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._head_came()
        self._all.busy(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bound the head while it comes."""
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_timer is None:
                self._await_head()
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES:
            length = f"content-length: {len(_TOO_LARGE_BODY)}\r\n\r\n".encode()
            self.transport.write(_TOO_LARGE + length + _TOO_LARGE_BODY)
            self.transport.close()

    def on_headers_complete(self) -> None:
        """The head is whole, the request is being answered."""
        self._head_came()
        self._all.busy(self)
        super().on_headers_complete()
        cycle: RequestResponseCycle | None = self.cycle
        if self._all.are_last and cycle:
            cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """What comes now is the head of another request."""
        self._in_head = True
        self._head_bytes = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The client may ask again; the server's own time for that runs."""
        super().on_response_complete()
        if not self.pipeline and not self.transport.is_closing():
            self._all.idle(self)

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._head_did_not_come)

    def _head_came(self) -> None:
        self._in_head = False
        if self._head_timer:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_did_not_come(self) -> None:
        self._head_timer = None
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            self._all.closed_slow += 1
            self.transport.abort()
