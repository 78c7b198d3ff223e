"""
Promises of a service whose engines are on a cluster, while parts of the cluster are lost.

A head with its state in Redis, and two nodes with one replica each. The tests share them, and are
in an order: each leaves as many replicas as the next one needs.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from own_cluster import OwnCluster, clustered
from own_service import free_port

from indextts_app.cluster.pool import ClusterPool
from indextts_app.cluster.spec import ReplicaSpec

if TYPE_CHECKING:
    from conftest import Running

pytestmark = pytest.mark.anyio

Until = Callable[..., Awaitable[None]]

UNSAID = "nobody may know of this letter"
APP = "faults"
BACK_SECONDS = 120.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[OwnCluster]:
    """Two nodes of one replica each, which also the head's end does not end."""
    if not shutil.which("redis-server"):
        pytest.skip("redis-server is not installed (Debian: redis-server)")
    port = free_port()
    command = ["redis-server", "--port", str(port), "--save", ""]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as redis:
        try:
            with clustered(["a:1", "b:1"], redis=f"127.0.0.1:{port}") as cluster:
                yield cluster
        finally:
            redis.kill()


@pytest.fixture(scope="module")
async def service(
    cluster: OwnCluster,
    running: Callable[..., Any],
    drill_settings: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Running]:
    """One service for all tests here; `slow` takes 4 s, which is time to lose something."""
    settings = drill_settings(
        tmp_path_factory.mktemp("cluster"),
        cluster=cluster.address,
        cluster_app=APP,
        cluster_min_replicas=2,
        cluster_max_replicas=2,
        cluster_cpus=0.6,
        drill_seconds=0.6,
        drill_slow_seconds=4,
        timeout_seconds=60,
        worker_start_seconds=30,
    )
    async with running(settings) as service:
        yield service


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request is at work."""

    node: str
    replica: str
    worker: int

    def process(self) -> psutil.Process:
        """The replica's own, which the engine's is a child of."""
        return psutil.Process(self.worker).parent() or psutil.Process()


@pytest.fixture
def places(service: Running, monkeypatch: pytest.MonkeyPatch) -> list[Place]:
    """Where the requests of this test were taken, as the log will have it, one after the other."""
    found: list[Place] = []
    hear = ClusterPool._hear_of_call

    def hear_too(pool: ClusterPool, call: Any, head: dict[str, Any], body: bytes) -> None:
        if head["kind"] == "placed":
            call_places[call] = (head["node"], head["replica"])
        if head["kind"] == "taken":
            found.append(Place(*call_places[call], int(head["worker"].partition(":")[2])))
        hear(pool, call, head, body)

    call_places: dict[Any, tuple[str, str]] = {}
    monkeypatch.setattr(ClusterPool, "_hear_of_call", hear_too)
    return found


async def back_again(service: Running, until: Until) -> None:
    """Wait until a replica that was killed is missed, and there are two again."""
    pool = service.service.pool
    await until(lambda: pool.ready_workers < 2, BACK_SECONDS)
    await until(lambda: pool.ready_workers == 2, BACK_SECONDS)


async def test_the_event_says_where_it_was(service: Running, places: list[Place]) -> None:
    """Node, replica and process; nothing of a retry where there was none."""
    answer = await service.speak(text=UNSAID)
    await service.speak(text=UNSAID, speaker="error")
    assert answer.status_code == 200
    started, finished = await service.log.pair(answer.headers["x-request-id"])
    place = places[0]
    assert place.node in ("a", "b")
    told = {name: finished[name] for name in ("node", "replica", "worker")}
    assert told == {
        "node": place.node,
        "replica": place.replica,
        "worker": f"{place.replica}:{place.worker}",
    }
    assert finished["status"] == "success"
    assert {"stage_acoustic_ms", "queue_ms", "first_audio_ms", "worker_memory_mb"} <= set(finished)
    assert not {"retries", "retry_cause"} & set(finished)
    assert "node" not in started


async def test_a_request_whose_replica_is_killed_is_begun_anew(
    service: Running, places: list[Place], until: Until
) -> None:
    """Once, on the other one; the event says so, and its books are even."""
    asked = asyncio.create_task(service.speak(speaker="slow"))
    await until(lambda: places)
    await asyncio.sleep(1)
    places[0].process().kill()
    answer = await asked
    assert answer.status_code == 200
    _, finished = await service.log.pair(answer.headers["x-request-id"])
    first, second = places
    assert first.replica != second.replica == finished["replica"]
    assert (finished["status"], finished["retries"]) == ("success", 1)
    assert finished["retry_cause"] == "replica_lost"
    # What the lost one had done is no stage of the audio.
    assert finished["stage_acoustic_ms"] < 4_900
    assert finished["stage_other_ms"] > 900
    (line,) = service.log.lines("replica.lost")
    assert (line["reason"], line["replica"]) == ("replica_lost", first.replica)
    await back_again(service, until)


async def test_a_stream_that_has_begun_is_not_made_twice(
    service: Running, places: list[Place], until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody has heard the beginning: it ends as failed, and nothing is spoken again."""
    hear = ClusterPool._hear_of_call

    def kill_at_first_audio(pool: ClusterPool, call: Any, head: Any, body: bytes) -> None:
        if head["kind"] == "audio" and not call.audio:
            places[0].process().kill()
        hear(pool, call, head, body)

    monkeypatch.setattr(ClusterPool, "_hear_of_call", kill_at_first_audio)
    with pytest.raises(AssertionError):
        # So says httpx of an answer that is not whole.
        await service.speak(stream=True)
    monkeypatch.setattr(ClusterPool, "_hear_of_call", hear)
    await until(lambda: service.log.lines("synthesis.finished", error_type="replica_lost"))
    (line,) = service.log.lines("synthesis.finished", error_type="replica_lost")
    assert (line["status"], line["streamed"], len(places)) == ("failed", True, 1)
    assert "retries" not in line
    await back_again(service, until)


