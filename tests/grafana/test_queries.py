"""The queries of the dashboards that are more than one function of PromQL, by promtool."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from grafana.sources.queries import counted, increase_from, part_of
from tests.grafana.dashboard_files import fill

promtool = shutil.which("promtool")
pytestmark = pytest.mark.skipif(not promtool, reason="promtool is not installed")

ALL = "indextts_requests_total{%s,engine='e',instance='i'}"


def agrees(folder: Path, series: dict[str, str], expected: dict[str, list[tuple[str, int]]]) -> str:
    """What promtool complains of, where these series are sampled each minute; nothing is good."""
    test = {
        "interval": "1m",
        "input_series": [{"series": ALL % name, "values": it} for name, it in series.items()],
        "promql_expr_test": [
            {
                "expr": f"round({fill(expr)})",
                "eval_time": at,
                "exp_samples": [{"labels": "{speaker='a'}", "value": value}],
            }
            for expr, values in expected.items()
            for at, value in values
        ],
    }
    file = folder / "test.yml"
    file.write_text(json.dumps({"tests": [test]}))
    done = subprocess.run(
        [str(promtool), "test", "rules", file], capture_output=True, text=True, timeout=60
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize(
    ("counter", "requests"),
    [
        ("100 100+1x5 105x60", 5),
        ("_x20 1 2 3 4 5x60", 5),
        ("_x20 1 2 3 4 5 stale _x4 1 2 3x60", 8),
        ("_x60 1x60", 1),
        ("_x10 7 stale _x60", 7),
    ],
    ids=[
        "was there before",
        "begins in the window",
        "begins and starts again",
        "has just begun",
        "is gone again",
    ],
)
def test_every_request_of_the_window_counts(tmp_path: Path, counter: str, requests: int) -> None:
    """The first of a new series, and those before a start of the service, as well as the others."""
    query = counted("indextts_requests_total", by="speaker", window="1h")
    assert agrees(tmp_path, {"speaker='a'": counter}, {query: [("60m", requests)]}) == ""


def test_a_bar_counts_the_time_that_begins_at_it(tmp_path: Path) -> None:
    """One o'clock has what came from one to two, and the present hour what has come so far."""
    query = increase_from("indextts_requests_total", by="speaker", window="1h")
    bars = {
        f"last_over_time(({query})[1m:1m] @ {hour * 3600})": [("150m", requests)]
        for hour, requests in enumerate((60, 120, 20))
    }
    assert agrees(tmp_path, {"speaker='a'": "0+1x59 60+2x59 180+1x20 200x10"}, bars) == ""


def test_who_only_fails_has_a_share_of_0(tmp_path: Path) -> None:
    """The worst of all is no gap in the panel that looks for the worst."""
    query = part_of(
        counted("indextts_requests_total", by="speaker", more="status='success'", window="1h"),
        counted("indextts_requests_total", by="speaker", window="1h"),
    )
    assert agrees(tmp_path, {"speaker='a',status='failed'": "1+1x60"}, {query: [("60m", 0)]}) == ""
