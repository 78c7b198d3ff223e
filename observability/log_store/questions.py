"""
What can be asked of the log lines, and what an answer looks like, whatever keeps the lines.

`files.FileLogStore` and `loki.LokiLogStore` answer the same questions with the same figures. Every
answer says what it rests on: `Reading` tells what was read and, in both languages, what was not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta
from typing import Any, Protocol

from observability.events import Status

Line = Mapping[str, Any]

OPERATION = "synthesis"
"""A request's lines are `synthesis.started` and `synthesis.finished`."""

FAILED: tuple[Status, ...] = ("failed", "timeout", "lost")
"""Statuses that are the service's failures: asked for properly, and no audio came of it."""

DELIVERED: tuple[Status, ...] = ("success", "degraded")
"""Statuses with audio; latencies are counted over these only."""

TURNED_AWAY = ("queue_full", "not_ready", "not_fit", "storage_full", "circuit_open")
"""Errors of refusals that are the service's own fault, and count against its availability."""


class Missing(Exception):
    """There is no line for an id, and this is why; one sentence in each language."""

    def __init__(self, *, en: str, zh: str) -> None:
        super().__init__(en)
        self.en = en
        self.zh = zh


class Unanswerable(Exception):
    """A source cannot answer a question at all, and this is why; one sentence in each language."""

    def __init__(self, *, en: str, zh: str) -> None:
        super().__init__(en)
        self.en = en
        self.zh = zh


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """
    Which requests are meant: those finished in a time, with these values.

    `since` is inside the time, `until` is not; both know their time zone. Of each field any of its
    values will do, none means all. `client_request_id` is a part of the client's own id, in
    whichever case.
    """

    since: datetime
    until: datetime
    status: tuple[str, ...] = ()
    error_type: tuple[str, ...] = ()
    error_stage: tuple[str, ...] = ()
    error_fingerprint: tuple[str, ...] = ()
    audio_verdict: tuple[str, ...] = ()
    speaker: tuple[str, ...] = ()
    emotion: tuple[str, ...] = ()
    engine: tuple[str, ...] = ()
    model_version: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    instance: tuple[str, ...] = ()
    user: tuple[str, ...] = ()
    client_request_id: str | None = None

    def __post_init__(self) -> None:
        if self.since.tzinfo is None or self.until.tzinfo is None:
            raise ValueError("since and until need a time zone")

    def values(self) -> dict[str, tuple[str, ...]]:
        """The fields that are restricted, each with the values that will do."""
        return {name: chosen for name in FILTER_FIELDS if (chosen := getattr(self, name))}


FILTER_FIELDS = tuple(
    item.name for item in fields(Filter) if item.name not in ("since", "until", "client_request_id")
)
"""Fields of the event that a filter restricts and that counts may be grouped by."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something that the reader of an answer has to know; `code` is for programs."""

    code: str
    en: str
    zh: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """
    What an answer rests on.

    Args:
        source: `files` or `loki`.
        files: files that were read; 0 for Loki.
        lines_read: lines in them, of whatever kind.
        lines_unreadable: those that are no JSON object, torn ones among them.
        lines_foreign: JSON objects of other programs: without our `timestamp` and `event`.
        duplicates: finished lines beyond the first of their request, which were not counted.
        days_missing: days of the time asked for, today the last, without a file or line.
        notes: what is worth saying; an answer without notes is whole.
    """

    source: str
    files: int = 0
    lines_read: int = 0
    lines_unreadable: int = 0
    lines_foreign: int = 0
    duplicates: int = 0
    days_missing: tuple[date, ...] = ()
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """
    Numbers of a set of requests.

    `failed` counts `FAILED`, `delivered` counts `DELIVERED`; `share_failed` is failed over all
    requests. Percentiles are of `duration_ms` over delivered audio, linearly interpolated as NumPy
    does, to a microsecond; None where there is none.
    """

    requests: int
    delivered: int
    degraded: int
    failed: int
    rejected: int
    share_failed: float
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Group:
    """The figures of the requests that have these values, in the order of the fields asked."""

    values: tuple[str | None, ...]
    figures: Figures


@dataclass(frozen=True, slots=True)
class Point:
    """The figures of the requests finished in the step that begins at `start`."""

    start: datetime
    figures: Figures


@dataclass(frozen=True, slots=True)
class Found:
    """
    Finished lines in the order asked for, at most so many; `total` is how many there are.
    """

    lines: tuple[Line, ...]
    total: int
    reading: Reading


