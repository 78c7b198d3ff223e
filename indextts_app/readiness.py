"""
Whether the service can really speak now: by its last outcomes, or by trying.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from indextts_app.trials import trial
from indextts_app.workers.interface import Pool
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
    short synthesis made just now came out as sound; and not all workers hang. Or nobody came for so
    long that all workers are unloaded: the next request has one loaded, and hears it speak first.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        clock: Callable[[], float] = time.monotonic,
        trouble: Callable[[], str | None] = lambda: None,
    ) -> None:
        """
        Args:
            pool: whose workers they are.
            clock: seconds.
            trouble: what is known against the engine without asking it; None for nothing.
        """
        self._pool = pool
        self._trouble = trouble
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
            return Answer(ready=False, reason="no worker is ready; whoever asks waits for one.")
        if trouble := self._trouble():
            return Answer(ready=False, reason=trouble)
        if self._hangs():
            reason = "a request took too long, and the engine has not stopped for it yet."
            return Answer(ready=False, reason=reason)
        if not self._outcomes:
            return Answer(ready=True, reason="the self-test of each worker passed.")
        if "success" in self._outcomes:
            return Answer(ready=True, reason="the last outcomes were good.")
        if len(self._outcomes) < SUSPICIOUS:
            return Answer(ready=True, reason=f"fewer than {SUSPICIOUS} outcomes were bad in a row.")
        async with self._trying:
            # A trial's result stands for as long as a trial may take.
            if self._clock() - self._tried_at >= self._pool.trial_seconds:
                await self._try()
        return self._trial

    def _hangs(self) -> bool:
        """Whether every worker is one that goes on beyond a deadline: it stops, or is killed."""
        return (
            bool(self._outcomes)
            and self._outcomes[-1] == "timeout"
            and self._pool.stopping_workers >= self._pool.ready_workers
        )

    async def _try(self) -> None:
        found = await trial(self._pool)
        if found.outcome == "not_taken":
            # Nothing was learnt: what was known before stands.
            return
        self._tried_at = self._clock()
        if found.good:
            reason = "the last requests failed, a trial just now did not."
        else:
            reason = f"the last requests and a trial failed: {found.reason}"
        self._trial = Answer(ready=bool(found.good), reason=reason)
