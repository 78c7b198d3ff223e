"""The same month from a real Loki is the same report, to the last figure."""

from __future__ import annotations

import shutil
import sys
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from month_of_lines import NOW, SINCE, drawn, kept, request

from observability import triage
from observability.log_store.loki import LokiLogStore
from observability.log_store.questions import Filter
from observability.reports.figures import Terms
from observability.reports.month import Month
from observability.reports.monthly import report

# The process of Loki lies beside the store's own tests.
sys.path.append(str(Path(__file__).parents[1] / "log_store"))

from loki_process import push, running_loki  # it lies beside the store's own tests

pytestmark = pytest.mark.skipif(not shutil.which("loki"), reason="loki is not installed")


def test_the_same_lines_give_the_same_report_and_triage(tmp_path: Path) -> None:
    """All that differs is where the lines were read from, and that Loki has no files."""
    over_the_edge = request(SINCE + timedelta(seconds=2), status="success", duration_ms=30_000.0)
    store = kept(tmp_path / "logs", [*drawn(11, 800), *over_the_edge])
    lines = [
        line
        for path in sorted((tmp_path / "logs").iterdir())
        for line in path.read_bytes().splitlines()
    ]
    two_days = Filter(since=SINCE, until=SINCE + timedelta(days=2))
    (tmp_path / "loki").mkdir()
    with running_loki(tmp_path / "loki") as url, httpx.Client(timeout=30) as client:
        assert push(url, lines, fallback=SINCE) == len(lines)
        loki = LokiLogStore(url, client=client, clock=lambda: NOW)
        answers = [
            (
                report(source, Month(2026, 10), terms=Terms(gpu_hour_price=3.0), now=NOW),
                triage.triaged(source, two_days),
            )
            for source in (store, loki)
        ]
    documents = [(month.document(), now.document()) for month, now in answers]
    for month, now in documents:
        for footing in (month["reconciliation"], now["reading"]):
            assert footing.pop("source") in ("files", "loki")
            footing.pop("files")
    assert documents[0] == documents[1]
    assert documents[0][0]["requests"] == 801
