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


ENDS_SECONDS = 600.0
MANY_ENDS = 5
"""A worker that has served, and ends, is started again at once; with more ends than this within
`ENDS_SECONDS`, it waits as well. Loading a model takes minutes of a GPU that others may use."""


@dataclass(eq=False, slots=True)
class _Waiter:
    listener: Listener
    worker: asyncio.Future[Worker]
    patient_until: float


class WorkerPool:
    """Runs tasks on `size` workers of this machine."""

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
        self._in_background: deque[_Waiter] = deque()
        self._unloaded: dict[int, asyncio.Event] = {}
        self._reloading: set[int] = set()
        self._recycling: set[int] = set()
        self._start_seconds = 0.0
        self._starts_end: dict[int, float] = {}
        self._unfit = False
        self._busy = 0
        self._stopping = 0
        self._busy_in_background = 0
        self._closing = False
        self._draining = False
        self._supervisors: list[asyncio.Task[None]] = []
        self._background: set[asyncio.Task[None]] = set()

    @property
    def unavailable(self) -> str | None:
        """See `Pool`, as for all of it; an engine of a pool is a worker here."""
        return None if self._refusal is None else str(self._refusal().details["reason"])

    def not_ready(self) -> errors.NotReady:
        return (self._refusal or _loading)()

    def check_open(self) -> None:
        if self._refusal:
            raise self._refusal()

    @property
    def is_unfit(self) -> bool:
        """Whether the latest start of a worker failed, and none is ready."""
        return self._unfit and not self._alive

    @property
    def is_idle(self) -> bool:
        """Whether a worker is free at this moment."""
        return bool(self._idle)

    @property
    def size(self) -> int:
        return self._size

    @property
    def places(self) -> int:
        return self._size + self._max_queue

    @property
    def waiting(self) -> int:
        return len(self._waiters)

    @property
    def busy(self) -> int:
        return self._busy

    @property
    def ready_workers(self) -> int:
        return len(self._alive)

    @property
    def stopping_workers(self) -> int:
        """Workers whose task was given up, and whose engine has not stopped yet."""
        return self._stopping

    @property
    def unloaded_workers(self) -> int:
        return len(self._unloaded) + len(self._reloading)

    @property
    def trial_seconds(self) -> float:
        return self._spec.trial_seconds

    def pids(self) -> dict[str, int]:
        # A copy, because a scrape asks from another thread.
        return {str(slot): worker.pid for slot, worker in list(self._alive.items())}

    def start(self) -> None:
        self._supervisors = [
            asyncio.create_task(self._supervise(slot)) for slot in range(self._size)
        ]
        if self._ladder.idle_unload_seconds:
            self._supervisors.append(asyncio.create_task(self._look_for_idle()))

    @property
    def start_seconds(self) -> float:
        return self._spec.start_seconds

    async def restart_all(self, reason: str) -> None:
        await asyncio.gather(*(worker.end(reason) for worker in list(self._alive.values())))

    def drain(self) -> None:
        self._draining = True
        self._refusal = _shutting_down

    async def stop(self, grace_seconds: float) -> int:
        self._closing = True
        self.drain()
        for waiter in self._all_waiters():
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
        background: bool = False,
    ) -> Delivery:
        """
        See `Pool.run`.

        The worker of a caller that left is free again when its engine has stopped, or has been
        replaced because it did not. While no worker is loaded, a caller waits only if one is
        expected to be within its patience, going by how long the last start took.
        """
        listener = Guarded(listener or Silence())
        waiters = self._in_background if background else self._waiters
        worker = await self._acquire(listener, self._clock() + patience_seconds, waiters)
        self._busy += 1
        self._busy_in_background += background
        listener.taken(worker.name)
        try:
            return await worker.work(task, listener)
        except asyncio.CancelledError:
            self._stopping += 1
            self._spawn(self._settle(worker))
            raise
        finally:
            self._busy -= 1
            self._busy_in_background -= background
            if worker.is_free:
                self._done_with(worker)

    async def preview(self, task: Task) -> tuple[Segment, ...]:
        """See `Pool.preview`; it does not wait for running tasks."""
        self.check_open()
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
        try:
            await worker.settle()
        finally:
            self._stopping -= 1
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

    def _all_waiters(self) -> tuple[_Waiter, ...]:
        return (*self._waiters, *self._in_background)

    async def _acquire(
        self, listener: Listener, patient_until: float, waiters: deque[_Waiter]
    ) -> Worker:
        self.check_open()
        if self._idle and not self._waiters and not waiters:
            return self._idle.popleft()
        # Who has an unloaded worker loaded does not queue for one that is taken.
        # Nor does the place of who waits for a task in the background to end go to that task.
        places = self._max_queue + self.unloaded_workers + self._busy_in_background
        if waiters is self._waiters and len(waiters) >= places:
            raise errors.QueueFull(waiting=len(waiters))
        future: asyncio.Future[Worker] = asyncio.get_running_loop().create_future()
        waiter = _Waiter(listener, future, patient_until)
        listener.waiting(len(self._waiters))
        waiters.append(waiter)
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
                waiters.remove(waiter)
            for ahead, left in enumerate(self._all_waiters()):
                left.listener.waiting(ahead)

    def _release(self, worker: Worker) -> None:
        """Give a free worker to the next in the queue; one that has ended is forgotten."""
        if worker.ended.done() or self._closing:
            return
        for waiters in (self._waiters, self._in_background):
            while waiters:
                waiter = waiters.popleft()
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
        for waiter in self._all_waiters():
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
        ends: deque[float] = deque(maxlen=MANY_ENDS + len(BACKOFF_SECONDS))
        recycled: Worker | None = None
        while True:
            lately = sum(self._clock() - end < ENDS_SECONDS for end in ends)
            rung = max(fruitless, lately - MANY_ENDS)
            backoff = BACKOFF_SECONDS[min(rung, len(BACKOFF_SECONDS) - 1)]
            if backoff and not fruitless:
                log.warning("worker.restart_delayed", slot=slot, ends=lately, seconds=backoff)
            self._starting(slot, after=backoff)
            await asyncio.sleep(backoff)
            worker = self._latest[slot] = Worker(slot, self._spec)
            try:
                await self._bring_up(worker)
            except (WorkerUnfit, errors.ServiceError, TimeoutError) as error:
                fruitless += 1
                self._unfit = True
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
                ends.append(self._clock())
                log.error("worker.ended", worker=worker.name, reason=reason, served=worker.served)
            if reason == "unloaded":
                await self._until_wanted(worker)

    async def _until_wanted(self, worker: Worker) -> None:
        idle_seconds = round(self._clock() - worker.idle_since, 1)
        freed = _figures(Memory(worker_mb=0.0), "after")
        log.info("worker.unloaded", **_about(worker), idle_seconds=idle_seconds, **freed)
        wanted = self._unloaded[worker.slot] = asyncio.Event()
        if self._all_waiters():
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
        self._unfit = False
        self._on_ready(can)
        if not self._draining:
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
        if self._alive or self._draining:
            return
        self._refusal = refusal = functools.partial(_unfit, self._spec.engine, cause)
        for waiter in self._all_waiters():
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
