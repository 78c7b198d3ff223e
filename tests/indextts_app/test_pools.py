"""
Promises of a pool, whoever keeps them: worker processes of this machine, or replicas on a cluster.

Each test leaves the pool idle; the last one ends it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from indextts_app import errors
from indextts_app.cluster.pool import ClusterPool
from indextts_app.cluster.spec import ClusterSpec, ReplicaSpec
from indextts_app.engines.base import Samples, Segment, Task
from indextts_app.trials import trial
from indextts_app.workers.interface import Pool
from indextts_app.workers.listener import Silence
from indextts_app.workers.memory_ladder import Ladder
from indextts_app.workers.pool import WorkerPool
from indextts_app.workers.worker import EngineSpec
from observability import losses

if TYPE_CHECKING:
    from conftest import LogReader
    from own_cluster import OwnCluster

pytestmark = pytest.mark.anyio

Until = Callable[[Callable[[], object]], Awaitable[None]]

MAX_QUEUE = 3
STAGES = ["text_prep", "speaker_enc", "acoustic", "vocoder", "post"]
SPEC = EngineSpec(
    "drill", {"seconds": 0.005, "slow_seconds": 0.4}, start_seconds=30, settle_seconds=0.1
)
UNSAID = "nobody may know of this letter"
START_SECONDS = 240.0


@dataclass
class Kept:
    """A pool, and what it has told."""

    pool: Pool
    on_cluster: bool
    restarts: list[str]


@pytest.fixture(scope="module", params=["local", "cluster"])
async def kept(request: pytest.FixtureRequest) -> AsyncIterator[Kept]:
    """One pool of one engine for all tests of a kind."""
    restarts: list[str] = []
    pool: Pool
    if request.param == "local":
        pool = WorkerPool(SPEC, size=1, max_queue=MAX_QUEUE, on_restart=restarts.append)
    else:
        pool = ClusterPool(
            ClusterSpec(request.getfixturevalue("ray_cluster").address, "pools", 1, 1, cpus=0.1),
            ReplicaSpec(SPEC, Ladder()),
            max_queue=MAX_QUEUE,
            on_restart=restarts.append,
        )
    pool.start()
    with pytest.raises(errors.NotReady, match="loading"):
        await pool.run(task())
    async with asyncio.timeout(START_SECONDS):
        while not pool.ready_workers:  # noqa: ASYNC110  # longer than `until` waits
            await asyncio.sleep(0.05)
    yield Kept(pool, request.param == "cluster", restarts)
    await pool.stop(0)


@pytest.fixture
def pool(kept: Kept) -> Pool:
    return kept.pool


@pytest.fixture
def log(tmp_path: Any, logging_to: Any, log_reader: Any) -> Any:
    """What is logged during this test."""
    with logging_to(tmp_path / "logs"):
        yield log_reader(tmp_path / "logs")


@dataclass
class Ear(Silence):
    """Remembers what it hears."""

    positions: list[int] = field(default_factory=list)
    places: list[tuple[str, str]] = field(default_factory=list)
    workers: list[str] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    segments: list[tuple[int, int]] = field(default_factory=list)
    heard: list[int] = field(default_factory=list)
    measures: dict[str, float] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    def waiting(self, ahead: int) -> None:
        self.positions.append(ahead)

    def placed(self, node: str, replica: str) -> None:
        self.places.append((node, replica))

    def taken(self, worker: str) -> None:
        self.workers.append(worker)

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def segment(self, number: int, count: int) -> None:
        self.segments.append((number, count))

    def audio(self, samples: Samples, sample_rate: int) -> None:
        self.heard.append(len(samples))

    def measured(self, stages: Mapping[str, float], notes: Mapping[str, Any]) -> None:
        self.measures.update(stages)
        self.notes.update(notes)


def task(speaker: str = "steady", *, text: str = "hello", name: str = "1") -> Task:
    return Task(request_id=name, text=text, speaker=speaker, emotion="neutral", speed=1.0)


async def test_a_task_becomes_sound(kept: Kept) -> None:
    """The delivery has the samples; the listener heard where it was, every stage, and its time."""
    ear = Ear()
    delivery = await kept.pool.run(task(), ear)
    assert delivery.samples.any()
    assert (len(delivery.samples), delivery.sample_rate) == (22_050, 22_050)
    assert ear.stages == list(ear.measures) == STAGES
    assert ear.notes["worker_memory_mb"] > 0
    assert ear.positions == []
    if kept.on_cluster:
        ((_, replica),) = ear.places
        assert re.fullmatch(rf"{replica}:\d+", *ear.workers)
    else:
        assert ear.places == []
        assert re.fullmatch(r"0:\d+", *ear.workers)


async def test_what_can_be_done_is_known(pool: Pool) -> None:
    """The engine's own word, and a trial that it passes."""
    assert pool.capabilities
    assert (pool.capabilities.engine, pool.capabilities.sample_rate) == ("drill", 22_050)
    assert (await trial(pool)).outcome == "passed"
    assert pool.unavailable is None
    assert (pool.size, pool.places) == (1, 1 + MAX_QUEUE)


