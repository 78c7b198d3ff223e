"""Promises of the desk: answers within a time, from the log and the service, at little cost."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import duckdb
import pytest
from structlog.testing import capture_logs
from ulid import ULID

from indextts_app import desk as desk_module
from indextts_app.desk import PULSE_SECONDS, REPORT_KEPT_SECONDS, REPORTS_KEPT, Desk, Now
from indextts_app.lookup import Lookup
from indextts_app.settings import Settings
from observability.log_store.files import FileLogStore
from observability.log_store.questions import Filter, Unanswerable
from observability.reports.month import Month

pytestmark = pytest.mark.anyio

MOMENT = datetime(2026, 3, 15, 12, 0, 10, tzinfo=UTC)
NOW = Now(
    engine="drill",
    model_version="1",
    in_flight=0,
    waiting=0,
    max_queue=32,
    busy=0,
    ready=1,
    unloaded=0,
    workers=1,
    unavailable=None,
    memory={},
    gpus=(),
)


class Counting(FileLogStore):
    """A store that counts what it is asked, and fails or waits where a test says so."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, clock=lambda: MOMENT)
        self.asked: list[str] = []
        self.error: Exception | None = None
        self.goes_on = threading.Event()
        self.goes_on.set()

    def series(self, *arguments: Any) -> Any:
        self.asked.append("series")
        self.goes_on.wait(10)
        if self.error:
            raise self.error
        return super().series(*arguments)

    def requests(self, *arguments: Any, **named: Any) -> Any:
        self.asked.append("requests")
        return super().requests(*arguments, **named)


class Bench:
    """A desk over an empty log, with clocks that the test sets."""

    def __init__(self, folder: Path) -> None:
        self.seconds = 100.0
        self.store = Counting(folder)
        self.desk = Desk(
            self.store,
            Settings(_env_file=None, log_dir=folder),
            lambda: NOW,
            clock=lambda: MOMENT,
            monotonic=lambda: self.seconds,
        )


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """One for each test."""
    bench = Bench(tmp_path)
    yield bench
    bench.store.goes_on.set()
    bench.desk.close()


async def test_many_who_look_ask_the_log_once(bench: Bench) -> None:
    """The pulse of the log is shared for a few seconds; the service's own state is always new."""
    pulses = await asyncio.gather(*(bench.desk.pulse() for _ in range(5)))
    assert bench.store.asked == ["series"]
    bench.seconds += PULSE_SECONDS
    pulses.append(await bench.desk.pulse())
    assert bench.store.asked == ["series", "series"]
    assert {pulse.now.engine for pulse in pulses} == {"drill"}
    series = pulses[0].series
    assert series is not None
    assert len(series.points) == 30
    assert series.points[-1].start == MOMENT.replace(second=0)


async def test_the_pulse_goes_on_without_the_log(bench: Bench) -> None:
    """The service's own state needs no log."""
    bench.store.error = Unanswerable(en="away", zh="不在")
    pulse = await bench.desk.pulse()
    assert (pulse.series, pulse.total, pulse.now) == (None, None, NOW)


async def test_a_question_has_an_end(bench: Bench) -> None:
    """Nobody waits for ever, and the sentence says what to do."""
    bench.store.goes_on.clear()
    with pytest.raises(Unanswerable, match="shorter time"):
        await bench.desk._ask(lambda: bench.store.series(), 0.01)


async def test_a_fault_of_the_database_is_an_answer(bench: Bench) -> None:
    """With its kind, and where it happened in the log."""

    def fail() -> None:
        raise duckdb.OutOfMemoryException("12 GB of /secret/path")

    with capture_logs() as lines, pytest.raises(Unanswerable, match="OutOfMemory") as error:
        await bench.desk._ask(fail)
    assert "/secret" not in error.value.en
    (line,) = lines
    assert (line["event"], line["kind"]) == ("operations.unanswered", "OutOfMemoryException")


async def test_questions_take_little(bench: Bench) -> None:
    """One thread of DuckDB, little memory, and the processor when nobody else wants it."""

    def look() -> tuple[Any, ...]:
        connection = cast("Any", desk_module.duck.connect())
        return cast(
            "tuple[Any, ...]",
            connection.execute(
                "SELECT current_setting('threads'), current_setting('memory_limit')"
            ).fetchone(),
        )

    threads, memory = await bench.desk._ask(look)
    assert threads == 1
    assert memory.startswith("366.")  # MiB
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert await bench.desk._ask(lambda: os.getpriority(os.PRIO_PROCESS, 0)) > own


