"""A short synthesis that any sound worker can do, made to see whether one can."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Literal

from indextts_app import errors
from indextts_app.workers.interface import Pool
from indextts_app.workers.listener import Silence
from observability.audio_check import check_signal

Outcome = Literal["passed", "failed", "no_turn", "not_taken"]
"""The audio was sound; it was not, or there was none; no worker was free in time; nobody could even
be asked."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of it."""

    outcome: Outcome
    reason: str

    @property
    def good(self) -> bool | None:
        """Whether the engine is sound; None where that is not known."""
        return {"passed": True, "failed": False}.get(self.outcome)


class _Taken(Silence):
    """Knows when a worker has it."""

    def __init__(self) -> None:
        self.taken_by: str | None = None

    def taken(self, worker: str) -> None:
        self.taken_by = worker


async def trial(pool: Pool) -> Trial:
    """
    Have a worker say a short sentence, and listen to it.

    It waits for its turn like any request. One that gets none in time tells nothing: a service that
    has much to do is not broken.
    """
    task = pool.trial_task()
    if task is None:
        return Trial("not_taken", "the engine is still loading.")
    taken = _Taken()
    try:
        async with asyncio.timeout(pool.trial_seconds):
            delivery = await pool.run(task, taken)
    except errors.QueueFull:
        return Trial("not_taken", "the queue is full.")
    except (errors.ServiceError, TimeoutError) as error:
        if taken.taken_by is None and isinstance(error, TimeoutError):
            return Trial("no_turn", "every worker is busy.")
        return Trial("failed", str(error) or f"no answer in {pool.trial_seconds:g} s")
    if check_signal(delivery.samples, delivery.sample_rate).audio_verdict != "ok":
        return Trial("failed", "its audio was not sound")
    return Trial("passed", "")
