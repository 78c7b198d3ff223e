"""
Promises of `FileLogStore` beyond look-up: figures from the lines, and what is said of bad input.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from observability.day_file import day_files
from observability.generated_logs import Month, generate
from observability.log_store import day_lines, parquet, tables
from observability.log_store.day_sources import archive_name, day_sources, parquet_names
from observability.log_store.duck import connect
from observability.log_store.files import FileLogStore
from observability.log_store.questions import (
    DELIVERED,
    FAILED,
    FILTER_FIELDS,
    Filter,
    LogStore,
    Missing,
    Reading,
)

SEPTEMBER = datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)
WHOLE = Filter(since=SEPTEMBER[0], until=SEPTEMBER[1])
LATER = datetime(2026, 11, 2, 12, tzinfo=UTC)


@pytest.fixture(scope="session")
def month(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated month, not to be changed."""
    folder = tmp_path_factory.mktemp("month")
    generate(Month(2026, 9, 4000, seed=2), folder)
    return folder


@pytest.fixture(scope="session")
def finished(month: Path) -> list[dict[str, Any]]:
    """Its finished lines, read without any help."""
    return [
        line
        for _, path in day_files(month)
        for line in map(json.loads, path.read_text("utf-8").splitlines())
        if line["event"] == "synthesis.finished"
    ]


def store_of(folder: Path, *, now: datetime = LATER) -> FileLogStore:
    return FileLogStore(folder, clock=lambda: now)


def put_away(folder: Path, day: date, *, copy: bool, keep_lines: bool = False) -> None:
    """Make the archive of a day, and its Parquet copy, as the archive's own code does."""
    place = folder / "archive"
    place.mkdir(exist_ok=True)
    (source,) = day_sources(folder, day, day)
    packed = place / archive_name(day)
    with packed.open("wb") as file:
        day_lines.compress(day_lines.blocks_of(source.parts), file)
    if copy:
        finished, other = (place / name for name in parquet_names(day))
        with closing(connect()) as connection:
            parquet.copy_day(
                connection,
                list(source.parts),
                finished,
                other,
                files=len(source.parts),
                raw_bytes=sum(map(day_lines.whole_size, source.parts)),
                torn=False,
            )
    if not keep_lines:
        for path in source.parts:
            path.unlink()


