"""
Closed days put away: an archive with its checksum, a copy to ask quickly, a copy elsewhere.

Each step leaves either the old or the new state, never something between: files are made under
another name and renamed, and nothing is dropped before what replaces it was read back. So a run
that is cut off at any point is made good by the next one.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import structlog

from observability.archive_files import (
    check,
    day_of_archive,
    is_sealed,
    is_torn,
    seal_of,
    sha256_of,
    sync,
    write,
    write_archive,
)
from observability.archive_forgetting import Wanted
from observability.archive_remote import Remote, RemoteFailed
from observability.log_store import day_lines, parquet, sums
from observability.log_store.day_sources import (
    ARCHIVE,
    DaySource,
    archive_name,
    day_sources,
    parquet_names,
)
from observability.log_store.duck import connect

LOCAL_DAYS = 7
"""Days that lines stay on this machine once the object storage has them."""

REMOTE_DAYS = 90
"""Days that archives stay at all."""

CLOSED_AFTER = timedelta(hours=1)
"""After midnight a day is left alone for so long, for a service whose clock runs behind."""

log = structlog.get_logger("observability.archive")


class ArchiveFailed(Exception):
    """Something could not be put away; one sentence in each language."""

    def __init__(self, *, en: str, zh: str) -> None:
        super().__init__(en)
        self.en = en
        self.zh = zh


@dataclass(slots=True)
class Done:
    """What a run did, by day; `failures` says in both languages what it could not do."""

    archived: list[date] = field(default_factory=list)
    copied: list[date] = field(default_factory=list)
    uploaded: list[date] = field(default_factory=list)
    dropped: list[date] = field(default_factory=list)
    expired: list[date] = field(default_factory=list)
    failures: list[RemoteFailed | ArchiveFailed] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What was removed; `lines_left` stand in days that are not closed yet."""

    requests: int
    lines: int
    days: int
    lines_left: int


