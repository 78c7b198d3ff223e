"""Promises of self-healing: tried before it acts, acts where it may, and gives up in the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from indextts_app import healing
from indextts_app.breaker import FAILURES, WAITS
from indextts_app.healing import GIVE_UP_SECONDS, Healer
from indextts_app.trials import Trial
from indextts_app.workers.pool import WorkerPool
from observability.events import Event, Status

pytestmark = pytest.mark.anyio


@dataclass
class World:
    """A pool, the trials that it gives, and the clock."""

    ready_workers: int = 1
    unloaded_workers: int = 0
    unavailable: str | None = None
    start_seconds: float = 10.0
    trial: Trial = field(default_factory=lambda: Trial("failed", "no sound."))
    trials: int = 0
    restarts: int = 0
    now: float = 0.0
    gave_up: str | None = None

    async def restart_all(self, reason: str) -> None:
        assert reason == "unhealthy"
        self.restarts += 1

    def give_up(self, reason: str) -> None:
        self.gave_up = reason


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A world in which trials fail."""
    world = World()

    async def trial(_: object) -> Trial:
        world.trials += 1
        return world.trial

    monkeypatch.setattr(healing, "trial", trial)
    return world


def healer_of(world: World, *, acts: bool) -> Healer:
    """What heals it."""
    return Healer(
        cast("WorkerPool", world), acts=acts, give_up=world.give_up, clock=lambda: world.now
    )


def see(healer: Healer, status: Status, times: int = FAILURES, **fields: Any) -> None:
    """So many finished requests."""
    for _ in range(times):
        fields = {"request_id": "1", "status": status, **fields}
        healer.finished(Event.build("synthesis.finished", fields))


async def test_it_acts_on_a_failed_trial_only(world: World) -> None:
    """Five requests may fail for what they asked: then a trial succeeds, and nothing is done."""
    healer = healer_of(world, acts=True)
    world.trial = Trial("passed", "")
    await healer.look()
    assert world.trials == 0
    see(healer, "failed")
    await healer.look()
    assert (world.trials, world.restarts, healer.trouble) == (1, 0, None)


async def test_workers_are_restarted_and_requests_wait(world: World) -> None:
    """Each step is told; a trial closes the breaker again, not earlier than its time."""
    healer = healer_of(world, acts=True)
    see(healer, "timeout")
    with capture_logs() as lines:
        await healer.look()
        assert world.restarts == 1
        assert healer.trouble == "the engine fails: no sound."
        refusal = healer.refusal()
        assert refusal is not None
        assert (refusal.code, refusal.retry_after_seconds) == ("circuit_open", 5)
        world.trial = Trial("passed", "")
        await healer.look()
        assert world.trials == 1
        world.now += WAITS[0]
        await healer.look()
    assert (healer.trouble, healer.refusal(), world.trials) == (None, None, 2)
    assert [line["event"] for line in lines] == [
        "breaker.opened",
        "breaker.half_open",
        "breaker.closed",
    ]
    assert lines[0]["acted"] is True


async def test_who_only_observes_changes_nothing(world: World) -> None:
    """It is logged what would be done; the truth about readiness is told all the same."""
    healer = healer_of(world, acts=False)
    see(healer, "failed")
    with capture_logs() as lines:
        await healer.look()
    assert [(line["event"], line["acted"]) for line in lines] == [("breaker.opened", False)]
    assert (world.restarts, healer.refusal()) == (0, None)
    assert healer.trouble == "the engine fails: no sound."
    world.now += 10 * GIVE_UP_SECONDS
    await healer.look()
    assert world.gave_up is None


@pytest.mark.parametrize(
    ("status", "verdict", "counts"),
    [
        ("success", "ok", False),
        ("degraded", "silent", True),
        ("degraded", "wrong_format", True),
        ("degraded", "clipped", False),
        ("degraded", "truncated", False),
        ("failed", None, True),
        ("timeout", None, True),
        ("rejected", None, False),
        ("cancelled", None, False),
    ],
)
async def test_what_counts_against_the_engine(
    world: World, status: Status, verdict: str | None, counts: bool
) -> None:
    """Its failures and what cannot be heard; not what was refused, or given up."""
    healer = healer_of(world, acts=True)
    see(healer, status, **({"audio_verdict": verdict} if verdict else {}))
    await healer.look()
    assert bool(world.trials) == counts


async def test_a_service_that_is_only_busy_is_left_alone(world: World) -> None:
    """No trial could be made: nothing is known, and nothing is done."""
    world.trial = Trial("no_turn", "every worker is busy.")
    healer = healer_of(world, acts=True)
    see(healer, "timeout")
    await healer.look()
    await healer.look()
    assert (world.trials, world.restarts, healer.trouble) == (2, 0, None)


async def test_where_nothing_helps_the_process_ends(world: World) -> None:
    """After a quarter of an hour without a worker, or of failed trials; an idle one is well."""
    healer = healer_of(world, acts=True)
    world.ready_workers, world.unloaded_workers = 0, 1
    world.now += 10 * GIVE_UP_SECONDS
    await healer.look()
    assert world.gave_up is None
    world.unloaded_workers, world.unavailable = 0, "the GPU is lost."
    world.now += GIVE_UP_SECONDS - 1
    await healer.look()
    assert world.gave_up is None
    world.now += 1
    await healer.look()
    assert world.gave_up == "the GPU is lost."


async def test_an_engine_that_fails_is_braked_and_mended(
    tmp_path: Path,
    drill_settings: Callable[..., Any],
    running: Callable[..., Any],
    until: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The whole service: refusals and the truth on /health, and then it speaks again."""
    monkeypatch.setattr(healing, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr("indextts_app.breaker.WAITS", (0.5,))
    async with running(drill_settings(tmp_path, self_heal="act")) as service:
        pool = service.service.pool
        sound = pool.trial_task()
        monkeypatch.setattr(pool, "trial_task", lambda: replace(sound, speaker="error"))
        first = pool.pids()
        for _ in range(FAILURES):
            assert (await service.speak(speaker="error")).status_code == 503
        await until(lambda: service.service.healer.is_open)
        refused = await service.speak()
        assert (refused.status_code, refused.json()["error"]) == (503, "circuit_open")
        assert int(refused.headers["retry-after"]) >= 1
        health = await service.client.get("/health")
        assert health.status_code == 503
        await until(lambda: pool.ready_workers and pool.pids() != first)
        monkeypatch.setattr(pool, "trial_task", lambda: sound)
        await until(lambda: not service.service.healer.is_open)
        assert (await service.speak()).status_code == 200
        assert (await service.client.get("/health")).status_code == 200
    assert service.log.lines("breaker.closed")
    assert service.log.lines("worker.ended", reason="unhealthy")
