"""Pools with real worker processes, for every test here."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pooling import DRILL

from indextts_app.workers import pool as pool_module
from indextts_app.workers.pool import WorkerPool
from indextts_app.workers.worker import EngineSpec

if TYPE_CHECKING:
    from conftest import LogReader

Until = Callable[[Callable[[], object]], Awaitable[None]]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faults are answered as ever, only sooner."""
    monkeypatch.setattr(pool_module, "BACKOFF_SECONDS", (0.0, 0.01, 0.02))


@pytest.fixture
def log(
    tmp_path: Path, logging_to: Callable[[Path], Any], log_reader: Callable[[Path], LogReader]
) -> Any:
    """What the pool logs."""
    with logging_to(tmp_path / "logs"):
        yield log_reader(tmp_path / "logs")


@pytest.fixture
def pools(log: LogReader, until: Until) -> Callable[..., Any]:
    """`async with pools(spec, size=1, max_queue=10) as pool:`, its workers ready."""

    @asynccontextmanager
    async def pools(
        spec: EngineSpec = DRILL,
        *,
        ready: bool = True,
        size: int = 1,
        max_queue: int = 10,
        **more: Any,
    ) -> AsyncIterator[WorkerPool]:
        pool = WorkerPool(spec, size=size, max_queue=max_queue, **more)
        pool.start()
        try:
            if ready:
                await until(lambda: pool.ready_workers == size)
            yield pool
        finally:
            await pool.stop(0)

    return pools


@pytest.fixture
def own(tmp_path: Path) -> Callable[..., EngineSpec]:
    """A spec whose workers run an engine that the test writes, by a Python that knows it."""

    def own(source: str, **options: float) -> EngineSpec:
        (tmp_path / "own_engine.py").write_text(source)
        knows = "; ".join(
            (
                f"import sys; sys.path.insert(0, {str(tmp_path)!r})",
                "from indextts_app import engines",
                "engines._ENGINES['own'] = ('own_engine', 'Own')",
                "from indextts_app.workers import child",
                "child.main()",
            )
        )
        python = tmp_path / "python"
        python.write_text(f'#!/bin/sh\nshift 2\nexec {sys.executable} -c "{knows}" "$@"\n')
        python.chmod(0o700)
        return EngineSpec("own", options, python=python, start_seconds=10)

    return own
