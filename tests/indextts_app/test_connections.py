"""Promises of connections, on real sockets: many or silent ones take room from nobody."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from indextts_app import connections
from indextts_app.connections import MAX_HEAD_BYTES, Connections

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).resolve().parents[2]
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
Client = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the length of the body, once all of it is there."""
    length, more = 0, True
    while more:
        message = await receive()
        length, more = length + len(message.get("body", b"")), message.get("more_body", False)
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]}
    )
    await send({"type": "http.response.body", "body": str(length)[:1].encode()})


@asynccontextmanager
async def serving(bound: Connections) -> AsyncIterator[Callable[[], Any]]:
    """What opens a connection to a server with these bounds."""
    config = uvicorn.Config(
        app,
        port=0,
        lifespan="off",
        log_config=None,
        http=bound.protocol,  # type: ignore[arg-type]
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())
    while not server.started:  # noqa: ASYNC110  # it has no event for this
        await asyncio.sleep(0.005)
    port = server.servers[0].sockets[0].getsockname()[1]
    opened: list[Client] = []

    async def connect() -> Client:
        opened.append(await asyncio.open_connection("127.0.0.1", port))
        return opened[-1]

    try:
        yield connect
    finally:
        for _, writer in opened:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        server.should_exit = True
        await task


async def asked(client: Client, request: bytes = GET) -> bytes:
    """The status line that a request is answered with; empty if the connection is closed."""
    reader, writer = client
    writer.write(request)
    async with asyncio.timeout(5):
        status = await reader.readline()
        while (await reader.readline()).strip():
            pass
        await reader.read(1)
    return status.strip()


async def closed(client: Client) -> bool:
    """Whether the server closes the connection, without having said anything."""
    try:
        async with asyncio.timeout(5):
            return await client[0].read() == b""
    except ConnectionResetError:
        return True


async def test_whoever_sends_no_head_in_time_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing at all, or byte after byte; one that has sent it keeps its connection."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.2)
    bound = Connections(10)
    async with serving(bound) as connect:
        silent, slow, good = await connect(), await connect(), await connect()
        slow[1].write(GET[:10])
        assert await asked(good) == b"HTTP/1.1 200 OK"
        assert await closed(silent)
        assert await closed(slow)
        assert await asked(good) == b"HTTP/1.1 200 OK"
        good[1].write(GET[:10])
        assert await closed(good), "the head of a further request has its time as well"
    assert bound.closed_slow == 3


@pytest.mark.parametrize("part", [b"X-Long: ", b"X-Many: a\r\n"])
async def test_a_head_has_its_limit(part: bytes) -> None:
    """One long header or many short ones: 431 before the application hears of it."""
    async with serving(Connections(10)) as connect:
        client = await connect()
        client[1].write(GET[:-2] + part * 10)
        if part.endswith(b" "):
            part = b"a" * 1_000
        client[1].write(part * (MAX_HEAD_BYTES // len(part) + 1))
        assert (await client[0].readline()).startswith(b"HTTP/1.1 431")
        assert b'"error":"head_too_large"' in await client[0].read()
        # A large body is no head.
        body = b"x" * (3 * MAX_HEAD_BYTES)
        head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        client = await connect()
        assert await asked(client, head + body) == b"HTTP/1.1 200 OK"
        assert await asked(client, head + body) == b"HTTP/1.1 200 OK"


async def test_there_is_always_room_for_one_more() -> None:
    """The connection that has been idle for longest goes; one that is being answered stays."""
    bound = Connections(3)
    async with serving(bound) as connect:
        busy = await connect()
        busy[1].write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na")
        first, second = await connect(), await connect()
        assert await asked(first) == b"HTTP/1.1 200 OK"
        third = await connect()
        assert await closed(second), "it was idle longer than the first, which has just asked"
        assert await asked(third) == b"HTTP/1.1 200 OK"
        assert await asked(first) == b"HTTP/1.1 200 OK"
        assert await asked(busy, b"b") == b"HTTP/1.1 200 OK"
    assert bound.closed_idle == 1


@pytest.mark.parametrize(
    ("limit", "wanted", "found"),
    [(64, 4_000, [32, 16]), (1_024, 4_000, [768, 384]), (20_000, 4_000, [4_000, 4_000])],
)
def test_there_are_as_many_as_there_are_descriptors_for(
    limit: int, wanted: int, found: list[int]
) -> None:
    """
    The process asks for all that it may have, leaves some for files and workers, and has as many
    again for those that have said nothing yet.
    """
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < limit:
        pytest.skip(f"this machine gives a process fewer than {limit} descriptors")
    script = (
        "import resource\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({min(limit, 64)}, {limit}))\n"
        "from indextts_app import connections\n"
        f"print(found := connections.possible({wanted}), connections.unheard(found))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert [int(one) for one in run.stdout.split()] == found
