"""Promises of a cluster that has no replica, or one that is too large: what is said, and where."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from ray._private.utils import check_version_info

from indextts_app import errors
from indextts_app.cluster import deployment, gateway, pool, replica
from indextts_app.cluster.deployment import lacking
from indextts_app.cluster.pool import ClusterPool
from indextts_app.cluster.replica import Replica
from indextts_app.cluster.spec import ClusterSpec, ReplicaSpec, Wanted
from indextts_app.engines.base import Task
from indextts_app.server import Service
from indextts_app.workers import channel
from indextts_app.workers.memory_ladder import Ladder
from indextts_app.workers.pool import WorkerPool
from indextts_app.workers.worker import EngineSpec

if TYPE_CHECKING:
    from conftest import LogReader

pytestmark = pytest.mark.anyio

DRILL = EngineSpec("drill", {"seconds": 0.005}, start_seconds=30, settle_seconds=0.1)
NODE = {"CPU": 8.0, "GPU": 1.0, "memory": 16e9}


class Nodes:
    """What Ray would tell of a cluster."""

    def __init__(self, nodes: list[Mapping[str, float]], free: Mapping[str, float]) -> None:
        self._nodes = nodes
        self._free = free

    def nodes(self) -> list[dict[str, Any]]:
        """One that has ended as well, which counts for nothing."""
        ended = {
            "Resources": {"CPU": 1e3, "GPU": 1e3, "memory": 1e15},
            "Alive": False,
            "NodeID": "0",
            "NodeManagerAddress": "10.0.0.1",
            "NodeManagerPort": 1,
        }
        return [ended, *({"Resources": node, "Alive": True} for node in self._nodes)]

    def available_resources(self) -> Mapping[str, float]:
        """What is free in the cluster."""
        return self._free


@pytest.mark.parametrize(
    ("takes", "free", "told"),
    [
        ({"gpus": 2}, NODE, "no node of the cluster has what a replica takes (1 CPU, 2 GPU)"),
        ({"cpus": 9}, NODE, "no node of the cluster has what a replica takes (9 CPU)"),
        ({"memory_mb": 17_000}, NODE, "takes (1 CPU, 17000 MB of memory)"),
        ({"gpus": 0.5}, {**NODE, "GPU": 0.4}, "(1 CPU, 0.5 GPU) is in use"),
        ({"gpus": 0.5}, NODE, "a replica is being started"),
    ],
)
async def test_a_cluster_without_what_a_replica_takes_is_told_on_health(
    takes: dict[str, float],
    free: Mapping[str, float],
    told: str,
    tmp_path: Path,
    drill_settings: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is missing, in the operator's terms, at the place where operators look."""
    monkeypatch.setattr(deployment, "ray", Nodes([NODE, NODE], free))
    service = Service(drill_settings(tmp_path, cluster="127.0.0.1:1"))
    assert isinstance(service.pool, ClusterPool)
    reason = lacking(ClusterSpec("auto", "trouble", **takes).resources)  # type: ignore[arg-type]
    service.pool._hear({"kind": "state", "ready": 0, "reason": reason, "failed": False}, b"")
    transport = httpx.ASGITransport(service.api_app())
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.get("/health")
    assert answer.status_code == 503
    assert told in answer.text


