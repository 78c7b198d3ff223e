"""
The pool: a bounded queue in front of supervised workers; a worker that ends is replaced.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import structlog

from indextts_app import errors
from indextts_app.engines.base import Capabilities, Task
from indextts_app.workers.worker import (
    Delivery,
    EngineSpec,
    Listener,
    Silence,
    Worker,
    WorkerUnfit,
)

log = structlog.get_logger("indextts_app.workers")

BACKOFF_SECONDS = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Waits before a worker is started again, longer each time it ends without having served."""


@dataclass(eq=False, slots=True)
class _Waiter:
    listener: Listener
    worker: asyncio.Future[Worker]


class WorkerPool:
    """
    Runs tasks on `size` workers, first come first served.

    `capabilities` is None until the first worker is ready; `unavailable` says why no worker can
    be had, or is None while one is ready or being started.
    """

    def __init__(
        self,
        spec: EngineSpec,
        *,
        size: int,
        max_queue: int,
        on_ready: Callable[[Capabilities], None] = lambda _can: None,
        on_restart: Callable[[str], None] = lambda _reason: None,
    ) -> None:
        self.capabilities: Capabilities | None = None
        self.unavailable: str | None = "the engine is still loading."
        self._spec = spec
        self._size = size
        self._max_queue = max_queue
        self._on_ready = on_ready
        self._on_restart = on_restart
        self._idle: deque[Worker] = deque()
        self._alive: dict[int, Worker] = {}
        self._latest: dict[int, Worker] = {}
        self._waiters: deque[_Waiter] = deque()
        self._busy = 0
        self._closing = False
        self._supervisors: list[asyncio.Task[None]] = []
        self._settling: set[asyncio.Task[None]] = set()

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

    def pids(self) -> dict[str, int]:
        """The process in each slot that has one."""
        # A copy, because a scrape asks from another thread.
        return {str(slot): worker.pid for slot, worker in list(self._alive.items())}

    def start(self) -> None:
        """Begin to start the workers; tasks are taken once the first is ready."""
        self._supervisors = [
            asyncio.create_task(self._supervise(slot)) for slot in range(self._size)
        ]

    async def stop(self, grace_seconds: float) -> int:
        """Refuse new tasks, let running ones finish within the grace, then end every worker."""
        self._closing = True
        self.unavailable = "it is shutting down."
        for waiter in self._waiters:
            if not waiter.worker.done():
                waiter.worker.set_exception(errors.NotReady(reason=self.unavailable))
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

    async def run(self, task: Task, listener: Listener | None = None) -> Delivery:
        """
        Wait for a worker and have it work on the task.

        A caller that is cancelled leaves at once; its worker is free again when its engine has
        stopped, or has been replaced because it did not.

        Raises:
            errors.QueueFull, errors.NotReady: the task was not taken.
            errors.SynthesisFailed, errors.ReferenceRefused: see `Worker.work`.
        """
        listener = listener or Silence()
        worker = await self._acquire(listener)
        self._busy += 1
        listener.taken(worker.name)
        try:
            return await worker.work(task, listener)
        except asyncio.CancelledError:
            settling = asyncio.create_task(self._settle(worker))
            self._settling.add(settling)
            settling.add_done_callback(self._settling.discard)
            raise
        finally:
            self._busy -= 1
            if worker.is_free:
                self._release(worker)

    async def _settle(self, worker: Worker) -> None:
        await worker.settle()
        self._release(worker)

    async def _acquire(self, listener: Listener) -> Worker:
        if self.unavailable:
            raise errors.NotReady(reason=self.unavailable)
        if self._idle and not self._waiters:
            return self._idle.popleft()
        if len(self._waiters) >= self._max_queue:
            raise errors.QueueFull(waiting=len(self._waiters))
        waiter = _Waiter(listener, asyncio.get_running_loop().create_future())
        listener.waiting(len(self._waiters))
        self._waiters.append(waiter)
        try:
            return await waiter.worker
        except asyncio.CancelledError:
            if waiter.worker.done() and not waiter.worker.cancelled():
                # The worker was handed over in the same moment; it goes to the next.
                self._release(waiter.worker.result())
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
        self._idle.append(worker)

    async def _supervise(self, slot: int) -> None:
        fruitless = 0
        while True:
            await asyncio.sleep(BACKOFF_SECONDS[min(fruitless, len(BACKOFF_SECONDS) - 1)])
            worker = self._latest[slot] = Worker(slot, self._spec)
            try:
                await self._bring_up(worker)
            except (WorkerUnfit, errors.ServiceError, TimeoutError) as error:
                fruitless += 1
                self._refuse(f"the engine '{self._spec.engine}' does not start: {error}.")
                log.error("worker.unfit", worker=worker.name, reason=str(error))
                await worker.end("unfit")
                continue
            reason = await asyncio.shield(worker.ended)
            self._alive.pop(slot, None)
            with suppress(ValueError):
                self._idle.remove(worker)
            fruitless = 0 if worker.served > 1 else fruitless + 1
            self._on_restart("crashed" if reason.startswith(("signal", "exit")) else reason)
            log.error("worker.ended", worker=worker.name, reason=reason, served=worker.served)

    async def _bring_up(self, worker: Worker) -> None:
        """Start a worker and hear it speak before it counts as ready."""
        can = await worker.start()
        test = Task(
            request_id="self-test",
            text=can.self_test_text,
            speaker=can.speakers[0].id,
            emotion=can.emotions[0],
            speed=1.0,
        )
        async with asyncio.timeout(self._spec.start_seconds):
            delivery = await worker.work(test, Silence())
        if not delivery.samples.any():
            raise WorkerUnfit("its self-test came out silent")
        self.capabilities = can
        self._on_ready(can)
        self.unavailable = None
        self._alive[worker.slot] = worker
        log.info(
            "worker.ready",
            worker=worker.name,
            engine=can.engine,
            engine_version=can.engine_version,
            model_version=can.model_version,
            device=can.device,
        )
        self._release(worker)

    def _refuse(self, reason: str) -> None:
        """Nobody is left to wait for: tell those who wait, and those who come."""
        if self._alive or self._closing:
            return
        self.unavailable = reason
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.worker.done():
                waiter.worker.set_exception(errors.NotReady(reason=reason))
