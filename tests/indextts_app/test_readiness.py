"""Promises of readiness: by the last outcomes, and in doubt by a trial; the clock is the test's."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import numpy as np
import pytest

from indextts_app import errors, readiness
from indextts_app.engines.base import Capabilities, Task
from indextts_app.engines.drill import DrillEngine
from indextts_app.readiness import Readiness
from indextts_app.workers.listener import Listener
from indextts_app.workers.trial import trial_task
from indextts_app.workers.worker import Delivery
from observability.events import Event, Status

pytestmark = pytest.mark.anyio


@dataclass
class Pool:
    """As much of a pool as readiness asks for."""

    unavailable: str | None = None
    ready_workers: int = 1
    stopping_workers: int = 0
    unloaded_workers: int = 0
    trial_seconds: float = 10.0
    capabilities: Capabilities = field(default_factory=lambda: DrillEngine().load())
    trials: int = 0
    level: int = 1_000
    error: Exception | None = None

    def trial_task(self) -> Task:
        return trial_task(self.capabilities, None)

    async def run(self, task: Task, listener: Listener) -> Delivery:
        self.trials += 1
        listener.taken("0:1")
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        return Delivery(np.full(100, self.level, np.int16), 22_050, None)


@dataclass
class Clock:
    """A clock that moves when it is told to."""

    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def pool() -> Pool:
    """A pool with one worker, whose trials come out as sound."""
    return Pool()


@pytest.fixture
def clock() -> Clock:
    """The time of this test."""
    return Clock()


@pytest.fixture
def ready(pool: Pool, clock: Clock) -> Readiness:
    """Readiness over that pool."""
    return Readiness(pool, clock=clock)  # type: ignore[arg-type]


def see(ready: Readiness, *outcomes: Status) -> None:
    """The finished events of requests that ended so."""
    for outcome in outcomes:
        ready.finished(Event.build("synthesis.finished", {"request_id": "1", "status": outcome}))


async def test_a_new_service_with_a_worker_is_ready(ready: Readiness, pool: Pool) -> None:
    """Before the first request nothing speaks against it, and nothing is tried."""
    assert (await ready.answer()).ready
    assert pool.trials == 0


async def test_without_a_worker_it_is_not_ready(ready: Readiness, pool: Pool) -> None:
    """The answer says why: the engine's own reason, or that the workers restart."""
    pool.unavailable = "the engine is still loading."
    assert await ready.answer() == readiness.Answer(False, "the engine is still loading.")
    pool.unavailable, pool.ready_workers = None, 0
    answer = await ready.answer()
    assert not answer.ready
    assert "waits for one" in answer.reason


async def test_while_the_engine_hangs_it_is_not_ready(ready: Readiness, pool: Pool) -> None:
    """At once, and not once its process was ended; a client that leaves is no sign of it."""
    pool.stopping_workers = 1
    see(ready, "success", "cancelled")
    assert (await ready.answer()).ready
    see(ready, "timeout")
    answer = await ready.answer()
    assert not answer.ready
    assert "has not stopped" in answer.reason
    pool.ready_workers = 2
    assert (await ready.answer()).ready, "another worker is well"
    pool.ready_workers, pool.stopping_workers = 1, 0
    assert (await ready.answer()).ready


async def test_unloaded_while_idle_is_ready(ready: Readiness, pool: Pool) -> None:
    """Nobody is sent away from a service that loads with the next request, nor is it loaded now."""
    pool.ready_workers, pool.unloaded_workers = 0, 1
    see(ready, "failed", "failed", "failed")
    answer = await ready.answer()
    assert answer.ready
    assert "unloaded" in answer.reason
    assert pool.trials == 0


async def test_one_success_among_the_last_three_is_enough(ready: Readiness, pool: Pool) -> None:
    """Two failures in a row are bad luck, not an outage."""
    see(ready, "failed", "failed")
    assert (await ready.answer()).ready
    see(ready, "success", "failed", "timeout")
    assert (await ready.answer()).ready
    assert pool.trials == 0


@pytest.mark.parametrize("outcome", ["failed", "timeout", "degraded"])
async def test_after_three_bad_outcomes_a_trial_decides(
    outcome: Status, ready: Readiness, pool: Pool
) -> None:
    """The engine has to speak; if it does, the service is ready, and says on what ground."""
    see(ready, outcome, outcome, outcome)
    answer = await ready.answer()
    assert answer.ready
    assert "trial" in answer.reason
    assert pool.trials == 1


async def test_refused_and_cancelled_requests_say_nothing(ready: Readiness, pool: Pool) -> None:
    """Clients that send nonsense or leave cannot make the service look broken."""
    see(ready, *["rejected"] * 5, *["cancelled"] * 5, "lost")  # type: ignore[list-item]
    assert (await ready.answer()).ready
    assert pool.trials == 0


async def test_a_trial_that_fails_means_not_ready(ready: Readiness, pool: Pool) -> None:
    """The reason holds the trial's own error."""
    pool.error = errors.WorkerDied()
    see(ready, "failed", "failed", "failed")
    answer = await ready.answer()
    assert not answer.ready
    assert errors.WorkerDied.en in answer.reason


async def test_a_silent_trial_means_not_ready(ready: Readiness, pool: Pool) -> None:
    """An engine that answers with silence does not speak."""
    pool.level = 0
    see(ready, "degraded", "degraded", "degraded")
    assert "not sound" in (await ready.answer()).reason


async def test_a_trial_that_hangs_means_not_ready(
    ready: Readiness, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks gets an answer even if the engine gives none."""
    pool.trial_seconds = 0.02
    monkeypatch.setattr(pool, "run", lambda *_: asyncio.Event().wait())
    see(ready, "timeout", "timeout", "timeout")
    assert not (await ready.answer()).ready


@pytest.mark.parametrize("seconds", [10.0, 60.0])
async def test_a_trial_stands_for_as_long_as_it_may_take(
    seconds: float, ready: Readiness, pool: Pool, clock: Clock
) -> None:
    """However many ask, and all at once, one trial in that time is all that the engine bears."""
    pool.trial_seconds = seconds
    pool.error = errors.EngineError()
    see(ready, "failed", "failed", "failed")
    answers = await asyncio.gather(*(ready.answer() for _ in range(20)))
    assert not any(answer.ready for answer in answers)
    assert pool.trials == 1
    pool.error = None
    clock.now += seconds - 0.1
    assert not (await ready.answer()).ready
    clock.now += 0.2
    assert (await ready.answer()).ready
    assert pool.trials == 2


async def test_a_success_ends_the_doubt(ready: Readiness, pool: Pool) -> None:
    """One request that went well is better proof than a trial."""
    pool.error = errors.EngineError()
    see(ready, "failed", "failed", "failed")
    assert not (await ready.answer()).ready
    see(ready, "success")
    assert (await ready.answer()).ready


async def test_a_full_queue_is_no_proof(ready: Readiness, pool: Pool) -> None:
    """A trial that could not even be asked for changes nothing; it is tried again."""
    pool.error = errors.QueueFull(waiting=3)
    see(ready, "failed", "failed", "failed")
    assert (await ready.answer()).ready
    pool.error = errors.EngineError()
    assert not (await ready.answer()).ready


async def test_what_is_known_against_the_engine_is_told_at_once(pool: Pool) -> None:
    """Without asking it."""
    ready = Readiness(pool, trouble=lambda: "the engine fails.")  # type: ignore[arg-type]
    assert await ready.answer() == readiness.Answer(False, "the engine fails.")
    assert pool.trials == 0
