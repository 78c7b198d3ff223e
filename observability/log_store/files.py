"""
The questions answered from the files of log folders: the services' own, archives, Parquet.

One request is found by the time in its id: the day's file, then the place in it by halving. All
other questions go to DuckDB, over Parquet where a day has a copy and over the lines where not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from observability import request_id as request_ids
from observability.log_store import day_lines, parquet, statements, sums, tables
from observability.log_store.day_sources import (
    DaySource,
    day_source,
    day_sources,
    days_between,
    log_folders,
)
from observability.log_store.duck import connect
from observability.log_store.questions import (
    FAILED,
    MAX_NEIGHBOURS,
    SETTLING,
    Counts,
    Filter,
    Found,
    Line,
    Missing,
    Neighbours,
    Requests,
    Series,
)
from observability.log_store.tables import Choice, Tables

__all__ = ["FileLogStore", "Missing"]

_ID_BEFORE_LINE = timedelta(seconds=5)
"""An id is made a little before the line is written, by the same clock."""

_USUAL_END = timedelta(seconds=75)
"""Within it nearly every request has its finished line: the default time-out and ffprobe's."""

_AFTER_END = timedelta(seconds=15)
"""Lines about a request that is over: the file could not be stored, a client left."""


def utc_now() -> datetime:
    """The moment, in UTC."""
    return datetime.now(UTC)