def test_a_deployment_that_was_removed_is_told_as_such(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody waits for a replica that nothing starts."""
    there: Any = SimpleNamespace(
        _wanted=Wanted(ClusterSpec("auto", "gone"), ReplicaSpec(DRILL, Ladder()))
    )
    monkeypatch.setattr(gateway, "ray", Nodes([], {}))
    for applications in (
        {},
        {"gone": SimpleNamespace(deployments={}, message="", status="DELETING")},
    ):
        status = SimpleNamespace(applications=applications)
        monkeypatch.setattr(gateway.serve, "status", lambda status=status: status)
        state = gateway.Gateway._state(there)
        assert (state["ready"], state["reason"]) == (
            0,
            "'gone' was removed from it; restart a service that uses it to have it back",
        )


class GivenUp:
    """Serve, which has given a deployment up; what it is told to run instead."""

    RunTarget = SimpleNamespace

    def __init__(self, ready: int = 0) -> None:
        said = "Failed 3 times in a row. Error:\nreplica.ReplicaUnfit: node a: no weights\n"
        states = {"RUNNING": ready}
        engine = SimpleNamespace(replica_states=states, message=said)
        self._app = SimpleNamespace(
            deployments={"engine": engine}, message="", status="DEPLOY_FAILED"
        )
        self.run: list[Mapping[str, str]] = []

    def status(self) -> Any:
        return SimpleNamespace(applications={"given-up": self._app})

    def run_many(self, targets: list[Any], **_: object) -> None:
        self.run += [one.target for one in targets]

    def get_deployment_handle(self, *_: object) -> None:
        return None


async def test_what_serve_has_given_up_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, until: Callable[[Callable[[], object]], Awaitable[None]]
) -> None:
    """At the start of a service, and now and then: the weights may have come to the node."""
    serve = GivenUp()
    monkeypatch.setattr(gateway, "serve", serve)
    monkeypatch.setattr(gateway, "ray", Nodes([], {}))
    # Serve takes what differs for something else, and tries it.
    monkeypatch.setattr(gateway, "application", lambda _, restart: restart)
    there = gateway.Gateway(None, None)  # type: ignore[arg-type]
    there._wanted = Wanted(ClusterSpec("auto", "given-up"), ReplicaSpec(DRILL, Ladder()))
    state = there._state()
    assert (state["failed"], state["reason"]) == (True, "node a: no weights")
    there._deploy(anew=True)
    there._try_again()
    await asyncio.sleep(0.05)
    assert len(serve.run) == 1
    there._deployed_at -= gateway.AGAIN_SECONDS + 1
    there._try_again()
    await until(lambda: len(serve.run) == 2)
    first, second = serve.run
    assert first["restart"] != second["restart"]
    # No engine that serves is ended for it.
    assert (first["reason"], second["reason"]) == ("", "")


async def test_an_update_that_does_not_start_is_told_once(
    tmp_path: Path, logging_to: Callable[[Path], Any], log_reader: Callable[[Path], LogReader]
) -> None:
    """The replicas before it serve on, so that nothing else would say it."""
    state = {"kind": "state", "ready": 1, "reason": "node a: no weights", "failed": True}
    with logging_to(tmp_path):
        cluster = ClusterPool(
            ClusterSpec("auto", "update"), ReplicaSpec(DRILL, Ladder()), max_queue=1
        )
        cluster._hear(state, b"")
        cluster._hear(state, b"")
        cluster._hear({**state, "reason": None, "failed": False}, b"")
        cluster._hear(state, b"")
    lines = log_reader(tmp_path).lines("cluster.update_failed")
    assert [line["reason"] for line in lines] == ["node a: no weights"] * 2


async def test_another_version_of_ray_is_told_with_both_versions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of the cluster and of this machine; Ray says them in lines that come after the first."""

    def refuse(**_: object) -> None:
        check_version_info({"ray_version": "2.9.1", "python_version": "3.9.7"}, "node 10.0.0.1")

    monkeypatch.setattr(gateway.ray, "init", refuse)
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=theirs)
    heard, service = await asyncio.open_connection(sock=ours)
    wanted = Wanted(ClusterSpec("auto", "trouble"), ReplicaSpec(DRILL, Ladder()))
    hello = {"kind": "hello", "wanted": wanted.fields(), "deploy": True}
    service.write(channel.pack_head(hello))
    await gateway.Gateway(reader, writer).run()
    head, _ = await channel.read_async(heard)
    for end in (writer, service):
        end.close()
    assert head["kind"] == "unreachable"
    assert "the cluster runs Ray 2.9.1 with Python 3.9.7, this machine Ray 2." in head["reason"]
    assert "requirements-cluster.txt" in head["reason"]


async def test_an_engine_above_the_limit_of_memory_is_ended(
    tmp_path: Path,
    logging_to: Callable[[Path], Any],
    log_reader: Callable[[Path], LogReader],
    until: Callable[[Callable[[], object]], Awaitable[None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its request fails, and the service hears why; what counts is replica and engine together."""
    monkeypatch.setattr(replica, "LOOK_SECONDS", 0.02)
    held_mb = 900.0
    ended: list[str] = []
    with logging_to(tmp_path):
        engines = WorkerPool(DRILL, size=1, max_queue=1, on_restart=ended.append)
        engines.start()
        await until(lambda: engines.ready_workers)
        own_mb = replica.psutil.Process().memory_info().rss / 1e6
        assert replica._tree_mb() > own_mb + 10
        monkeypatch.setattr(replica, "_tree_mb", lambda: held_mb)
        there: Any = SimpleNamespace(_spec=SimpleNamespace(memory_mb=1_000.0), _pool=engines)
        watch = asyncio.create_task(Replica._watch_memory(there))
        at_work = asyncio.create_task(engines.run(Task("1", "hello", "hang", "neutral", 1.0)))
        await asyncio.sleep(0.1)
        assert (engines.busy, ended) == (1, [])
        held_mb = 1_001.0
        with pytest.raises(errors.WorkerDied) as raised:
            async with asyncio.timeout(5):
                await at_work
        watch.cancel()
        await engines.stop(0)
        (line,) = log_reader(tmp_path).lines("replica.too_large")
    told = pool._error_of(replica._failed(raised.value))
    assert isinstance(told, errors.WorkerDied)
    assert (told.code, told.origin) == ("worker_died", "memory_limit")
    assert ended[:1] == ["memory_limit"]
    assert (line["held_mb"], line["limit_mb"]) == (1001.0, 1000.0)