async def test_a_report_is_made_once_in_a_while(bench: Bench) -> None:
    """Page and three downloads are one report; a few months are kept, and none for long."""
    month = Month(2026, 2)
    reports = await asyncio.gather(*(bench.desk.report(month) for _ in range(3)))
    assert reports[0] is reports[1] is reports[2]
    assert bench.store.asked.count("requests") == 1
    bench.seconds += REPORT_KEPT_SECONDS
    assert (await bench.desk.report(month)).month == "2026-02"
    assert bench.store.asked.count("requests") == 2
    for number in range(1, REPORTS_KEPT + 3):
        await bench.desk.report(Month(2025, number))
    assert len(bench.desk._reports) == REPORTS_KEPT


async def test_the_months_that_there_are_are_offered(bench: Bench, tmp_path: Path) -> None:
    """Newest first; this one and the last whole one always."""
    (tmp_path / "indextts-2025-12-31.jsonl").touch()
    (tmp_path / "indextts-2026-03-01.jsonl").touch()
    assert [str(month) for month in await bench.desk.months()] == ["2026-03", "2026-02", "2025-12"]


async def test_failures_are_of_the_time_until_now(bench: Bench) -> None:
    """By the desk's own clock."""
    found = await bench.desk.failures(timedelta(hours=1), ("error_type",))
    assert (found.since, found.until) == (MOMENT - timedelta(hours=1), MOMENT)
    assert found.failures.total.requests == 0


class Away(FileLogStore):
    """Loki while it is away."""

    def lines_of(self, *arguments: Any, **options: Any) -> Any:
        raise Unanswerable(en="Loki did not answer.", zh="Loki 没有应答。")

    counts = search = requests = lines_of


def told(folder: Path, **fields: Any) -> str:
    """The id of a request that a folder has a finished line of."""
    moment = MOMENT - timedelta(minutes=5)
    request_id = str(ULID.from_datetime(moment))
    line = {
        "timestamp": f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z",
        "event": "synthesis.finished",
        "request_id": request_id,
        "status": "failed",
        "duration_ms": 12.0,
        **fields,
    }
    folder.mkdir(exist_ok=True)
    with (folder / f"indextts-{moment.date()}.jsonl").open("a") as file:
        file.write(f"{json.dumps(line)}\n")
    return request_id


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Desk]:
    """A desk over its own files and a Loki that has another service's lines as well."""
    desk = Desk(
        FileLogStore(tmp_path / "own", clock=lambda: MOMENT),
        Settings(_env_file=None, log_dir=tmp_path / "own"),
        lambda: NOW,
        loki=FileLogStore(tmp_path / "loki", clock=lambda: MOMENT, source="loki"),
        clock=lambda: MOMENT,
    )
    yield desk
    desk.close()


async def test_a_request_is_looked_up_here_and_then_in_loki(fleet: Desk, tmp_path: Path) -> None:
    """Loki has other services' requests, the files older ones, and those of a moment ago."""
    ours, theirs = told(tmp_path / "own"), told(tmp_path / "loki", client_request_id="order-77")
    assert (await fleet.story(ours)).request_id == ours
    assert (await fleet.story(theirs)).request_id == theirs
    assert (await fleet.story("order-77")).request_id == theirs


async def test_failures_and_months_are_asked_of_loki_or_of_the_files(
    fleet: Desk, tmp_path: Path
) -> None:
    """Of Loki unless the files are named; the pulse is this service's own."""
    told(tmp_path / "own")
    for _ in range(3):
        told(tmp_path / "loki")
    assert fleet.sources == ("loki", "files")
    hour, month = timedelta(hours=1), Month(2026, 3)
    for source, requests in ((None, 3), ("loki", 3), ("files", 1), ("'; DROP", 3)):
        failures = await fleet.failures(hour, ("error_type",), source)
        assert (failures.total.requests, failures.failures.total.failed) == (requests, requests)
        asked = Filter(since=MOMENT - hour, until=MOMENT)
        assert (await fleet.search(asked, 10, source)).total == requests
        made = await fleet.report(month, source)
        assert (made.requests, made.reconciliation.source) == (
            requests,
            "files" if source == "files" else "loki",
        )
    total = (await fleet.pulse()).total
    assert total is not None
    assert total.requests == 1


async def test_without_loki_the_files_answer(bench: Bench, tmp_path: Path) -> None:
    """Whatever a browser names."""
    told(tmp_path)
    assert bench.desk.sources == ("files",)
    assert (await bench.desk.failures(timedelta(hours=1), (), "loki")).total.requests == 1


async def test_while_loki_is_away_its_own_requests_are_told(fleet: Desk, tmp_path: Path) -> None:
    """Of others it is said that nobody knows."""
    ours, unknown = told(tmp_path / "own"), str(ULID.from_datetime(MOMENT))
    fleet._lookup = Lookup(
        FileLogStore(tmp_path / "own", clock=lambda: MOMENT), Away(tmp_path), clock=lambda: MOMENT
    )
    assert (await fleet.story(ours)).request_id == ours
    with pytest.raises(Unanswerable, match=r"^No line has this id.* Loki did not answer\.$"):
        await fleet.story(unknown)