class FileLogStore:
    """
    Answers from the log files of one or several services; reads only, beside running ones as well.

    Memory stays below 1 GiB however long the time asked for is.

    Args:
        folders: a folder for each service, or a folder that holds such; what is in it counts at
            the time of the question, so that a service may join later.
    """

    def __init__(
        self, *folders: Path, clock: Callable[[], datetime] = utc_now, source: str = "files"
    ) -> None:
        self._folders = folders
        self._clock = clock
        self._source = source

    # --- One request -----------------------------------------------------------------------------

    def lines_of(self, request_id: str, *, now: datetime | None = None) -> list[Line]:
        """
        Every line of a request, in the order of writing.

        Raises:
            Missing: there is none, with the reason: too old, of the future, or not of this
                service.
        """
        request_id = request_ids.parse(request_id)
        moment = request_ids.time_of(request_id)
        first, last = moment - _ID_BEFORE_LINE, moment + _USUAL_END
        days = days_between(moment.date(), last.date())
        near = [day_source(folder, day) for folder in log_folders(self._folders) for day in days]
        lines = self._lines_around(near, request_id, first, last)
        if any(map(_is_finished, lines)):
            return lines
        sources, unread = self._sources(), set[str]()
        lines = self._all_lines(sources, request_id, moment, unread)
        if not lines:
            raise _missing(moment, now or self._clock(), sources, self._folders, sorted(unread))
        return lines

    def _sources(self) -> list[DaySource]:
        """The days of every folder, oldest first."""
        found = [each for folder in log_folders(self._folders) for each in day_sources(folder)]
        return sorted(found, key=lambda source: source.day)

    def _lines_around(
        self, sources: Sequence[DaySource], request_id: str, first: datetime, last: datetime
    ) -> list[Line]:
        window = day_lines.as_bytes(first), day_lines.as_bytes(last + _AFTER_END)
        return _once(
            line
            for source in sources
            for line in _lines_in(source, request_id, window, self._copy_lines, set())
        )

    def _all_lines(
        self,
        sources: Sequence[DaySource],
        request_id: str,
        moment: datetime,
        unread: set[str],
    ) -> list[Line]:
        """
        Its lines wherever they stand in its day's file and the next one's, and on until it ends.

        The line that settles a crash is written at the next start, on any later day. `unread` gets
        the names of files that cannot be read to their end.
        """
        lines: list[Line] = []
        for source in sources:
            if source.day < moment.date():
                continue
            is_later = source.day > moment.date() + timedelta(days=1)
            if is_later and (not lines or any(map(_is_finished, lines))):
                break
            lines += _lines_in(source, request_id, None, self._copy_lines, unread)
        return _once(lines)

    def _copy_lines(self, request_id: str, paths: Sequence[Path]) -> list[Line]:
        connection = connect()
        try:
            return parquet.lines_of(connection, [request_id], paths)
        finally:
            connection.close()

    # --- Many requests ---------------------------------------------------------------------------

    def search(self, asked: Filter, limit: int = 100, *, slowest: bool = False) -> Found:
        """The requests that a filter means, the newest first, or else the slowest."""
        order = "duration_ms DESC NULLS LAST" if slowest else "timestamp DESC"
        where, parameters = statements.matching(asked)
        with self._tables(asked.since, asked.until, statements.fields_of(asked)) as found:
            ((total,),) = found.rows(f"SELECT count(*) FROM finished WHERE {where}", parameters)
            rows = found.rows(
                f"SELECT request_id, timestamp FROM finished WHERE {where} "
                f"ORDER BY {order}, request_id DESC LIMIT ?",
                [*parameters, limit],
            )
            return Found(tuple(self._finished_lines(found, rows)), total, found.reading)

    def counts(self, asked: Filter, by: Sequence[str] = ()) -> Counts:
        """Figures by the values of some fields."""
        fields = statements.fields_of(asked, by)
        if statements.is_of_everything(asked, by) and self._has_copies(asked):
            fields = sums.FIELDS
        with self._tables(asked.since, asked.until, fields) as found:
            return statements.counts(found, asked, by)

    def series(self, asked: Filter, step: timedelta) -> Series:
        """Figures over time."""
        statements.number_of_steps(asked, step)
        with self._tables(asked.since, asked.until, statements.fields_of(asked)) as found:
            return statements.series(found, asked, step)

    def neighbours(self, request_id: str, *, seconds: float = 60.0) -> Neighbours:
        """What happened to others within so many seconds of a request's end (or of its id)."""
        request_id = request_ids.parse(request_id)
        try:
            own = next(filter(_is_finished, self.lines_of(request_id)), None)
        except Missing:
            own = None
        return self.neighbours_of(request_id, own, seconds=seconds)

    def neighbours_of(self, request_id: str, own: Line | None, *, seconds: float) -> Neighbours:
        """What happened to others around a request whose finished line is known already."""
        moment = moment_of(own) or request_ids.time_of(request_id)
        around = timedelta(seconds=seconds)
        fields = ("status", "error_type", "error_fingerprint", "audio_verdict")
        with self._tables(moment - around, moment + around, fields) as found:
            alike, parameters = _alike(own)
            failed = ", ".join(f"'{status}'" for status in FAILED)
            ((requests, failures, failed_alike, silent),) = found.rows(
                f"SELECT count(*), count(*) FILTER (status IN ({failed})), "
                f"count(*) FILTER ({alike}), count(*) FILTER (audio_verdict = 'silent') "
                "FROM finished WHERE request_id <> ?",
                [*parameters, request_id],
            )
            rows = found.rows(
                "SELECT request_id, timestamp FROM finished WHERE request_id <> ? "
                "ORDER BY abs(epoch_us(timestamp) - epoch_us(?::TIMESTAMP)), request_id LIMIT ?",
                [request_id, moment.astimezone(UTC).replace(tzinfo=None), MAX_NEIGHBOURS],
            )
            lines = self._finished_lines(found, sorted(rows, key=lambda row: (row[1], row[0])))
            return Neighbours(
                line=own,
                lines=tuple(lines),
                requests=requests,
                failed=failures,
                failed_alike=failed_alike,
                silent=silent,
                reading=found.reading,
            )

    def find_client_id(
        self, text: str, *, since: datetime, until: datetime, limit: int = 20
    ) -> Found:
        """The requests whose client named them so: the whole id first, else a part of it."""
        found = self.search(Filter(since=since, until=until, client_request_id=text), limit)
        exact = tuple(line for line in found.lines if line.get("client_request_id") == text)
        rest = tuple(line for line in found.lines if line not in exact)
        return replace(found, lines=exact + rest)

    @contextmanager
    def at_once(self, asked: Filter, fields: Sequence[str] = ()) -> Iterator[AtOnce]:
        """The same store for several questions about one time, whose lines are then read once."""
        wanted = {*statements.fields_of(asked), *fields}
        if self._has_copies(asked):
            wanted |= {*sums.FIELDS}
        with self._tables(asked.since, asked.until, sorted(wanted)) as found:
            yield AtOnce(self, asked, frozenset(wanted), found)

    @contextmanager
    def requests(
        self,
        since: datetime,
        until: datetime,
        fields: Sequence[str],
        *,
        instances: Sequence[str] = (),
    ) -> Iterator[Requests]:
        """The requests finished in a time as tables, with these fields of the event."""
        with self._tables(since, until, fields, edges=SETTLING, instances=instances) as found:
            yield found

    def _has_copies(self, asked: Filter) -> bool:
        first, last = (each.astimezone(UTC).date() for each in (asked.since, asked.until))
        return any(
            source.finished is not None and first <= source.day <= last
            for source in self._sources()
        )

    def _tables(
        self,
        since: datetime,
        until: datetime,
        fields: Sequence[str],
        *,
        edges: timedelta = timedelta(0),
        instances: Sequence[str] = (),
    ) -> AbstractContextManager[Tables]:
        return tables.opened(
            self._sources(),
            since,
            until,
            fields,
            now=self._clock(),
            edges=edges,
            source_name=self._source,
            instances=instances,
        )

    def _finished_lines(
        self, found: Tables, rows: Sequence[tuple[str, datetime]]
    ) -> Iterator[Line]:
        """The whole finished lines of requests that a table named, in the order of the rows."""
        copied = _from_copies(found, [request_id for request_id, _ in rows])
        for request_id, moment in rows:
            line = copied.get(request_id) or self._finished_line(
                found.choices, request_id, moment.replace(tzinfo=UTC)
            )
            if line is not None:
                yield line

    def _finished_line(
        self, choices: Sequence[Choice], request_id: str, moment: datetime
    ) -> Line | None:
        around = timedelta(seconds=2)
        window = day_lines.as_bytes(moment - around), day_lines.as_bytes(moment + around)
        near = [
            choice.source
            for choice in choices
            if choice.kind != "parquet" and abs(choice.source.day - moment.date()).days <= 1
        ]
        for place in (window, None):
            for source in near:
                for line in _lines_in(source, request_id, place, self._copy_lines, set()):
                    if _is_finished(line) and moment_of(line) == moment:
                        return line
        return None


