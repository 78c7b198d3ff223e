"""
What operators ask: the stories of requests, the failures, the report, and how the service is now.

Questions to the log may take seconds and megabytes, so they run in threads of their own, few at a
time and with an end, and DuckDB gets one thread and little memory: synthesis comes first.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TypeVar

import structlog

from indextts_app.lookup import Lookup, utc_now
from indextts_app.settings import Settings
from indextts_app.story import Story
from observability import triage
from observability.archived_requests import ArchivedRequests
from observability.frames import frames_of
from observability.log_store import duck
from observability.log_store.day_sources import day_sources, log_folders
from observability.log_store.questions import Figures, Filter, Found, LogStore, Series, Unanswerable
from observability.reports.figures import Report, Terms
from observability.reports.month import Month
from observability.reports.monthly import report
from observability.resources import GpuReading
from observability.triage import Triage

T = TypeVar("T")

log = structlog.get_logger("indextts_app.desk")

QUESTIONS_AT_ONCE = 2
QUESTION_SECONDS = 60.0
REPORT_SECONDS = 120.0
NICENESS = 10
DUCKDB_THREADS = 1
DUCKDB_MEMORY = "384MB"

PULSE_WINDOW = timedelta(minutes=15)
PULSE_STEP = timedelta(seconds=30)
PULSE_SECONDS = 4.0
"""So long one look at the last minutes is good for everybody who looks."""

REPORTS_KEPT = 6
REPORT_KEPT_SECONDS = 300.0
MONTHS_OFFERED = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """How the service is at this moment; memory in bytes, by the worker's slot."""

    engine: str
    model_version: str | None
    in_flight: int
    waiting: int
    max_queue: int
    busy: int
    ready: int
    unloaded: int
    workers: int
    unavailable: str | None
    memory: Mapping[str, int]
    gpus: tuple[GpuReading, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """How the service is now, and what finished within `PULSE_WINDOW`, a point a `PULSE_STEP`."""

    moment: datetime
    now: Now
    series: Series | None
    """None where the log could not be asked."""
    total: Figures | None


class Desk:
    """
    Answers operators, from the API and from the operations page alike.

    Args:
        files: the lines in the log folders that the settings name, of this service and of others:
            the first place to look a request up.
        settings: of the service.
        now: tells how it is.
        own: this service's own lines, for its pulse; if not given, `files`.
        loki: where other services' lines are as well, asked about failures and months by default.
        archives: where a request is looked up that is in none of these.
    """

    def __init__(
        self,
        files: LogStore,
        settings: Settings,
        now: Callable[[], Now],
        *,
        own: LogStore | None = None,
        loki: LogStore | None = None,
        archives: ArchivedRequests | None = None,
        clock: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._own = own or files
        self._stores = {"files": files} if loki is None else {"loki": loki, "files": files}
        self._lookup = Lookup(*reversed(self._stores.values()), archives=archives, clock=clock)
        self._log_dirs = settings.all_log_dirs
        self._terms = Terms(
            slo=round(settings.slo_percent / 100, 9),
            gpu_hour_price=settings.gpu_hour_price,
            currency=settings.currency,
        )
        self._now = now
        self._clock = clock
        self._monotonic = monotonic
        self._threads = ThreadPoolExecutor(QUESTIONS_AT_ONCE, "questions", initializer=_give_way)
        self._pulse_lock = asyncio.Lock()
        self._pulse: tuple[float, Series, Figures] | None = None
        self._reports: OrderedDict[tuple[str, Month], tuple[float, Report]] = OrderedDict()
        self._report_lock = asyncio.Lock()

    @property
    def sources(self) -> tuple[str, ...]:
        """Where lines are, by the names of `log_store.sources`; the first is asked by default."""
        return tuple(self._stores)

    def moment(self) -> datetime:
        """The moment, in UTC, by the desk's own clock."""
        return self._clock()

    def close(self) -> None:
        """Take no more questions; those that wait are dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def story(self, typed: str) -> Story:
        """
        The story of a request_id or a client's own id.

        Raises:
            MalformedRequestId, Missing, Unanswerable: there is none, and why.
        """
        return await self._ask(partial(self._lookup.by_text, typed))

    async def story_of_file(self, path: Path, name: str) -> Story:
        """
        The story of the request that made an audio file; `name` is what the user calls it.

        Raises:
            Missing, Unanswerable: there is none, and why.
        """
        return await self._ask(partial(self._lookup.by_file, path, name))

    async def failures(
        self, window: timedelta, by: Sequence[str], source: str | None = None
    ) -> Triage:
        """
        What failed in the time until now, by the values of some fields.

        Raises:
            Unanswerable: the log cannot be asked.
        """
        until = self._clock()
        asked = Filter(since=until - window, until=until)
        store = self._stores[self._named(source)]
        return await self._ask(partial(triage.triaged, store, asked, by, limit=20))

    async def search(self, asked: Filter, limit: int, source: str | None = None) -> Found:
        """
        The requests that a filter means, newest first.

        Raises:
            Unanswerable: the log cannot be asked.
        """
        store = self._stores[self._named(source)]
        return await self._ask(partial(store.search, asked, limit))

    async def pulse(self) -> Pulse:
        """The service's own state, and the last minutes of the log; never fails."""
        async with self._pulse_lock:
            known = self._pulse
            if known is None or self._monotonic() - known[0] >= PULSE_SECONDS:
                try:
                    series, total = await self._ask(self._last_minutes)
                    self._pulse = known = self._monotonic(), series, total
                except Unanswerable:
                    self._pulse = known = None
        moment = self._clock()
        if known is None:
            return Pulse(moment=moment, now=self._now(), series=None, total=None)
        return Pulse(moment=moment, now=self._now(), series=known[1], total=known[2])

    async def months(self) -> tuple[Month, ...]:
        """The months that there are lines of, the newest first, and at least the last one."""
        return await self._ask(self._months)

    async def report(self, month: Month, source: str | None = None) -> Report:
        """
        The report of a month; one that was just made is not made again.

        Raises:
            Unanswerable: the log cannot be asked.
        """
        async with self._report_lock:
            key = self._named(source), month
            made = self._reports.get(key)
            if made is not None and self._monotonic() - made[0] < REPORT_KEPT_SECONDS:
                return made[1]
            known = await self._ask(
                partial(report, self._stores[key[0]], month, terms=self._terms, now=self._clock()),
                REPORT_SECONDS,
            )
            self._reports[key] = self._monotonic(), known
            self._reports.move_to_end(key)
            while len(self._reports) > REPORTS_KEPT:
                self._reports.popitem(last=False)
            return known

    def _named(self, source: str | None) -> str:
        return source if source in self._stores else self.sources[0]

    async def _ask(self, question: Callable[[], T], seconds: float = QUESTION_SECONDS) -> T:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds):
                return await loop.run_in_executor(self._threads, _answered, question)
        except TimeoutError:
            raise Unanswerable(
                en=f"The log gave no answer within {seconds:g} s. Ask for a shorter time, or try "
                "again when others are done.",
                zh=f"日志在 {seconds:g} 秒内没有给出结果。请缩短时间范围，或稍后再试。",
            ) from None

    def _last_minutes(self) -> tuple[Series, Figures]:
        # Whole steps, so that a column stands still until the next one begins.
        step = PULSE_STEP.total_seconds()
        last = -(-self._clock().timestamp() // step) * step
        until = datetime.fromtimestamp(last, self._clock().tzinfo)
        asked = Filter(since=until - PULSE_WINDOW, until=until)
        return self._own.series(asked, PULSE_STEP), self._own.counts(asked).total

    def _months(self) -> tuple[Month, ...]:
        now = self._clock()
        there = {
            Month(source.day.year, source.day.month)
            for folder in log_folders(self._log_dirs)
            for source in day_sources(folder)
        }
        there |= {Month(now.year, now.month), Month.before_now(now)}
        return tuple(sorted(there, reverse=True))[:MONTHS_OFFERED]


def _give_way() -> None:
    """Take the processor when nobody else wants it, and no more than a little memory."""
    # A thread has a priority of its own on Linux; DuckDB with one thread works in this one.
    with suppress(OSError):
        own = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, own, os.getpriority(os.PRIO_PROCESS, own) + NICENESS)
    duck.restrain(threads=DUCKDB_THREADS, memory=DUCKDB_MEMORY)


def _answered(question: Callable[[], T]) -> T:
    import duckdb  # loaded with the first question and not with the service

    try:
        return question()
    except (duckdb.Error, OSError) as error:
        log.error("operations.unanswered", kind=type(error).__name__, traceback=frames_of(error))
        raise Unanswerable(
            en=f"The log could not be read ({type(error).__name__}); the reason is in the log.",
            zh=f"日志读取失败（{type(error).__name__}），原因见日志。",
        ) from error
