"""
The pool: a bounded queue in front of supervised workers; a worker that ends is replaced.

Between two requests it sees to a worker's memory, as the ladder says (see `memory_ladder`). A
worker that was unloaded because nobody came is started again by the next request, which waits, or
is told when to come back where the start is expected to take longer than it may wait.
"""

from __future__ import annotations

import asyncio
import functools
import math
import time
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import structlog

from indextts_app import errors
from indextts_app.engines.base import Capabilities, Memory, Segment, Task
from indextts_app.workers.listener import Guarded, Listener, Silence
from indextts_app.workers.memory_ladder import Ladder, Need, growth_mb, next_need
from indextts_app.workers.trial import trial_task
from indextts_app.workers.worker import (
    Delivery,
    EngineSpec,
    Worker,
    WorkerUnfit,
)
from observability.events import Scalar

log = structlog.get_logger("indextts_app.workers")

PREVIEW_SECONDS = 5.0
"""How long a preview may take, its wait for others included."""

MAX_PREVIEWS_WAITING = 8
"""For each worker, beside the one that it is busy with."""

LOOK_SECONDS = 5.0
"""How often, at the most, it is looked who has been idle for too long."""

PLANNED = ("recycled", "unloaded")
"""Ends of a worker that are no faults."""

BACKOFF_SECONDS = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Waits before a worker is started again, longer each time it ends without having served."""


@dataclass(eq=False, slots=True)
class _Waiter:
    listener: Listener
    worker: asyncio.Future[Worker]
    patient_until: float


class WorkerPool:
    """
    Runs tasks on `size` workers, first come first served.

    `capabilities` is None until the first worker is ready.
    """

    def __init__(
        self,
        spec: EngineSpec,
        *,
        size: int,
        max_queue: int,
        ladder: Ladder | None = None,
        clock: Callable[[], float] = time.monotonic,
        on_ready: Callable[[Capabilities], None] = lambda _can: None,
        on_restart: Callable[[str], None] = lambda _reason: None,
    ) -> None:
        self.capabilities: Capabilities | None = None
        self._refusal: Callable[[], errors.NotReady] | None = _loading
        self._spec = spec
        self._size = size
        self._max_queue = max_queue
        self._ladder = ladder or Ladder()
        self._clock = clock
        self._on_ready = on_ready
        self._on_restart = on_restart
        self._idle: deque[Worker] = deque()
        self._alive: dict[int, Worker] = {}
        self._latest: dict[int, Worker] = {}
        self._waiters: deque[_Waiter] = deque()
        self._unloaded: dict[int, asyncio.Event] = {}
        self._reloading: set[int] = set()
        self._recycling: set[int] = set()
        self._start_seconds = 0.0
        self._starts_end: dict[int, float] = {}
        self._busy = 0
        self._closing = False
        self._supervisors: list[asyncio.Task[None]] = []
        self._background: set[asyncio.Task[None]] = set()

    @property
    def unavailable(self) -> str | None:
        """Why no worker can be had; None while one is ready, being started, or unloaded."""
        return None if self._refusal is None else str(self._refusal().details["reason"])

    def not_ready(self) -> errors.NotReady:
        """The refusal for whoever comes while no worker can be had."""
        return (self._refusal or _loading)()

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiters)

    @property
    def busy(self) -> int:
        """Requests on a worker."""
        return self._busy

    @property
    def ready_workers(self) -> int:
        """Workers that are loaded, idle or busy."""
        return len(self._alive)

    @property
    def unloaded_workers(self) -> int:
        """Workers that the next request loads, or that it is loading; they count as healthy."""
        return len(self._unloaded) + len(self._reloading)

    @property
    def trial_seconds(self) -> float:
        """How long a short synthesis may take before it counts as failed."""
        return self._spec.trial_seconds

    def pids(self) -> dict[str, int]:
        """The process in each slot that has one."""
        # A copy, because a scrape asks from another thread.
        return {str(slot): worker.pid for slot, worker in list(self._alive.items())}

    def start(self) -> None:
        """Begin to start the workers; tasks are taken once the first is ready."""
        self._supervisors = [
            asyncio.create_task(self._supervise(slot)) for slot in range(self._size)
        ]
        if self._ladder.idle_unload_seconds:
            self._supervisors.append(asyncio.create_task(self._look_for_idle()))

    async def stop(self, grace_seconds: float) -> int:
        """Refuse new tasks, let running ones finish within the grace, then end every worker."""
        self._closing = True
        self._refusal = _shutting_down
        for waiter in self._waiters:
            if not waiter.worker.done():
                waiter.worker.set_exception(_shutting_down())
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                while self._busy:  # noqa: ASYNC110  # once in a process's life, no event is worth it
                    await asyncio.sleep(0.02)
        given_up = self._busy
        for supervisor in self._supervisors:
            supervisor.cancel()
        await asyncio.gather(*self._supervisors, return_exceptions=True)
        await asyncio.gather(*(worker.end("shutdown") for worker in self._latest.values()))
        return given_up

    async def run(
        self,
        task: Task,
        listener: Listener | None = None,
        *,
        patience_seconds: float = math.inf,
    ) -> Delivery:
        """
        Wait for a worker and have it work on the task.

        A caller that is cancelled leaves at once; its worker is free again when its engine has
        stopped, or has been replaced because it did not. While no worker is loaded, a caller waits
        only if one is expected to be within its patience, going by how long the last start took.
        What the listener raises is counted, and changes nothing for the task.

        Raises:
            errors.QueueFull, errors.NotReady: the task was not taken.
            errors.SynthesisFailed, errors.ReferenceRefused: see `Worker.work`.
        """
        listener = Guarded(listener or Silence())
        worker = await self._acquire(listener, self._clock() + patience_seconds)
        self._busy += 1
        listener.taken(worker.name)
        try:
            return await worker.work(task, listener)
        except asyncio.CancelledError:
            self._spawn(self._settle(worker))
            raise
        finally:
            self._busy -= 1
            if worker.is_free:
                self._done_with(worker)

    async def preview(self, task: Task) -> tuple[Segment, ...]:
        """
        The segments that a task's text will be cut into, without waiting for running tasks.

        Raises:
            errors.QueueFull: as many previews wait as may wait.
            errors.NotReady: no worker can say, or none said it in time.
            errors.InvalidField: the engine cannot cut this text, or no text at all.
            errors.EngineError: the engine failed.
        """
        if self._refusal:
            raise self._refusal()
        if not self._alive:
            self._reload_one()
            raise self._being_loaded()
        worker = min(self._alive.values(), key=lambda one: (one.previews, not one.is_free))
        if worker.previews > MAX_PREVIEWS_WAITING:
            raise errors.QueueFull(waiting=MAX_PREVIEWS_WAITING * len(self._alive))
        worker.idle_since = self._clock()
        try:
            async with asyncio.timeout(PREVIEW_SECONDS):
                return await worker.preview(task)
        except TimeoutError:
            raise errors.NotReady(
                reason="the preview took too long.", reason_zh="预览耗时过长。"
            ) from None
        except errors.WorkerDied:
            raise errors.NotReady(
                reason="the worker was just replaced.", reason_zh="合成进程刚被替换。"
            ) from None

    def trial_task(self) -> Task | None:
        """A short synthesis that any worker must be able to do; None before one was ready."""
        can = self.capabilities
        return None if can is None else trial_task(can, self._spec.sample_voice)

    def unload_idle(self) -> None:
        """Unload every worker that has been idle for too long, or say that it would be."""
        for worker in list(self._idle):
            idle_seconds = self._clock() - worker.idle_since
            if not self._ladder.unloads_after(idle_seconds) or "unload" in worker.tried:
                continue
            worker.tried.add("unload")
            worker.trouble = "idle"
            if self._ladder.acts:
                self._idle.remove(worker)
                self._spawn(worker.end("unloaded"))
            else:
                idle_seconds = round(idle_seconds, 1)
                log.info("worker.unload_proposed", **_about(worker), idle_seconds=idle_seconds)

    async def _settle(self, worker: Worker) -> None:
        await worker.settle()
        self._done_with(worker)

    def _done_with(self, worker: Worker) -> None:
        """See to the worker's memory, if anything has to be done about it, and release it."""
        if self._needed(worker) is None or worker.ended.done() or self._closing:
            self._release(worker)
        else:
            self._spawn(self._climb(worker))

    def _needed(self, worker: Worker) -> Need | None:
        # The self-test is no request.
        needs = self._ladder.needs(worker.history.reports, served=worker.served - 1)
        worker.tried &= {need.step for need in needs}
        need = next_need(needs, worker.tried)
        if need and need.step == "recycle" and self._ladder.acts and self._recycling:
            # One at a time; it is asked again after the next request.
            return None
        return need

    async def _climb(self, worker: Worker) -> None:
        while not worker.ended.done() and (need := self._needed(worker)):
            worker.tried.add(need.step)
            worker.trouble = need.reason
            if need.step != "recycle":
                await self._relieve(worker, need)
            elif self._ladder.acts:
                self._recycling.add(worker.slot)
                await worker.end("recycled")
            else:
                log.warning("worker.recycle_proposed", **_about(worker))
        self._release(worker)

    async def _relieve(self, worker: Worker, need: Need) -> None:
        before = worker.history.latest
        if not worker.relievable or before is None:
            return
        if need.step == "drop_speakers" and not before.speakers_mb:
            return
        after = await worker.relieve(need.step)
        if after:
            figures = {**_figures(before, "before"), **_figures(after, "after")}
            if need.step == "empty_cache":
                log.info("memory.cache_emptied", worker=worker.name, **figures)
            else:
                log.info("memory.speakers_dropped", worker=worker.name, **figures)

    async def _acquire(self, listener: Listener, patient_until: float) -> Worker:
        if self._refusal:
            raise self._refusal()
        if self._idle and not self._waiters:
            return self._idle.popleft()
        # Who has an unloaded worker loaded does not queue for one that is taken.
        if len(self._waiters) >= self._max_queue + self.unloaded_workers:
            raise errors.QueueFull(waiting=len(self._waiters))
        future: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        waiter = _Waiter(listener, future, patient_until)
        listener.waiting(len(self._waiters))
        self._waiters.append(waiter)
        self._reload_one()
        self._refuse_who_cannot_wait()
        try:
            return await future
        except asyncio.CancelledError:
            future.cancel()
            if not future.cancelled() and not future.exception():
                # The worker was handed over in the same moment; it goes to the next.
                self._release(future.result())
            raise
        finally:
            with suppress(ValueError):
                self._waiters.remove(waiter)
            for ahead, left in enumerate(self._waiters):
                left.listener.waiting(ahead)

    def _release(self, worker: Worker) -> None:
        """Give a free worker to the next in the queue; one that has ended is forgotten."""
        if worker.ended.done() or self._closing:
            return
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.worker.done():
                waiter.worker.set_result(worker)
                return
        worker.tried.discard("unload")
        worker.idle_since = self._clock()
        self._idle.append(worker)

    def _reload_one(self) -> None:
        if self._unloaded:
            slot, wanted = self._unloaded.popitem()
            self._reloading.add(slot)
            self._starting(slot)
            wanted.set()

    def _starting(self, slot: int, *, after: float = 0.0) -> None:
        """Expect a start to take as long as the last one, and tell those who cannot wait for it."""
        self._starts_end[slot] = self._clock() + after + self._start_seconds
        self._refuse_who_cannot_wait()

    def _refuse_who_cannot_wait(self) -> None:
        if self._alive or not self._starts_end:
            return
        ready_at = min(self._starts_end.values())
        for waiter in self._waiters:
            if waiter.patient_until < ready_at and not waiter.worker.done():
                waiter.worker.set_exception(self._being_loaded())

    def _being_loaded(self) -> errors.NotReady:
        seconds = min(self._starts_end.values(), default=self._clock()) - self._clock()
        about = max(math.ceil(seconds), 1)
        return errors.NotReady(
            reason=f"the engine is being loaded again, which takes about {about} seconds.",
            reason_zh=f"引擎正在重新加载，大约需要 {about} 秒。",
            seconds=about,
        )

    async def _look_for_idle(self) -> None:
        while True:
            await asyncio.sleep(min(LOOK_SECONDS, self._ladder.idle_unload_seconds / 10))
            self.unload_idle()

    async def _supervise(self, slot: int) -> None:
        fruitless = 0
        recycled: Worker | None = None
        while True:
            backoff = BACKOFF_SECONDS[min(fruitless, len(BACKOFF_SECONDS) - 1)]
            self._starting(slot, after=backoff)
            await asyncio.sleep(backoff)
            worker = self._latest[slot] = Worker(slot, self._spec)
            try:
                await self._bring_up(worker)
            except (WorkerUnfit, errors.ServiceError, TimeoutError) as error:
                fruitless += 1
                self._recycling.discard(slot)
                self._reloading.discard(slot)
                self._refuse(str(error))
                log.error("worker.unfit", worker=worker.name, reason=str(error))
                await worker.end("unfit")
                continue
            if recycled:
                log.info(
                    "worker.recycled",
                    **_about(recycled),
                    successor=worker.name,
                    **_figures(worker.history.latest, "after"),
                )
            reason = await asyncio.shield(worker.ended)
            self._alive.pop(slot, None)
            with suppress(ValueError):
                self._idle.remove(worker)
            planned = reason in PLANNED
            fruitless = 0 if worker.served > 1 or planned else fruitless + 1
            self._on_restart("crashed" if reason.startswith(("signal", "exit")) else reason)
            recycled = worker if reason == "recycled" else None
            if not planned:
                log.error("worker.ended", worker=worker.name, reason=reason, served=worker.served)
            if reason == "unloaded":
                await self._until_wanted(worker)

    async def _until_wanted(self, worker: Worker) -> None:
        idle_seconds = round(self._clock() - worker.idle_since, 1)
        freed = _figures(Memory(worker_mb=0.0), "after")
        log.info("worker.unloaded", **_about(worker), idle_seconds=idle_seconds, **freed)
        wanted = self._unloaded[worker.slot] = asyncio.Event()
        if self._waiters:
            # Somebody came while it ended.
            self._reload_one()
        await wanted.wait()

    async def _bring_up(self, worker: Worker) -> None:
        """Start a worker and hear it speak before it counts as ready."""
        began = self._clock()
        can = await worker.start()
        test = trial_task(can, self._spec.sample_voice)
        async with asyncio.timeout(self._spec.start_seconds):
            delivery = await worker.work(test, Silence())
        if not delivery.samples.any():
            raise WorkerUnfit("its self-test came out silent")
        self.capabilities = can
        self._on_ready(can)
        self._refusal = None
        self._alive[worker.slot] = worker
        self._start_seconds = self._clock() - began
        del self._starts_end[worker.slot]
        self._recycling.discard(worker.slot)
        self._reloading.discard(worker.slot)
        log.info(
            "worker.ready",
            worker=worker.name,
            engine=can.engine,
            engine_version=can.engine_version,
            model_version=can.model_version,
            device=can.device,
        )
        self._release(worker)

    def _refuse(self, cause: str) -> None:
        """Nobody is left to wait for: tell those who wait, and those who come."""
        if self._alive or self._closing:
            return
        self._refusal = refusal = functools.partial(_unfit, self._spec.engine, cause)
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.worker.done():
                waiter.worker.set_exception(refusal())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _loading() -> errors.NotReady:
    return errors.NotReady(reason="the engine is still loading.", reason_zh="引擎正在加载。")


def _shutting_down() -> errors.NotReady:
    return errors.NotReady(reason="it is shutting down.", reason_zh="服务正在关闭。")


def _unfit(engine: str, cause: str) -> errors.NotFit:
    cause = cause.rstrip(".")
    return errors.NotFit(
        reason=f"the engine '{engine}' does not start: {cause}.",
        reason_zh=f"引擎 {engine} 无法启动：{cause}。",
    )


def _about(worker: Worker) -> dict[str, Scalar]:
    """Why a worker is not kept, and what it held."""
    slope = growth_mb(worker.history.reports)
    return {
        "worker": worker.name,
        "served": worker.served - 1,
        **({"reason": worker.trouble} if worker.trouble else {}),
        **({} if slope is None else {"memory_slope_mb": round(slope, 3)}),
        **_figures(worker.history.latest, "before"),
    }


def _figures(memory: Memory | None, when: str) -> dict[str, float]:
    """What a worker holds, as fields of a log line; what is not known is absent."""
    return {
        f"{name.removesuffix('_mb')}_{when}_mb": round(value, 1)
        for name, value in (asdict(memory) if memory else {}).items()
        if value is not None
    }
