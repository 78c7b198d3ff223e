"""
Lets connections in, so many at a time, and those that ask for the service's health before others.

A server that takes every connection at once answers none for as long as all of them take: after
2,000 requests in one moment its health is asked for in vain for seconds, and whoever watches it
restarts it under its clients. Here connections wait as bare sockets, and a few are handed to the
server in each turn of its loop.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import structlog

log = structlog.get_logger("indextts_app.acceptor")

ACCEPTED_A_TURN = 256
"""Sockets taken from the system in one turn of the loop, some 10 us each."""

LET_IN_A_TURN = 4
"""Connections handed to the server in one turn; each brings a request's work with it."""

LOOKS = 3
"""Turns in which a new connection's first bytes are looked for before they are waited for."""

SILENT_SECONDS = 60.0
"""How long a connection may say nothing; it is closed then."""

GIVE_WAY_TURNS = 6
"""So many turns of the loop the answer about the health takes; nobody else is let in meanwhile."""

FLOOD = 64
"""With so many connections waiting, those that would be refused anyway are answered here."""

ANSWERED_A_TURN = 16
"""Some 0.1 ms each."""

PEEKED_BYTES = 16_384
"""A request whose every byte is among these can be answered here."""

PAUSE_SECONDS = 0.5
"""Before it is tried again where the system has no descriptor or memory left for a connection."""

FIRST = b"GET /health"


class Refuser(Protocol):
    """Knows who need not be let in."""

    def answer(self, request: bytes, host: str) -> bytes | None:
        """The whole answer to these bytes of a client; None if it is to be let in."""


@dataclass(slots=True)
class _Client:
    connection: socket.socket
    host: str
    looks: int = 0