class Archive:
    """
    The closed days of one log folder, and their copies elsewhere.

    Args:
        folder: the log folder; archives go to `archive/` in it.
        remote: object storage; without it nothing is ever dropped.
        local_days: days after which local lines are dropped, once the remote has them.
        remote_days: days after which a day is dropped everywhere.
        clock: tells the moment, in UTC.
    """

    def __init__(
        self,
        folder: Path,
        remote: Remote | None = None,
        *,
        local_days: int = LOCAL_DAYS,
        remote_days: int = REMOTE_DAYS,
        threads: int | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._folder = folder
        self._place = folder / ARCHIVE
        self._remote = remote
        self._local_days = local_days
        self._remote_days = remote_days
        self._threads = threads or min(4, os.cpu_count() or 1)
        self._clock = clock

    def run(self) -> Done:
        """
        Put every closed day away, and drop what is old enough.

        Raises:
            ArchiveFailed: another run is under way.
        """
        done = Done()
        with self._alone():
            self._sweep_partial()
            for source in self._closed():
                self._put_away(source, done)
            if self._remote is not None:
                self._expire(done)
        return done

    def rebuild_parquet(self) -> Done:
        """Make the Parquet copy of every closed day anew from its lines, wherever they are."""
        done = Done()
        with self._alone():
            self._sweep_partial()
            for source in self._closed():
                with self._telling(done), ExitStack() as stack:
                    self._copy(source, self._lines_of(source, stack))
                    done.copied.append(source.day)
        return done

    def forget(self, *, request_id: str | None = None, user: str | None = None) -> Forgotten:
        """
        Remove every line of a request, or of a user's requests, from all closed days everywhere.

        Lines of a day that is not closed yet are left, and counted. Run again after it was cut
        off, it goes on; the copy that shows what is to be found is changed last.

        Raises:
            RemoteFailed: the object storage is away; what it holds was not changed.
            ArchiveFailed: another run is under way, or a day's lines cannot be had.
        """
        wanted = Wanted(request_ids=frozenset(filter(None, [request_id])), user=user)
        with self._alone():
            self._sweep_partial()
            closed = self._closed()
            if user is not None:
                ids = [found for source in closed for found in self._found(source, wanted)]
                wanted = Wanted(request_ids=frozenset(ids), user=user)
            requests, lines, days = set[str](), 0, 0
            for source in closed:
                if found := self._found(source, wanted):
                    requests.update(found)
                    lines += self._without(source, wanted)
                    days += 1
            is_open = [each for each in day_sources(self._folder) if each not in closed]
            left = sum(wanted.count(day_lines.blocks_of(each.parts)) for each in is_open)
        log.info(
            "log.forgotten",
            by="user" if user is not None else "request",
            requests=len(requests),
            lines=lines,
            days=days,
            lines_left=left,
        )
        return Forgotten(requests=len(requests), lines=lines, days=days, lines_left=left)

    def _found(self, source: DaySource, wanted: Wanted) -> set[str]:
        """The requests of a day that are wanted, in whichever of its files they stand."""
        found = set[str]()
        archive = [source.archive] if source.archive is not None else []
        try:
            for block in day_lines.blocks_of([*source.parts, *archive]):
                found |= wanted.ids_in(block)
        except day_lines.Damaged as error:
            raise _damaged(archive_name(source.day), str(error)) from error
        copies = [path for path in (source.finished, source.other) if path is not None]
        with closing(connect()) as connection:
            for path in copies:
                try:
                    found |= wanted.ids_in_copy(connection, path)
                except parquet.Unreadable:
                    continue
        return found

    def _without(self, source: DaySource, wanted: Wanted) -> int:
        """Write a day anew without what is wanted, everywhere; returns how many lines went."""
        with ExitStack() as stack:
            removed = 0
            for path in source.parts:
                removed += wanted.count(day_lines.blocks_of([path]))
                write(path, wanted.rest_of(day_lines.blocks_of([path])))
            lines = self._lines_of(source, stack)
            if not source.has_all_parts:
                removed = wanted.count(day_lines.blocks_of(lines))
            if source.archive is not None or self._remote_holds(source.day):
                # Beside the old one until the object storage has it.
                anew = self._place / f".{archive_name(source.day)}.partial.anew.jsonl.gz"
                stack.callback(anew.unlink, missing_ok=True)
                rest = wanted.rest_of(day_lines.blocks_of(lines))
                write_archive(rest, anew, threads=self._threads)
                self._replace_archive(source, anew)
                lines = [anew] if source.archive is None else [source.archive]
            if source.finished is not None or source.other is not None:
                self._copy(source, lines)
        return removed

    def _replace_archive(self, source: DaySource, anew: Path) -> None:
        name = archive_name(source.day)
        if self._remote is not None and self._remote_holds(source.day):
            self._remote.put(anew, name)
            seal = anew.with_suffix(".sha256")
            write(seal, [f"{sha256_of(anew)}  {name}\n".encode()])
            self._remote.put(seal, seal_of(Path(name)).name)
            seal.unlink()
        if source.archive is not None:
            os.replace(anew, source.archive)
            sync(self._place)
            self._seal(source.archive)

    def _remote_holds(self, day: date) -> bool:
        return self._remote is not None and archive_name(day) in self._remote.names()

    # --- One day ---------------------------------------------------------------------------------

    def _closed(self) -> list[DaySource]:
        today = (self._clock() - CLOSED_AFTER).astimezone(UTC).date()
        return [source for source in day_sources(self._folder) if source.day < today]

    def _put_away(self, source: DaySource, done: Done) -> None:
        with self._telling(done):
            if source.has_all_parts and not self._is_archived(source):
                self._archive(source)
                done.archived.append(source.day)
                source = self._again(source)
            elif source.archive is not None:
                self._seal(source.archive)
            if not self._is_copied(source):
                with ExitStack() as stack:
                    self._copy(source, self._lines_of(source, stack))
                done.copied.append(source.day)
                source = self._again(source)
            self._sum(source)
            self._send(source, done)
            self._drop(source, done)

    def _again(self, source: DaySource) -> DaySource:
        (now,) = day_sources(self._folder, source.day, source.day)
        return now

    def _is_archived(self, source: DaySource) -> bool:
        """Whether the archive holds as much as the day's files do, and can be read."""
        if source.archive is None:
            return False
        try:
            held = day_lines.archived_size(source.archive)
        except (OSError, day_lines.Damaged):
            return False
        is_whole = day_lines.is_made_of(source.archive, held, source.parts)
        return is_whole and is_sealed(source.archive)

    def _archive(self, source: DaySource) -> None:
        target = self._place / archive_name(source.day)
        try:
            lines, raw = write_archive(
                day_lines.blocks_of(source.parts), target, threads=self._threads
            )
        except day_lines.Damaged as error:
            raise ArchiveFailed(
                en=f"{target.name} could not be written ({error}); the disk may be failing.",
                zh=f"{target.name} 写入校验失败（{error}），磁盘可能有故障。",
            ) from error
        self._seal(target)
        log.info(
            "log.archived",
            day=str(source.day),
            lines=lines,
            raw_bytes=raw,
            archive_bytes=target.stat().st_size,
        )

    def _seal(self, archive: Path) -> None:
        """Put the checksum beside an archive; one that does not fit is told, never replaced."""
        if is_sealed(archive):
            return
        try:
            check(archive)
        except (OSError, day_lines.Damaged) as error:
            raise _damaged(archive.name, str(error)) from error
        write(seal_of(archive), [f"{sha256_of(archive)}  {archive.name}\n".encode()])

    def _is_copied(self, source: DaySource) -> bool:
        if source.finished is None or source.other is None:
            return False
        with closing(connect()) as connection:
            try:
                facts = [
                    parquet.facts_of(connection, path) for path in (source.finished, source.other)
                ]
            except parquet.Unreadable:
                return False
        if facts[0] != facts[1]:
            return False
        if source.has_all_parts:
            return day_lines.is_made_of(source.finished, facts[0].raw_bytes, source.parts)
        return source.archive is None or facts[0].raw_bytes == _held(source.archive)

    def _copy(self, source: DaySource, lines: Sequence[Path]) -> None:
        import duckdb

        finished, other = (self._place / name for name in parquet_names(source.day))
        try:
            with closing(connect()) as connection:
                facts = parquet.copy_day(
                    connection,
                    lines,
                    finished,
                    other,
                    files=len(source.parts) if source.has_all_parts else 1,
                    raw_bytes=sum(map(_held, lines)),
                    torn=any(map(is_torn, source.parts)),
                )
        except duckdb.Error as error:
            reason = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
            raise ArchiveFailed(
                en=f"The Parquet copy of {source.day} could not be made ({reason}); its lines are "
                "as they were.",
                zh=f"未能生成 {source.day} 的 Parquet 副本（{reason}），日志行未受影响。",
            ) from error
        log.info("log.copied", day=str(source.day), requests=facts.finished)

    def _sum(self, source: DaySource) -> None:
        """Make the sums that a copy of an older version, or an interrupted run, lacks."""
        if source.finished is None or source.other is None:
            return
        with closing(connect()) as connection:
            facts = parquet.facts_of(connection, source.finished)
            if sums.starts_of(connection, source.finished, facts) is None:
                parquet.sum_day(connection, source.finished, source.other, facts)

    def _lines_of(self, source: DaySource, stack: ExitStack) -> list[Path]:
        """Files with all lines of a day: the service's, the archive, or the archive fetched."""
        if source.has_all_parts:
            return list(source.parts)
        if source.archive is not None:
            self._seal(source.archive)
            return [source.archive]
        return [self._fetched(source.day, stack)]

    def _fetched(self, day: date, stack: ExitStack) -> Path:
        """The archive of a day as the object storage has it, checked, for as long as needed."""
        path = self._place / f".{archive_name(day)}.partial.jsonl.gz"
        stack.callback(path.unlink, missing_ok=True)
        if self._remote is None or not self._remote.get(archive_name(day), path):
            raise self._no_lines(day)
        try:
            check(path)
        except (OSError, day_lines.Damaged) as error:
            raise self._no_lines(day) from error
        return path

    def _no_lines(self, day: date) -> ArchiveFailed:
        return ArchiveFailed(
            en=f"The lines of {day} are neither here nor in the object storage, or not whole.",
            zh=f"{day} 的日志行在本机和对象存储中均不存在或不完整。",
        )

    # --- Elsewhere -------------------------------------------------------------------------------

    def _send(self, source: DaySource, done: Done) -> None:
        if self._remote is None or source.archive is None:
            return
        archive, seal = source.archive, seal_of(source.archive)
        if self._is_old(source.day, self._remote_days):
            return
        if not self._remote.holds(archive, archive.name):
            self._remote.put(archive, archive.name)
            done.uploaded.append(source.day)
        if not self._remote.holds(seal, seal.name):
            self._remote.put(seal, seal.name)

    def _drop(self, source: DaySource, done: Done) -> None:
        """Drop local lines that are old enough, if the remote and the copy have them."""
        if self._remote is None or source.archive is None or source.finished is None:
            return
        if not self._is_old(source.day, self._local_days):
            return
        if not self._remote.holds(source.archive, source.archive.name):
            return
        # In order, so that a day without its first file is known to be on its way out.
        for path in (*source.parts, seal_of(source.archive), source.archive):
            path.unlink(missing_ok=True)
        sync(self._folder)
        done.dropped.append(source.day)
        log.info("log.dropped", day=str(source.day), files=len(source.parts) + 1)

    def _expire(self, done: Done) -> None:
        """Drop days beyond all keeping: what is elsewhere first, what is here then."""
        assert self._remote is not None  # noqa: S101  # asked by the caller
        with self._telling(done):
            stored: dict[date, list[str]] = {}
            for name in self._remote.names():
                day = day_of_archive(name)
                if day is not None and self._is_old(day, self._remote_days):
                    stored.setdefault(day, []).append(name)
            here = {source.day: source for source in self._closed()}
            old = {day for day in here if self._is_old(day, self._remote_days)}
            for day in sorted({*stored, *old}):
                for name in stored.get(day, ()):
                    self._remote.delete(name)
                if day in here:
                    _remove(here[day])
                done.expired.append(day)
                log.info("log.expired", day=str(day))

    def _is_old(self, day: date, days: int) -> bool:
        return day < self._clock().astimezone(UTC).date() - timedelta(days=days)

    # --- Around ----------------------------------------------------------------------------------

    @contextmanager
    def _telling(self, done: Done) -> Iterator[None]:
        """What fails for one day does not keep the others from being put away."""
        try:
            yield
        except (RemoteFailed, ArchiveFailed) as error:
            done.failures.append(error)
            log.error("log.archive_failed", reason=error.en)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._place.mkdir(parents=True, exist_ok=True)
        with (self._place / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ArchiveFailed(
                    en="Another run of the archive is under way; let it end.",
                    zh="另一归档任务正在运行，请等待其结束。",
                ) from None
            yield

    def _sweep_partial(self) -> None:
        for place in (self._place, self._folder):
            for path in place.glob(".indextts-*.partial*"):
                path.unlink(missing_ok=True)


def _damaged(name: str, reason: str) -> ArchiveFailed:
    return ArchiveFailed(
        en=f"{name} is damaged ({reason}). Fetch it again from the object storage "
        "(--fetch), and put it in its place.",
        zh=f"{name} 已损坏（{reason}）。请从对象存储重新取回（--fetch）并放回原处。",
    )


def _held(path: Path) -> int:
    """How many bytes of lines a file holds, plain or archived; 0 for a damaged archive."""
    if path.suffix != ".gz":
        return day_lines.whole_size(path)
    try:
        return day_lines.archived_size(path)
    except (OSError, day_lines.Damaged):
        return 0


def _remove(source: DaySource) -> None:
    paths = [*source.parts, source.other, source.finished]
    if source.archive is not None:
        paths += [seal_of(source.archive), source.archive]
    if source.finished is not None:
        sums.drop(source.finished)
    for path in paths:
        if path is not None:
            path.unlink(missing_ok=True)
