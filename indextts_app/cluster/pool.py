"""
The pool on a cluster: the same promises as the local one, kept by replicas on many machines.

The queue is Ray Serve's, which adds replicas where it grows; its order, its bound and who is ahead
of whom are known here. A request whose replica, machine or gateway is lost is begun anew once,
unless somebody has been given some of its audio. One whose engine fails or crashes in a replica
that lives is not: that is the request's own doing more often than not.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog
from pydantic import TypeAdapter

from indextts_app import errors
from indextts_app.cluster.link import Link
from indextts_app.cluster.spec import ClusterSpec, ReplicaSpec, Wanted
from indextts_app.engines.base import Capabilities, Segment, Task
from indextts_app.workers import channel
from indextts_app.workers.listener import Guarded, Silence
from indextts_app.workers.listener import Listener as Hears
from indextts_app.workers.pool import MAX_PREVIEWS_WAITING, PREVIEW_SECONDS
from indextts_app.workers.trial import trial_task
from indextts_app.workers.worker import Delivery, samples_of

log = structlog.get_logger("indextts_app.cluster")

_CAPABILITIES = TypeAdapter(Capabilities)

BACKOFF_SECONDS = (0.0, 1.0, 2.0, 5.0, 10.0)
"""Waits before another gateway is started, longer each time it did not get through."""

GRACE_SECONDS = 30.0
"""So long without a replica, whoever waits goes on waiting: a head that is started anew, or a
replica that moves to another machine, is back by then or takes much longer."""

CONNECT_SECONDS = 90.0
"""For Ray to let a gateway in, and Serve to be started where it was not."""

_NO_ANSWER = (
    "Ray does not let this service in at {}: this machine must be a node of the cluster, so run "
    "`ray start --address=HOST:PORT --num-cpus=0` on it"
)
CLOSE_SECONDS = 2.0
LOOK_SECONDS = 0.5


@dataclass(eq=False, slots=True)
class _Call:
    task: Task
    listener: Guarded
    background: bool
    done: asyncio.Future[Delivery]
    id: str | None = None
    """Under which the gateway has it; None while it has not."""
    replica: str = ""
    taken: bool = False
    begun_anew: bool = False
    ahead: int | None = None
    audio: list[bytes] = field(default_factory=list)


class ClusterPool:
    """Runs tasks on the replicas of a deployment, which it shares with whoever wants the same."""

    def __init__(
        self,
        cluster: ClusterSpec,
        replica: ReplicaSpec,
        *,
        max_queue: int,
        clock: Callable[[], float] = time.monotonic,
        on_ready: Callable[[Capabilities], None] = lambda _can: None,
        on_restart: Callable[[str], None] = lambda _reason: None,
    ) -> None:
        self.capabilities: Capabilities | None = None
        self._cluster = cluster
        self._replica = replica
        self._max_queue = max_queue
        self._clock = clock
        self._on_ready = on_ready
        self._on_restart = on_restart
        self._refusal: Callable[[], errors.NotReady] | None = _loading
        self._link: Link | None = None
        self._connected = False
        self._deployed = False
        self._ready = 0
        self._trouble: str | None = None
        self._explained = False
        self._update_failed = False
        self._without_since: float | None = None
        self._numbers = itertools.count(1)
        self._queue: list[_Call] = []
        self._in_background: deque[_Call] = deque()
        self._sent: dict[str, _Call] = {}
        self._previews: dict[str, asyncio.Future[Mapping[str, Any]]] = {}
        self._closing = False
        self._draining = False
        self._tasks: list[asyncio.Task[None]] = []

    # --- What it is like now ----------------------------------------------------------------------

    @property
    def unavailable(self) -> str | None:
        """See `Pool`, as for all that is public."""
        return None if self._refusal is None else str(self._refusal().details["reason"])

    def not_ready(self) -> errors.NotReady:
        return (self._refusal or _loading)()

    def check_open(self) -> None:
        if self._refusal:
            raise self._refusal()

    @property
    def size(self) -> int:
        return self._cluster.max_replicas

    @property
    def places(self) -> int:
        return self.size + self._max_queue

    @property
    def waiting(self) -> int:
        return max(len(self._queue) - self._free, 0)

    @property
    def busy(self) -> int:
        return sum(call.taken for call in self._sent.values())

    @property
    def ready_workers(self) -> int:
        return self._ready if self.capabilities else 0

    @property
    def stopping_workers(self) -> int:
        """None that are known: a replica that does not stop is ended by itself."""
        return 0

    @property
    def unloaded_workers(self) -> int:
        return 0

    @property
    def trial_seconds(self) -> float:
        return self._replica.engine.trial_seconds

    @property
    def start_seconds(self) -> float:
        return self._replica.engine.start_seconds

    def pids(self) -> dict[str, int]:
        return {}

    def trial_task(self) -> Task | None:
        can = self.capabilities
        return None if can is None else trial_task(can, self._replica.engine.sample_voice)

    # --- From start to end ------------------------------------------------------------------------

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._supervise()), asyncio.create_task(self._look())]

    async def restart_all(self, reason: str) -> None:
        self._tell({"kind": "restart", "reason": reason})

    def drain(self) -> None:
        self._draining = True
        self._refusal = _shutting_down

    async def stop(self, grace_seconds: float) -> int:
        self._closing = True
        self.drain()
        self._fail_waiting(_shutting_down)
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                while self.busy:  # noqa: ASYNC110  # once in a process's life, no event is worth it
                    await asyncio.sleep(0.02)
        given_up = self.busy
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for call in list(self._sent.values()):
            _fail(call, errors.WorkerDied(origin="shutdown"))
        if self._link:
            await self._link.close(CLOSE_SECONDS)
        return given_up

    # --- Work -------------------------------------------------------------------------------------

    async def run(
        self,
        task: Task,
        listener: Hears | None = None,
        *,
        patience_seconds: float = math.inf,  # noqa: ARG002  # nobody knows when a replica comes
        background: bool = False,
    ) -> Delivery:
        self.check_open()
        limit = (
            self._max_queue
            + self._free
            + sum(call.background and call.taken for call in self._sent.values())
        )
        if not background and len(self._queue) >= limit:
            raise errors.QueueFull(waiting=self.waiting)
        done: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        call = _Call(task, Guarded(listener or Silence()), background, done)
        self._enqueue(call, last=True)
        try:
            return await done
        finally:
            done.cancel()
            self._leave(call)

    async def preview(self, task: Task) -> tuple[Segment, ...]:
        self.check_open()
        if len(self._previews) > MAX_PREVIEWS_WAITING * max(self._ready, 1):
            raise errors.QueueFull(waiting=len(self._previews))
        id_ = str(next(self._numbers))
        answer = self._previews[id_] = asyncio.get_running_loop().create_future()
        self._tell({"kind": "preview", "id": id_, "task": channel.fields_of(task)})
        try:
            async with asyncio.timeout(PREVIEW_SECONDS):
                told = await answer
        except TimeoutError:
            self._tell({"kind": "cancel", "id": id_})
            raise errors.NotReady(
                reason="the preview took too long, as every replica is busy.",
                reason_zh="所有副本都在忙，预览耗时过长。",
            ) from None
        finally:
            del self._previews[id_]
        if told["kind"] == "failed":
            raise _error_of(told)
        if told["kind"] != "previewed":
            raise errors.NotReady(
                reason="the replica was just lost.", reason_zh="引擎副本刚刚丢失。"
            )
        return tuple(Segment(**segment) for segment in told["segments"])

    # --- The queue --------------------------------------------------------------------------------

    @property
    def _free(self) -> int:
        """Replicas without a request of this service."""
        return max(self._ready - self.busy, 0)

    def _enqueue(self, call: _Call, *, last: bool) -> None:
        """Put a call in its queue, at its end or, where it had a replica already, in front."""
        queue: Any = self._in_background if call.background else self._queue
        queue.insert(len(queue) if last else 0, call)
        if not call.background:
            self._put_back_background()
        self._pump()

    def _put_back_background(self) -> None:
        """Whoever comes goes before a task of the background that no replica has yet."""
        sent = [one for one in self._sent.values() if one.background and not one.taken]
        for call in reversed(sent):
            self._withdraw(call)
            self._in_background.appendleft(call)

    def _pump(self) -> None:
        """Send on what may go, and tell the others how many are ahead of them."""
        if self._connected and not self._closing:
            for call in self._queue:
                if call.id is None:
                    self._send(call)
            while self._in_background and not self._queue and self._has_room_in_background():
                self._send(self._in_background.popleft())
        for place, call in enumerate((*self._queue, *self._in_background)):
            ahead = place - self._free
            if ahead >= 0 and ahead != call.ahead:
                call.ahead = ahead
                call.listener.waiting(ahead)

    def _has_room_in_background(self) -> bool:
        # One more than there are replicas: a queue, for which the cluster may add one.
        return len(self._sent) < min(self._ready + 1, self.size)

    def _send(self, call: _Call) -> None:
        call.id = str(next(self._numbers))
        self._sent[call.id] = call
        self._tell({"kind": "task", "id": call.id, "task": channel.fields_of(call.task)})

    def _withdraw(self, call: _Call) -> None:
        if call.id is not None:
            self._tell({"kind": "cancel", "id": call.id})
            self._sent.pop(call.id, None)
            call.id = None
        call.taken = False
        call.ahead = None

    def _leave(self, call: _Call) -> None:
        """The caller is answered, or has left."""
        for queue in (self._queue, self._in_background):
            with suppress(ValueError):
                queue.remove(call)
        self._withdraw(call)
        self._pump()

    def _begin_anew(self, call: _Call, cause: str) -> None:
        """Where a call was is lost: put it in front, if that is safe and was not done before."""
        log.warning(
            "replica.lost", request_id=call.task.request_id, replica=call.replica, reason=cause
        )
        self._on_restart(cause)
        if call.done.done():
            return
        if call.begun_anew or self._closing or not call.listener.lost(cause):
            _fail(call, errors.ReplicaLost(origin=cause))
            return
        call.begun_anew = True
        call.audio.clear()
        call.taken = False
        call.id = call.ahead = None
        with suppress(ValueError):
            self._queue.remove(call)
        # Serve goes by the order in which it is asked: whoever is to come later asks anew.
        if call.background:
            self._put_back_background()
        else:
            for waits in self._queue:
                self._withdraw(waits)
        self._enqueue(call, last=False)

    # --- What the gateway says --------------------------------------------------------------------

    def _hear(self, head: dict[str, Any], body: bytes) -> None:
        kind = head["kind"]
        if kind in ("line", "restarted"):
            self._hear_of_engine(head)
        elif id_ := head.get("id"):
            if call := self._sent.get(id_):
                self._hear_of_call(call, head, body)
            elif (preview := self._previews.get(id_)) and not preview.done():
                preview.set_result(head)
        elif kind == "connected":
            self._connected = self._deployed = True
            self._trouble = None
            self._pump()
        elif kind == "described":
            self._hear_of_capabilities(_CAPABILITIES.validate_python(head["capabilities"]))
        elif kind == "state":
            self._ready, self._trouble = head["ready"], head["reason"]
            self._tell_of_update(failed=head["failed"])
            self._consider_refusing(at_once=head["failed"])
            self._pump()
        elif kind == "unreachable":
            self._trouble, self._explained = head["reason"], True

    def _hear_of_call(self, call: _Call, head: dict[str, Any], body: bytes) -> None:
        kind, listener = head["kind"], call.listener
        if kind == "placed":
            call.replica = head["replica"]
            listener.placed(head["node"], head["replica"])
        elif kind == "taken":
            call.taken = True
            with suppress(ValueError):
                self._queue.remove(call)
            # The slot of a worker is its replica: another process there is the same slot's.
            listener.taken(f"{call.replica}:{head['worker'].partition(':')[2]}")
            self._pump()
        elif kind == "stage":
            listener.stage(head["stage"])
        elif kind == "segment":
            listener.segment(head["number"], head["count"])
        elif kind == "audio":
            call.audio.append(body)
            listener.audio(samples_of(body), head["sample_rate"])
        elif kind == "measured":
            listener.measured(head["stages"], head["notes"])
        elif kind == "done":
            samples = samples_of(b"".join(call.audio))
            self._over(call)
            if not call.done.done():
                call.done.set_result(Delivery(samples, head["sample_rate"], head["spoken_text"]))
        elif kind == "failed":
            self._over(call)
            _fail(call, _error_of(head))
        elif kind == "end":
            self._over(call)
            if head["how"] == "broken":
                _fail(call, errors.EngineError(origin=head["origin"]))
            else:
                self._begin_anew(call, head.get("cause", "replica_lost"))

    def _over(self, call: _Call) -> None:
        """The replica has said its last word of a call; what it still does is not ours."""
        if call.id is not None:
            self._sent.pop(call.id, None)
            call.id = None

    def _hear_of_engine(self, head: Mapping[str, Any]) -> None:
        if head["kind"] == "restarted":
            self._on_restart(
                "crashed" if head["reason"].startswith(("signal", "exit")) else head["reason"]
            )
            return
        line = dict(head["line"])
        level, event = line.pop("level", "info"), line.pop("event")
        getattr(log, level)(event, **line)

    def _hear_of_capabilities(self, can: Capabilities) -> None:
        self.capabilities = can
        self._on_ready(can)
        log.info(
            "cluster.ready",
            engine=can.engine,
            engine_version=can.engine_version,
            model_version=can.model_version,
            device=can.device,
            replicas=self._ready,
        )
        self._consider_refusing()

    def _tell_of_update(self, *, failed: bool) -> None:
        """Once: replicas of an update do not start, and those before it serve as if nothing was."""
        was_told, self._update_failed = self._update_failed, failed and self._ready > 0
        if self._update_failed and not was_told:
            log.error("cluster.update_failed", reason=self._trouble)

    # --- Whether there is a cluster ---------------------------------------------------------------

    def _consider_refusing(self, *, at_once: bool = False) -> None:
        """Refuse and tell those who wait, once there has been no replica for too long."""
        if self._draining:
            return
        if self.ready_workers:
            self._without_since = self._refusal = None
            return
        if self._without_since is None:
            self._without_since = self._clock()
        was_ready = self.capabilities is not None
        if was_ready and not at_once and self._clock() - self._without_since < GRACE_SECONDS:
            return
        if self._trouble is None:
            self._refusal = _loading
        else:
            self._refusal = functools.partial(_without, self._trouble)
        self._fail_waiting(self._refusal)

    def _fail_waiting(self, refusal: Callable[[], errors.NotReady]) -> None:
        for call in (*self._queue, *self._in_background):
            _fail(call, refusal())

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._consider_refusing()

    async def _supervise(self) -> None:
        """Have a gateway as long as this pool lives."""
        fruitless = 0
        while True:
            await asyncio.sleep(BACKOFF_SECONDS[min(fruitless, len(BACKOFF_SECONDS) - 1)])
            link = self._link = Link(self._hear)
            try:
                await link.start()
            except OSError as error:
                self._trouble = f"the gateway cannot be started: {error.strerror}"
                fruitless += 1
                continue
            # Only the first has the cluster changed: another service may have changed it since.
            link.send(
                {
                    "kind": "hello",
                    "wanted": Wanted(self._cluster, self._replica).fields(),
                    "deploy": not self._deployed,
                }
            )
            self._explained = False
            await self._until_connected(link)
            reason = await asyncio.shield(link.ended)
            fruitless = 0 if self._connected else fruitless + 1
            self._lost_gateway(reason, link.last_line)

    async def _until_connected(self, link: Link) -> None:
        """End a gateway that Ray keeps waiting, as it does where this machine is no node of it."""
        until = self._clock() + CONNECT_SECONDS
        while not self._connected and not link.ended.done():
            await asyncio.sleep(0.05)
            if self._clock() > until and not self._explained:
                self._trouble, self._explained = _NO_ANSWER.format(self._cluster.address), True
                link.kill()

    def _lost_gateway(self, reason: str, said: str) -> None:
        was_connected, self._connected, self._ready = self._connected, False, 0
        if not self._explained:
            self._trouble = f"the gateway ended ({reason})" + (f", saying: {said}" if said else "")
        log.error("cluster.lost", reason=self._trouble, was_connected=was_connected)
        sent, self._sent = list(self._sent.values()), {}
        # Latest first, as each goes to the front.
        for call in sorted(sent, key=lambda call: int(call.id or 0), reverse=True):
            if call.taken:
                self._begin_anew(call, "gateway_lost")
            else:
                call.id = None
                if call.background:
                    self._in_background.appendleft(call)
        for preview in self._previews.values():
            if not preview.done():
                preview.set_result({"kind": "end"})
        self._consider_refusing()

    def _tell(self, head: channel.Head) -> None:
        if self._link:
            self._link.send(head)


def _fail(call: _Call, error: errors.ServiceError) -> None:
    if not call.done.done():
        call.done.set_exception(error)


def _error_of(head: Mapping[str, Any]) -> errors.ServiceError:
    """The error that a replica told."""
    error = errors.of(head["code"], head["details"], origin=head["origin"])
    error.retry_after_seconds = head["retry_after_seconds"]
    return error


def _loading() -> errors.NotReady:
    return errors.NotReady(reason="the engine is still loading.", reason_zh="引擎正在加载。")


def _shutting_down() -> errors.NotReady:
    return errors.NotReady(reason="it is shutting down.", reason_zh="服务正在关闭。")


def _without(trouble: str) -> errors.NotReady:
    trouble = trouble.rstrip(".")
    return errors.NotFit(
        reason=f"the cluster has no replica ready: {trouble}.",
        reason_zh=f"集群没有可用的引擎副本：{trouble}。",
    )
