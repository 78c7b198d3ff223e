"""
The questions answered by Loki, over its HTTP API, with the same figures as from the files.

One request is asked for in a narrow window around the time in its id. For all other questions the
lines that matter are fetched, a day and a page at a time, into a folder of day files that is gone
afterwards, and the file store answers from those: one set of statements, one set of figures.
"""

from __future__ import annotations

import json
import re
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import httpx

from observability import request_id as request_ids
from observability.log_store import logql
from observability.log_store.day_sources import day_sources
from observability.log_store.files import AtOnce, FileLogStore, moment_of, utc_now
from observability.log_store.questions import (
    SETTLING,
    Counts,
    Filter,
    Found,
    Line,
    Missing,
    Neighbours,
    Note,
    Reading,
    Requests,
    Series,
    Unanswerable,
)
from observability.log_store.tables import opened
from observability.log_store.tally import lines_left_out

PAGE = 1_000
"""
Lines in one answer. Loki's limit on lines is 5,000, but parts of it hand each other no more than
4 MB, and an answer that is larger hangs until it times out; ours are 1 to 2 KB a line.
"""

SMALL_PAGE = 100
"""Tried after an answer that seems to have been too large."""

WINDOW = timedelta(days=1)
"""Of one query: short enough for any limit of Loki, and lost alone where Loki fails."""

TIMEOUT = httpx.Timeout(30.0, connect=3.0)

MAX_STRANGE_LINES = 20_000
"""Lines that are not ours and are looked at one by one."""

_MAX_FAILURES = 3
_BEFORE_LINE = timedelta(seconds=5)
_USUAL_END = timedelta(seconds=90)
_LATEST_SETTLED = timedelta(days=31)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OURS = re.compile(r'\{.*"event": ?"[a-z_]+[.][a-z_]+".*\}\s*', re.DOTALL)
_STRANGE = r'!~ `^\{.*"event": ?"[a-z_]+[.][a-z_]+".*\}\s*$`'


class _NoAnswer(Exception):
    """Loki did not answer one query, in so many words; a smaller page may help."""

    def __init__(self, reason: str, *, may_be_too_large: bool = False) -> None:
        super().__init__(reason)
        self.may_be_too_large = may_be_too_large


@dataclass(slots=True)
class _Fetched:
    """What was read of Loki for one question."""

    lines_read: int = 0
    lines_unreadable: int = 0
    lines_foreign: int = 0
    unanswered: list[date] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)


