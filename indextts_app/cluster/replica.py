"""
An engine on a node of the cluster: the local pool with one worker, behind Ray Serve.

So an engine is supervised there as it is here: it runs in a process of its own, under its own
Python, is heard before it serves, is killed when it hangs, and replaced when it crashes or grows.
What happens to a request is told in messages as `workers.channel` has them.

Nothing of a request is raised or printed here: Ray would write it into its logs, text and all.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from typing import Any

import psutil
import ray
import structlog
from ray import serve
from ray.exceptions import RayError

from indextts_app import errors
from indextts_app.cluster.lines import Lines
from indextts_app.cluster.recordings import Recordings
from indextts_app.cluster.spec import ReplicaSpec
from indextts_app.engines.base import Samples
from indextts_app.workers import channel
from indextts_app.workers.pool import WorkerPool
from observability.events import Scalar

log = structlog.get_logger("indextts_app.cluster")

Message = tuple[dict[str, Any], bytes]
"""The head and the body of one message."""

RECORDINGS = ("reference", "emotion_reference")
SPEECH_KEY = "INDEXTTS_SPEECH_API_KEY"
AT_ONCE = ("taken", "audio", "done", "failed")
TOGETHER_SECONDS = 0.04
"""Other news waits so long for more to go with: a message costs both sides a millisecond of CPU."""

LOOK_SECONDS = 1.0
UNFIT_SECONDS = 60.0
"""An engine that does not start again for so long is tried anew, on another node if it can be."""


class ReplicaUnfit(Exception):
    """The engine does not start on this node; the message says why."""


class Replica:
    """Has its one worker work on one request at a time; Serve sends no second one meanwhile."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, spec: Mapping[str, Any], digest: str, voice: bytes | None
    ) -> None:
        self._spec = ReplicaSpec.of(spec)
        self._digest = digest
        self._lines = Lines()
        context = serve.get_replica_context()
        self._replica = context.replica_id.unique_id
        self._node_id = ray.get_runtime_context().get_node_id()
        self._node = _node_name(self._node_id)
        try:
            self._recordings = Recordings()
        except OSError as error:
            raise ReplicaUnfit(f"node {self._node}: {error}") from None
        self._unfit_since: float | None = None
        self._restarts: str | None = None
        self._turn = asyncio.Lock()
        engine = replace(self._spec.engine, secrets=_secrets(self._spec.engine.engine))
        self._voice = self._kept(voice) if voice else None
        if self._voice:
            engine = replace(engine, sample_voice=self._recordings.path(self._voice))
        self._pool = WorkerPool(
            engine,
            size=1,
            max_queue=1,
            ladder=self._spec.ladder,
            on_restart=self._lines.restarted,
        )
        self._pool.start()
        while not self._pool.ready_workers:
            if self._pool.unavailable and self._pool.is_unfit:
                reason = self._pool.unavailable
                await self._pool.stop(0)
                raise ReplicaUnfit(f"node {self._node}: {reason}")
            await asyncio.sleep(0.05)
        if limit_mb := self._spec.memory_mb:
            # Or its engine would be ended a second after each start.
            held_mb = _tree_mb()
            if held_mb > limit_mb:
                await self._pool.stop(0)
                raise ReplicaUnfit(f"node {self._node}: {_too_large(held_mb, limit_mb)}")
        self._watch = asyncio.create_task(self._watch_memory())

    async def describe(self) -> dict[str, Any]:
        """What the engine can do."""
        assert self._pool.capabilities  # noqa: S101  # it was ready
        return {"capabilities": asdict(self._pool.capabilities), "digest": self._digest}

    async def work(
        self, fields: Mapping[str, Any], recordings: Mapping[str, tuple[str, list[Any]]]
    ) -> AsyncIterator[list[Message]]:
        """
        All that is heard of one request, as it comes; the last message is `done` or `failed`.

        It goes on after that until the next request could be taken: so Serve sends none to a
        replica whose engine is being started again.

        Args:
            fields: the task, see `channel.fields_of`.
            recordings: by field, the name of each and a reference to its content.
        """
        ear = _Ear(self._lines)
        async with self._turn:
            run = asyncio.create_task(self._run(fields, recordings, ear))
            try:
                while True:
                    batch = await ear.heard()
                    yield batch
                    if batch[-1][0]["kind"] in ("done", "failed"):
                        break
            finally:
                run.cancel()
                with suppress(asyncio.CancelledError):
                    await run
                await self._until_free()

    async def preview(self, fields: Mapping[str, Any]) -> Message:
        """The segments of a task's text, in a message like the last one of `work`."""
        try:
            segments = await self._pool.preview(channel.task_of(fields))
        except errors.ServiceError as error:
            return _failed(error), b""
        return {"kind": "previewed", "segments": [asdict(one) for one in segments]}, b""

    async def reconfigure(self, config: Mapping[str, str]) -> None:
        """Start the engine anew when a service has a reason; what is said at the start is old."""
        before, self._restarts = self._restarts, config["restart"]
        if before is not None and config["reason"] and config["restart"] != before:
            await self._pool.restart_all(config["reason"])

    async def check_health(self) -> None:
        """
        Raise where this replica should be replaced.

        Raises:
            ReplicaUnfit: its engine has not started again for a while.
        """
        if self._voice:
            # In use as long as there is a replica, which is heard with it whenever it starts anew.
            self._recordings.has(self._voice)
        now = asyncio.get_running_loop().time()
        if not self._pool.is_unfit:
            self._unfit_since = None
        elif self._unfit_since is None:
            self._unfit_since = now
        elif now - self._unfit_since > UNFIT_SECONDS:
            raise ReplicaUnfit(f"node {self._node}: {self._pool.unavailable}")

    async def __del__(self) -> None:
        """Serve calls this once the last request has ended, before the process goes."""
        await self._pool.stop(0)

    async def _run(
        self,
        fields: Mapping[str, Any],
        recordings: Mapping[str, tuple[str, list[Any]]],
        ear: _Ear,
    ) -> None:
        ear.tell(
            {
                "kind": "placed",
                "node": self._node,
                "node_id": self._node_id,
                "replica": self._replica,
            }
        )
        try:
            async with asyncio.timeout(self._spec.request_seconds):
                task = channel.task_of({**fields, **await self._paths(recordings)})
                delivery = await self._pool.run(task, ear)
        except errors.ServiceError as error:
            ear.tell(_failed(error))
        except TimeoutError:
            ear.tell(_failed(errors.DeadlineExceeded(seconds=self._spec.request_seconds)))
        except (OSError, RayError, TypeError, ValueError) as error:
            # The disk is full, the recording is gone, or the service that asks is of another code.
            ear.tell(_failed(errors.EngineError(origin=f"{type(error).__name__}@replica")))
        else:
            ear.tell(
                {
                    "kind": "done",
                    "sample_rate": delivery.sample_rate,
                    "spoken_text": delivery.spoken_text,
                }
            )

    async def _paths(self, recordings: Mapping[str, tuple[str, list[Any]]]) -> dict[str, str]:
        for name, content in recordings.values():
            if not self._recordings.has(name):
                self._recordings.add(name, await content[0])
        return {field: str(self._recordings.path(name)) for field, (name, _) in recordings.items()}

    def _kept(self, content: bytes) -> str:
        name = f"{hashlib.sha256(content).hexdigest()}.wav"
        if not self._recordings.has(name):
            self._recordings.add(name, content)
        return name

    async def _until_free(self) -> None:
        while not self._pool.is_idle:  # noqa: ASYNC110  # a fault that is rare needs no event
            await asyncio.sleep(0.02)

    async def _watch_memory(self) -> None:
        """Ray only reserves memory: what is really too much ends the engine's process."""
        limit_mb = self._spec.memory_mb
        while limit_mb:
            await asyncio.sleep(LOOK_SECONDS)
            held_mb = _tree_mb()
            if held_mb > limit_mb:
                log.error("replica.too_large", held_mb=round(held_mb, 1), limit_mb=limit_mb)
                await self._pool.restart_all("memory_limit")


