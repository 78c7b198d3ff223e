"""
The service in a temporary folder, with the drill engine and real log files, for every test here.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from own_cluster import OwnCluster, clustered

from indextts_app.server import Service
from indextts_app.settings import Settings
from observability import drain, logs, set_sinks

PATIENCE_SECONDS = 30.0
CLUSTER_SECONDS = 240.0
"""For replicas, which Ray and Serve have to be started for."""


@dataclass(frozen=True, slots=True)
class LogReader:
    """The lines that the service has written so far."""

    folder: Path

    def text(self) -> str:
        """All lines as they stand in the files, but for one that is being written."""
        files = (path.read_bytes() for path in sorted(self.folder.glob("*.jsonl")))
        return b"".join(file[: file.rfind(b"\n") + 1] for file in files).decode()

    def lines(self, event: str | None = None, **fields: object) -> list[dict[str, Any]]:
        """Every line, or those of one event with these fields."""
        wanted = fields if event is None else {**fields, "event": event}
        return [
            line
            for line in map(json.loads, self.text().splitlines())
            if all(line.get(name) == value for name, value in wanted.items())
        ]

    async def finished(self, request_id: str) -> dict[str, Any]:
        """The finished line of a request, once it is written; there is exactly one."""
        await until(lambda: self.lines("synthesis.finished", request_id=request_id))
        (line,) = self.lines("synthesis.finished", request_id=request_id)
        return line

    async def pair(self, request_id: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The one started and the one finished line of a request."""
        finished = await self.finished(request_id)
        (started,) = self.lines("synthesis.started", request_id=request_id)
        return started, finished


@dataclass(frozen=True, slots=True)
class Running:
    """A service that takes requests, without its page."""

    service: Service
    app: FastAPI
    client: httpx.AsyncClient
    log: LogReader

    async def speak(self, headers: Mapping[str, str] | None = None, **asked: Any) -> httpx.Response:
        """What `POST /tts` answers to these fields; JSON can hold more than UTF-8 can."""
        content = json.dumps({"text": "hello", **asked})
        return await self.client.post("/tts", content=content, headers=headers)

    def client_from(self, host: str) -> httpx.AsyncClient:
        """A client at another address."""
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app, client=(host, 1)), base_url="http://localhost"
        )


def drill_settings(folder: Path, **changes: Any) -> Settings:
    """Settings of a fast drill engine whose files are all below `folder`."""
    chosen = {
        "engine": "drill",
        "port": 0,
        "log_dir": folder / "logs",
        "log_stdout": False,
        "output_dir": folder / "outputs",
        "speaker_dir": folder / "speakers",
        "batch_dir": folder / "batches",
        "drill_seconds": 0.005,
        "drill_slow_seconds": 0.3,
        "timeout_seconds": 10,
        "worker_start_seconds": 10,
        "shutdown_seconds": 5,
        # Most tests ask for the same audio again and again, and want it made.
        "result_cache_mb": 0,
        **changes,
    }
    return Settings(_env_file=None, **chosen)


@contextmanager
def logging_to(folder: Path) -> Iterator[None]:
    """Real log files in `folder`; pytest's own handlers and levels come back afterwards."""
    # A line that another service still owes must not fall into this folder.
    drain(PATIENCE_SECONDS)
    root = logging.getLogger()
    handlers, level, complains = root.handlers[:], root.level, logging.raiseExceptions
    lines = logs.set_up(folder, stdout=False, capture=False)
    try:
        yield
    finally:
        drain(PATIENCE_SECONDS)
        set_sinks([])
        lines.close()
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.raiseExceptions = complains


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Running]:
    """The service as `server` puts it together, workers ready, page and socket left out."""
    with logging_to(settings.log_dir):
        service = Service(settings)
        set_sinks([logs.EventLog(), service.metrics, service.readiness, service.healer])
        app = service.api_app()
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost") as client,
        ):
            wanted = settings.cluster_min_replicas if settings.cluster else settings.workers
            patience = CLUSTER_SECONDS if settings.cluster else PATIENCE_SECONDS
            await until(lambda: service.pool.ready_workers == wanted, patience)
            yield Running(service, app, client, LogReader(settings.log_dir))


async def until(condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until something is the case, or fail."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # anything may be waited for
            await asyncio.sleep(0.005)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio, as the service does."""
    return "asyncio"


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[OwnCluster]:
    """A Ray cluster with a head that has 8 CPUs; each test has an app of its own on it."""
    with clustered() as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of whoever runs the tests has no say in them."""
    for name in [name for name in os.environ if name.startswith("INDEXTTS_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a fast drill engine in a folder of this test's own."""
    return drill_settings(tmp_path)


@pytest.fixture(scope="session", name="drill_settings")
def drill_settings_fixture() -> Callable[..., Settings]:
    """`drill_settings(folder, **changes)`."""
    return drill_settings


@pytest.fixture(scope="session", name="running")
def running_fixture() -> Callable[[Settings], Any]:
    """`async with running(settings) as service:`."""
    return running


@pytest.fixture(scope="session", name="until")
def until_fixture() -> Callable[..., Awaitable[None]]:
    """`await until(condition, seconds)`."""
    return until


@pytest.fixture(scope="session", name="logging_to")
def logging_to_fixture() -> Callable[[Path], Any]:
    """`with logging_to(folder):`."""
    return logging_to


@pytest.fixture(scope="session")
def log_reader() -> Callable[[Path], LogReader]:
    """`log_reader(folder)`."""
    return LogReader


@pytest.fixture(scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """One running service for all tests of a module that leave it as they found it."""
    async with running(drill_settings(tmp_path_factory.mktemp("service"))) as service:
        yield service