async def test_audio_is_heard_piece_by_piece(pool: Pool) -> None:
    """Sentence by sentence, each with its number, and all of it once."""
    ear = Ear()
    delivery = await pool.run(task("slow", text="Hello there. Good morning!"), ear)
    assert ear.segments == [(1, 2), (2, 2)]
    assert len(ear.heard) > 1
    assert sum(ear.heard) == len(delivery.samples)


async def test_first_come_first_served_and_everyone_knows_the_place(
    kept: Kept, until: Until
) -> None:
    """
    Tasks run in the order in which they came, and hear how many are still ahead.

    On a cluster, those that came in the same moment may change places: the order is Serve's.
    """
    pool = kept.pool
    ears = [Ear() for _ in range(4)]
    order: list[int] = []

    async def run(number: int) -> None:
        await pool.run(task("steady" if number else "slow"), ears[number])
        order.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(run(number))
            heard = ears[number].positions if number else ears[0].workers
            await until(lambda heard=heard: heard)
    assert (order[0], sorted(order)) == (0, [0, 1, 2, 3])
    assert [ear.positions[0] for ear in ears[1:]] == [0, 1, 2]
    if kept.on_cluster:
        return
    assert order == [0, 1, 2, 3]
    assert [sorted(set(ear.positions), reverse=True) for ear in ears[1:]] == [
        [0],
        [1, 0],
        [2, 1, 0],
    ]


async def test_the_queue_is_bounded(pool: Pool, until: Until) -> None:
    """One more than may wait is told so at once, and those who wait are served all the same."""
    taken = [asyncio.create_task(pool.run(task("slow"))) for _ in range(1 + MAX_QUEUE)]
    await until(lambda: pool.waiting == MAX_QUEUE)
    with pytest.raises(errors.QueueFull) as raised:
        await pool.run(task())
    assert raised.value.details == {"waiting": MAX_QUEUE}
    for one in taken[2:]:
        one.cancel()
    assert all(delivery.samples.any() for delivery in await asyncio.gather(*taken[:2]))


async def test_one_who_leaves_the_queue_makes_room(pool: Pool, until: Until) -> None:
    """A task that is cancelled while it waits never reaches the engine; the others move up."""
    left, last = Ear(), Ear()
    first = asyncio.create_task(pool.run(task("slow")))
    leaves = asyncio.create_task(pool.run(task(), left))
    stays = asyncio.create_task(pool.run(task(), last))
    await until(lambda: pool.waiting == 2)
    leaves.cancel()
    await until(lambda: pool.waiting == 1)
    await asyncio.gather(first, stays)
    assert (pool.busy, pool.waiting) == (0, 0)
    assert leaves.cancelled()
    assert left.workers == []
    assert last.positions[:2] == [1, 0]


async def test_background_comes_last(pool: Pool, until: Until) -> None:
    """A task in the background waits for all others, and is not bounded by the queue."""
    order: list[str] = []

    async def run(name: str, speaker: str, *, background: bool) -> None:
        await pool.run(task(speaker), background=background)
        order.append(name)

    async with asyncio.TaskGroup() as group:
        group.create_task(run("first", "slow", background=False))
        await until(lambda: pool.busy == 1)
        for number in range(2):
            group.create_task(run(f"background {number}", "steady", background=True))
        await asyncio.sleep(0.05)
        group.create_task(run("later", "steady", background=False))
    assert order == ["first", "later", "background 0", "background 1"]


async def test_a_deadline_frees_the_engine(kept: Kept, until: Until) -> None:
    """Who waits no longer leaves at once; an engine that hangs is replaced for the next one."""
    ear = Ear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await kept.pool.run(task("hang"), ear)
    assert ear.stages == STAGES[:3]
    assert (await kept.pool.run(task())).samples.any()
    assert kept.pool.busy == 0
    await until(lambda: kept.restarts[-1:] == ["hung"])


async def test_an_engine_that_stops_takes_the_next(pool: Pool, until: Until) -> None:
    """A task that is cancelled ends soon, and the same process goes on."""
    ear, after = Ear(), Ear()
    given_up = asyncio.create_task(pool.run(task("slow"), ear))
    await until(lambda: "acoustic" in ear.stages)
    given_up.cancel()
    await pool.run(task(), after)
    assert given_up.cancelled()
    assert ear.workers == after.workers


@pytest.mark.parametrize(
    ("speaker", "error", "origin"),
    [
        ("error", errors.EngineError, "RuntimeError@drill.py:_fail"),
        ("out_of_memory", errors.EngineOutOfMemory, "OutOfMemory@drill.py:_fail"),
    ],
)
async def test_an_engine_that_fails_says_how_far_it_came(
    pool: Pool, log: LogReader, speaker: str, error: type[errors.SynthesisFailed], origin: str
) -> None:
    """An error of its own kind, the stages until then, and the traceback in the log."""
    ear, after = Ear(), Ear()
    with pytest.raises(error) as raised:
        await pool.run(task(speaker, name="17", text=UNSAID), ear)
    await pool.run(task(), after)
    assert raised.value.origin == origin
    assert list(ear.measures) == STAGES[:3]
    assert ear.workers == after.workers
    (line,) = log.lines("worker.error", request_id="17")
    assert "drill:" in line["traceback"]
    assert UNSAID not in log.text()


