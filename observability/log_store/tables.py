"""
The requests of a time as tables in DuckDB, whichever files their days are in, and what was read.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from observability.log_store import day_lines, parquet, sums
from observability.log_store.columns import COLUMNS
from observability.log_store.day_sources import DaySource, days_between
from observability.log_store.duck import connect, literal, literals, on_disk, quoted
from observability.log_store.questions import OPERATION, Note, Reading

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

IN_MEMORY_BYTES = 256 << 20
"""Of lines; tables of more are kept in a file, compressed."""

CLOCK_MARGIN = timedelta(minutes=10)
"""A clock that was put back by no more than this hides no line from a window of its file."""

_CLIPPED_BYTES = 256 << 20
"""Larger parts of a file are read where they are, and not copied out first."""

FINISHED, STARTED = f"{OPERATION}.finished", f"{OPERATION}.started"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of a day's files were read."""

    source: DaySource
    kind: str
    """parts, archive or parquet"""


@dataclass(slots=True)
class _Tally:
    """What becomes the `Reading`."""

    files: int = 0
    lines_read: int = 0
    lines_unreadable: int = 0
    lines_foreign: int = 0
    duplicates: int = 0
    clock_back: int = 0
    versions: set[str] = field(default_factory=set)
    split_days: list[date] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)

    def note(self, code: str, en: str, zh: str) -> None:
        self.notes.append(Note(code, en, zh))


