"""
Whether the service can really speak now: by its last outcomes, or by trying.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from indextts_app import errors
from indextts_app.workers.pool import WorkerPool
from observability.audio_check import check_signal
from observability.events import Event

SUSPICIOUS = 3
"""So many bad outcomes in a row, and the engine has to prove itself."""

ENGINE_OUTCOMES = ("success", "degraded", "failed", "timeout")


@dataclass(frozen=True, slots=True)
class Answer:
    """Ready or not, and why."""

    ready: bool
    reason: str


class Readiness:
    """
    A sink that remembers the last outcomes, and says whether to send more requests.

    Ready means: a worker is up, and either not all of the last three requests went wrong, or a
    short synthesis made just now came out as sound. Or nobody came for so long that all workers
    are unloaded: the next request has one loaded, and hears it speak first.
    """

    def __init__(self, pool: WorkerPool, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._clock = clock
        self._outcomes: deque[str] = deque(maxlen=SUSPICIOUS)
        self._trial = Answer(ready=True, reason="")
        self._tried_at = float("-inf")
        self._trying = asyncio.Lock()

    def started(self, event: Event) -> None:
        """Nothing is known yet."""

    def finished(self, event: Event) -> None:
        """Remember how the engine did; refused and cancelled requests say nothing about it."""
        if event.status in ENGINE_OUTCOMES:
            self._outcomes.append(event.status)

    async def answer(self) -> Answer:
        """Whether the service can speak now."""
        if self._pool.unavailable:
            return Answer(ready=False, reason=self._pool.unavailable)
        if not self._pool.ready_workers:
            if self._pool.unloaded_workers:
                return Answer(ready=True, reason="unloaded while idle; a request loads it again.")
            return Answer(ready=False, reason="every worker is being restarted.")
        if not self._outcomes:
            return Answer(ready=True, reason="the self-test of each worker passed.")
        if len(self._outcomes) < SUSPICIOUS or "success" in self._outcomes:
            return Answer(ready=True, reason="the last outcomes were good.")
        async with self._trying:
            # A trial's result stands for as long as a trial may take.
            if self._clock() - self._tried_at >= self._pool.trial_seconds:
                self._trial = await self._try()
                self._tried_at = self._clock()
        return self._trial

    async def _try(self) -> Answer:
        task = self._pool.trial_task()
        if task is None:
            return Answer(ready=False, reason="the engine is still loading.")
        try:
            async with asyncio.timeout(self._pool.trial_seconds):
                delivery = await self._pool.run(task)
        except (errors.ServiceError, TimeoutError) as error:
            return Answer(ready=False, reason=f"the last requests and a trial failed: {error}")
        if check_signal(delivery.samples, delivery.sample_rate).audio_verdict != "ok":
            return Answer(ready=False, reason="the last requests failed and a trial was not sound.")
        return Answer(ready=True, reason="the last requests failed, a trial just now did not.")