async def test_a_crash_costs_one_request(kept: Kept, log: LogReader, until: Until) -> None:
    """The task with the engine fails, the one behind it is done by the replacement."""
    crashed, served = await asyncio.gather(
        kept.pool.run(task("crash")), kept.pool.run(task()), return_exceptions=True
    )
    assert isinstance(crashed, errors.WorkerDied)
    assert crashed.origin == "signal_9"
    assert not isinstance(served, BaseException)
    assert served.samples.any()
    await until(lambda: kept.restarts[-1:] == ["crashed"])
    assert [line["reason"] for line in log.lines("worker.ended")] == ["signal_9"]


async def test_engines_are_started_anew_when_it_is_asked_for(kept: Kept, until: Until) -> None:
    """Every one of them, with the reason that was given; then they serve."""
    ear, after = Ear(), Ear()
    await kept.pool.run(task(), ear)
    await kept.pool.restart_all("unhealthy")
    async with asyncio.timeout(20):
        while ear.workers == after.workers[-1:] or not after.workers:
            # One that is at work just then is not spared.
            with suppress(errors.WorkerDied):
                await kept.pool.run(task(), after)
    await until(lambda: kept.restarts[-1:] == ["unhealthy"])


async def test_a_preview_tells_the_segments(pool: Pool) -> None:
    """In the order of the text, each with its number of tokens."""
    assert await pool.preview(task(text="Shall we go? Yes.")) == (
        Segment("Shall we go? ", 13),
        Segment("Yes.", 4),
    )


class Deaf(Silence):
    """Fails at whatever it hears, in a way that means something elsewhere."""

    def _fails(self, *_: object) -> None:
        raise KeyError("deaf")

    waiting = placed = taken = stage = segment = audio = measured = _fails


async def test_a_listener_that_fails_costs_nothing_but_what_it_would_have_heard(
    pool: Pool, log: LogReader
) -> None:
    """The task becomes sound, and each call that failed is counted."""
    before = losses.lost().get("listener", 0)
    both = asyncio.gather(pool.run(task(), Deaf()), pool.run(task(), Deaf()))
    assert all(delivery.samples.any() for delivery in await both)
    assert (pool.busy, pool.waiting) == (0, 0)
    # Once it waits; each is taken, has five stages, a segment, audio, and is measured.
    assert losses.lost()["listener"] - before >= 1 + 2 * 9
    assert not [line for line in log.lines() if line["level"] == "error"]


async def test_stopping_lets_the_running_task_finish(pool: Pool, until: Until) -> None:
    """Who has an engine gets an answer, who waits or comes is told that the service stops."""
    runs = asyncio.create_task(pool.run(task("slow")))
    await until(lambda: pool.busy == 1)
    waits = asyncio.create_task(pool.run(task()))
    await until(lambda: pool.waiting == 1)
    stops = asyncio.create_task(pool.stop(5))
    await asyncio.sleep(0)
    with pytest.raises(errors.NotReady, match="shutting down"):
        await pool.run(task())
    with pytest.raises(errors.NotReady, match="shutting down"):
        await waits
    assert (await runs).samples.any()
    assert await stops == 0


async def test_a_cluster_has_as_many_replicas_as_its_queue_calls_for(
    ray_cluster: OwnCluster, until: Callable[..., Awaitable[None]]
) -> None:
    """Another one while tasks wait, and one less when it is quiet; no task is lost on the way."""
    spec = ClusterSpec(
        ray_cluster.address,
        "scaling",
        min_replicas=1,
        max_replicas=2,
        waiting_per_replica=0.5,
        cpus=0.1,
        upscale_seconds=0.1,
        tell_seconds=0.2,
        look_back_seconds=1.0,
        downscale_seconds=1.0,
    )
    pool = ClusterPool(spec, ReplicaSpec(SPEC, Ladder()), max_queue=100)
    pool.start()
    ears: list[Ear] = []
    tasks: list[asyncio.Task[Any]] = []

    def ask() -> None:
        ears.append(Ear())
        tasks.append(asyncio.create_task(pool.run(task("slow"), ears[-1])))

    def is_wide() -> bool:
        if sum(not task.done() for task in tasks) < 4:
            ask()
        return pool.ready_workers == 2

    try:
        await until(lambda: pool.ready_workers == 1, START_SECONDS)
        await until(is_wide, START_SECONDS)
        for _ in range(8):
            ask()
        deliveries = await asyncio.gather(*tasks)
        await until(lambda: pool.ready_workers == 1, START_SECONDS)
        deliveries.append(await pool.run(task()))
    finally:
        await pool.stop(0)
    assert all(delivery.samples.any() for delivery in deliveries)
    assert {len(ear.workers) for ear in ears} == {1}
    assert len({ear.places[0][1] for ear in ears}) == 2