class Acceptor:
    """Accepts what comes to a listening socket, for as long as it is open."""

    def __init__(
        self,
        listener: socket.socket,
        protocol: Callable[[], asyncio.BaseProtocol],
        refuser: Refuser,
        *,
        max_silent: int = 2_000,
    ) -> None:
        """
        Args:
            listener: bound and listening already; closed together with this.
            protocol: makes what serves one connection.
            refuser: is asked in a flood.
            max_silent: connections that say nothing; beyond it the one that has said nothing for
                longest is closed.
        """
        self._listener = listener
        self._protocol = protocol
        self._refuser = refuser
        self._max_silent = max_silent
        self._loop = asyncio.get_running_loop()
        self._new: list[_Client] = []
        self._silent: dict[int, tuple[_Client, asyncio.TimerHandle]] = {}
        self._waiting: deque[_Client] = deque()
        self._turn: asyncio.Handle | None = None
        self._handing_over: set[asyncio.Task[object]] = set()
        self._more = False
        self._give_way = 0
        self._is_open = True
        listener.setblocking(False)
        self._loop.add_reader(listener, self._accept)

    @property
    def waiting(self) -> int:
        """Connections that are open and not yet let in."""
        return len(self._new) + len(self._waiting) + len(self._silent)

    def close(self) -> None:
        """
        Accept no more; who has connected already is let in, and told that the service is ending.

        Whoever comes later is refused by the system at once: behind a socket that only listens they
        would wait for as long as the service takes to end, and then be cut off.
        """
        self._is_open = False
        self._loop.remove_reader(self._listener)
        self._accept()
        while self._more:
            self._accept()
        self._listener.close()
        self._make_room(len(self._silent))

    def _accept(self) -> None:
        self._more = False
        for _ in range(ACCEPTED_A_TURN):
            try:
                connection, address = self._listener.accept()
            except (BlockingIOError, InterruptedError):
                break
            except ConnectionAbortedError:
                continue
            except OSError as error:
                self._pause(error)
                break
            connection.setblocking(False)
            self._new.append(_Client(connection, address[0]))
        else:
            self._more = True
        self._next_turn()

    def _pause(self, error: OSError) -> None:
        """Without a descriptor the same connection would be reported in every turn of the loop."""
        log.error("acceptor.full", reason=error.strerror, waiting=self.waiting)
        self._make_room(ACCEPTED_A_TURN)
        self._loop.remove_reader(self._listener)
        self._loop.call_later(PAUSE_SECONDS, self._resume)

    def _resume(self) -> None:
        if self._is_open:
            self._loop.add_reader(self._listener, self._accept)

    def _next_turn(self) -> None:
        if (self._new or self._waiting) and self._turn is None:
            self._turn = self._loop.call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._turn = None
        new, self._new = self._new, []
        for client in new:
            self._look_at(client)
        if self._give_way:
            self._give_way -= 1
            self._next_turn()
            return
        # Whoever asks for the health may be behind those that the system still holds.
        let_in = 1 if self._more else LET_IN_A_TURN
        if not self._more:
            self._answer_some()
        for _ in range(min(let_in, len(self._waiting))):
            self._hand_over(self._waiting.popleft())
        self._next_turn()

    def _look_at(self, client: _Client) -> None:
        first = _peeked(client.connection, len(FIRST))
        if first == FIRST:
            self._hand_over(client)
            self._give_way = GIVE_WAY_TURNS
        elif first is not None:
            self._waiting.append(client)
        elif client.looks < LOOKS:
            client.looks += 1
            self._new.append(client)
        else:
            self._wait_for(client)

    def _wait_for(self, client: _Client) -> None:
        """Whoever says nothing waits apart, at the cost of a socket; not while the service ends."""
        if not self._is_open:
            client.connection.close()
            return
        self._make_room(len(self._silent) + 1 - self._max_silent)
        too_late = self._loop.call_later(SILENT_SECONDS, self._give_up, client)
        self._silent[id(client)] = client, too_late
        self._loop.add_reader(client.connection, self._speaks, client)

    def _speaks(self, client: _Client) -> None:
        _, too_late = self._silent.pop(id(client))
        too_late.cancel()
        self._loop.remove_reader(client.connection)
        self._new.append(client)
        self._next_turn()

    def _make_room(self, connections: int) -> None:
        """Close so many of those that have said nothing for longest; who has meanwhile is heard."""
        for client, too_late in list(self._silent.values())[: max(connections, 0)]:
            if _peeked(client.connection, 1):
                self._speaks(client)
            else:
                too_late.cancel()
                self._give_up(client)

    def _give_up(self, client: _Client) -> None:
        del self._silent[id(client)]
        self._loop.remove_reader(client.connection)
        client.connection.close()

    def _answer_some(self) -> None:
        for _ in range(ANSWERED_A_TURN):
            if len(self._waiting) < FLOOD or not self._answered(self._waiting[0]):
                break
            self._waiting.popleft()

    def _answered(self, client: _Client) -> bool:
        request = _peeked(client.connection, PEEKED_BYTES) or b""
        answer = self._refuser.answer(request, client.host)
        if answer is None:
            return False
        with client.connection as connection, suppress(OSError):
            # What is left unread when it is closed would take the answer with it.
            connection.recv(PEEKED_BYTES)
            connection.send(answer)
            connection.shutdown(socket.SHUT_WR)
        return True

    def _hand_over(self, client: _Client) -> None:
        task = self._loop.create_task(self._serve(client.connection))
        self._handing_over.add(task)
        task.add_done_callback(self._handing_over.discard)

    async def _serve(self, connection: socket.socket) -> None:
        # A client that has left meanwhile is nobody's fault.
        with suppress(OSError):
            await self._loop.connect_accepted_socket(self._protocol, connection)


def _peeked(connection: socket.socket, size: int) -> bytes | None:
    """What the client has begun to say; None if nothing has come yet."""
    try:
        return connection.recv(size, socket.MSG_PEEK)
    except BlockingIOError:
        return None
    except OSError:
        return b""
