"""Promises of whoever works off batches, which the batches over REST do not show."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from indextts_app.batches.runner import ROWS_EACH, Batches
from indextts_app.batches.table import Row
from indextts_app.settings import Settings
from indextts_app.synthesis import Caller

pytestmark = pytest.mark.anyio

ENGINES = 3
"""Of a cluster, say, whatever the number of workers is set to."""


async def test_every_engine_that_there_may_be_has_its_rows(
    tmp_path: Path,
    drill_settings: Callable[..., Settings],
    until: Callable[[Callable[[], object]], Awaitable[None]],
) -> None:
    """Two on their way for each, and not one more."""
    asked: list[object] = []

    async def synthesize(fields: Mapping[str, Any], _caller: Caller, **_: object) -> None:
        asked.append(fields["text"])
        await asyncio.Event().wait()

    pool = SimpleNamespace(size=ENGINES, check_open=lambda: None)
    storage = SimpleNamespace(check=lambda: None)
    double: Any = SimpleNamespace(pool=pool, storage=storage, synthesize=synthesize)
    batches = Batches(double, drill_settings(tmp_path, workers=1))
    batches.start()
    try:
        rows = [Row(n, {"text": str(n)}) for n in range(1, 20)]
        job = await batches.begin(rows, {}, Caller("01M7YQJX7PTPC1PAJTN75109G2", "api"))
        await until(lambda: len(asked) == ROWS_EACH * ENGINES)
        assert len(job.running) == len(asked) == ROWS_EACH * ENGINES
    finally:
        await batches.stop()