class LokiLogStore:
    """
    Answers from Loki; nothing is written to it.

    Args:
        url: its address, `http://127.0.0.1:3100` say; with `user:password@` these are sent as
            basic authentication, and never shown.
        selector: the streams that hold the service's lines.
        page: lines in one answer, at most Loki's `max_entries_limit_per_query`.
        client: to be used for the requests; made, with bounded time-outs, if not given.
        clock: tells the moment.
    """

    def __init__(
        self,
        url: str,
        *,
        selector: str = logql.SELECTOR,
        page: int = PAGE,
        client: httpx.Client | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._url = url.rstrip("/")
        self._shown = re.sub("//[^/@]*@", "//", self._url)
        self._selector = selector
        self._page = page
        self._client = client or httpx.Client(timeout=TIMEOUT)
        self._clock = clock
        if client is None:
            weakref.finalize(self, self._client.close)

    # --- One request -----------------------------------------------------------------------------

    def lines_of(self, request_id: str, *, now: datetime | None = None) -> list[Line]:
        """
        Every line of a request, in the order of writing.

        Raises:
            Missing: Loki has none.
            Unanswerable: Loki is away.
        """
        request_id = request_ids.parse(request_id)
        moment = request_ids.time_of(request_id)
        now = now or self._clock()
        lines = self._lines_between(request_id, moment - _BEFORE_LINE, moment + _USUAL_END)
        if not _is_over(lines):
            day = timedelta(days=1)
            lines = self._lines_between(request_id, moment - day, moment + day) or lines
            # What settles a crash is written at the next start, on any later day.
            latest = min(now, moment + _LATEST_SETTLED)
            begin = moment + day
            while lines and not _is_over(lines) and begin < latest:
                lines += self._lines_between(request_id, begin, begin + 7 * day)
                begin += 7 * day
        if not lines:
            when = f"{moment:%Y-%m-%d %H:%M} UTC"
            raise Missing(
                en=f"Loki has no line of this id, which says {when}. Check for a mistyped "
                "character; older lines are in the archive.",
                zh=f"Loki 中没有该编号的记录（编号时间为 {when}）：请核对是否抄错，"
                "更早的日志请查归档。",
            )
        return lines

    def _lines_between(self, request_id: str, since: datetime, until: datetime) -> list[Line]:
        query = logql.of_request(request_id, selector=self._selector)
        try:
            texts = [text for _, text in self._pages(query, since, until)]
        except _NoAnswer as error:
            raise _away(self._shown, str(error)) from error
        # A line that was shipped twice is one line.
        lines = (_parsed(text) for text in dict.fromkeys(texts))
        return [line for line in lines if line is not None and line.get("request_id") == request_id]

    # --- Many requests ---------------------------------------------------------------------------

    def search(self, asked: Filter, limit: int = 100, *, slowest: bool = False) -> Found:
        """The requests that a filter means, the newest first, or else the slowest."""
        with self._spooled(asked) as (files, fetched):
            found = files.search(asked, limit, slowest=slowest)
            return replace(found, reading=_read(found.reading, fetched))

    def counts(self, asked: Filter, by: Sequence[str] = ()) -> Counts:
        """Figures by the values of some fields."""
        with self._spooled(asked) as (files, fetched):
            found = files.counts(asked, by)
            return replace(found, reading=_read(found.reading, fetched))

    def series(self, asked: Filter, step: timedelta) -> Series:
        """Figures over time."""
        with self._spooled(asked) as (files, fetched):
            found = files.series(asked, step)
            return replace(found, reading=_read(found.reading, fetched))

    def neighbours(self, request_id: str, *, seconds: float = 60.0) -> Neighbours:
        """What happened to others within so many seconds of a request's end (or of its id)."""
        request_id = request_ids.parse(request_id)
        try:
            own = next((line for line in self.lines_of(request_id) if _is_over([line])), None)
        except Missing:
            own = None
        moment = moment_of(own) or request_ids.time_of(request_id)
        around = timedelta(seconds=seconds)
        asked = Filter(since=moment - around, until=moment + around)
        with self._spooled(asked) as (files, fetched):
            found = files.neighbours_of(request_id, own, seconds=seconds)
            return replace(found, reading=_read(found.reading, fetched))

    def find_client_id(
        self, text: str, *, since: datetime, until: datetime, limit: int = 20
    ) -> Found:
        """The requests whose client named them so: the whole id first, else a part of it."""
        asked = Filter(since=since, until=until, client_request_id=text)
        with self._spooled(asked) as (files, fetched):
            found = files.find_client_id(text, since=since, until=until, limit=limit)
            return replace(found, reading=_read(found.reading, fetched))

    @contextmanager
    def at_once(self, asked: Filter, fields: Sequence[str] = ()) -> Iterator[AtOnce]:
        """The same store for several questions about one time, whose lines are then read once."""
        with (
            self._spooled(asked) as (files, fetched),
            files.at_once(asked, fields) as held,
        ):
            held.tables.reading = _read(held.tables.reading, fetched)
            yield held

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
        query = f"{self._selector} |~ `{logql.FINISHED}|{logql.STARTED}`".replace(".", "[.]")
        with (
            self._folder_of(query, since, until, edges=SETTLING) as (folder, fetched),
            opened(
                day_sources(folder),
                since,
                until,
                fields,
                now=self._clock(),
                edges=SETTLING,
                source_name="loki",
                instances=instances,
            ) as tables,
        ):
            tables.reading = _read(tables.reading, fetched)
            yield tables

    @contextmanager
    def _spooled(self, asked: Filter) -> Iterator[tuple[FileLogStore, _Fetched]]:
        """A file store of the finished lines that a filter means."""
        query = logql.lines(asked, selector=self._selector)
        with self._folder_of(query, asked.since, asked.until) as (folder, fetched):
            yield FileLogStore(folder, clock=self._clock, source="loki"), fetched

    @contextmanager
    def _folder_of(
        self, query: str, since: datetime, until: datetime, *, edges: timedelta = timedelta(0)
    ) -> Iterator[tuple[Path, _Fetched]]:
        """A folder of day files with the lines of a query, until the block ends."""
        fetched = _Fetched()
        with tempfile.TemporaryDirectory(prefix="indextts-loki-") as name:
            folder = Path(name)
            for begin, end in _windows(since - edges, min(until, self._clock()) + edges):
                inside = begin < until and end > since
                try:
                    self._fetch_window(folder, query, begin, end)
                    if inside:
                        self._count_window(folder, max(begin, since), min(end, until), fetched)
                except _NoAnswer as error:
                    self._unanswered(fetched, begin, error)
            _note_unanswered(fetched)
            yield folder, fetched

    def _unanswered(self, fetched: _Fetched, begin: datetime, error: _NoAnswer) -> None:
        fetched.unanswered.append(begin.date())
        fetched.reasons.append(str(error))
        is_away = isinstance(error.__cause__, httpx.ConnectError | httpx.ConnectTimeout)
        if is_away or len(fetched.unanswered) >= _MAX_FAILURES:
            raise _away(self._shown, str(error)) from error

    def _fetch_window(self, folder: Path, query: str, begin: datetime, end: datetime) -> None:
        with ExitStack() as stack:
            files: dict[date, IO[str]] = {}
            for nanoseconds, text in self._pages(query, begin, end):
                if not _OURS.fullmatch(text):
                    continue  # counted by `_count_window`, as every strange line is
                day = (_EPOCH + timedelta(microseconds=nanoseconds // 1000)).date()
                if day not in files:
                    path = folder / f"indextts-{day}.jsonl"
                    files[day] = stack.enter_context(path.open("a", encoding="utf-8"))
                files[day].write(f"{text}\n")

    def _count_window(
        self, folder: Path, begin: datetime, end: datetime, fetched: _Fetched
    ) -> None:
        """How many lines of any kind there are, and which of them are not ours."""
        lines = self._count(logql.count_of_lines(end - begin, selector=self._selector), end)
        fetched.lines_read += lines
        # Hours without a line are no missing day.
        if not lines and end - begin >= WINDOW:
            return
        (folder / f"indextts-{begin.astimezone(UTC).date()}.jsonl").touch()
        query = f"{self._selector} {_STRANGE}"
        for seen, (_, text) in enumerate(self._pages(query, begin, end)):
            if seen == MAX_STRANGE_LINES:
                fetched.notes.append(_TOO_STRANGE)
                break
            if _parsed(text) is None:
                fetched.lines_unreadable += 1
            else:
                fetched.lines_foreign += 1

    # --- The API ---------------------------------------------------------------------------------

    def _pages(self, query: str, since: datetime, until: datetime) -> Iterator[tuple[int, str]]:
        """The lines of a query from `since` to before `until`, in the order of time."""
        begin, end = _nanoseconds(since), _nanoseconds(until)
        seen: set[tuple[int, str]] = set()
        limit = self._page
        while begin < end:
            try:
                page = self._page_of(query, begin, end, limit)
            except _NoAnswer as error:
                if limit <= SMALL_PAGE or not error.may_be_too_large:
                    raise
                limit = SMALL_PAGE
                continue
            for entry in page:
                if entry not in seen:
                    yield entry
            if len(page) < limit:
                return
            last = page[-1][0]
            # More than a page in one nanosecond cannot be paged through; the rest goes unseen.
            begin = last if last > begin else last + 1
            seen = {entry for entry in page if entry[0] == last}

    def _page_of(self, query: str, begin: int, end: int, limit: int) -> list[tuple[int, str]]:
        streams = self._ask(
            "query_range",
            query=query,
            start=str(begin),
            end=str(end),
            limit=str(limit),
            direction="forward",
        )
        entries = [
            (int(nanoseconds), str(text))
            for stream in streams
            for nanoseconds, text, *_ in stream["values"]
        ]
        # Streams have no order among each other; what ends a request comes last.
        entries.sort(key=lambda entry: (entry[0], logql.FINISHED in entry[1]))
        return entries

    def _count(self, query: str, until: datetime) -> int:
        # Loki's windows leave out their beginning and hold their end.
        vector = self._ask("query", query=query, time=str(_nanoseconds(until) - 1))
        return sum(int(float(sample["value"][1])) for sample in vector)

    def _ask(self, path: str, **parameters: str) -> list[dict[str, Any]]:
        try:
            answer = self._client.get(f"{self._url}/loki/api/v1/{path}", params=parameters)
            answer.raise_for_status()
            result = answer.json()["data"]["result"]
        except httpx.HTTPStatusError as error:
            said = " ".join(error.response.text.split())[:200]
            too_large = "larger than max" in said
            reason = f"{error.response.status_code}: {said}"
            raise _NoAnswer(reason, may_be_too_large=too_large) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            hung = isinstance(error, httpx.ReadTimeout | httpx.RemoteProtocolError)
            raise _NoAnswer(type(error).__name__, may_be_too_large=hung) from error
        except (ValueError, KeyError, TypeError) as error:
            raise _NoAnswer("not an answer of Loki's") from error
        if not isinstance(result, list):
            raise _NoAnswer("not an answer of Loki's")
        return result


def _windows(since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The time in days, cut at midnight UTC."""
    begin, until = since.astimezone(UTC), until.astimezone(UTC)
    while begin < until:
        midnight = datetime(begin.year, begin.month, begin.day, tzinfo=UTC) + WINDOW
        yield begin, min(midnight, until)
        begin = midnight


def _nanoseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


def _parsed(text: str) -> Line | None:
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def _is_over(lines: Sequence[Line]) -> bool:
    return any(str(line.get("event", "")).endswith(".finished") for line in lines)


def _away(url: str, reason: str) -> Unanswerable:
    return Unanswerable(
        en=f"Loki at {url} did not answer ({reason}). Ask the log files instead, or see whether "
        "it runs.",
        zh=f"{url} 的 Loki 没有应答（{reason}）。请改查日志文件，或检查 Loki 是否运行。",
    )


def _note_unanswered(fetched: _Fetched) -> None:
    if fetched.unanswered:
        days = ", ".join(map(str, fetched.unanswered))
        reason = fetched.reasons[0]
        fetched.notes.append(
            Note(
                "loki_unanswered",
                f"Loki did not answer for {days} ({reason}); these days are not counted.",
                f"Loki 未能应答 {days} 的查询（{reason}），这些日期未计入。",
            )
        )


_TOO_STRANGE = Note(
    "strange_lines",
    f"More than {MAX_STRANGE_LINES} lines of a day are not ours; the rest was not looked at.",
    f"某日有超过 {MAX_STRANGE_LINES} 行不属于本服务，其余未逐行检查。",
)


def _read(reading: Reading, fetched: _Fetched) -> Reading:
    """What the answer rests on: the lines in Loki, not the ones that were fetched."""
    left_out = ("several_files", "torn_line", "lines_unreadable", "lines_foreign")
    unreadable = fetched.lines_unreadable + reading.lines_unreadable
    foreign = fetched.lines_foreign + reading.lines_foreign
    notes = [note for note in reading.notes if note.code not in left_out]
    notes += lines_left_out(unreadable, foreign)
    return replace(
        reading,
        source="loki",
        files=0,
        lines_read=fetched.lines_read,
        lines_unreadable=unreadable,
        lines_foreign=foreign,
        notes=(*fetched.notes, *notes),
    )