@dataclass(frozen=True, slots=True)
class Counts:
    """Groups, the largest first (equal ones in the order of their values), and all together."""

    groups: tuple[Group, ...]
    total: Figures
    reading: Reading


@dataclass(frozen=True, slots=True)
class Series:
    """A point for each step of the time asked for, empty ones as well, in the order of time."""

    points: tuple[Point, ...]
    reading: Reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """
    Other requests finished around one.

    Args:
        line: the finished line of the request itself, or None while it has none.
        lines: finished lines of the others, in the order of time, at most `MAX_NEIGHBOURS` nearest.
        requests: how many others there are.
        failed: how many of them failed.
        failed_alike: how many of them ended with the same error_fingerprint, or where the request
            has none, with the same error_type.
        silent: how many of them were delivered with the verdict `silent`.
    """

    line: Line | None
    lines: tuple[Line, ...]
    requests: int
    failed: int
    failed_alike: int
    silent: int
    reading: Reading


MAX_NEIGHBOURS = 50


class Requests(Protocol):
    """
    The requests of a time as tables, for statements that no question foresees.

    Tables: `finished`, one row for each request finished in the time (duplicates are gone);
    `started`, one for each started in it; `finished_after` and `started_before`, the ids finished
    within `SETTLING` after its end and started within it before its beginning, so that requests
    that cross an edge are told from lost ones. Columns: `request_id`, `timestamp` (TIMESTAMP, UTC)
    and the fields asked for, typed by `columns.COLUMNS`; a field that no line has is NULL. Sums of
    DOUBLE depend on the order of rows in their last figure: sum a DECIMAL, or round. Each statement
    reads its tables again, so that a few broad ones are quicker than many narrow ones.

    With all of `sums.FIELDS` asked for there are tables of sums as well, of the same requests:
    `cells`, `minutes`, `users`, `latencies` and `buckets` as `sums.py` tells; `starts`, whose
    `requests` add up to the rows of `started`; `open_starts` and `open_ends`, ids without their
    other half in the same day (days without stored sums give all their ids), to be looked for in
    each other first and then in `closed_ends` and `closed_starts`.
    """

    @property
    def reading(self) -> Reading:
        """What the tables rest on."""

    @property
    def summed(self) -> bool:
        """Whether the sums of any day were stored, so that they are quicker than the rows."""

    def rows(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """The rows that a statement in DuckDB's SQL gives."""


SETTLING = timedelta(hours=1)
"""
Longer than the time-out of a request, but not than that of every long text, nor than a row of a
batch may wait for others: one of these that crosses an edge for longer is not told from a lost one.
"""


class LogStore(Protocol):
    """
    Questions to the log lines. Reads only, may be asked from any thread, beside a running service.

    `Unanswerable` is raised where a source is away; a part that could not be read is a note.
    """

    def lines_of(self, request_id: str, *, now: datetime | None = None) -> list[Line]:
        """
        Every line of a request, in the order of writing.

        Raises:
            Missing: there is none, with the reason.
            MalformedRequestId: it is no request id.
        """

    def search(self, asked: Filter, limit: int = 100, *, slowest: bool = False) -> Found:
        """The requests that a filter means, the newest first, or else the slowest."""

    def counts(self, asked: Filter, by: Sequence[str] = ()) -> Counts:
        """Their figures by the values of some of `FILTER_FIELDS`."""

    def series(self, asked: Filter, step: timedelta) -> Series:
        """Their figures over time; steps are counted from `asked.since`."""

    def neighbours(self, request_id: str, *, seconds: float = 60.0) -> Neighbours:
        """What happened to others within so many seconds of a request's end (or of its id)."""

    def find_client_id(
        self, text: str, *, since: datetime, until: datetime, limit: int = 20
    ) -> Found:
        """The requests whose client named them so: the whole id first, else a part of it."""

    def at_once(
        self, asked: Filter, fields: Sequence[str] = ()
    ) -> AbstractContextManager[LogStore]:
        """
        The same store for several questions about one time, whose lines are then read once.

        They ask for the requests of `asked`, or for some of these: restricted by and counted by
        `fields`. `ValueError` is raised for any other question.
        """

    def requests(
        self,
        since: datetime,
        until: datetime,
        fields: Sequence[str],
        *,
        instances: Sequence[str] = (),
    ) -> AbstractContextManager[Requests]:
        """
        The requests finished in a time as tables, with these fields of the event.

        Of these instances only, if any are named; `reading` tells of all lines that were read.
        """
