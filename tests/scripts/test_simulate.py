"""scripts/simulate.py answers with a table or JSON, and tells what is wrong with a question."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from in_process import Asker

from observability.generated_logs import Month, generate
from scripts import simulate


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Asker:
    return Asker(simulate.main, monkeypatch, capsys)


def test_the_fewest_replicas_are_named(run: Asker) -> None:
    """Beside one less, which misses the aim; the same seed gives the same month."""
    asked = ("--requests", "200000", "--rtf", "1", "--json")
    status, out, err = run(*asked)
    assert (status, err) == (0, "")
    told = json.loads(out)
    fewest = told["fewest_replicas"]
    less, enough = told["runs"]
    assert (less["replicas"], enough["replicas"]) == (str(fewest - 1), str(fewest))
    assert enough["wait_p95"] <= 2 < less["wait_p95"]
    assert run(*asked)[1] == out


def test_a_month_of_the_log_is_played(tmp_path: Path, run: Asker) -> None:
    """As a table, with whether the aim is met."""
    generate(Month(2026, 9, 400), tmp_path)
    asked = ("--from-logs", str(tmp_path), "--month", "2026-09", "--times", "2")
    status, out, _ = run(*asked, "--replicas", "2")
    assert status == 0
    assert "requests in 30 days" in out
    rows = [line for line in out.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows] == ["| replicas", "| 1", "| 2", "| 3"]
    assert all(row.rstrip(" |").endswith(("met", "missed", "aim")) for row in rows)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--autoscale", "2-12"), "LEAST:MOST"),
        (("--autoscale", "2:12", "--replicas", "3"), "not both"),
        (("--autoscale", "12:2"), "at least"),
        (("--replicas", "0"), "one replica at least"),
        (("--peak-factor", "0.5"), "from 1 to 84"),
        (("--rtf", "0"), "more than 0"),
        (("--audio-seconds", "inf"), "no more than a day"),
        (("--audio-cv", "1e10"), "0 or more, up to 100"),
        (("--requests", "1000000000000"), "no more than 20,000,000 requests"),
        (("--requests", "-1"), "0 or more"),
        (("--month", "2026-10"), "go together"),
        (("--from-logs", ".", "--month", "2026-13"), "YYYY-MM"),
        (("--aim-percent", "100"), "between 0 and 100"),
    ],
)
def test_a_wrong_question_is_told(arguments: tuple[str, ...], told: str, run: Asker) -> None:
    """With status 2, and no table."""
    status, out, err = run(*arguments)
    assert (status, out) == (2, "")
    assert told in err


def test_a_folder_that_is_not_there_is_told_in_both_languages(run: Asker) -> None:
    """Rather than playing a month without requests."""
    status, _, err = run("--from-logs", "nowhere", "--month", "2026-10")
    assert status == 2
    assert "There is no log folder nowhere" in err
    assert "没有日志目录 nowhere" in err


def test_an_aim_that_cannot_be_met_is_told(run: Asker) -> None:
    """With status 1: work that takes longer than the deadline by itself."""
    status, _, err = run("--requests", "500", "--rtf", "100")
    assert status == 1
    assert "No number of replicas" in err
    assert "一万个副本也达不到目标" in err
