"""
The requests of a time as tables in DuckDB, whichever files their days are in, and what was read.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from observability.log_store import day_lines, parquet, sums
from observability.log_store.columns import COLUMNS
from observability.log_store.day_sources import DaySource
from observability.log_store.duck import connect, literal, literals, on_disk, quoted
from observability.log_store.questions import OPERATION, Reading
from observability.log_store.tally import Tally

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
    instances: Sequence[str] = (),
) -> Iterator[Tables]:
    """
    The tables of `questions.Requests` for the requests finished from `since` to before `until`.

    Args:
        sources: the days that there are files of; others in the time are told as missing.
        edges: how far beyond the time lines are read, for `finished_after`, `started_before`.
        source_name: for the `Reading`.
        instances: whose lines count; all do if none is named.
    """
    if unknown := set(fields) - set(COLUMNS):
        raise ValueError(f"no such field: {', '.join(sorted(unknown))}")
    since, until = since.astimezone(UTC), until.astimezone(UTC)
    with contextlib.ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="indextts-tables-"))
        connection = stack.enter_context(contextlib.closing(connect()))
        loader = _Loader(connection, Path(name), since, until, fields, edges, instances)
        lines = loader.choose(sources)
        if sum(map(_raw_size, lines)) > IN_MEMORY_BYTES:
            stack.enter_context(on_disk(connection, Path(name) / "tables.duckdb"))
            loader.kept = "TABLE"
        loader.load(lines)
        loader.views()
        there = {source.day for source in sources}
        loader.tally.folders_lacking(_days_by_folder(sources), since, until, now=now)
        reading = loader.tally.reading(source_name, since, until, there, now=now)
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
        instances: Sequence[str],
    ) -> None:
        self.connection = connection
        self.since, self.until = since, until
        self.choices: list[Choice] = []
        self.tally = Tally()
        self.kept = "TEMP TABLE"
        self._folder = folder
        self._edges = edges
        self._instances = instances
        own = {"timestamp", "request_id", *(["instance"] if instances else [])}
        self._fields = [name for name in COLUMNS if name in {*fields, *own}]
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
        if self._instances:
            self.connection.execute(f"DELETE FROM lines WHERE NOT ({self._is_wanted()})")
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
                self.tally.add(source.day, facts)
            return []
        if source.archive is not None and not source.has_all_parts:
            self.choices.append(Choice(source, "archive"))
            self.tally.files += inside
            return self._counted(self._from_archive(source.archive), inside=inside)
        self.choices.append(Choice(source, "parts"))
        if inside:
            self.tally.files += len(source.parts)
            if not source.has_all_parts and source.parts:
                self.tally.part_missing(source.day)
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
            self.tally.copy_unreadable(source.finished.name)
            return None
        is_stale = source.has_all_parts and not day_lines.is_made_of(
            source.finished, facts.raw_bytes, source.parts
        )
        return None if is_stale else facts

    # --- Lines -------------------------------------------------------------------------------

    def _from_part(self, path: Path, *, inside: bool) -> list[Path]:
        """The file, or what of it lies in the time asked for."""
        try:
            with day_lines.mapped(path) as content:
                if inside and day_lines.is_torn(content):
                    self.tally.torn(path.name)
                begin, end = self._window(path, content)
                if (begin, end) == (0, len(content)):
                    return [path]
                clip = self._clip(path.name.removesuffix(".jsonl"))
                _cut_out(path, begin, end, clip)
                return [clip]
        except OSError as error:
            self.tally.file_unreadable(path.name, error.strerror or type(error).__name__)
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
            self.tally.file_unreadable(path.name, str(error))
        return [clip]

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
                self.tally.file_unreadable(path.name, "read error")
        except duckdb.Error as error:
            self.tally.file_unreadable(path.name, type(error).__name__)

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
        """Count each request once: all but its first line of each kind are left out."""
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
        views = {
            "finished": finished,
            "started": self._started_view(days),
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
        self.summed = self._summed_days()
        rest = [source for source, _ in self._parquet if source not in self.summed]
        paths = [source.finished for source in self.summed if source.finished is not None]
        count = sum(starts.count for starts in self._starts.values())
        views = {
            "rest_finished": self._finished_view(rest),
            "rest_started": self._started_view(rest),
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
        self._starts: dict[DaySource, sums.Starts] = {}
        # Stored sums are of all instances of a folder.
        if self._once or self._instances:
            return []
        for source, facts in self._parquet:
            if source.finished is None or not self._holds(facts.first_time, facts.last_time):
                continue
            starts = sums.starts_of(self.connection, source.finished, facts)
            if starts is not None and (
                not starts.count or self._holds(starts.first_time, starts.last_time)
            ):
                self._starts[source] = starts
        return [source for source, _ in self._parquet if source in self._starts]

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

    def _started_view(self, days: Sequence[DaySource]) -> str:
        started = self._union(days, STARTED)
        if self._once:
            # Who was given a finished line twice was given the other one twice as well.
            started = f"SELECT DISTINCT ON (request_id) * FROM ({started}) ORDER BY timestamp"
        return f"SELECT * FROM ({started}) WHERE {self._within(self.since, self.until)}"

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
        known = {source: facts.columns for source, facts in self._parquet}
        for source in days:
            if source.finished is not None:
                # Of before an instance stood in the lines, nothing is of the ones that are wanted.
                if self._instances and "instance" not in known[source]:
                    continue
                lacking = tuple(name for name in fields if name not in known[source])
                by_columns.setdefault(lacking, []).append(source.finished)
        wanted = f" WHERE {self._is_wanted()}" if self._instances else ""
        return " UNION ALL ".join(
            "SELECT "
            + ", ".join(
                f'NULL::{COLUMNS[name]} AS "{name}"' if name in lacking else f'"{name}"'
                for name in fields
            )
            + f" FROM read_parquet({literals(paths)}){wanted}"
            for lacking, paths in by_columns.items()
        )

    def _text_copies(self, days: Sequence[DaySource], event: str, fields: Sequence[str]) -> str:
        paths = [source.other for source in days if source.other is not None]
        own = ("timestamp", "request_id")
        structure = json.dumps({name: COLUMNS[name] for name in fields if name not in own})
        chosen = ", ".join(
            f'"{name}"' if name in own else f'x."{name}" AS "{name}"' for name in fields
        )
        if self._instances:
            names = ", ".join(map(literal, self._instances))
            of = f"json_extract_string(line, '$.instance') IN ({names})"
        else:
            of = "true"
        if set(fields) == {"timestamp", "request_id"}:
            chosen, wanted = quoted(fields), "timestamp, request_id"
        else:
            wanted = f"timestamp, request_id, json_transform(line, {literal(structure)}) AS x"
        return (
            f"SELECT {chosen} FROM (SELECT {wanted} FROM read_parquet({literals(paths)}) "
            f"WHERE event = '{event}' AND {of})"
        )

    def _is_wanted(self) -> str:
        """The condition that a row is of an instance that counts."""
        return f"coalesce(instance IN ({', '.join(map(literal, self._instances))}), false)"

    def _within(self, since: datetime, until: datetime) -> str:
        def stamp(moment: datetime) -> str:
            return f"TIMESTAMP '{moment.replace(tzinfo=None).isoformat(sep=' ')}'"

        return f"timestamp >= {stamp(since)} AND timestamp < {stamp(until)}"


def _days_by_folder(sources: Sequence[DaySource]) -> dict[Path, set[date]]:
    found: dict[Path, set[date]] = {}
    for source in sources:
        found.setdefault(source.folder, set()).add(source.day)
    return found


def _running_max(values: Iterator[str]) -> Iterator[str]:
    highest = ""
    for value in values:
        highest = max(highest, value)
        yield highest


def _cut_out(path: Path, begin: int, end: int, target: Path) -> None:
    """Write a part of a file to another; the kernel does, in half the time that reading takes."""
    with path.open("rb") as source, target.open("wb") as file:
        while begin < end and (
            sent := os.sendfile(file.fileno(), source.fileno(), begin, end - begin)
        ):
            begin += sent


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _raw_size(path: Path) -> int:
    """Of the lines in a file; an archive holds about ten times its size."""
    return _size(path) * (10 if path.suffix == ".gz" else 1)
