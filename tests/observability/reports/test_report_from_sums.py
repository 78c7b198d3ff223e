"""The sums beside a day's Parquet copy give the report that its lines give, to the last figure."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from month_of_lines import NOW, SINCE, Line, drawn, kept, request

from observability.archive import Archive
from observability.log_store import parquet, sums
from observability.log_store.duck import connect
from observability.log_store.files import FileLogStore
from observability.log_store.questions import Filter
from observability.log_store.tables import Tables
from observability.reports.figures import Terms
from observability.reports.month import Month
from observability.reports.monthly import report


def document(folder: Path) -> dict[str, Any]:
    """The report of a folder, but for how many files it was read from."""
    store = FileLogStore(folder, clock=lambda: NOW)
    terms = Terms(gpu_hour_price=3.0)
    found = report(store, Month(2026, 10), terms=terms, now=NOW).document()
    found["reconciliation"].pop("files")
    return found


def across_midnight(day: int, *, seconds: float = 2) -> list[Line]:
    """A request that starts on the day before and finishes on this one."""
    moment = SINCE + timedelta(days=day, seconds=seconds)
    return request(moment, status="success", duration_ms=9_000.5, queue_ms=1.25, text_len=3)


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Requests of every kind, over midnights and both edges, unsettled and without a start."""
    made = [*drawn(7, 1_200), *(line for day in (0, 9, 10, 31) for line in across_midnight(day))]
    made += across_midnight(4, seconds=3)[:1] + across_midnight(17, seconds=3)[1:]
    # Started twice, in days of which one holds its end.
    twice = request(SINCE + timedelta(days=6, hours=5), status="success", duration_ms=20.0)
    made += [*twice, {**twice[0], "timestamp": SINCE + timedelta(days=12)}]
    folder = tmp_path_factory.mktemp("sums") / "logs"
    kept(folder, made)
    return folder