async def test_a_gateway_that_dies_costs_no_request(
    service: Running, places: list[Place], until: Until
) -> None:
    """Neither the one at work nor those that wait; another gateway takes over."""
    asked = [asyncio.create_task(service.speak(speaker="slow")) for _ in range(3)]
    await until(lambda: len(places) == 2, BACK_SECONDS)
    link: Any = service.service.pool._link  # type: ignore[attr-defined]
    link.kill()
    answers = await asyncio.gather(*asked)
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    finished = [await service.log.finished(answer.headers["x-request-id"]) for answer in answers]
    begun_anew = [line for line in finished if "retries" in line]
    assert [line["retry_cause"] for line in begun_anew] == ["gateway_lost"] * 2
    assert (await service.speak()).status_code == 200


async def test_a_head_that_is_away_costs_nothing(
    service: Running, cluster: OwnCluster, until: Until
) -> None:
    """Its state is in Redis: requests go on without it, and with it again."""
    asked = asyncio.create_task(service.speak(speaker="slow"))
    await until(lambda: service.service.pool.busy)
    await asyncio.to_thread(cluster.tell, "head away")
    answers = [await service.speak() for _ in range(5)]
    await asyncio.to_thread(cluster.tell, "head back")
    answers += [await asked, await service.speak()]
    assert {answer.status_code for answer in answers} == {200}
    lines = [await service.log.finished(answer.headers["x-request-id"]) for answer in answers]
    assert not [line for line in lines if "retries" in line]


async def test_a_rolling_update_loses_no_request(
    service: Running, cluster: OwnCluster, until: Until
) -> None:
    """Another service wants something else of the same app: replica after replica is replaced."""
    pool: Any = service.service.pool
    spec = ReplicaSpec(pool._replica.engine, pool._replica.ladder, request_seconds=30.0)
    other = ClusterPool(pool._cluster, spec, max_queue=10)
    replicas: set[str] = set()
    statuses: list[int] = []
    updated = False

    async def ask_on() -> None:
        while not updated:
            answer = await service.speak()
            statuses.append(answer.status_code)
            line = await service.log.finished(answer.headers["x-request-id"])
            replicas.add(line["replica"])

    clients = [asyncio.create_task(ask_on()) for _ in range(3)]
    try:
        await until(lambda: len(replicas) >= 2, BACK_SECONDS)
        before = replicas.copy()
        other.start()
        await until(lambda: len(replicas - before) >= 2, BACK_SECONDS)
    finally:
        updated = True
        await asyncio.gather(*clients)
        await other.stop(0)
    assert set(statuses) == {200}
    # Whoever stops leaves the replicas to the others.
    assert (await service.speak()).status_code == 200


async def test_a_request_whose_node_is_lost_is_begun_anew(
    service: Running, cluster: OwnCluster, places: list[Place], until: Until
) -> None:
    """On the other node."""
    asked = asyncio.create_task(service.speak(speaker="slow"))
    await until(lambda: places)
    await asyncio.to_thread(cluster.tell, f"kill {places[0].node}")
    answer = await asked
    assert answer.status_code == 200
    _, finished = await service.log.pair(answer.headers["x-request-id"])
    assert (finished["status"], finished["retries"]) == ("success", 1)
    assert finished["retry_cause"] == "node_lost"
    assert finished["node"] == places[1].node != places[0].node


def test_ray_has_written_nothing_that_a_user_said(service: Running, cluster: OwnCluster) -> None:
    """Not a word of it lies in its logs, after all of these faults."""
    files = [path for path in cluster.logs.rglob("*") if path.is_file()]
    assert [path for path in files if "ServeReplica" in path.name or "replica" in path.name]
    assert not [path for path in files if UNSAID.encode() in path.read_bytes()]
    assert UNSAID not in service.log.text()


async def test_the_books_are_even(service: Running) -> None:
    """As many requests have ended as have begun, each once."""
    started = [line["request_id"] for line in service.log.lines("synthesis.started")]
    finished = [line["request_id"] for line in service.log.lines("synthesis.finished")]
    assert len(set(started)) == len(started)
    assert sorted(started) == sorted(finished)
