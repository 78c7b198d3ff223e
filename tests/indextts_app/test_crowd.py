"""Promises of the crowd: forgotten tabs keep nobody from being answered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from indextts_app import errors
from indextts_app.crowd import CrowdMiddleware

pytestmark = pytest.mark.anyio

TAB = "/gradio_api/heartbeat/x"
HERE, STRANGER, OTHER = "127.0.0.1", "203.0.113.7", "203.0.113.8"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers until the client leaves."""
    await receive()


@asynccontextmanager
async def opened(crowd: CrowdMiddleware, path: str, host: str) -> AsyncIterator[None]:
    """A request that lasts as long as the block, if it is let in."""
    leave = asyncio.Event()

    async def receive() -> Any:
        await leave.wait()

    async def send(message: Any) -> None: ...

    scope = {"type": "http", "path": path, "headers": [], "client": (host, 1)}
    task = asyncio.create_task(crowd(scope, receive, send))
    await asyncio.sleep(0)
    try:
        if task.done():
            await task
        yield
    finally:
        leave.set()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def crowd() -> CrowdMiddleware:
    """Eight at a time, two of one client."""
    return CrowdMiddleware(app, max_held=8)


@pytest.mark.parametrize(
    "path", [TAB, "/gradio_api/queue/data", "/live/01M8", "/operations/gradio_api/heartbeat/y"]
)
async def test_so_many_pages_may_be_open(crowd: CrowdMiddleware, path: str) -> None:
    """One more is told to come back; any other request goes on, and one that closes makes room."""
    async with AsyncExitStack() as held:
        for _ in range(8):
            await held.enter_async_context(opened(crowd, path, HERE))
        with pytest.raises(errors.Crowded) as refused:
            async with opened(crowd, path, OTHER):
                pass
        assert refused.value.retry_after_seconds
        for other in ("/tts", "/health", "/", "/gradio_api/queue/join"):
            async with opened(crowd, other, OTHER):
                pass
    async with opened(crowd, path, OTHER):
        pass
    assert not crowd._of_client


async def test_one_client_has_a_share(crowd: CrowdMiddleware) -> None:
    """Somebody else's page opens all the same; this machine's addresses are not counted."""
    async with AsyncExitStack() as held:
        for _ in range(2):
            await held.enter_async_context(opened(crowd, TAB, STRANGER))
        with pytest.raises(errors.Crowded):
            async with opened(crowd, TAB, STRANGER):
                pass
        for host in (OTHER, HERE, HERE, HERE):
            await held.enter_async_context(opened(crowd, TAB, host))