@pytest.fixture(scope="module")
def put_away(lines: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same days put away, with Parquet copies, and without their lines; not to be changed."""
    folder = tmp_path_factory.mktemp("put_away") / "logs"
    shutil.copytree(lines, folder)
    Archive(folder, clock=lambda: NOW).run()
    for path in folder.glob("*.jsonl"):
        path.unlink()
    return folder


def without(folder: Path, days: Sequence[int], what: str) -> None:
    """Take something away from some days of October."""
    for day in days:
        (folder / "archive" / f"indextts-2026-10-{day:02}.{what}").unlink()


def put_back(lines: Path, folder: Path, days: Sequence[int]) -> None:
    """Leave nothing of some days but their lines."""
    for day in days:
        for path in (folder / "archive").glob(f"*2026-10-{day:02}*"):
            path.unlink()
        shutil.copy(lines / f"indextts-2026-10-{day:02}.jsonl", folder)


def damage(folder: Path) -> None:
    """One day's sums are no Parquet, another's are of an older copy."""
    archive = folder / "archive"
    (archive / "indextts-2026-10-03.sums.parquet").write_bytes(b"damaged")
    for kind in ("sums", "latencies"):
        shutil.copy(
            archive / f"indextts-2026-10-05.{kind}.parquet",
            archive / f"indextts-2026-10-10.{kind}.parquet",
        )


WAYS: dict[str, Callable[[Path, Path], None]] = {
    "all days": lambda lines, folder: None,
    "every other day": lambda lines, folder: without(folder, range(1, 32, 2), "sums.parquet"),
    "no sorted latencies": lambda lines, folder: without(folder, [2, 9], "latencies.parquet"),
    "lines between": lambda lines, folder: put_back(lines, folder, [1, 7, 10, 11, 31]),
    "damaged": lambda lines, folder: damage(folder),
}


@pytest.mark.parametrize("way", WAYS)
def test_sums_and_lines_give_the_same_report(
    lines: Path, put_away: Path, tmp_path: Path, way: str
) -> None:
    """Whichever days have sums, and however the others are kept."""
    folder = Path(shutil.copytree(put_away, tmp_path / "logs"))
    WAYS[way](lines, folder)
    assert document(folder) == document(lines)


def test_no_row_of_a_summed_day_is_read(put_away: Path, tmp_path: Path) -> None:
    """Without its finished requests the report's own tables are the same."""
    folder = Path(shutil.copytree(put_away, tmp_path / "logs"))
    store = FileLogStore(folder, clock=lambda: NOW)
    month = Month(2026, 10)
    with store.requests(month.since, month.until, sums.FIELDS) as found:
        assert isinstance(found, Tables)
        assert found.summed
        assert found.rows("SELECT count(*) FROM rest_finished") == [(0,)]
        counted = found.rows("SELECT sum(requests)::BIGINT FROM cells")
        assert counted == found.rows("SELECT count(*) FROM finished")


def test_half_a_day_is_counted_from_its_rows(lines: Path, put_away: Path, tmp_path: Path) -> None:
    """Sums are of whole days; a time that ends within one reads that day."""
    folder = Path(shutil.copytree(put_away, tmp_path / "logs"))
    until = SINCE + timedelta(days=2, hours=11)
    answers = []
    for place in (lines, folder):
        store = FileLogStore(place, clock=lambda: NOW)
        with store.requests(SINCE, until, sums.FIELDS) as found:
            answers.append(
                [
                    found.rows(f"SELECT * FROM (SELECT {wanted}) ORDER BY ALL")  # noqa: S608
                    for wanted in (
                        "day, sum(requests), sum(duration_ms) FROM cells GROUP BY day",
                        "* FROM minutes",
                        '"user", sum(gpu_seconds) FROM users GROUP BY ALL',
                        "bucket, sum(requests) FROM buckets GROUP BY ALL",
                        "* FROM latencies",
                        "sum(requests) FROM starts",
                    )
                ]
            )
    assert answers[0] == answers[1]


def test_percentiles_are_quantile_cont_of_all_values(put_away: Path, tmp_path: Path) -> None:
    """As DuckDB gives them over the finished requests themselves."""
    folder = Path(shutil.copytree(put_away, tmp_path / "logs"))
    with FileLogStore(folder, clock=lambda: NOW).requests(
        Month(2026, 10).since, Month(2026, 10).until, sums.FIELDS
    ) as found:
        ((expected,),) = found.rows(
            "SELECT quantile_cont(duration_ms, [0.5, 0.95, 0.99]) FROM finished "
            "WHERE status IN ('success', 'degraded')"
        )
    latency = document(folder)["latency_ms"]
    assert [latency[name] for name in ("p50", "p95", "p99")] == [round(one, 3) for one in expected]


@pytest.mark.parametrize("hours", [24 * 31, 59], ids=["whole days", "an end within a day"])
def test_figures_of_everything_come_from_the_sums(
    lines: Path, put_away: Path, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report's row of the month before reads no rows of finished requests, and is the same."""
    asked = Filter(since=SINCE, until=SINCE + timedelta(hours=hours))
    expected = FileLogStore(lines, clock=lambda: NOW).counts(asked)
    statements = []
    plain = Tables.rows

    def seen(tables: Tables, statement: str, parameters: Sequence[object] = ()) -> list[Any]:
        statements.append(statement)
        return plain(tables, statement, parameters)

    monkeypatch.setattr(Tables, "rows", seen)
    counted = FileLogStore(put_away, clock=lambda: NOW).counts(asked)
    assert counted.total == expected.total
    assert counted.total.requests
    assert statements
    assert not [each for each in statements if "FROM finished" in each]


def test_what_is_forgotten_leaves_the_sums(put_away: Path, tmp_path: Path) -> None:
    """A user's name and figures go from the sums with the lines, and the report says so."""
    folder = Path(shutil.copytree(put_away, tmp_path / "logs"))
    Archive(folder, clock=lambda: NOW).forget(user="team-1")
    users = {row["user"] for row in document(folder)["users"]}
    assert users == {"team-2", "team-3", "team-4", "team-5"}
    for path in folder.rglob("*.sums.parquet"):
        assert b"team-1" not in path.read_bytes()
    rest = Path(shutil.copytree(put_away, tmp_path / "rest"))
    Archive(rest, clock=lambda: NOW).forget(user="team-1")
    for path in rest.rglob("*.sums.parquet"):
        path.unlink()
    assert document(rest) == document(folder)


def test_a_run_makes_the_sums_that_are_missing(put_away: Path, tmp_path: Path) -> None:
    """Of copies of an older version, or after a run that was cut off; from the copy alone."""
    folder = Path(shutil.copytree(put_away, tmp_path / "logs"))
    archive = folder / "archive"
    without(folder, [2], "sums.parquet")
    without(folder, [3], "latencies.parquet")
    Archive(folder, clock=lambda: NOW).run()
    with closing(connect()) as connection:
        for day in (date(2026, 10, 2), date(2026, 10, 3)):
            finished = archive / f"indextts-{day}.parquet"
            facts = parquet.facts_of(connection, finished)
            assert sums.starts_of(connection, finished, facts) is not None
