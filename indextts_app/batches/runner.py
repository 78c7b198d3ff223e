"""
Works off every batch, row by row, beside everything else.

A row is a request like any other, with its event. It goes to the queue in the background: a worker
takes it only while nobody else waits for one, so that whoever asks now waits for one row at most.
Two rows for each worker are on their way, because one is being stored while the next is spoken.
Jobs take turns, so that a small one does not wait for the end of a large one.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from indextts_app import errors
from indextts_app.batches.job import About, Item, Job, Pending, State
from indextts_app.batches.table import Row
from indextts_app.settings import Settings
from indextts_app.synthesis import Caller, SynthesisResult
from indextts_app.synthesizer import Synthesizer
from observability import request_id
from observability.observe import outcome_of

log = structlog.get_logger("indextts_app.batches")

ROWS_EACH = 2
"""On their way for each worker."""

LOOK_SECONDS = 1.0
"""How often it is looked whether rows can be worked on again, while they cannot."""

KEPT = 2
"""Times as many rows as may be unfinished are kept, those of batches that have ended among them:
what came of each is in memory, half a kilobyte to one."""

SWEEP_SECONDS = 600.0

Error = tuple[str, str]


class Batches:
    """All jobs of a service; for its event loop."""

    def __init__(self, synthesizer: Synthesizer, settings: Settings) -> None:
        self._synthesizer = synthesizer
        self._settings = settings
        self._folder = settings.batch_dir
        self._jobs: dict[str, Job] = {}
        self._turns: deque[Job] = deque()
        self._slots = asyncio.Semaphore(ROWS_EACH * synthesizer.pool.size)
        self._news = asyncio.Event()
        self._rows: dict[asyncio.Task[None], Job] = {}
        self._loops: list[asyncio.Task[None]] = []
        self._stopping = False
        self._bytes = 0

    def start(self) -> None:
        """Find the jobs of before, and go on where they stopped."""
        for path in sorted(self._folder.glob("*")) if self._folder.is_dir() else ():
            if path.name.startswith("."):
                # It was being made when the process ended, and nobody was told of it.
                _remove_part(path)
            elif job := Job.load(path):
                self._add(job)
                self._tell_found(job)
            elif path.is_dir():
                log.error("batch.unreadable", job_id=path.name)
        self._loops = [
            asyncio.create_task(self._serve()),
            asyncio.create_task(self._sweep_forever()),
        ]

    async def stop(self) -> None:
        """Give up the rows that are being worked on; they are done again after the next start."""
        self._stopping = True
        tasks = [*self._loops, *self._rows]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def unfinished(self) -> int:
        """Jobs that have not ended."""
        return len(self._turns)

    async def begin(
        self, rows: Sequence[Row], defaults: Mapping[str, object], caller: Caller
    ) -> Job:
        """
        A new job, which is worked off from now on; its id is that of the request that brought it.

        Raises:
            errors.BatchesFull: there are as many as there may be, or too much audio of them.
            errors.StorageFailed: it cannot be written.
        """
        self._check_room(len(rows))
        about = About(caller.request_id, caller.user, len(rows), round(time.time(), 3))
        job = await asyncio.to_thread(Job.create, self._folder, about, rows, defaults)
        self._add(job)
        self._news.set()
        return job

    def get(self, job_id: str, user: str | None) -> Job:
        """
        The job with this id.

        Raises:
            errors.UnknownBatch: there is none, or it is another user's.
        """
        job = self._jobs.get(job_id.upper())
        if job is None or job.about.owner not in (None, user):
            raise errors.UnknownBatch
        return job

    async def cancel(self, job: Job) -> None:
        """End a job now; the rows that are being worked on are cancelled, with their events."""
        if job.has_ended or job not in self._turns:
            return
        self._turns.remove(job)
        mine = [task for task, one in self._rows.items() if one is job]
        for task in mine:
            task.cancel()
        await asyncio.gather(*mine, return_exceptions=True)
        await self._ended(job, "cancelled")

    async def remove(self, job: Job) -> None:
        """Delete everything of a job that has ended; there is room for another at once."""
        if self._jobs.pop(job.about.job_id, None):
            self._bytes -= await asyncio.to_thread(lambda: job.audio_bytes)
            await asyncio.to_thread(job.remove)

    def _add(self, job: Job) -> None:
        self._jobs[job.about.job_id] = job
        self._bytes += job.audio_bytes
        if not job.has_ended:
            self._turns.append(job)

    def _check_room(self, more_rows: int) -> None:
        if self.unfinished >= self._settings.max_batches:
            raise errors.BatchesFull(
                reason=f"{self.unfinished} are not finished yet.",
                reason_zh=f"有 {self.unfinished} 个任务尚未完成。",
            )
        kept = sum(job.about.total for job in self._jobs.values())
        limit_rows = KEPT * self._settings.max_batches * self._settings.max_batch_rows
        if kept + more_rows > limit_rows:
            raise errors.BatchesFull(
                reason=f"{kept:,} rows are kept already, of {limit_rows:,} that may be.",
                reason_zh=f"已保存 {kept:,} 行，最多 {limit_rows:,} 行。",
            )
        if self._is_over():
            limit = f"{self._settings.batch_max_mb:g}"
            raise errors.BatchesFull(
                reason=f"their audio takes {limit} MB already.",
                reason_zh=f"已有音频达到 {limit} MB。",
            )

    def _is_over(self) -> bool:
        limit = self._settings.batch_max_mb * 1e6
        return bool(limit) and self._bytes >= limit

    async def _serve(self) -> None:
        while True:
            await self._slots.acquire()
            job, pending = await self._next()
            job.running[pending.row] = new_id = request_id.new()
            task = asyncio.create_task(self._row(job, pending, new_id))
            self._rows[task] = job
            task.add_done_callback(partial(self._row_ended, pending.row))

    async def _next(self) -> tuple[Job, Pending]:
        """The next row of the job whose turn it is, as soon as rows can be worked on."""
        while True:
            self._news.clear()
            await self._end_those_done()
            if self._turns and not self._can_work():
                await asyncio.sleep(LOOK_SECONDS)
                continue
            for _ in range(len(self._turns)):
                job = self._turns[0]
                self._turns.rotate(-1)
                self._tell_started(job)
                if pending := job.take():
                    return job, pending
            await self._news.wait()

    async def _end_those_done(self) -> None:
        """Whatever keeps further rows from being worked on."""
        while job := next((job for job in self._turns if _is_done(job)), None):
            self._tell_started(job)
            await self._ended(job, "finished")

    def _can_work(self) -> bool:
        """Whether a row could be done now; else each would only be refused, and jobs say why."""
        reason = self._obstacle()
        for job in self._turns:
            job.reason = reason
        return reason is None

    def _obstacle(self) -> Error | None:
        try:
            self._synthesizer.pool.check_open()
            self._synthesizer.storage.check()
        except errors.ServiceError as error:
            return error.message("en"), error.message("zh")
        if self._is_over():
            full = errors.BatchesFull(
                reason="their audio takes too much already.", reason_zh="已有音频过多。"
            )
            return full.message("en"), full.message("zh")
        return None

    async def _row(self, job: Job, pending: Pending, new_id: str) -> None:
        caller = Caller(new_id, "batch", user=job.about.owner, job_id=job.about.job_id)
        try:
            result = await self._synthesizer.synthesize(
                pending.asked, caller, needs_file=True, background=True
            )
        except (errors.NotReady, errors.GivenUp):
            # No worker could be had any more; the row waits until one can, or for the next start.
            job.put_back(pending.row)
        except errors.ServiceError as error:
            item = _failed(pending, new_id, error)
            await self._keep(job, item, None)
        except asyncio.CancelledError:
            if not self._stopping:
                await self._keep(job, Item(pending.row, pending.line, new_id, "cancelled"), None)
            raise
        except Exception as error:  # noqa: BLE001  # an edge: one row must not end all others
            await self._keep(job, _failed(pending, new_id, errors.ServiceError()), None)
            log.error("batch.unexpected", request_id=new_id, kind=type(error).__name__)
        else:
            await self._deliver(job, pending, result)

    async def _deliver(self, job: Job, pending: Pending, result: SynthesisResult) -> None:
        name = job.file_name(pending, result.request_id, result.request.format.value)
        item = Item(
            row=pending.row,
            line=pending.line,
            request_id=result.request_id,
            status="success" if result.verdict == "ok" else "degraded",
            file=name,
            verdict=result.verdict,
            audio_seconds=round(result.signal.audio_seconds, 3),
            seed=result.seed,
        )
        stored = result.path if result.path.is_file() else result.audio
        self._bytes += len(result.audio)
        await self._keep(job, item, stored)

    async def _keep(self, job: Job, item: Item, audio: Path | bytes | None) -> None:
        """What cannot be kept is done again after a while: the job would have a hole."""
        try:
            await _to_the_end(asyncio.to_thread(job.add, item, audio))
        except OSError as error:
            log.error(
                "batch.not_stored",
                job_id=job.about.job_id,
                request_id=item.request_id,
                reason=error.strerror,
            )
            await asyncio.sleep(LOOK_SECONDS)
            job.put_back(item.row)

    def _row_ended(self, row: int, task: asyncio.Task[None]) -> None:
        """Of one that was cancelled before it began as well."""
        job = self._rows.pop(task)
        del job.running[row]
        self._slots.release()
        self._news.set()

    async def _ended(self, job: Job, state: State) -> None:
        with suppress(ValueError):
            self._turns.remove(job)
        job.about = await asyncio.to_thread(job.put_away, state)
        self._tell_finished(job)

    def _tell_found(self, job: Job) -> None:
        """Of a job from before this start: that it goes on, or its end if that was not told."""
        if job.has_ended:
            self._tell_finished(job)
        elif "started" in job.about.told:
            log.info("batch.resumed", **_about(job), rows_done=job.done)

    def _tell_started(self, job: Job) -> None:
        """Once in the life of a job, from the loop's own context: it is no request's event."""
        if job.about.state == "waiting":
            job.about.state = "running"
        if "started" not in job.about.told:
            job.about.told.append("started")
            job.save()
            log.info("batch.started", **_about(job))

    def _tell_finished(self, job: Job) -> None:
        if "finished" not in job.about.told:
            ended = job.about.ended or job.about.created
            job.about.told.append("finished")
            job.save()
            log.info(
                "batch.finished",
                **_about(job),
                status=job.about.state,
                rows_done=job.done,
                duration_seconds=round(ended - job.about.created, 3),
                **{f"rows_{status}": count for status, count in sorted(job.counts.items())},
            )

    async def _sweep_forever(self) -> None:
        while True:
            await self.sweep(time.time())
            await asyncio.sleep(SWEEP_SECONDS)

    async def sweep(self, now: float) -> None:
        """Delete the jobs that ended so long ago that their audio would be gone as well."""
        keep_seconds = self._settings.output_keep_hours * 3600
        old = [
            job
            for job in self._jobs.values()
            if job.has_ended and now - (job.about.ended or now) > keep_seconds
        ]
        for job in old:
            await self.remove(job)
        if old:
            log.info("batch.swept", jobs=len(old))
        self._bytes = await asyncio.to_thread(
            lambda: sum(job.audio_bytes for job in list(self._jobs.values()))
        )


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Who is cancelled meanwhile waits all the same: a thread cannot be stopped."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise


def _is_done(job: Job) -> bool:
    return job.is_worked_off and not job.running


def _about(job: Job) -> dict[str, object]:
    about = job.about
    owner = {} if about.owner is None else {"user": about.owner}
    return {"job_id": about.job_id, **owner, "rows": about.total}


def _failed(pending: Pending, new_id: str, error: errors.ServiceError) -> Item:
    return Item(
        row=pending.row,
        line=pending.line,
        request_id=new_id,
        status=outcome_of(error).status,
        error=error.code,
        message=error.message("en"),
        message_zh=error.message("zh"),
    )


def _remove_part(path: Path) -> None:
    if path.name.endswith(".part"):
        shutil.rmtree(path, ignore_errors=True)
