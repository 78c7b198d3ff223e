"""A month of several services is counted as one, whichever folders their lines are in."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from month_of_lines import NOW, SINCE, Line, drawn, kept

from observability.archive import Archive
from observability.log_store.files import FileLogStore
from observability.log_store.questions import Filter
from observability.reports.figures import Report
from observability.reports.month import Month
from observability.reports.monthly import report

OCTOBER = Month(2026, 10)
NAMES = ("tts-a:7860", "tts-b:7860")
DAYS = timedelta(days=6)
COUNTS = {NAMES[0]: 700, NAMES[1]: 300}


def lines_of(instance: str) -> list[Line]:
    """What one of the two wrote in six days; the request_ids are new each time."""
    drawn_lines = drawn(NAMES.index(instance) + 1, COUNTS[instance], until=SINCE + DAYS)
    return [{**line, "instance": instance} for line in drawn_lines]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The log folders of two services, not to be changed."""
    place = tmp_path_factory.mktemp("services")
    for name in NAMES:
        kept(place / name, lines_of(name))
    return {name: place / name for name in NAMES}


@pytest.fixture(scope="module")
def put_away(
    folders: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Path]:
    """The same, with the copies and sums of each night."""
    place = tmp_path_factory.mktemp("put-away")
    for name, folder in folders.items():
        shutil.copytree(folder, place / name)
        Archive(place / name, clock=lambda: NOW).run()
    return {name: place / name for name in NAMES}


@pytest.fixture(scope="module", params=["lines", "copies"])
def kinds(request: pytest.FixtureRequest) -> Mapping[str, Path]:
    """The folders, read as lines, and from what the nights made of them."""
    found: Mapping[str, Path] = request.getfixturevalue(
        "folders" if request.param == "lines" else "put_away"
    )
    return found


@cache
def reported(*folders: Path, instances: tuple[str, ...] = ()) -> Report:
    """The report over folders that do not change; made once."""
    store = FileLogStore(*folders, clock=lambda: NOW)
    return report(store, OCTOBER, instances=instances, now=NOW)


def figures(made: Report) -> dict[str, Any]:
    """All but what it was read from."""
    document = made.document()
    read = ("source", "files", "lines_read", "days_missing", "duplicates")
    for name in read:
        del document["reconciliation"][name]
    del document["notes"], document["of_instances"]
    return document


def test_two_folders_are_counted_as_one(kinds: Mapping[str, Path], tmp_path: Path) -> None:
    """Every figure is that of one folder with the lines of both; the parent folder means both."""
    together = kept(tmp_path, [line for name in NAMES for line in lines_of(name)])
    wanted = figures(report(together, OCTOBER, now=NOW))
    assert figures(reported(*kinds.values())) == wanted
    assert figures(reported(kinds[NAMES[0]].parent)) == wanted
    assert wanted["requests"] == sum(COUNTS.values())
    assert wanted["reconciliation"]["balanced"]
    assert wanted["reconciliation"]["started"] == wanted["reconciliation"]["finished"]


@pytest.mark.parametrize("name", NAMES)
def test_one_instance_alone_can_be_asked_for(kinds: Mapping[str, Path], name: str) -> None:
    """Among the lines of all, the figures are those of its own folder."""
    of_one = reported(*kinds.values(), instances=(name,))
    assert figures(of_one) == figures(reported(kinds[name]))
    assert of_one.of_instances == (name,)
    assert of_one.requests == COUNTS[name]


def test_nobody_of_that_name_has_no_requests(kinds: Mapping[str, Path]) -> None:
    """A mistyped instance is no instance."""
    made = reported(*kinds.values(), instances=("tts-c:7860",))
    assert (made.requests, made.reconciliation.started, made.instances) == (0, 0, ())


