"""Promises of the results in a Redis: shared, expiring, and no request ever waits long for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis.asyncio
from structlog.testing import capture_logs
from test_result_layers import ENTRY

from indextts_app.results.entry import Damaged
from indextts_app.results.shared import PREFIX, REST_SECONDS, Shared, SharedUnavailable

if TYPE_CHECKING:
    from conftest import RedisServer  # type: ignore[attr-defined]

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def shared(
    url: str, clock: Callable[[], float] = time.monotonic, *, max_entry_bytes: int = 10**6
) -> AsyncIterator[Shared]:
    """A client of it, closed at the end."""
    client = Shared(url, keep_seconds=100, max_entry_bytes=max_entry_bytes, clock=clock)
    yield client
    await client.close()


async def test_what_one_service_keeps_another_finds(redis_server: RedisServer) -> None:
    """Until it is too old; it expires by itself."""
    async with shared(redis_server.url) as one, shared(redis_server.url) as other:
        assert await other.find("a", made_after=0) is None
        await one.put("a", ENTRY)
        assert await other.find("a", made_after=0) == ENTRY
        assert await other.find("a", made_after=1_001) is None
    async with redis.asyncio.Redis.from_url(redis_server.url) as plain:
        assert 90 < await plain.ttl(f"{PREFIX}a") <= 100


async def test_what_is_too_large_is_not_sent(redis_server: RedisServer) -> None:
    """An audio of an hour is not for everybody's memory."""
    async with shared(redis_server.url, max_entry_bytes=10) as client:
        await client.put("a", ENTRY)
        assert await client.find("a", made_after=0) is None


async def test_what_others_wrote_there_is_not_believed(redis_server: RedisServer) -> None:
    """Neither another's value nor half of ours; a value of another kind is an error."""
    async with (
        redis.asyncio.Redis.from_url(redis_server.url) as plain,
        shared(redis_server.url) as client,
    ):
        for value in (b"", b"hello", ENTRY.packed()[:-1]):
            await plain.set(f"{PREFIX}a", value)
            with pytest.raises(Damaged):
                await client.find("a", made_after=0)
        await plain.delete(f"{PREFIX}a")
        await plain.lpush(f"{PREFIX}a", "x")
        with pytest.raises(SharedUnavailable):
            await client.find("a", made_after=0)


async def test_one_that_is_away_rests_and_comes_back(
    redis_server: RedisServer,
) -> None:
    """It is asked again after a while, not by every request; going and coming are told once."""
    now = 0.0
    with capture_logs() as told:
        async with shared(redis_server.url, lambda: now) as client:
            await client.put("a", ENTRY)
            redis_server.stop()
            for _ in range(2):
                now += REST_SECONDS
                with pytest.raises(SharedUnavailable):
                    await client.find("a", made_after=0)
                assert client.rests
                assert await client.find("a", made_after=0) is None
                await client.put("a", ENTRY)
            redis_server.start()
            now += REST_SECONDS
            await client.put("a", ENTRY)
            assert await client.find("a", made_after=0) == ENTRY
    assert [one["event"] for one in told] == ["result_cache.redis_away", "result_cache.redis_back"]
    assert redis_server.url not in str(told)


async def test_one_that_does_not_answer_costs_a_moment(tmp_path_factory: Any) -> None:
    """And what it says too late is not taken for the answer to a later question."""
    path: Path = tmp_path_factory.mktemp("s") / "slow.sock"
    over = asyncio.Event()
    asked: list[asyncio.Task[None] | None] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(asyncio.current_task())
        while not over.is_set() and await reader.read(1_000):
            await asyncio.sleep(0.3)
            writer.write(b"+OK\r\n")
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_unix_server(answer, path)
    now = 0.0
    async with server:
        async with shared(f"unix://{path}", lambda: now) as client:
            for _ in range(2):
                now += REST_SECONDS
                began = time.perf_counter()
                with pytest.raises(SharedUnavailable):
                    await client.find("a", made_after=0)
                assert time.perf_counter() - began < 0.3
        over.set()
        await asyncio.gather(*filter(None, asked))


@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0", "unix:///nonexistent/redis.sock"])
async def test_one_that_never_was_there(url: str) -> None:
    """Is like one that went away."""
    async with shared(url) as client:
        with pytest.raises(SharedUnavailable):
            await client.put("a", replace(ENTRY))
        assert client.rests
