"""Promises of the pool about memory, with real workers that really keep it; the clock is ours."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pooling import DRILL, Ear, is_gone, task

from indextts_app import errors
from indextts_app.workers import memory_ladder, worker
from indextts_app.workers.memory_ladder import Ladder
from indextts_app.workers.worker import EngineSpec

if TYPE_CHECKING:
    from conftest import LogReader

pytestmark = pytest.mark.anyio

Until = Callable[[Callable[[], object]], Awaitable[None]]

LEAKING = replace(DRILL, options={"seconds": 0.0, "leak_mb": 2.0})

FIGURES = {
    f"{name}_{when}_mb"
    for name in ("worker", "allocated", "reserved", "speakers")
    for when in ("before", "after")
}


@dataclass
class Clock:
    """A clock that moves when it is told to."""

    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Growth is told after a few requests, and nothing is spared."""
    monkeypatch.setattr(memory_ladder, "WARM_UP", 0)
    monkeypatch.setattr(memory_ladder, "ENOUGH", 6)
    monkeypatch.setattr(memory_ladder, "SERVED_AT_LEAST", 2)


async def test_each_request_tells_what_the_worker_holds(pools: Any) -> None:
    """Its resident memory, and its growth a request once there are enough of them."""
    ears = [Ear() for _ in range(8)]
    async with pools(LEAKING) as pool:
        for ear in ears:
            await pool.run(task("leak"), ear)
    held = [ear.notes["worker_memory_mb"] for ear in ears]
    assert held[-1] - held[0] == pytest.approx(7 * 6, abs=6)
    assert "memory_slope_mb" not in ears[0].notes
    assert ears[-1].notes["memory_slope_mb"] == pytest.approx(2, abs=0.5)


async def test_unused_memory_is_given_back(pools: Any, until: Until, log: LogReader) -> None:
    """Between two requests, by the same process, with the figures before and after."""
    async with pools(LEAKING, ladder=Ladder(empty_cache_mb=1)) as pool:
        pids = pool.pids()
        await pool.run(task("leak"))
        await pool.run(task())
        assert pool.pids() == pids
    (line,) = log.lines("memory.cache_emptied")
    assert set(line) >= FIGURES
    assert (line["reserved_before_mb"], line["reserved_after_mb"]) == (6, 4)
    assert line["worker"] == f"0:{pids['0']}"


async def test_too_much_memory_costs_the_speakers_once(pools: Any, log: LogReader) -> None:
    """Where that does not help it is not done again with each request; the rest is proposed."""
    async with pools(LEAKING, ladder=Ladder(worker_memory_mb=1)) as pool:
        pids = pool.pids()
        for _ in range(6):
            await pool.run(task("leak"))
        await pool.run(task())
        assert pool.pids() == pids
    (line,) = log.lines("memory.speakers_dropped")
    assert set(line) >= FIGURES
    assert (line["speakers_before_mb"], line["speakers_after_mb"]) == (2, 0)
    (line,) = log.lines("worker.recycle_proposed")
    assert (line["reason"], line["served"], line["level"]) == ("memory", 2, "warning")
    assert not log.lines("worker.recycled")


async def test_a_leak_costs_the_worker_and_no_request(
    pools: Any, until: Until, log: LogReader
) -> None:
    """Each request is served; the new process holds less, and nothing of it is an error."""
    restarts: list[str] = []
    ladder = Ladder(memory_slope_mb=1, acts=True)
    async with pools(LEAKING, ladder=ladder, on_restart=restarts.append) as pool:
        (old,) = pool.pids().values()
        for _ in range(8):
            assert (await pool.run(task("leak"))).samples.any()
        await until(lambda: log.lines("worker.recycled"))
        (new,) = pool.pids().values()
    assert is_gone(old)
    (line,) = log.lines("worker.recycled")
    assert set(line) >= FIGURES
    assert line["reason"] == "growth"
    assert line["memory_slope_mb"] == pytest.approx(2, abs=0.5)
    assert line["worker_after_mb"] < line["worker_before_mb"] - 20
    assert (line["worker"], line["successor"]) == (f"0:{old}", f"0:{new}")
    assert restarts == ["recycled"]
    assert not [line for line in log.lines() if line["level"] in ("error", "warning")]