class Tables:
    """`questions.Requests` over a DuckDB connection."""

    def __init__(
        self,
        connection: DuckDBPyConnection,
        reading: Reading,
        choices: Sequence[Choice],
        *,
        summed: bool,
    ) -> None:
        self._connection = connection
        self.reading = reading
        self.choices = tuple(choices)
        self.summed = summed

    def rows(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows that a statement gives."""
        return self._connection.execute(statement, list(parameters)).fetchall()


@contextlib.contextmanager
def opened(
    sources: Sequence[DaySource],
    since: datetime,
    until: datetime,
    fields: Sequence[str],
    *,
    now: datetime,
    edges: timedelta = timedelta(0),
    source_name: str = "files",
) -> Iterator[Tables]:
    """
    The tables of `questions.Requests` for the requests finished from `since` to before `until`.

    Args:
        sources: the days that there are files of; others in the time are told as missing.
        edges: how far beyond the time lines are read, for `finished_after`, `started_before`.
        source_name: for the `Reading`.
    """
    if unknown := set(fields) - set(COLUMNS):
        raise ValueError(f"no such field: {', '.join(sorted(unknown))}")
    since, until = since.astimezone(UTC), until.astimezone(UTC)
    with contextlib.ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="indextts-tables-"))
        connection = stack.enter_context(contextlib.closing(connect()))
        loader = _Loader(connection, Path(name), since, until, fields, edges)
        lines = loader.choose(sources)
        if sum(map(_raw_size, lines)) > IN_MEMORY_BYTES:
            stack.enter_context(on_disk(connection, Path(name) / "tables.duckdb"))
            loader.kept = "TABLE"
        loader.load(lines)
        loader.views()
        reading = _reading(loader, sources, now, source_name)
        yield Tables(connection, reading, loader.choices, summed=bool(loader.summed))


class _Loader:
    """Brings the lines of the days into tables of one connection."""

    def __init__(
        self,
        connection: DuckDBPyConnection,
        folder: Path,
        since: datetime,
        until: datetime,
        fields: Sequence[str],
        edges: timedelta,
    ) -> None:
        self.connection = connection
        self.since, self.until = since, until
        self.choices: list[Choice] = []
        self.tally = _Tally()
        self.kept = "TEMP TABLE"
        self._folder = folder
        self._edges = edges
        self._fields = [name for name in COLUMNS if name in {*fields, "timestamp", "request_id"}]
        self._first = since - edges - CLOCK_MARGIN
        self._last = until + edges + CLOCK_MARGIN
        self._parquet: list[tuple[DaySource, parquet.DayFacts]] = []
        self.summed: list[DaySource] = []
        self._clips = 0
        self._inside: set[str] = set()
        self._once = False

    def choose(self, sources: Sequence[DaySource]) -> list[Path]:
        """The files of the time that are to be read as lines; Parquet copies are remembered."""
        return [
            path
            for source in sources
            if self._first.date() <= source.day <= self._last.date()
            for path in self._chosen(source)
        ]

    def load(self, lines: Sequence[Path]) -> None:
        """Read the lines into a table, and settle what stands twice."""
        self._load_lines(lines)
        self._settle_duplicates()

    def _chosen(self, source: DaySource) -> list[Path]:
        """The files of a day that are to be read as lines; none where its Parquet copy will do."""
        inside = self.since.date() <= source.day < self._after_last_day()
        facts = self._usable(source)
        if facts is not None:
            self._parquet.append((source, facts))
            self.choices.append(Choice(source, "parquet"))
            self.tally.files += facts.files if inside else 0
            if inside:
                self._tell_facts(source, facts)
            return []
        if source.archive is not None and not source.has_all_parts:
            self.choices.append(Choice(source, "archive"))
            self.tally.files += inside
            return self._counted(self._from_archive(source.archive), inside=inside)
        self.choices.append(Choice(source, "parts"))
        if inside:
            self.tally.files += len(source.parts)
            if not source.has_all_parts and source.parts:
                self.tally.note(
                    "part_missing",
                    f"The first file of {source.day} is gone, and there is no archive of the day.",
                    f"{source.day} 的首个日志文件缺失，且没有该日的归档。",
                )
            if len(source.parts) > 1:
                self.tally.split_days.append(source.day)
        lines = [path for part in source.parts for path in self._from_part(part, inside=inside)]
        return self._counted(lines, inside=inside)

    def _counted(self, paths: list[Path], *, inside: bool) -> list[Path]:
        """Remember which files lie in the time itself, and not only at its edges."""
        if inside:
            self._inside.update(map(str, paths))
        return paths

    def _after_last_day(self) -> date:
        last = self.until - timedelta(microseconds=1)
        return last.date() + timedelta(days=1)

    def _usable(self, source: DaySource) -> parquet.DayFacts | None:
        """The facts of a day's Parquet copy, unless the lines themselves have to be read."""
        if source.finished is None or source.other is None:
            return None
        try:
            facts = parquet.facts_of(self.connection, source.finished)
        except parquet.Unreadable:
            self._note_unreadable_copy(source.finished)
            return None
        if source.has_all_parts:
            size = sum(map(day_lines.whole_size, source.parts))
            if size != facts.raw_bytes:
                return None
        return facts

    def _note_unreadable_copy(self, path: Path) -> None:
        self.tally.note(
            "copy_unreadable",
            f"The Parquet copy {path.name} cannot be read; the lines were read instead. "
            "Run scripts/archive_logs.py --rebuild-parquet.",
            f"Parquet 副本 {path.name} 无法读取，已改读日志行。"
            "请运行 scripts/archive_logs.py --rebuild-parquet。",
        )

    def _tell_facts(self, source: DaySource, facts: parquet.DayFacts) -> None:
        tally = self.tally
        tally.lines_read += facts.lines_read
        tally.lines_unreadable += facts.lines_unreadable
        tally.lines_foreign += facts.lines_foreign
        tally.clock_back += facts.clock_back
        tally.versions.update(facts.versions)
        if facts.torn:
            self._note_torn(f"indextts-{source.day}.jsonl")

    def _note_torn(self, name: str) -> None:
        self.tally.note(
            "torn_line",
            f"{name} ends in a torn line, which was left out.",
            f"{name} 的最后一行不完整，未计入。",
        )

    # --- Lines -------------------------------------------------------------------------------

    def _from_part(self, path: Path, *, inside: bool) -> list[Path]:
        """The file, or what of it lies in the time asked for."""
        try:
            with day_lines.mapped(path) as content:
                if inside and day_lines.is_torn(content):
                    self._note_torn(path.name)
                begin, end = self._window(path, content)
                if (begin, end) == (0, len(content)):
                    return [path]
                clip = self._clip(path.name.removesuffix(".jsonl"))
                clip.write_bytes(content[begin:end])
                return [clip]
        except OSError as error:
            self._note_unreadable_file(path, error.strerror or type(error).__name__)
            return []

    def _window(self, path: Path, content: day_lines.Bytes) -> tuple[int, int]:
        whole = 0, len(content)
        if self._covers(path):
            return whole
        if not day_lines.is_in_order(content):
            return whole
        begin = day_lines.first_at(content, day_lines.as_bytes(self._first))
        end = day_lines.first_at(content, day_lines.as_bytes(self._last))
        is_small = end - begin <= min(_CLIPPED_BYTES, len(content) // 2)
        return (begin, end) if is_small else whole

    def _covers(self, path: Path) -> bool:
        """Whether the whole day of a file lies within the time."""
        day = datetime.fromisoformat(path.name.removeprefix("indextts-")[:10]).replace(tzinfo=UTC)
        return self._first <= day and day + timedelta(days=1) <= self._last

    def _from_archive(self, path: Path) -> list[Path]:
        """The archive, or a plain file of what of it can be read and lies in the time."""
        try:
            with day_lines.mapped(path) as content:
                members = day_lines.members(content)
                if members and self._covers(path):
                    return [path]
                if members:
                    wanted = self._wanted(members)
                    clip = self._clip(path.name.removesuffix(".jsonl.gz"))
                    with clip.open("wb") as file:
                        for member in wanted:
                            file.write(day_lines.expand(content, member))
                    return [clip]
        except (OSError, day_lines.Damaged):
            pass
        return self._salvaged(path)

    def _wanted(self, members: Sequence[day_lines.Member]) -> list[day_lines.Member]:
        times = [member.first_time for member in members if member.first_time]
        if times != sorted(times) or len(times) < len(members):
            return list(members)
        first, last = day_lines.as_bytes(self._first), day_lines.as_bytes(self._last)
        return [
            member
            for member, after in zip(members, [*members[1:], None], strict=True)
            if member.first_time <= last and (after is None or after.first_time >= first)
        ]

    def _salvaged(self, path: Path) -> list[Path]:
        """As much of an archive as can be read, as a plain file."""
        clip = self._clip(path.name.removesuffix(".jsonl.gz"))
        try:
            with clip.open("wb") as file:
                for block in day_lines.expanded(path):
                    file.write(block)
        except (OSError, day_lines.Damaged) as error:
            self._note_unreadable_file(path, str(error))
        return [clip]

    def _note_unreadable_file(self, path: Path, reason: str) -> None:
        self.tally.note(
            "file_unreadable",
            f"{path.name} cannot be read to its end ({reason}); what is missing was not counted. "
            "Fetch its archive again.",
            f"{path.name} 无法完整读取（{reason}），缺失部分未计入。请重新取回该日归档。",
        )

    def _clip(self, stem: str) -> Path:
        self._clips += 1
        folder = self._folder / str(self._clips)
        folder.mkdir()
        return folder / f"{stem}.jsonl"

    def _load_lines(self, paths: Sequence[Path]) -> None:
        names = [name for name in self._fields if name != "timestamp"]
        names = list(dict.fromkeys(["event", "version", *names]))
        columns = {"timestamp": "TIMESTAMPTZ", **{name: COLUMNS[name] for name in names}}
        empty = ", ".join(f'NULL::{COLUMNS[name]} AS "{name}"' for name in names)
        self.connection.execute(
            f"CREATE {self.kept} lines AS SELECT NULL::TIMESTAMP AS timestamp, {empty}, "
            "NULL::VARCHAR AS file WHERE false"
        )
        readable = [path for path in paths if _size(path)]
        if not readable:
            return
        structure = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in columns.items())
        read = (
            f"INSERT INTO lines SELECT make_timestamp(epoch_us(timestamp)), {quoted(names)}, "
            "filename FROM read_json({files}, format='newline_delimited', ignore_errors=true, "
            f"filename=true, columns={{{structure}}})"
        )
        self._insert(read, readable)
        self._tell_lines()

    def _insert(self, read: str, paths: Sequence[Path]) -> None:
        import duckdb

        try:
            self.connection.execute(read.replace("{files}", literals(paths)))
        except duckdb.Error:
            if len(paths) == 1:
                self._insert_salvaged(read, paths[0])
                return
            for path in paths:
                self._insert(read, [path])

    def _insert_salvaged(self, read: str, path: Path) -> None:
        import duckdb

        try:
            salvaged = self._salvaged(path) if path.suffix == ".gz" else []
            if salvaged and _size(salvaged[0]):
                self._counted(salvaged, inside=str(path) in self._inside)
                self.connection.execute(read.replace("{files}", literals(salvaged)))
            elif not salvaged:
                self._note_unreadable_file(path, "read error")
        except duckdb.Error as error:
            self._note_unreadable_file(path, type(error).__name__)

    def _tell_lines(self) -> None:
        """Count what was read, and look closer at the files with lines that are not ours."""
        execute = self.connection.execute
        strange: list[Path] = []
        counted = execute(
            "SELECT file, count(*), count(*) FILTER (event IS NULL OR timestamp IS NULL) "
            "FROM lines GROUP BY file"
        ).fetchall()
        not_ours = 0
        for name, lines, strangers in counted:
            if name not in self._inside:
                continue
            self.tally.lines_read += lines
            not_ours += strangers
            if strangers:
                strange.append(Path(name))
        foreign = self._foreign(strange) if strange else 0
        self.tally.lines_foreign += foreign
        self.tally.lines_unreadable += not_ours - foreign
        (back,) = execute(
            "SELECT count(*) FROM (SELECT timestamp, file, lag(timestamp) OVER () AS before, "
            "lag(file) OVER () AS file_before FROM lines WHERE timestamp IS NOT NULL) "
            "WHERE file = file_before AND timestamp < before - INTERVAL 1 SECOND"
        ).fetchone() or (0,)
        self.tally.clock_back += back
        found = execute(
            f"SELECT DISTINCT version FROM lines WHERE event = '{FINISHED}' AND version IS NOT NULL"
        ).fetchall()
        self.tally.versions.update(version for (version,) in found)

    def _foreign(self, paths: Sequence[Path]) -> int:
        """Lines that are JSON objects and not ours."""
        wanted = json.dumps({"event": "VARCHAR", "timestamp": "VARCHAR"})
        (foreign,) = self.connection.execute(
            f"""SELECT count(*) FROM (
                SELECT json_transform(line, {literal(wanted)}) AS x
                FROM (SELECT CASE WHEN json_valid(line) THEN line END AS line
                    FROM {parquet.lines_as_text(paths)})
                WHERE line IS NOT NULL AND json_type(line) = 'OBJECT')
            WHERE x.event IS NULL OR TRY_CAST(x.timestamp AS TIMESTAMPTZ) IS NULL"""
        ).fetchone() or (0,)
        return int(foreign)

    # --- Tables ------------------------------------------------------------------------------

    def _settle_duplicates(self) -> None:
        """Count each request once: drop all but its first finished line."""
        within = self._within(self.since, self.until)
        twice = self._twice()
        if not twice:
            return
        everywhere = self._union([each for each, _ in self._parquet], FINISHED)
        (before,) = self.connection.execute(
            f"SELECT count(*) FROM ({everywhere}) WHERE {within}"
        ).fetchone() or (0,)
        self.connection.execute(
            f"CREATE {self.kept} once AS SELECT * FROM ({everywhere}) "
            "QUALIFY row_number() OVER (PARTITION BY request_id ORDER BY timestamp) = 1"
        )
        (after,) = self.connection.execute(
            f"SELECT count(*) FROM once WHERE {within}"
        ).fetchone() or (0,)
        self.tally.duplicates = before - after
        self._once = True

    def _twice(self) -> bool:
        """Whether any request has two finished lines."""
        if any(facts.duplicates for _, facts in self._parquet):
            return True
        lines, ids, first, last = self.connection.execute(
            # Hashes take a third of the memory; two that collide only cost a closer look.
            "SELECT count(*), count(DISTINCT hash(request_id)), min(request_id), max(request_id) "
            f"FROM lines WHERE event = '{FINISHED}' AND request_id IS NOT NULL"
        ).fetchone() or (0, 0, None, None)
        if lines != ids:
            return True
        ranges = [(facts.first_id, facts.last_id) for _, facts in self._parquet]
        if lines:
            ranges.append((first, last))
        spans = sorted((low, high) for low, high in ranges if low is not None and high is not None)
        return any(
            self._share(low, min(high, highest))
            for (low, high), highest in zip(
                spans[1:], _running_max(high for _, high in spans), strict=False
            )
            if low <= highest
        )

    def _share(self, low: str, high: str) -> bool:
        """Whether a request between two ids is finished twice."""
        everywhere = self._union([each for each, _ in self._parquet], FINISHED)
        found = self.connection.execute(
            f"SELECT 1 FROM ({everywhere}) WHERE request_id BETWEEN ? AND ? "
            "GROUP BY request_id HAVING count(*) > 1 LIMIT 1",
            [low, high],
        ).fetchone()
        return found is not None

    def views(self) -> None:
        """Make the tables that `questions.Requests` promises."""
        settling = (self.since - self._edges, self.since), (self.until, self.until + self._edges)
        days = [source for source, _ in self._parquet]
        finished = self._finished_view(days)
        started = self._union(days, STARTED)
        views = {
            "finished": finished,
            "started": f"SELECT * FROM ({started}) WHERE {self._within(self.since, self.until)}",
            "started_before": "SELECT DISTINCT request_id FROM "
            f"({self._union(days, STARTED, ids_only=True)}) WHERE {self._within(*settling[0])}",
            "finished_after": "SELECT DISTINCT request_id FROM "
            f"({self._union(days, FINISHED, ids_only=True)}) WHERE {self._within(*settling[1])}",
        }
        if set(sums.FIELDS) <= set(self._fields):
            views |= self._sum_views()
        for name, query in views.items():
            self.connection.execute(f"CREATE TEMP VIEW {name} AS {query}")

    def _sum_views(self) -> dict[str, str]:
        """The tables of sums: stored ones of the days that have them, and counted of the rest."""
        within = self._within(self.since, self.until)
        self.summed = self._summed_days()
        rest = [source for source, _ in self._parquet if source not in self.summed]
        paths = [source.finished for source in self.summed if source.finished is not None]
        count = sum(starts.count for starts in self._starts.values())
        views = {
            "rest_finished": self._finished_view(rest),
            "rest_started": f"SELECT * FROM ({self._union(rest, STARTED)}) WHERE {within}",
            "starts": f"SELECT {count} AS requests UNION ALL SELECT count(*) FROM rest_started",
            "closed_starts": self._closed(STARTED),
            "closed_ends": self._closed(FINISHED),
        }
        made = {
            **{name: kind("rest_finished") for name, kind in sums.KINDS.items()},
            "latencies": sums.latencies("rest_finished"),
            "buckets": sums.buckets(f"({sums.latencies('rest_finished')})"),
            "open_starts": "SELECT request_id FROM rest_started",
            "open_ends": "SELECT request_id FROM rest_finished",
        }
        for name, query in made.items():
            views[name] = f"{query} UNION ALL {sums.stored(name, paths)}" if paths else query
        return views

    def _closed(self, event: str) -> str:
        """The ids of an event in the days with sums."""
        copies = self._copies(self.summed, event, ["timestamp", "request_id"])
        return copies or "SELECT NULL::TIMESTAMP AS timestamp, NULL::VARCHAR AS request_id LIMIT 0"

    def _summed_days(self) -> list[DaySource]:
        """The days that lie in the time whole and have sums of their copy."""
        self._starts: dict[date, sums.Starts] = {}
        if self._once:
            return []
        for source, facts in self._parquet:
            if source.finished is None or not self._holds(facts.first_time, facts.last_time):
                continue
            starts = sums.starts_of(self.connection, source.finished, facts)
            if starts is not None and (
                not starts.count or self._holds(starts.first_time, starts.last_time)
            ):
                self._starts[source.day] = starts
        return [source for source, _ in self._parquet if source.day in self._starts]

    def _holds(self, first: str | None, last: str | None) -> bool:
        """Whether the time asked for holds these times of a copy."""
        since, until = self.since.replace(tzinfo=None), self.until.replace(tzinfo=None)
        return (
            first is not None
            and last is not None
            and since <= datetime.fromisoformat(first)
            and datetime.fromisoformat(last) < until
        )

    def _finished_view(self, days: Sequence[DaySource]) -> str:
        within = self._within(self.since, self.until)
        if self._once:
            return f"SELECT * FROM once WHERE {within}"
        # A day that lies within the time whole needs no look at its times.
        whole = [
            source
            for source, facts in self._parquet
            if source in days and self._holds(facts.first_time, facts.last_time)
        ]
        rest = [source for source in days if source not in whole]
        query = f"SELECT * FROM ({self._union(rest, FINISHED)}) WHERE {within}"
        copies = self._copies(whole, FINISHED, self._fields)
        return f"{query} UNION ALL {copies}" if copies else query

    def _union(self, days: Sequence[DaySource], event: str, *, ids_only: bool = False) -> str:
        """A statement for the lines of an event, from the lines read and from Parquet copies."""
        fields = ["timestamp", "request_id"] if ids_only else self._fields
        query = (
            f"SELECT {quoted(fields)} FROM lines WHERE event = '{event}' AND request_id IS NOT NULL"
        )
        copies = self._copies(days, event, fields)
        return f"{query} UNION ALL {copies}" if copies else query

    def _copies(self, days: Sequence[DaySource], event: str, fields: Sequence[str]) -> str:
        if not days:
            return ""
        if event != FINISHED:
            return self._text_copies(days, event, fields)
        # Copies of before a field was invented lack its column.
        by_columns: dict[tuple[str, ...], list[Path]] = {}
        known = {source.day: facts.columns for source, facts in self._parquet}
        for source in days:
            if source.finished is not None:
                lacking = tuple(name for name in fields if name not in known[source.day])
                by_columns.setdefault(lacking, []).append(source.finished)
        return " UNION ALL ".join(
            "SELECT "
            + ", ".join(
                f'NULL::{COLUMNS[name]} AS "{name}"' if name in lacking else f'"{name}"'
                for name in fields
            )
            + f" FROM read_parquet({literals(paths)})"
            for lacking, paths in by_columns.items()
        )

    def _text_copies(self, days: Sequence[DaySource], event: str, fields: Sequence[str]) -> str:
        paths = [source.other for source in days if source.other is not None]
        own = ("timestamp", "request_id")
        structure = json.dumps({name: COLUMNS[name] for name in fields if name not in own})
        chosen = ", ".join(
            f'"{name}"' if name in own else f'x."{name}" AS "{name}"' for name in fields
        )
        if set(fields) == {"timestamp", "request_id"}:
            chosen, wanted = quoted(fields), "timestamp, request_id"
        else:
            wanted = f"timestamp, request_id, json_transform(line, {literal(structure)}) AS x"
        return (
            f"SELECT {chosen} FROM (SELECT {wanted} FROM read_parquet({literals(paths)}) "
            f"WHERE event = '{event}')"
        )

    def _within(self, since: datetime, until: datetime) -> str:
        def stamp(moment: datetime) -> str:
            return f"TIMESTAMP '{moment.replace(tzinfo=None).isoformat(sep=' ')}'"

        return f"timestamp >= {stamp(since)} AND timestamp < {stamp(until)}"


def _running_max(values: Iterator[str]) -> Iterator[str]:
    highest = ""
    for value in values:
        highest = max(highest, value)
        yield highest


def _reading(
    loader: _Loader, sources: Sequence[DaySource], now: datetime, source_name: str
) -> Reading:
    tally = loader.tally
    missing = _missing_days(loader, sources, now)
    _note_what_was_found(tally, missing)
    _note_time(tally, loader, now)
    return Reading(
        source=source_name,
        files=tally.files,
        lines_read=tally.lines_read,
        lines_unreadable=tally.lines_unreadable,
        lines_foreign=tally.lines_foreign,
        duplicates=tally.duplicates,
        days_missing=missing,
        notes=tuple(tally.notes),
    )


def _missing_days(loader: _Loader, sources: Sequence[DaySource], now: datetime) -> tuple[date, ...]:
    """The days of the time that are over or under way and have no file."""
    if loader.until <= loader.since:
        return ()
    last = min((loader.until - timedelta(microseconds=1)).date(), now.astimezone(UTC).date())
    there = {source.day for source in sources}
    return tuple(day for day in days_between(loader.since.date(), last) if day not in there)


def _note_what_was_found(tally: _Tally, missing: Sequence[date]) -> None:
    if missing:
        tally.note(
            "days_missing",
            f"There are no lines of {_spans(missing, ' to ')}.",
            f"缺少以下日期的日志：{_spans(missing, ' 至 ')}。",
        )
    if tally.split_days:
        tally.note(
            "several_files",
            f"There are several files of {_spans(tally.split_days, ' to ')}; all were read.",
            f"以下日期各有多个日志文件，已全部读取：{_spans(tally.split_days, ' 至 ')}。",
        )
    if tally.lines_unreadable:
        tally.note(
            "lines_unreadable",
            f"{tally.lines_unreadable} lines are no JSON objects and were left out.",
            f"有 {tally.lines_unreadable} 行不是 JSON 对象，未计入。",
        )
    if tally.lines_foreign:
        tally.note(
            "lines_foreign",
            f"{tally.lines_foreign} lines are of other programs and were left out.",
            f"有 {tally.lines_foreign} 行来自其他程序，未计入。",
        )
    if tally.duplicates:
        tally.note(
            "duplicates",
            f"{tally.duplicates} finished lines stand twice; each request was counted once.",
            f"有 {tally.duplicates} 条完成记录重复，每个请求只计一次。",
        )
    if tally.clock_back:
        tally.note(
            "clock_back",
            f"The clock went back {tally.clock_back} times; times around it are not to be "
            "trusted, the numbers of requests are.",
            f"时钟回拨 {tally.clock_back} 次：其前后的时间不可靠，请求数不受影响。",
        )
    if len(tally.versions) > 1:
        named = ", ".join(sorted(tally.versions))
        tally.note(
            "versions",
            f"The lines are of several versions of the service ({named}); what an older one did "
            "not log is left empty.",
            f"日志来自多个服务版本（{named}）；旧版本未记录的字段留空。",
        )


def _note_time(tally: _Tally, loader: _Loader, now: datetime) -> None:
    if loader.since > now:
        tally.note(
            "future",
            f"{loader.since:%Y-%m-%d %H:%M} UTC lies in the future: there is nothing to count yet.",
            f"{loader.since:%Y-%m-%d %H:%M} UTC 在未来，尚无可统计的数据。",
        )
    elif loader.until > now + timedelta(seconds=1):
        tally.note(
            "unfinished",
            f"The time asked for ends {loader.until:%Y-%m-%d %H:%M} UTC and is not over; "
            f"this is what there was by {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC.",
            f"所查时段到 {loader.until:%Y-%m-%d %H:%M} UTC 才结束，"
            f"以下为截至 {now.astimezone(UTC):%Y-%m-%d %H:%M} UTC 的数据。",
        )


def _spans(days: Sequence[date], to: str) -> str:
    """Days as a list, runs of them as their first and last."""
    runs: list[list[date]] = [[days[0], days[0]]]
    for before, day in pairwise(days):
        if day - before == timedelta(days=1):
            runs[-1][1] = day
        else:
            runs.append([day, day])
    return ", ".join(f"{first}" if first == last else f"{first}{to}{last}" for first, last in runs)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _raw_size(path: Path) -> int:
    """Of the lines in a file; an archive holds about ten times its size."""
    return _size(path) * (10 if path.suffix == ".gz" else 1)