@pytest.fixture(scope="session", params=["lines", "archives", "parquet", "mixed"])
def folder(
    request: pytest.FixtureRequest, month: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The same month in every form that its days may have; not to be changed."""
    place = tmp_path_factory.mktemp("forms") / "logs"
    shutil.copytree(month, place)
    for day, _ in day_files(place):
        if request.param == "archives":
            put_away(place, day, copy=False)
        elif request.param == "parquet" or (request.param == "mixed" and day.day % 3 == 0):
            put_away(place, day, copy=True)
            if day.day % 2:
                (place / "archive" / archive_name(day)).unlink()
        elif request.param == "mixed" and day.day % 3 == 1:
            put_away(place, day, copy=day.day % 2 == 0, keep_lines=True)
    return place


# --- Figures -------------------------------------------------------------------------------------


def test_figures_are_those_of_the_lines(folder: Path, finished: list[dict[str, Any]]) -> None:
    """Counted and interpolated anew with NumPy, by two fields at once."""
    counted = store_of(folder).counts(WHOLE, ("speaker", "status"))
    lines = defaultdict(list)
    for line in finished:
        lines[(line["speaker"], line["status"])].append(line)
    assert {group.values: group.figures.requests for group in counted.groups} == {
        values: len(each) for values, each in lines.items()
    }
    for group in counted.groups:
        durations = [
            line["duration_ms"] for line in lines[group.values] if line["status"] in DELIVERED
        ]
        told = group.figures.p50_ms, group.figures.p95_ms, group.figures.p99_ms
        if durations:
            assert told == pytest.approx(tuple(np.percentile(durations, (50, 95, 99))), abs=0.00051)
        else:
            assert told == (None, None, None)
    failed = sum(line["status"] in FAILED for line in finished)
    assert (counted.total.requests, counted.total.failed) == (4000, failed)
    assert counted.total.share_failed == failed / 4000
    sizes = [group.figures.requests for group in counted.groups]
    assert sizes == sorted(sizes, reverse=True)


def test_what_was_read_is_told(folder: Path, month: Path) -> None:
    """Lines and files of the month, however its days are kept; nothing to note."""
    lines = sum(len(path.read_text("utf-8").splitlines()) for _, path in day_files(month))
    assert store_of(folder).counts(WHOLE).reading == Reading(
        source="files", files=30, lines_read=lines
    )


@pytest.mark.parametrize("name", FILTER_FIELDS)
def test_every_field_of_a_filter_restricts(
    month: Path, finished: list[dict[str, Any]], name: str
) -> None:
    """To one value, and to any of two."""
    values = [value for value, _ in Counter(line.get(name) for line in finished).most_common()]
    known = [value for value in values if value is not None][:2]
    for chosen in (known[:1], known):
        asked = replace(WHOLE, **{name: tuple(chosen)})
        expected = sum(line.get(name) in chosen for line in finished)
        assert store_of(month).counts(asked).total.requests == expected


def test_a_search_gives_whole_lines_newest_first(
    folder: Path, finished: list[dict[str, Any]]
) -> None:
    """As they were written, at most as many as asked for, with how many there are."""
    asked = replace(WHOLE, status=FAILED)
    expected = [line for line in finished if line["status"] in FAILED][::-1]
    found = store_of(folder).search(asked, 5)
    assert [dict(line) for line in found.lines] == expected[:5]
    assert found.total == len(expected)


def test_a_search_gives_the_slowest_first(folder: Path, finished: list[dict[str, Any]]) -> None:
    """Those without a time come last."""
    found = store_of(folder).search(WHOLE, 7, slowest=True)
    spent = sorted(
        (line["duration_ms"] for line in finished if "duration_ms" in line), reverse=True
    )
    assert [line["duration_ms"] for line in found.lines] == spent[:7]
    assert found.total == len(finished)


def test_a_series_has_a_point_for_every_step(folder: Path, finished: list[dict[str, Any]]) -> None:
    """Empty ones too; each request stands in one."""
    points = store_of(folder).series(WHOLE, timedelta(hours=6)).points
    assert len(points) == 120
    steps = Counter(
        datetime.fromisoformat(line["timestamp"]).replace(minute=0, second=0, microsecond=0)
        - timedelta(hours=datetime.fromisoformat(line["timestamp"]).hour % 6)
        for line in finished
    )
    assert {point.start: point.figures.requests for point in points if point.figures.requests} == (
        dict(steps)
    )


def test_an_hour_is_asked_for_alone(folder: Path, finished: list[dict[str, Any]]) -> None:
    """The begin is inside, the end is not; the figures are those of the hour."""
    first = datetime.fromisoformat(finished[2000]["timestamp"])
    last = datetime.fromisoformat(finished[2040]["timestamp"])
    asked = Filter(since=first, until=last)
    assert store_of(folder).counts(asked).total.requests == 40
    assert [line["request_id"] for line in store_of(folder).search(asked).lines] == [
        line["request_id"] for line in finished[2039:1999:-1]
    ]


def test_neighbours_are_those_around_a_request(
    folder: Path, finished: list[dict[str, Any]]
) -> None:
    """How many there were, failed, failed alike; itself left out."""
    full = [line for line in finished if line.get("error_type") == "out_of_memory"]
    ((hour, _),) = Counter(line["timestamp"][:13] for line in full).most_common(1)
    own = next(line for line in full if line["timestamp"].startswith(hour))
    moment = datetime.fromisoformat(own["timestamp"])
    around = [
        line
        for line in finished
        if abs(datetime.fromisoformat(line["timestamp"]) - moment) < timedelta(hours=1)
        and line is not own
    ]
    found = store_of(folder).neighbours(own["request_id"], seconds=3600)
    assert found.line == own
    assert found.requests == len(around)
    assert found.failed == sum(line["status"] in FAILED for line in around)
    assert found.failed_alike == sum(
        line.get("error_fingerprint") == own["error_fingerprint"] for line in around
    )
    assert found.failed_alike > 0
    assert [line["request_id"] for line in found.lines] == [line["request_id"] for line in around]


def test_a_clients_own_id_is_found_whole_or_in_part(
    folder: Path, finished: list[dict[str, Any]]
) -> None:
    """In whichever case; an exact one comes first."""
    line = next(line for line in finished if "client_request_id" in line)
    named = line["client_request_id"]
    store = store_of(folder)
    whole = store.find_client_id(named, since=SEPTEMBER[0], until=SEPTEMBER[1])
    assert [dict(each) for each in whole.lines] == [line]
    part = store.find_client_id(named[3:].upper(), since=SEPTEMBER[0], until=SEPTEMBER[1])
    assert line in part.lines


def test_every_request_is_looked_up(folder: Path, finished: list[dict[str, Any]]) -> None:
    """All of its lines, started and error lines too, from whatever form its day has."""
    store = store_of(folder)
    wanted = [line for line in finished if line.get("error_type") == "engine_error"][:2]
    wanted += [line for line in finished if line["status"] == "lost"][:1] + finished[::500]
    for line in wanted:
        lines = store.lines_of(line["request_id"])
        assert lines[0]["event"] == "synthesis.started"
        assert dict(lines[-1]) == line
        assert ("worker.error" in [each["event"] for each in lines]) == (
            line.get("error_type") == "engine_error"
        )


def test_tables_answer_what_no_question_foresees(
    folder: Path, finished: list[dict[str, Any]]
) -> None:
    """The same rows from every form; exact sums; started and finished agree."""
    with store_of(folder).requests(*SEPTEMBER, ["speaker", "audio_seconds", "user"]) as tables:
        rows = tables.rows(
            "SELECT speaker, count(*), sum(audio_seconds::DECIMAL(18, 3)) FROM finished "
            "GROUP BY speaker ORDER BY speaker"
        )
        (open_ones,) = tables.rows(
            "SELECT count(*) FROM started ANTI JOIN finished USING (request_id)"
        )
        assert tables.rows("SELECT count(*), count(user) FROM started") == [(4000, 4000)]
        assert tables.rows("SELECT * FROM started_before UNION SELECT * FROM finished_after") == []
    assert open_ones == (0,)
    seconds: dict[str, float] = defaultdict(float)
    for line in finished:
        seconds[line["speaker"]] += line.get("audio_seconds", 0)
    assert [(speaker, float(total)) for speaker, _, total in rows] == [
        (speaker, round(total, 3)) for speaker, total in sorted(seconds.items())
    ]


def test_requests_across_the_edges_of_a_time_are_told(month: Path) -> None:
    """Begun before it and ended in it; begun in it and ended after it."""
    store = store_of(month)
    for midnight in (datetime(2026, 9, day, tzinfo=UTC) for day in range(3, 25)):
        with store.requests(midnight - timedelta(days=1), midnight, ["status"]) as before:
            after = {row[0] for row in before.rows("SELECT request_id FROM finished_after")}
            opened = {
                row[0]
                for row in before.rows(
                    "SELECT request_id FROM started ANTI JOIN finished USING (request_id)"
                )
            }
        with store.requests(midnight, midnight + timedelta(days=1), ["status"]) as next_day:
            begun = {row[0] for row in next_day.rows("SELECT request_id FROM started_before")}
            finished = {row[0] for row in next_day.rows("SELECT request_id FROM finished")}
        assert opened <= after
        assert opened <= begun
        assert opened <= finished
        if opened:
            return
    pytest.fail("no request crossed a midnight")


# --- What is not as it should be -----------------------------------------------------------------


def line(at: datetime, number: int, event: str = "synthesis.finished", **fields: object) -> str:
    moment = at.isoformat(timespec="microseconds").replace("+00:00", "Z")
    whole = {
        "timestamp": moment,
        "level": "info",
        "event": event,
        "request_id": f"01K8ZQ3V7M1ABCDEFGHJKM{number:04d}",
        "status": "success",
        "duration_ms": float(number),
        "version": "1.0.0",
        **fields,
    }
    return json.dumps(whole, ensure_ascii=False)


DAY = datetime(2026, 9, 3, 12, tzinfo=UTC)


def write(folder: Path, name: str, *lines: str, end: str = "\n") -> Path:
    path = folder / f"indextts-{name}.jsonl"
    path.write_text("\n".join(lines) + end, "utf-8")
    return path


def asked_of(folder: Path, first: int = 3, last: int = 3, *, now: datetime = LATER) -> Any:
    since = datetime(2026, 9, first, tzinfo=UTC)
    until = datetime(2026, 9, last, tzinfo=UTC) + timedelta(days=1)
    return store_of(folder, now=now).counts(Filter(since=since, until=until))


def codes(reading: Reading) -> list[str]:
    for note in reading.notes:
        assert note.en.endswith(".")
        assert note.zh.endswith("。")
    return sorted(note.code for note in reading.notes)


def test_a_torn_last_line_is_told_and_left_out(tmp_path: Path) -> None:
    """With its file; the whole lines before it count."""
    write(tmp_path, "2026-09-03", line(DAY, 1), line(DAY, 2)[:90], end="")
    counted = asked_of(tmp_path)
    assert counted.total.requests == 1
    assert (counted.reading.lines_read, counted.reading.lines_unreadable) == (2, 1)
    assert codes(counted.reading) == ["lines_unreadable", "torn_line"]
    assert counted.reading.notes[0].en.startswith("indextts-2026-09-03.jsonl ends in a torn line")


def test_lines_of_other_programs_are_counted_and_left_out(tmp_path: Path) -> None:
    """Text, bytes that are no text, JSON of other shapes, JSON objects of others."""
    strange = ['{"log": "x", "time": 1}', '{"event": 5}', "plain text", "[1, 2]", '"x"', "null"]
    path = write(tmp_path, "2026-09-03", line(DAY, 1), *strange, line(DAY, 2))
    with path.open("ab") as file:
        file.write(b"\xff\xfe\x00 not text\n" + line(DAY, 3).encode() + b"\n")
    counted = asked_of(tmp_path)
    assert counted.total.requests == 3
    assert counted.reading.lines_read == 10
    assert (counted.reading.lines_foreign, counted.reading.lines_unreadable) == (2, 5)
    assert codes(counted.reading) == ["lines_foreign", "lines_unreadable"]


def test_an_older_event_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    """Fields that it lacks are empty, ones that are gone do not matter, and it is told."""
    older = {"timestamp": DAY.isoformat(), "event": "synthesis.finished", "version": "0.1.0"}
    older |= {"request_id": "01K8ZQ3V7M1ABCDEFGHJKMNPQR", "status": "success", "voice": "old"}
    write(tmp_path, "2026-09-03", json.dumps(older), line(DAY, 1, speaker="alice"))
    store = store_of(tmp_path)
    asked = Filter(since=DAY - timedelta(hours=12), until=DAY + timedelta(hours=12))
    counted = store.counts(asked, ("speaker",))
    assert [group.values for group in counted.groups] == [(None,), ("alice",)]
    assert codes(counted.reading) == ["versions"]
    assert "0.1.0, 1.0.0" in counted.reading.notes[0].en
    assert counted.total.p50_ms == 1.0


def test_two_files_of_a_day_are_both_read_and_nothing_is_counted_twice(tmp_path: Path) -> None:
    """The first finished line of a request counts."""
    write(tmp_path, "2026-09-03", line(DAY, 1), line(DAY, 2))
    later = DAY + timedelta(minutes=1)
    write(tmp_path, "2026-09-03-2", line(later, 2, status="failed"), line(later, 3))
    counted = asked_of(tmp_path)
    assert (counted.total.requests, counted.total.failed) == (3, 0)
    assert (counted.reading.files, counted.reading.duplicates) == (2, 1)
    assert codes(counted.reading) == ["duplicates", "several_files"]


@pytest.mark.parametrize("copied", [(), (3,), (3, 4)])
def test_a_request_that_stands_on_two_days_counts_once(
    tmp_path: Path, copied: tuple[int, ...]
) -> None:
    """Lines or Parquet copies make no difference."""
    write(tmp_path, "2026-09-03", line(DAY, 1), line(DAY, 2))
    write(tmp_path, "2026-09-04", line(DAY + timedelta(days=1), 2), line(DAY + timedelta(1), 3))
    for day in copied:
        put_away(tmp_path, date(2026, 9, day), copy=True)
    counted = asked_of(tmp_path, 3, 4)
    assert (counted.total.requests, counted.reading.duplicates) == (3, 1)


def test_a_gap_of_days_is_told(tmp_path: Path) -> None:
    """As runs of days; today counts as missing too, days to come do not."""
    for day in (3, 5, 9):
        write(tmp_path, f"2026-09-{day:02d}", line(DAY.replace(day=day), day))
    now = datetime(2026, 9, 10, 8, tzinfo=UTC)
    reading = asked_of(tmp_path, 3, 20, now=now).reading
    assert reading.days_missing == tuple(date(2026, 9, day) for day in (4, 6, 7, 8, 10))
    assert codes(reading) == ["days_missing", "unfinished"]
    assert "2026-09-04, 2026-09-06 to 2026-09-08, 2026-09-10" in reading.notes[0].en


def test_a_clock_that_went_back_is_told_and_hides_nothing(tmp_path: Path) -> None:
    """Figures of a day, of a short time, and the look-up of a request written out of order."""
    forward = [line(DAY + timedelta(minutes=number), number) for number in range(600)]
    back = [line(DAY + timedelta(minutes=number, seconds=1), 1000 + number) for number in range(90)]
    write(tmp_path, "2026-09-03", *forward, *back)
    counted = asked_of(tmp_path)
    assert counted.total.requests == 690
    assert codes(counted.reading) == ["clock_back"]
    asked = Filter(since=DAY, until=DAY + timedelta(minutes=60))
    assert store_of(tmp_path).counts(asked).total.requests == 120
    assert len(store_of(tmp_path).search(asked, 1000).lines) == 120


def test_a_request_out_of_order_is_looked_up(tmp_path: Path) -> None:
    """Where halving finds nothing, the whole day is read."""
    own = {**json.loads(line(DAY, 1)), "request_id": "01M1KJTKG0ABCDEFGHJKMNPQRS"}
    moment = DAY + timedelta(hours=9)
    filler = [line(moment + timedelta(seconds=number), number) for number in range(200)]
    write(tmp_path, "2026-09-03", *filler, json.dumps(own), *filler)
    assert store_of(tmp_path).lines_of(own["request_id"]) == [own]


def test_a_look_up_does_not_depend_on_how_many_days_there_are(
    month: Path, finished: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The day's files are found by their names: the folder is not even listed."""

    def listed(folder: Path) -> None:
        raise AssertionError("listed")

    monkeypatch.setattr(Path, "iterdir", listed)
    for line in finished[::400]:
        assert store_of(month).lines_of(line["request_id"])[-1] == line


def test_a_request_in_a_second_file_is_looked_up_without_the_first(tmp_path: Path) -> None:
    """Then the folder is listed after all."""
    own = {**json.loads(line(DAY, 1)), "request_id": "01M1KJTKG0ABCDEFGHJKMNPQRS"}
    write(tmp_path, "2026-09-03-2", json.dumps(own))
    assert store_of(tmp_path).lines_of(own["request_id"]) == [own]


def test_a_month_in_the_future_is_told(tmp_path: Path) -> None:
    """And one that is not over."""
    now = datetime(2026, 8, 1, tzinfo=UTC)
    reading = asked_of(tmp_path, 3, 4, now=now).reading
    assert codes(reading) == ["future"]
    assert "2026-09-03 00:00 UTC lies in the future" in reading.notes[0].en


def test_an_archive_that_is_cut_short_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    """And the answer says which one, and that something is missing."""
    lines = [line(DAY + timedelta(seconds=number), number, pad="x" * 900) for number in range(4000)]
    write(tmp_path, "2026-09-03", *lines)
    put_away(tmp_path, DAY.date(), copy=False)
    packed = tmp_path / "archive" / "indextts-2026-09-03.jsonl.gz"
    packed.write_bytes(packed.read_bytes()[:-500])
    counted = asked_of(tmp_path)
    assert 2000 < counted.total.requests < 4000
    assert set(codes(counted.reading)) <= {"file_unreadable", "lines_unreadable"}
    assert "indextts-2026-09-03.jsonl.gz cannot be read to its end" in counted.reading.notes[0].en


def test_a_look_up_in_a_damaged_archive_finds_what_is_left_and_tells_the_rest(
    tmp_path: Path,
) -> None:
    """What cannot be read is not taken for a mistyped id; a copy beside it still answers."""
    ids = [f"01M1KJTKG0ABCDEFGHJKMN{number:04d}" for number in range(2000)]
    first, last = ids[0], ids[-1]
    lines = [
        line(DAY + timedelta(seconds=number), number, request_id=each, pad="x" * 900)
        for number, each in enumerate(ids)
    ]
    write(tmp_path, "2026-09-03", *lines)
    put_away(tmp_path, DAY.date(), copy=True)
    packed = tmp_path / "archive" / "indextts-2026-09-03.jsonl.gz"
    packed.write_bytes(packed.read_bytes()[:-500])
    store = store_of(tmp_path)
    assert [store.lines_of(each)[0]["request_id"] for each in (first, last)] == [first, last]
    with pytest.raises(Missing, match="mistyped"):
        store.lines_of(f"{first[:-1]}Z")
    for path in packed.parent.glob("*.parquet"):
        path.unlink()
    assert store.lines_of(first)[0]["request_id"] == first
    for content in (None, b""):
        if content is not None:
            packed.write_bytes(content)
        with pytest.raises(Missing, match=r"indextts-2026-09-03[.]jsonl[.]gz of that"):
            store.lines_of(last)


@pytest.mark.parametrize("content", [b"not gzip at all", b""])
def test_what_is_no_archive_at_all_is_told_and_the_other_days_count(
    tmp_path: Path, content: bytes
) -> None:
    """One bad file takes nothing else with it."""
    write(tmp_path, "2026-09-03", line(DAY, 1))
    (tmp_path / "indextts-2026-09-04.jsonl.gz").write_bytes(content)
    counted = asked_of(tmp_path, 3, 4)
    assert counted.total.requests == 1
    assert codes(counted.reading) == ["file_unreadable"]


def test_an_archive_of_another_program_is_read(tmp_path: Path) -> None:
    """`gzip indextts-2026-09-03.jsonl` by hand, and left in the log folder."""
    path = write(tmp_path, "2026-09-03", line(DAY, 1), line(DAY, 2))
    Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    counted = asked_of(tmp_path)
    assert (counted.total.requests, codes(counted.reading)) == (2, [])


def test_lines_and_their_archive_are_not_counted_twice(tmp_path: Path) -> None:
    """Also while the lines are being dropped: without their first file the archive counts."""
    write(tmp_path, "2026-09-03", line(DAY, 1))
    second = write(tmp_path, "2026-09-03-2", line(DAY, 2))
    put_away(tmp_path, DAY.date(), copy=False, keep_lines=True)
    assert asked_of(tmp_path).total.requests == 2
    (tmp_path / "indextts-2026-09-03.jsonl").unlink()
    assert second.exists()
    counted = asked_of(tmp_path)
    assert (counted.total.requests, codes(counted.reading)) == (2, [])


def test_a_part_that_is_gone_is_told(tmp_path: Path) -> None:
    """A second file without a first, and no archive."""
    write(tmp_path, "2026-09-03-2", line(DAY, 2))
    counted = asked_of(tmp_path)
    assert (counted.total.requests, codes(counted.reading)) == (1, ["part_missing"])


@pytest.mark.parametrize("damage", ["garbage", "cut", "stale", "changed"])
def test_a_copy_that_cannot_be_trusted_is_not_asked(tmp_path: Path, damage: str) -> None:
    """Damaged, or older than the lines, be these as long as before: the lines are read instead."""
    path = write(tmp_path, "2026-09-03", line(DAY, 1))
    put_away(tmp_path, DAY.date(), copy=True, keep_lines=True)
    copy = tmp_path / "archive" / "indextts-2026-09-03.parquet"
    if damage == "stale":
        with path.open("a") as file:
            file.write(line(DAY, 2) + "\n")
    elif damage == "changed":
        path.write_text(path.read_text().replace("synthesis.finished", "synthesis.fini5hed"))
        moment = copy.stat().st_mtime_ns + 1
        os.utime(path, ns=(moment, moment))
    else:
        copy.write_bytes(b"garbage" if damage == "garbage" else copy.read_bytes()[:-40])
    counted = asked_of(tmp_path)
    assert counted.total.requests == {"stale": 2, "changed": 0}.get(damage, 1)
    is_whole = damage in ("stale", "changed")
    assert codes(counted.reading) == ([] if is_whole else ["copy_unreadable"])


def test_a_copy_of_before_a_field_was_invented_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The field is empty in it."""
    write(tmp_path, "2026-09-03", line(DAY, 1, user="museum"))
    fewer = {name: kind for name, kind in parquet.COLUMNS.items() if name != "user"}
    with monkeypatch.context() as then:
        then.setattr(parquet, "COLUMNS", fewer)
        put_away(tmp_path, DAY.date(), copy=True)
    facts = day_sources(tmp_path)[0].finished
    assert facts is not None
    write(tmp_path, "2026-09-04", line(DAY + timedelta(days=1), 2, user="museum"))
    asked = Filter(since=DAY - timedelta(days=1), until=DAY + timedelta(days=2))
    groups = store_of(tmp_path).counts(asked, ("user",)).groups
    assert [group.values for group in groups] == [(None,), ("museum",)]


def test_a_copy_gives_every_line_back_as_it_was(tmp_path: Path) -> None:
    """Unknown fields, other types, times without a fraction, nested values, null."""
    odd: list[Mapping[str, Any]] = [
        {"timestamp": "2026-09-03T12:00:00Z", "status": "success"},
        {"timestamp": "2026-09-03T20:00:00.5+08:00", "speaker": "知燕"},
        {"timestamp": "2026-09-03T12:00:00.000001Z", "speaker": None, "pages": 3},
        {"timestamp": "2026-09-03T12:00:00.000002Z", "duration_ms": 1, "nested": {"a": [1]}},
        {"timestamp": "2026-09-03T12:00:00.000003Z", "seed": 2**60, "speed": 0.1},
    ]
    identity = {"event": "synthesis.finished", "request_id": "01M1KJTKG0ABCDEFGHJKMNPQRS"}
    lines = [{**each, **identity} for each in odd]
    write(tmp_path, "2026-09-03", *(json.dumps(each) for each in lines))
    put_away(tmp_path, DAY.date(), copy=True)
    (source,) = day_sources(tmp_path)
    assert source.finished is not None
    with closing(connect()) as connection:
        found = parquet.lines_of(connection, [identity["request_id"]], [source.finished])

    def key(each: Mapping[str, Any]) -> str:
        return str(each["timestamp"])

    assert sorted(found, key=key) == sorted(lines, key=key)


def test_questions_at_once_have_the_answers_that_they_have_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And read the lines once, however many they are; none that was not announced is answered."""
    store = store_of(folder)
    failures = replace(WHOLE, status=FAILED)

    def answers(asked: LogStore) -> list[Any]:
        return [
            asked.counts(WHOLE),
            asked.counts(failures, ("error_type", "speaker")),
            asked.search(failures, 5),
            asked.search(replace(WHOLE, status=DELIVERED), 5, slowest=True),
        ]

    alone = answers(store)
    opened: list[Any] = []
    as_ever = tables.opened
    monkeypatch.setattr(tables, "opened", lambda *a, **b: opened.append(a) or as_ever(*a, **b))
    with store.at_once(WHOLE, ("status", "error_type", "speaker")) as held:
        assert answers(held) == alone
        with pytest.raises(ValueError, match="than are held"):
            held.counts(replace(WHOLE, until=WHOLE.until - timedelta(days=1)))
        with pytest.raises(ValueError, match="than are held"):
            held.counts(WHOLE, ("error_fingerprint",))
    assert len(opened) == 1


def test_questions_at_once_go_on_when_a_copy_is_made_between_two(tmp_path: Path) -> None:
    """The archive of the night is made beside those who ask."""
    write(tmp_path, "2026-09-03", line(DAY, 1))
    with store_of(tmp_path).at_once(WHOLE) as held:
        put_away(tmp_path, DAY.date(), copy=True, keep_lines=True)
        assert held.counts(WHOLE).total.requests == 1


def test_an_empty_folder_has_empty_figures(tmp_path: Path) -> None:
    """And all of its days are missing."""
    counted = asked_of(tmp_path)
    assert counted.total.requests == 0
    assert counted.total.share_failed == 0.0
    assert codes(counted.reading) == ["days_missing"]
    with pytest.raises(Missing):
        store_of(tmp_path).lines_of("01M1KJTKG0ABCDEFGHJKMNPQRS")


def test_a_question_that_makes_no_sense_is_refused(tmp_path: Path) -> None:
    """Fields that do not exist, times without a zone, too many steps."""
    store = store_of(tmp_path)
    with pytest.raises(ValueError, match="cannot count by text"):
        store.counts(WHOLE, ("text",))
    with pytest.raises(ValueError, match="time zone"):
        Filter(since=datetime(2026, 9, 1), until=SEPTEMBER[1])  # noqa: DTZ001
    with pytest.raises(ValueError, match="longer step"):
        store.series(WHOLE, timedelta(seconds=1))
    with (
        pytest.raises(ValueError, match="no such field: text"),
        store.requests(*SEPTEMBER, ["text"]),
    ):
        pass


def test_a_folder_with_odd_characters_in_its_name_is_read(tmp_path: Path) -> None:
    """Quotes, brackets and asterisks are no patterns."""
    folder = tmp_path / "it's [odd]*"
    folder.mkdir()
    write(folder, "2026-09-03", line(DAY, 1))
    write(folder, "2026-09-04", line(DAY + timedelta(days=1), 2))
    put_away(folder, DAY.date(), copy=True)
    counted = asked_of(folder, 3, 4)
    assert (counted.total.requests, codes(counted.reading)) == (2, [])
    assert len(store_of(folder).search(WHOLE).lines) == 2
