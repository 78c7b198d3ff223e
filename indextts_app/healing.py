"""
Self-healing with a brake: an engine that fails again and again is started anew, and nobody is sent
to it meanwhile.

The breaker (see `breaker`) calls for a trial after failures in a row. Where the trial fails:

    act       every worker is started anew, and requests are refused at once until a trial succeeds
    observe   it is only logged what would be done

A worker that dies, hangs or grows is seen to by the pool, in both modes. Where nothing has helped
for `GIVE_UP_SECONDS`, `act` ends the process with status 70: a supervisor that starts it anew also
gets back a GPU that the container has lost. Each act is a line in the log.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from indextts_app import errors
from indextts_app.breaker import Breaker
from indextts_app.readiness import ENGINE_OUTCOMES
from indextts_app.trials import Trial, trial
from indextts_app.workers.interface import Pool
from observability.events import Event

log = structlog.get_logger("indextts_app.healing")

LOOK_SECONDS = 1.0
GIVE_UP_SECONDS = 900.0
"""Longer than an engine may take to load."""

UNSOUND = ("silent", "wrong_format")
"""Verdicts that speak against the engine; the others may come of what was asked."""


class Healer:
    """A sink that watches outcomes, and what is done about them; for the server's loop."""

    def __init__(
        self,
        pool: Pool,
        *,
        acts: bool,
        give_up: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            pool: whose workers they are.
            acts: whether anything is done, or it is only logged.
            give_up: ends the process; told why.
            clock: seconds.
        """
        self._pool = pool
        self._acts = acts
        self._give_up = give_up
        self._clock = clock
        self._breaker = Breaker(clock)
        self._well_at = clock()
        self._reason = ""

    @property
    def is_open(self) -> bool:
        """Whether the breaker is not closed."""
        return self._breaker.state != "closed"

    @property
    def trouble(self) -> str | None:
        """Why the service is not ready; None while nothing is known against it."""
        return f"the engine fails: {self._reason}." if self.is_open else None

    def refusal(self) -> errors.ServiceError | None:
        """What a request is refused with while the breaker is open, where it acts."""
        if not (self._acts and self.is_open):
            return None
        return errors.CircuitOpen(seconds=self._breaker.seconds_left)

    def started(self, event: Event) -> None:
        """Nothing is known yet."""

    def finished(self, event: Event) -> None:
        """Count an outcome that says something about the engine."""
        if event.status in ENGINE_OUTCOMES:
            good = event.status == "success" or (
                event.status == "degraded" and event.audio_verdict not in UNSOUND
            )
            self._breaker.saw(good=good)

    async def watch_forever(self) -> None:
        """Look once a second."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Try where it is time to, and do what follows from it."""
        if not self._pool.ready_workers:
            if self._pool.unloaded_workers:
                self._well_at = self._clock()
            self._consider_giving_up(
                self._pool.unavailable or "no worker is ready; whoever asks waits for one."
            )
            return
        if self._breaker.wants_trial:
            was_open = self.is_open
            self._breaker.trying()
            if was_open:
                log.info("breaker.half_open")
            await self._try(was_open=was_open)
        if self.is_open:
            self._consider_giving_up(self._reason)
        else:
            self._well_at = self._clock()

    async def _try(self, *, was_open: bool) -> None:
        found = await trial(self._pool)
        self._breaker.tried(good=found.good)
        if found.good is False:
            await self._failed(found)
        elif found.good and was_open:
            self._reason = ""
            log.info("breaker.closed")

    async def _failed(self, found: Trial) -> None:
        self._reason = found.reason.rstrip(".")
        log.error(
            "breaker.opened",
            reason=self._reason,
            acted=self._acts,
            next_trial_seconds=round(self._breaker.seconds_left, 1),
        )
        if self._acts:
            await self._pool.restart_all("unhealthy")

    def _consider_giving_up(self, reason: str) -> None:
        if self._clock() - self._well_at < max(GIVE_UP_SECONDS, 2 * self._pool.start_seconds):
            return
        self._well_at = self._clock()
        log.critical("service.gave_up", reason=reason, acted=self._acts)
        if self._acts:
            self._give_up(reason)