class _Ear:
    """Puts what is heard of a request into messages, those of one moment together."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._messages: list[Message] = []
        self._told = asyncio.Event()

    async def heard(self) -> list[Message]:
        """All messages since the last call; waits for one."""
        await self._told.wait()
        self._told.clear()
        while not self._messages:
            # They went with others that could not wait.
            await self._told.wait()
            self._told.clear()
        batch, self._messages = [*self._lines.take(), *self._messages], []
        return batch

    def tell(self, head: dict[str, Any], body: bytes = b"") -> None:
        """Have it heard, at once where somebody waits for it."""
        self._messages.append((head, body))
        if head["kind"] in AT_ONCE:
            self._told.set()
        else:
            asyncio.get_running_loop().call_later(TOGETHER_SECONDS, self._told.set)

    def waiting(self, ahead: int) -> None:
        """The service says how many are ahead."""

    def placed(self, node: str, replica: str) -> None:
        """Told before the worker is asked."""

    def taken(self, worker: str) -> None:
        self.tell({"kind": "taken", "worker": worker})

    def stage(self, name: str) -> None:
        self.tell({"kind": "stage", "stage": name})

    def segment(self, number: int, count: int) -> None:
        self.tell({"kind": "segment", "number": number, "count": count})

    def audio(self, samples: Samples, sample_rate: int) -> None:
        self.tell({"kind": "audio", "sample_rate": sample_rate}, samples.tobytes())

    def measured(self, stages: Mapping[str, float], notes: Mapping[str, Scalar]) -> None:
        self.tell({"kind": "measured", "stages": dict(stages), "notes": dict(notes)})

    def lost(self, cause: str) -> bool:  # noqa: ARG002
        return False


def _failed(error: errors.ServiceError) -> dict[str, Any]:
    return {
        "kind": "failed",
        "code": error.code,
        "details": error.details,
        "origin": getattr(error, "origin", None),
        "retry_after_seconds": error.retry_after_seconds,
    }


def _secrets(engine: str) -> dict[str, str]:
    """What an engine has to know and Ray must not store: it stands in its node's environment."""
    key = os.environ.get(SPEECH_KEY) if engine == "openai_speech" else None
    return {SPEECH_KEY: key} if key else {}


def _too_large(held_mb: float, limit_mb: float) -> str:
    return (
        f"a replica holds {held_mb:.0f} MB before its first request, and may hold {limit_mb:g}: "
        "raise INDEXTTS_CLUSTER_MEMORY_MB"
    )


def _node_name(node_id: str) -> str:
    """The node's name where its operator gave it one, or else that of the machine."""
    named = {node["NodeID"]: node for node in ray.nodes()}.get(node_id, {})
    name, address = named.get("NodeName"), named.get("NodeManagerAddress")
    return str(name) if name and name != address else socket.gethostname()


def _tree_mb() -> float:
    """What this process and those that it has started hold."""
    own = psutil.Process()
    held = 0
    for process in (own, *own.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            held += process.memory_info().rss
    return held / 1e6