def test_each_instance_has_a_row(kinds: Mapping[str, Path]) -> None:
    """The busiest first; their requests are all there are, their percentiles their own."""
    rows = reported(*kinds.values()).instances
    assert [(row.instance, row.requests) for row in rows] == list(COUNTS.items())
    for row in rows:
        finished = [line for line in lines_of(row.instance or "") if "status" in line]
        taken = [
            line["duration_ms"] for line in finished if line["status"] in ("success", "degraded")
        ]
        assert row.delivered == len(taken)
        assert row.p95_ms == round(float(np.percentile(taken, 95)), 3)
        assert row.share == round(row.requests / sum(COUNTS.values()), 6)
        failed = sum(line["status"] in ("failed", "timeout", "lost") for line in finished)
        assert (row.failed, row.share_failed) == (failed, round(failed / row.requests, 6))


def test_lines_without_an_instance_have_a_row_of_their_own(tmp_path: Path) -> None:
    """Those of before it stood in the lines."""
    store = kept(tmp_path, drawn(3, 50))
    (row,) = report(store, OCTOBER, now=NOW).instances
    assert (row.instance, row.requests) == (None, 50)


def test_a_line_that_was_copied_is_counted_once(
    kinds: Mapping[str, Path], folders: Mapping[str, Path], tmp_path: Path
) -> None:
    """A third folder holds two days of one service once more, as a shipper or rsync leaves them."""
    (tmp_path / "again").mkdir()
    twice = 0
    for path in sorted(folders[NAMES[0]].glob("*.jsonl"))[:2]:
        shutil.copy(path, tmp_path / "again")
        twice += path.read_text("utf-8").count('"synthesis.finished"')
    made = reported(*kinds.values(), tmp_path / "again")
    assert figures(made) == figures(reported(*kinds.values()))
    assert made.reconciliation.duplicates == twice > 0


def test_a_folder_that_ends_early_is_told(kinds: Mapping[str, Path], tmp_path: Path) -> None:
    """The days of the other hide that it lacks some, so it is said; a late start is no lack."""
    lacking = tmp_path / "lacking"
    shutil.copytree(kinds[NAMES[1]], lacking)
    for day in (1, 4, 5):
        for path in lacking.rglob(f"indextts-2026-10-0{day}*"):
            path.unlink()
    store = FileLogStore(kinds[NAMES[0]], lacking, clock=lambda: NOW)
    reading = store.counts(Filter(since=SINCE, until=SINCE + DAYS)).reading
    (note,) = (note for note in reading.notes if note.code == "folder_days_missing")
    assert note.en == f"{lacking} has no lines of 2026-10-04 to 2026-10-05; others do."
    assert reading.days_missing == ()


def test_a_request_is_found_wherever_it_was_served(kinds: Mapping[str, Path]) -> None:
    """Its lines are those of its folder, and say which instance it was."""
    store = FileLogStore(kinds[NAMES[0]].parent, clock=lambda: NOW)
    for name in NAMES:
        own = FileLogStore(kinds[name], clock=lambda: NOW)
        (line,) = own.search(Filter(since=SINCE, until=SINCE + DAYS), 1).lines
        found = store.lines_of(line["request_id"])
        assert found == own.lines_of(line["request_id"])
        assert [each["event"] for each in found] == ["synthesis.started", "synthesis.finished"]
        assert {each["instance"] for each in found} == {name}


def test_requests_are_searched_and_counted_by_instance(kinds: Mapping[str, Path]) -> None:
    """The filter and the grouping of triage."""
    store = FileLogStore(*kinds.values(), clock=lambda: NOW)
    asked = Filter(since=SINCE, until=SINCE + timedelta(days=31))
    counted = store.counts(asked, ("instance",))
    assert {group.values: group.figures.requests for group in counted.groups} == {
        (name,): count for name, count in COUNTS.items()
    }
    found = store.search(replace(asked, instance=(NAMES[1],)), 5)
    assert found.total == COUNTS[NAMES[1]]
    assert {line["instance"] for line in found.lines} == {NAMES[1]}


def test_a_day_may_be_put_away_in_one_folder_only(
    folders: Mapping[str, Path], put_away: Mapping[str, Path]
) -> None:
    """One service archives, the other does not."""
    mixed = reported(folders[NAMES[0]], put_away[NAMES[1]])
    assert figures(mixed) == figures(reported(*folders.values()))
    assert date(2026, 10, 1).isoformat() == mixed.days[0].day