async def test_a_leak_is_only_told_where_nobody_allowed_more(pools: Any, log: LogReader) -> None:
    """Proposed once, and not with each request."""
    async with pools(LEAKING, ladder=Ladder(memory_slope_mb=1)) as pool:
        pids = pool.pids()
        for _ in range(12):
            await pool.run(task("leak"))
        assert pool.pids() == pids
    (line,) = log.lines("worker.recycle_proposed")
    assert line["reason"] == "growth"


async def test_workers_are_recycled_one_at_a_time(pools: Any, until: Until, log: LogReader) -> None:
    """While one is replaced, the others keep serving, whatever they have served already."""
    ladder, unhurried = Ladder(recycle_requests=2, acts=True), replace(DRILL, options={})
    async with pools(unhurried, size=2, ladder=ladder) as pool:
        lowest = 2

        async def ask() -> None:
            nonlocal lowest
            for _ in range(8):
                await pool.run(task())
                lowest = min(lowest, pool.ready_workers)

        await asyncio.gather(ask(), ask())
        await until(lambda: pool.ready_workers == 2)
    assert lowest == 1
    assert {line["reason"] for line in log.lines("worker.recycled")} == {"requests"}


async def test_a_worker_is_never_recycled_with_a_request_on_it(
    pools: Any, until: Until, log: LogReader
) -> None:
    """Those that wait are served by the successor, in their order."""
    ladder = Ladder(recycle_requests=1, acts=True)
    async with pools(LEAKING, ladder=ladder) as pool:
        deliveries = await asyncio.gather(*(pool.run(task()) for _ in range(4)))
        assert all(delivery.samples.any() for delivery in deliveries)
        await until(lambda: len(log.lines("worker.recycled")) == 4)


FAILING = """
from indextts_app.engines.drill import DrillEngine
class Own(DrillEngine):
    def empty_cache(self):
        raise RuntimeError("no device")
"""
FROZEN = """
import time
from indextts_app.engines.drill import DrillEngine
class Own(DrillEngine):
    def empty_cache(self):
        time.sleep(3600)
"""
MUTE = """
from indextts_app.engines.drill import DrillEngine
class Own(DrillEngine):
    def memory(self):
        raise RuntimeError("no device")
"""


async def test_an_engine_that_cannot_give_memory_back_serves_on(
    pools: Any, own: Callable[..., EngineSpec], log: LogReader
) -> None:
    """The log says why, and the next request has its sound from the same process."""
    async with pools(own(FAILING, leak_mb=2.0), ladder=Ladder(empty_cache_mb=1)) as pool:
        pids = pool.pids()
        await pool.run(task("leak"))
        assert (await pool.run(task())).samples.any()
        assert pool.pids() == pids
    (line,) = log.lines("worker.error")
    assert "no device" in line["traceback"]
    assert not log.lines("memory.cache_emptied")


