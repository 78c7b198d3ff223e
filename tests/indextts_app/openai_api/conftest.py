"""Services behind a real socket, for clients that know nothing of ASGI."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn

from indextts_app import streaming

if TYPE_CHECKING:
    from conftest import Running


@dataclass(frozen=True, slots=True)
class Site:
    """A service, and where it listens."""

    running: Running
    url: str

    @property
    def base(self) -> str:
        """What a client of OpenAI's is told as `base_url`."""
        return f"{self.url}/v1"


@pytest.fixture(scope="session", name="served")
def served_fixture(running: Callable[..., Any]) -> Callable[..., Any]:
    """`async with served(settings) as site:`."""

    @asynccontextmanager
    async def served(settings: Any) -> AsyncIterator[Site]:
        async with running(settings) as service:
            logging.getLogger("uvicorn.error").addFilter(streaming.is_no_cut)
            listener = socket.create_server(("127.0.0.1", 0))
            server = uvicorn.Server(uvicorn.Config(service.app, lifespan="off", log_config=None))
            serving = asyncio.create_task(server.serve([listener]))
            host, port = listener.getsockname()
            yield Site(service, f"http://{host}:{port}")
            server.should_exit = True
            await serving

    return served


@pytest.fixture(scope="module")
async def site(
    served: Callable[..., Any],
    drill_settings: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Site]:
    """One service with the drill engine for all tests of a module."""
    settings = drill_settings(
        tmp_path_factory.mktemp("site"), drill_seconds=0.3, openai_voices={"narrator": "steady"}
    )
    async with served(settings) as service:
        yield service