class AtOnce(FileLogStore):
    """Questions about one time, answered from tables that were read once."""

    def __init__(
        self, store: FileLogStore, asked: Filter, fields: frozenset[str], tables: Tables
    ) -> None:
        super().__init__(*store._folders, clock=store._clock, source=store._source)
        self._time = asked.since, asked.until
        self._fields = fields
        self.tables = tables

    def _tables(
        self,
        since: datetime,
        until: datetime,
        fields: Sequence[str],
        *,
        edges: timedelta = timedelta(0),
        instances: Sequence[str] = (),
    ) -> AbstractContextManager[Tables]:
        is_held = (since, until) == self._time and self._fields.issuperset(fields)
        if not is_held or edges or instances:
            raise ValueError("asked for another time, or by other fields, than are held")
        return nullcontext(self.tables)

    def _has_copies(self, asked: Filter) -> bool:  # noqa: ARG002
        """As it was when the tables were read: a copy that was made since is not in them."""
        return self._fields.issuperset(sums.FIELDS)


def _from_copies(found: Tables, ids: Sequence[str]) -> dict[str, Line]:
    paths = [
        choice.source.finished
        for choice in found.choices
        if choice.kind == "parquet" and choice.source.finished is not None
    ]
    if not paths or not ids:
        return {}
    connection = connect()
    try:
        lines = parquet.lines_of(connection, ids, paths)
    finally:
        connection.close()
    # In the order of writing: where a line stands twice, the first one counts.
    return {str(line["request_id"]): line for line in reversed(lines)}


def _lines_in(
    source: DaySource,
    request_id: str,
    window: tuple[bytes, bytes] | None,
    from_copy: Callable[[str, Sequence[Path]], list[Line]],
    unread: set[str],
) -> list[Line]:
    """
    A request's lines in one day's files, within a window of time or (None) wherever they stand.

    The service's own files are asked first, then the archive, then the Parquet copy, then as much
    of a damaged archive as can be read. `unread` gets the names of files that had no full answer.
    """
    damaged = None
    if source.archive is not None and not source.has_all_parts:
        try:
            return _in_archive(source.archive, request_id, window)
        except (OSError, day_lines.Damaged):
            damaged = source.archive
    copies = [path for path in (source.finished, source.other) if path is not None]
    if copies and not source.parts:
        try:
            return from_copy(request_id, copies)
        except parquet.Unreadable as error:
            unread.add(str(error))
    lines = [line for part in source.parts for line in _in_part(part, request_id, window, unread)]
    if damaged is None:
        return lines
    unread.add(damaged.name)
    return _in_damaged(damaged, request_id) + lines


def _in_damaged(path: Path, request_id: str) -> list[Line]:
    """A request's lines in an archive, as far as it can be read."""
    lines: list[Line] = []
    with suppress(OSError, day_lines.Damaged):
        for block in day_lines.whole_lines(day_lines.expanded(path)):
            lines += _parsed(block, request_id)
    return lines