async def test_an_engine_that_hangs_giving_memory_back_is_replaced(
    pools: Any, own: Callable[..., EngineSpec], log: LogReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that hangs in a request."""
    monkeypatch.setattr(worker, "RELIEVE_SECONDS", 0.1)
    async with pools(own(FROZEN, leak_mb=2.0), ladder=Ladder(empty_cache_mb=1)) as pool:
        await pool.run(task("leak"))
        assert (await pool.run(task())).samples.any()
    assert [line["reason"] for line in log.lines("worker.ended")] == ["hung"]


async def test_an_engine_that_cannot_tell_its_memory_fails_no_request(
    pools: Any, own: Callable[..., EngineSpec]
) -> None:
    """What the process holds is known without it."""
    ear = Ear()
    async with pools(own(MUTE)) as pool:
        assert (await pool.run(task(), ear)).samples.any()
    assert ear.notes["worker_memory_mb"] > 5


class TestIdle:
    """Unloaded while nobody comes, and there again for whoever does."""

    async def test_an_idle_worker_is_unloaded_and_the_next_request_loads_it(
        self, pools: Any, until: Until, log: LogReader
    ) -> None:
        """The process is gone; the request waits for its successor and has its sound."""
        clock, restarts = Clock(), []
        ladder = Ladder(idle_unload_seconds=3600, acts=True)
        async with pools(
            ladder=ladder, clock=clock, on_restart=restarts.append, max_queue=0
        ) as pool:
            (pid,) = pool.pids().values()
            clock.now += 3599
            pool.unload_idle()
            assert pool.ready_workers == 1
            clock.now += 1
            pool.unload_idle()
            await until(lambda: pool.unloaded_workers)
            assert (pool.ready_workers, pool.unavailable) == (0, None)
            assert is_gone(pid)
            assert (await pool.run(task())).samples.any()
            assert (pool.ready_workers, pool.unloaded_workers) == (1, 0)
        (line,) = log.lines("worker.unloaded")
        assert (line["reason"], line["idle_seconds"], line["worker_after_mb"]) == ("idle", 3600, 0)
        assert restarts == ["unloaded"]
        assert not [line for line in log.lines() if line["level"] in ("error", "warning")]

    async def test_it_is_only_proposed_where_nobody_allowed_it(
        self, pools: Any, log: LogReader
    ) -> None:
        """Once for each time that nobody comes for long."""
        clock = Clock()
        async with pools(ladder=Ladder(idle_unload_seconds=60), clock=clock) as pool:
            for _ in range(3):
                clock.now += 61
                pool.unload_idle()
            assert len(log.lines("worker.unload_proposed")) == 1
            await pool.run(task())
            clock.now += 61
            pool.unload_idle()
            assert len(log.lines("worker.unload_proposed")) == 2
            assert pool.ready_workers == 1

    async def test_a_busy_worker_is_not_idle(self, pools: Any, until: Until) -> None:
        """However long its request takes."""
        clock = Clock()
        ladder = Ladder(idle_unload_seconds=60, acts=True)
        async with pools(ladder=ladder, clock=clock) as pool:
            running = asyncio.create_task(pool.run(task("slow")))
            await until(lambda: pool.busy)
            clock.now += 1_000
            pool.unload_idle()
            assert (await running).samples.any()
            assert pool.ready_workers == 1

    async def test_whoever_comes_while_it_is_unloaded_is_served(self, pools: Any) -> None:
        """A request in the same moment waits, as any other."""
        clock = Clock()
        ladder = Ladder(idle_unload_seconds=60, acts=True)
        async with pools(size=2, ladder=ladder, clock=clock) as pool:
            clock.now += 61
            pool.unload_idle()
            deliveries = await asyncio.gather(*(pool.run(task()) for _ in range(3)))
            assert all(delivery.samples.any() for delivery in deliveries)

    async def test_one_request_loads_one_worker(self, pools: Any, until: Until) -> None:
        """The others stay unloaded until somebody would have to wait."""
        clock = Clock()
        ladder = Ladder(idle_unload_seconds=60, acts=True)
        async with pools(size=3, ladder=ladder, clock=clock) as pool:
            clock.now += 61
            pool.unload_idle()
            await until(lambda: pool.unloaded_workers == 3)
            await pool.run(task())
            assert (pool.ready_workers, pool.unloaded_workers) == (1, 2)

    async def test_a_preview_loads_a_worker_and_does_not_wait(
        self, pools: Any, until: Until
    ) -> None:
        """A preview is for now; it says that it comes too early."""
        clock = Clock()
        ladder = Ladder(idle_unload_seconds=60, acts=True)
        async with pools(ladder=ladder, clock=clock) as pool:
            clock.now += 61
            pool.unload_idle()
            await until(lambda: pool.unloaded_workers)
            with pytest.raises(errors.NotReady, match="being loaded"):
                await pool.preview(task())
            await until(lambda: pool.ready_workers)
            assert await pool.preview(task())

    async def test_idle_workers_are_looked_for_by_themselves(
        self, pools: Any, until: Until
    ) -> None:
        """Nobody has to ask."""
        async with pools(ladder=Ladder(idle_unload_seconds=0.05, acts=True)) as pool:
            await until(lambda: pool.unloaded_workers)

    async def test_a_worker_that_cannot_be_loaded_again_is_not_waited_for(
        self, pools: Any, own: Callable[..., EngineSpec], until: Until, tmp_path: Any
    ) -> None:
        """Who wanted it is told why, and so is who comes next."""
        clock = Clock()
        ladder = Ladder(idle_unload_seconds=60, acts=True)
        async with pools(own(FRAGILE), ladder=ladder, clock=clock) as pool:
            clock.now += 61
            pool.unload_idle()
            await until(lambda: pool.unloaded_workers)
            (tmp_path / "broken").touch()
            for _ in range(2):
                with pytest.raises(errors.NotReady, match="the weights are gone"):
                    await pool.run(task())
            assert pool.unloaded_workers == 0


SLOW_START = """
import time
from pathlib import Path
from indextts_app.engines.drill import DrillEngine
class Own(DrillEngine):
    def load(self):
        while (Path(__file__).parent / "held").exists():
            time.sleep(0.01)
        return super().load()
"""


class TestLoadedAgain:
    """While the only worker is away, nobody waits who cannot be served in time."""

    async def test_who_cannot_wait_so_long_is_told_when_to_come(
        self, pools: Any, own: Callable[..., EngineSpec], until: Until, tmp_path: Path
    ) -> None:
        """At once, also the one whose coming has it loaded; who can wait is served."""
        clock = Clock()
        ladder = Ladder(idle_unload_seconds=60, acts=True)
        async with pools(own(SLOW_START), ladder=ladder, clock=clock) as pool:
            pool._start_seconds = 40.0
            clock.now += 61
            pool.unload_idle()
            await until(lambda: pool.unloaded_workers)
            (tmp_path / "held").touch()
            unloaded = pool._latest[0]
            with pytest.raises(errors.NotReady, match="again, which takes about 40 sec") as raised:
                await pool.run(task(), patience_seconds=39)
            assert raised.value.retry_after_seconds == 40
            assert "大约需要 40 秒" in raised.value.message("zh")
            await until(lambda: pool._latest[0] is not unloaded)
            clock.now += 10
            with pytest.raises(errors.NotReady, match="about 30 seconds") as raised:
                await pool.run(task(), patience_seconds=29)
            with pytest.raises(errors.NotReady, match="about 30 seconds"):
                await pool.preview(task())
            waits = asyncio.create_task(pool.run(task(), patience_seconds=31))
            await until(lambda: pool.waiting)
            clock.now += 20
            (tmp_path / "held").unlink()
            assert (await waits).samples.any()
            assert pool._start_seconds == 30

    async def test_those_who_wait_while_it_is_recycled_are_told_the_same(
        self, pools: Any, own: Callable[..., EngineSpec], until: Until, tmp_path: Path
    ) -> None:
        """Once its process has ended, and not only when their time is up."""
        clock = Clock()
        ladder = Ladder(recycle_requests=1, acts=True)
        async with pools(own(SLOW_START), ladder=ladder, clock=clock) as pool:
            pool._start_seconds = 40.0
            (tmp_path / "held").touch()
            served, hasty, patient = (
                asyncio.create_task(pool.run(task(), patience_seconds=seconds))
                for seconds in (39, 39, 41)
            )
            assert (await served).samples.any()
            with pytest.raises(errors.NotReady, match="about 40 seconds"):
                await hasty
            assert pool.waiting == 1
            (tmp_path / "held").unlink()
            assert (await patient).samples.any()

    async def test_with_another_worker_everybody_waits(self, pools: Any, until: Until) -> None:
        """A queue moves on without the one that is away."""
        async with pools(size=2) as pool:
            pool._start_seconds = 40.0
            crashes = asyncio.create_task(pool.run(task("crash")))
            asked = [asyncio.create_task(pool.run(task(), patience_seconds=20)) for _ in range(5)]
            assert all(delivery.samples.any() for delivery in await asyncio.gather(*asked))
            with pytest.raises(errors.WorkerDied):
                await crashes


FRAGILE = """
from pathlib import Path
from indextts_app.engines.base import EngineUnfit
from indextts_app.engines.drill import DrillEngine
class Own(DrillEngine):
    def load(self):
        if (Path(__file__).parent / "broken").exists():
            raise EngineUnfit("the weights are gone")
        return super().load()
"""
