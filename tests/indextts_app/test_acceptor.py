"""Promises of the acceptor: everybody is let in or answered, the health before others."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from indextts_app import acceptor
from indextts_app.acceptor import Acceptor

pytestmark = pytest.mark.anyio

Until = Callable[[Callable[[], object]], Awaitable[None]]

SPEECH = b"POST /tts HTTP/1.1\r\nHost: x\r\n\r\n"
HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


class Server(asyncio.Protocol):
    """Keeps what each connection said first, in the order of their coming."""

    heard: list[bytes]

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.heard.append(data)
        self.transport.write(b"served")
        self.transport.close()


class Nobody:
    """Refuses nobody."""

    def answer(self, request: bytes, host: str) -> bytes | None:
        return None


class Everybody:
    """Refuses whoever has asked whole."""

    def answer(self, request: bytes, host: str) -> bytes | None:
        return b"refused " + host.encode() if request.endswith(b"\r\n\r\n") else None


@pytest.fixture
def heard() -> list[bytes]:
    """What the server has heard."""
    return []


@pytest.fixture
def server(heard: list[bytes]) -> Callable[[], Server]:
    """Makes protocols that share what they hear."""

    def make() -> Server:
        protocol = Server()
        protocol.heard = heard
        return protocol

    return make


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A listening socket with room for all that the tests open."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        yield listener


def client(listener: socket.socket, says: bytes = b"") -> socket.socket:
    """A connection that waits in the system's queue, with its first bytes already there."""
    connection = socket.create_connection(listener.getsockname())
    connection.sendall(says)
    return connection


async def read(connection: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    connection.setblocking(False)
    received = b""
    while part := await asyncio.get_running_loop().sock_recv(connection, 1000):
        received += part
    connection.close()
    return received


async def test_whoever_comes_is_served(listener: Any, server: Any, heard: list[bytes]) -> None:
    """More than are let in at once, in the order of their coming."""
    said = [b"POST /%d" % number for number in range(30)]
    clients = [client(listener, one) for one in said]
    accepting = Acceptor(listener, server, Nobody())
    assert [await read(one) for one in clients] == [b"served"] * 30
    assert heard == said
    accepting.close()


async def test_the_health_goes_first(listener: Any, server: Any, heard: list[bytes]) -> None:
    """Whoever watches the service does not stand in line with those that it watches over."""
    clients = [client(listener, SPEECH) for _ in range(200)] + [client(listener, HEALTH)]
    accepting = Acceptor(listener, server, Nobody())
    assert await read(clients.pop()) == b"served"
    assert heard.index(HEALTH) <= 2 * acceptor.LET_IN_A_TURN
    assert {await read(one) for one in clients} == {b"served"}
    accepting.close()


async def test_in_a_flood_who_would_be_refused_is_answered_at_once(
    listener: Any, server: Any, heard: list[bytes]
) -> None:
    """The whole answer, and the server sees few of them; a single connection is no flood."""
    clients = [client(listener, SPEECH) for _ in range(300)]
    accepting = Acceptor(listener, server, Everybody())
    answers = [await read(one) for one in clients]
    assert set(answers) == {b"refused 127.0.0.1", b"served"}
    assert len(heard) == answers.count(b"served") < 150
    assert await read(client(listener, SPEECH)) == b"served"
    accepting.close()


async def test_who_still_sends_is_let_in(listener: Any, server: Any, heard: list[bytes]) -> None:
    """Closing under a client that sends would take its answer away."""
    sending = b"POST /tts HTTP/1.1\r\nContent-Length: 999999\r\n\r\nbegin"
    clients = [client(listener, sending) for _ in range(150)]
    accepting = Acceptor(listener, server, Everybody())
    assert {await read(one) for one in clients} == {b"served"}
    assert len(heard) == 150
    accepting.close()


async def test_a_connection_that_says_nothing_holds_nobody_up(
    listener: Any, server: Any, heard: list[bytes], monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    """It costs a socket until it speaks, and is closed after a while."""
    monkeypatch.setattr(acceptor, "SILENT_SECONDS", 0.2)
    silent = [client(listener) for _ in range(100)]
    late = client(listener)
    accepting = Acceptor(listener, server, Nobody())
    assert await read(client(listener, SPEECH)) == b"served"
    await until(lambda: len(accepting._silent) == 101)
    late.sendall(HEALTH)
    assert await read(late) == b"served"
    assert {await read(one) for one in silent} == {b""}
    assert accepting.waiting == 0
    accepting.close()


async def test_a_client_that_has_left_is_nobodys_fault(
    listener: Any, server: Any, until: Until
) -> None:
    """The next one is served."""
    for _ in range(100):
        gone = client(listener, SPEECH)
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        gone.close()
    accepting = Acceptor(listener, server, Everybody())
    assert await read(client(listener, SPEECH)) == b"served"
    await until(lambda: not accepting.waiting)
    accepting.close()


class Full(socket.socket):
    """The system has no descriptor left, twice."""

    tries = 0

    def accept(self) -> Any:
        self.tries += 1
        if self.tries <= 2:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


async def test_without_descriptors_it_waits_and_goes_on(
    server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not spin meanwhile, and who waited is served."""
    monkeypatch.setattr(acceptor, "PAUSE_SECONDS", 0.05)
    with Full() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        accepting = Acceptor(listener, server, Nobody())
        assert await read(client(listener, SPEECH)) == b"served"
        assert listener.tries <= 5
        accepting.close()


async def test_once_closed_nobody_is_accepted(listener: Any, server: Any) -> None:
    """Who has asked is served, who has said nothing let go of, who comes later refused at once."""
    silent = client(listener)
    accepting = Acceptor(listener, server, Nobody())
    await asyncio.sleep(0.05)
    address = listener.getsockname()
    # In the system's queue: the loop has not turned since.
    asked, unheard = client(listener, SPEECH), client(listener)
    accepting.close()
    assert [await read(one) for one in (silent, asked, unheard)] == [b"", b"served", b""]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


async def test_the_silent_are_bounded(
    listener: socket.socket, server: Callable[[], Server], until: Until
) -> None:
    """One more, and the one that has said nothing for longest is closed; descriptors run out for
    nobody."""
    accepting = Acceptor(listener, server, Nobody(), max_silent=3)
    silent = [client(listener) for _ in range(5)]
    await until(lambda: len(accepting._silent) == 3)
    assert [await read(one) for one in silent[:2]] == [b"", b""]
    silent[2].sendall(SPEECH)
    assert await read(silent[2]) == b"served"
    accepting.close()
    for one in silent:
        one.close()


async def test_who_has_just_spoken_is_not_taken_for_silent(
    listener: socket.socket, server: Callable[[], Server], until: Until
) -> None:
    """Its request is there, though the loop has not been told: it is served, and others close."""
    accepting = Acceptor(listener, server, Nobody(), max_silent=3)
    silent = [client(listener) for _ in range(3)]
    await until(lambda: len(accepting._silent) == 3)
    silent[0].sendall(SPEECH)
    accepting.close()
    assert [await read(one) for one in silent] == [b"served", b"", b""]
