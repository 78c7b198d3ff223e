"""Promises of a replica that need no cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from indextts_app.cluster.recordings import Recordings
from indextts_app.cluster.spec import ReplicaSpec
from indextts_app.workers.memory_ladder import Ladder
from indextts_app.workers.worker import EngineSpec

pytestmark = pytest.mark.anyio


class _Idle:
    is_idle = True


class _NoLines:
    restarted = None

    def take(self) -> list[Any]:
        return []


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Callable[[ReplicaSpec], Any]:
    """Start a replica on node `a` of a cluster of which Ray knows nothing."""
    # Ray's import warns of itself.
    from indextts_app.cluster import replica

    class Bare(replica.Replica):
        def __del__(self) -> None:  # type: ignore[override]
            """The test ends what it started."""

    here = SimpleNamespace(replica_id=SimpleNamespace(unique_id="r"))
    monkeypatch.setattr(replica.serve, "get_replica_context", lambda: here)
    node = SimpleNamespace(get_node_id=lambda: "1")
    monkeypatch.setattr(replica.ray, "get_runtime_context", lambda: node)
    monkeypatch.setattr(replica, "_node_name", lambda _: "a")
    # They are about the whole process.
    monkeypatch.setattr(replica, "Lines", _NoLines)
    return lambda spec: Bare.__init__(Bare.__new__(Bare), spec.fields(), "", None)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray", "ignore::DeprecationWarning:pydantic")
async def test_a_limit_of_memory_that_no_engine_fits_below_is_told(
    start: Callable[[ReplicaSpec], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it serves, with the setting; its engine is not ended every second instead."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    engine = EngineSpec("drill", {"seconds": 0.0}, start_seconds=60)
    told = (
        r"node a: a replica holds \d+ MB before its first request, and may hold 20: "
        "raise INDEXTTS_CLUSTER_MEMORY_MB"
    )
    with pytest.raises(Exception, match=told):
        await start(ReplicaSpec(engine, Ladder(), memory_mb=20.0))


@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray", "ignore::DeprecationWarning:pydantic")
async def test_a_folder_of_recordings_that_others_can_change_is_told(
    start: Callable[[ReplicaSpec], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the reason why the replica does not start."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    Recordings().folder.chmod(0o777)
    with pytest.raises(Exception, match=r"node a: .*/indextts-recordings-\d+ .*: remove what"):
        await start(ReplicaSpec(EngineSpec("drill"), Ladder()))


@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray", "ignore::DeprecationWarning:pydantic")
async def test_the_key_of_a_speech_server_comes_from_the_node(
    start: Callable[[ReplicaSpec], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its engine is told it, and no other engine is; it never travels through Ray."""
    from indextts_app.cluster import replica

    given: list[object] = []

    def pool(engine: EngineSpec, **_: object) -> None:
        given.append(engine.secrets)
        raise InterruptedError

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(replica, "WorkerPool", pool)
    monkeypatch.setenv("INDEXTTS_SPEECH_API_KEY", "its own")
    for engine in ("openai_speech", "drill"):
        with pytest.raises(InterruptedError):
            await start(ReplicaSpec(EngineSpec(engine), Ladder()))
    assert given == [{"INDEXTTS_SPEECH_API_KEY": "its own"}, {}]


@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray", "ignore::DeprecationWarning:pydantic")
async def test_a_request_that_cannot_begin_fails_at_once(tmp_path: Path) -> None:
    """A recording that cannot be kept is told as that, and nobody waits for the deadline."""
    # Ray's import warns of itself.
    from indextts_app.cluster.replica import Replica

    async def full_disk() -> bytes:
        raise OSError(28, "No space left on device")

    class Bare(Replica):
        """Of which Ray knows nothing."""

        def __del__(self) -> None:  # type: ignore[override]
            """Nothing was started."""

    replica = Bare.__new__(Bare)
    fields = {
        "_spec": ReplicaSpec(EngineSpec("drill"), Ladder()),
        "_lines": _NoLines(),
        "_recordings": Recordings(tmp_path),
        "_pool": _Idle(),
        "_turn": asyncio.Lock(),
        "_node": "here",
        "_node_id": "1",
        "_replica": "r",
    }
    vars(replica).update(fields)
    recordings = {"reference": (f"{'0' * 64}.wav", [full_disk()])}
    heard: list[Any] = []

    async with asyncio.timeout(5):
        async for batch in replica.work({}, recordings):
            heard += [head for head, _ in batch]

    assert heard[-1] == {
        "kind": "failed",
        "code": "engine_error",
        "details": {},
        "origin": "OSError@replica",
        "retry_after_seconds": 1,
    }