def _in_part(
    path: Path, request_id: str, window: tuple[bytes, bytes] | None, unread: set[str]
) -> list[Line]:
    try:
        with day_lines.mapped(path) as content:
            begin, end = 0, len(content)
            if window is not None:
                begin = day_lines.first_at(content, window[0])
                end = day_lines.first_at(content, window[1])
            return _parsed(content, request_id, begin, end)
    except OSError:
        unread.add(path.name)
        return []


def _in_archive(path: Path, request_id: str, window: tuple[bytes, bytes] | None) -> list[Line]:
    with day_lines.mapped(path) as content:
        members = day_lines.members(content)
        if not members:
            return [
                line
                for block in day_lines.whole_lines(day_lines.expanded(path))
                for line in _parsed(block, request_id)
            ]
        if window is not None:
            members = [
                member
                for member, after in zip(members, [*members[1:], None], strict=True)
                if member.first_time <= window[1]
                and (after is None or after.first_time >= window[0])
            ]
        return [
            line
            for member in members
            for line in _parsed(day_lines.expand(content, member), request_id)
        ]


def _parsed(
    content: day_lines.Bytes, request_id: str, begin: int = 0, end: int | None = None
) -> list[Line]:
    lines: list[Line] = []
    for text in day_lines.lines_with(content, request_id.encode(), begin, end):
        try:
            line = json.loads(text)
        except ValueError:
            continue
        # Another request may name this one: a client sends any id as its own.
        if isinstance(line, dict) and line.get("request_id") == request_id:
            lines.append(line)
    return lines


def _once(lines: Iterable[Line]) -> list[Line]:
    """Each line once, in however many folders a copy of it stands."""
    return list({json.dumps(line): line for line in lines}.values())


def _is_finished(line: Line) -> bool:
    return str(line.get("event", "")).endswith(".finished")


def moment_of(line: Line | None) -> datetime | None:
    """When a line was written; None without a line, or where it does not say."""
    try:
        moment = datetime.fromisoformat(str(line["timestamp"])) if line else None
    except (KeyError, ValueError):
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC) if moment else None


def _alike(own: Line | None) -> tuple[str, list[object]]:
    for name in ("error_fingerprint", "error_type"):
        if own is not None and own.get(name):
            return f"{name} = ?", [own[name]]
    return "false", []


def _missing(
    moment: datetime,
    now: datetime,
    sources: Sequence[DaySource],
    folders: Sequence[Path],
    unread: Sequence[str],
) -> Missing:
    when = f"{moment:%Y-%m-%d %H:%M} UTC"
    if not sources:
        named = ", ".join(map(str, folders))
        return Missing(
            en=f"There are no log files in {named}, so nothing can be looked up.",
            zh=f"{named} 中没有日志文件，无法查询。",
        )
    if unread:
        damaged = ", ".join(unread)
        return Missing(
            en=f"No line of this id could be read. It says {when}, and {damaged} of that time "
            "cannot be read to the end: it may stand there. Fetch that archive again "
            "(scripts/archive_logs.py --fetch).",
            zh=f"未能读到该编号的记录。编号时间是 {when}，而该时段的 {damaged} 无法完整读取，"
            "记录可能就在其中。请重新取回该归档（scripts/archive_logs.py --fetch）。",
        )
    first, last = sources[0].day, sources[-1].day
    if moment > now + timedelta(minutes=5):
        return Missing(
            en=f"The id says {when}, which is in the future. It was mistyped, or a clock is wrong.",
            zh=f"编号中的时间是 {when}，在未来：可能抄错，或时钟有误。",
        )
    if moment.date() < first:
        return Missing(
            en=f"The id is of {when}; the logs here begin on {first}. Look in the archive.",
            zh=f"编号的时间是 {when}，本机日志从 {first} 开始，请查归档。",
        )
    if moment.date() > last:
        return Missing(
            en=f"The id is of {when}; the logs here end on {last}. Look in the log folder that the "
            "service writes to now.",
            zh=f"编号的时间是 {when}，而此处日志到 {last} 为止：请查该服务现在使用的日志目录。",
        )
    return Missing(
        en=f"No line has this id. It says {when}, and the logs here are of {first} to {last}. "
        "Check for a mistyped character, or ask whether another service made it.",
        zh=f"没有该编号的记录。编号时间是 {when}，此处日志为 {first} 至 {last}：请核对是否"
        "抄错，或是否来自其他服务。",
    )
