"""Promises of the queue in front of a cluster; what the gateway says is given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

import pytest

from indextts_app import errors
from indextts_app.cluster.pool import ClusterPool
from indextts_app.cluster.spec import ClusterSpec, ReplicaSpec
from indextts_app.engines.base import Task
from indextts_app.engines.drill import DrillEngine
from indextts_app.workers.memory_ladder import Ladder
from indextts_app.workers.worker import EngineSpec

pytestmark = pytest.mark.anyio


class Serve:
    """What a gateway has been told to ask for, in order: Serve hands it out in that order."""

    def __init__(self, pool: ClusterPool) -> None:
        self._pool = pool
        self._wanted: dict[str, str] = {}

    def send(self, head: dict[str, Any]) -> None:
        """As the pool tells a gateway."""
        if head["kind"] == "task":
            self._wanted[head["id"]] = head["task"]["request_id"]
        elif head["kind"] == "cancel":
            self._wanted.pop(head["id"], None)

    @property
    def order(self) -> list[str]:
        """The requests that Serve has, first asked for first."""
        return list(self._wanted.values())

    def say(self, request_id: str, **head: Any) -> None:
        """Something of a request."""
        id_ = next(id_ for id_, name in self._wanted.items() if name == request_id)
        self._pool._hear({"id": id_, **head}, b"")
        if head["kind"] == "end":
            self._wanted.pop(id_, None)

    def take(self, request_id: str) -> None:
        """A replica has it."""
        self.say(request_id, kind="placed", node="a", replica=f"r{request_id}")
        self.say(request_id, kind="taken", worker="0:1")


@asynccontextmanager
async def asked(
    serve: Serve, *names: str, background: str = ""
) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """Requests of these names, one after the other, for the time of the block."""
    tasks = []
    for name in names:
        task = Task(name, "hello", "steady", "neutral", 1.0)
        run = serve._pool.run(task, background=name in background)
        tasks.append(asyncio.create_task(run))
        await asyncio.sleep(0)
    try:
        yield tasks
    finally:
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def serve() -> Serve:
    """Behind a pool with two replicas."""
    spec = ReplicaSpec(EngineSpec("drill"), Ladder())
    pool = ClusterPool(ClusterSpec("auto", "order", 1, 2), spec, max_queue=5)
    serve = Serve(pool)
    pool._link = serve  # type: ignore[assignment]
    pool._hear({"kind": "connected"}, b"")
    pool._hear({"kind": "state", "ready": 2, "reason": None, "failed": False}, b"")
    pool._hear({"kind": "described", "capabilities": asdict(DrillEngine().load())}, b"")
    return serve


async def test_what_is_begun_anew_goes_before_those_who_wait(serve: Serve) -> None:
    """Also where Serve has been asked for the others already: they are asked for again."""
    async with asked(serve, "1", "2", "3", "4"):
        serve.take("1")
        serve.take("2")
        assert serve.order == ["1", "2", "3", "4"]
        serve.say("1", kind="end", how="lost", cause="replica_lost")
        assert serve.order == ["2", "1", "3", "4"]
        serve.take("1")
        assert serve._pool.waiting == 2


async def test_what_is_begun_anew_in_the_background_goes_before_nobody_else(serve: Serve) -> None:
    """Whoever asks from page or API stays in front of it."""
    async with asked(serve, "1", background="1"):
        serve.take("1")
        async with asked(serve, "2", "3"):
            serve.take("2")
            serve.say("1", kind="end", how="lost", cause="replica_lost")
            assert serve.order == ["2", "3"]
        assert serve.order == ["1"]


async def test_what_is_lost_twice_is_told(serve: Serve) -> None:
    """It is begun anew once, and then fails with what was lost."""
    async with asked(serve, "1") as (run,):
        for cause in ("replica_lost", "node_lost"):
            serve.take("1")
            serve.say("1", kind="end", how="lost", cause=cause)
        with pytest.raises(errors.ReplicaLost) as raised:
            await run
    assert raised.value.origin == "node_lost"
