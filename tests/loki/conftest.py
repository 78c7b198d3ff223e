"""
A real Loki, filled by the real Promtail with a generated month and with days of trouble: once.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trouble
from shipped import Shipped

from observability.generated_logs import Month, generate
from scripts import shipping


@pytest.fixture(scope="session")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shipped]:
    """All lines have arrived when this is had."""
    if missing := shipping.missing():
        pytest.skip(f"not on PATH: {', '.join(missing)}; nothing was put to a real Loki")
    folder: Path = tmp_path_factory.mktemp("shipped")
    logs = folder / "logs"
    paths = generate(Month(2026, 9, 4000, seed=6), logs)
    lines = sum(len(path.read_bytes().splitlines()) for path in paths) + trouble.write(logs)
    since, until = trouble.FIRST_DAY, datetime(2026, 10, 1, tzinfo=UTC)
    with (
        shipping.Loki(folder / "loki") as loki,
        shipping.Promtail(folder / "promtail", logs, loki.url),
    ):
        assert loki.settled(lines, until) == lines
        yield Shipped(loki, lines, since, until)
