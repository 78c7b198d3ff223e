"""
The gateway: the process of a service that speaks with Ray, and the only one that imports it.

Ray's client ends its process when the cluster's head has been away for too long, and takes threads,
signals and a few hundred MB for itself. A service that answers for its requests can afford none of
that: so it talks with this process, by messages as with a worker, many requests at once, and starts
another when it ends.

Run as `python -m indextts_app.cluster.gateway CHANNEL_FD`; ends with its channel. Says nothing of a
request on its outputs, which the service logs.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import logging
import math
import os
import re
import select
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from indextts_app.cluster import AWAY_SECONDS
from indextts_app.cluster.deployment import DEPLOYMENT, application, lacking, unfit_reason
from indextts_app.cluster.replica import RECORDINGS
from indextts_app.cluster.routing import wake_when_one_is_free
from indextts_app.cluster.spec import Wanted
from indextts_app.workers import channel
from indextts_app.workers.worker import ROOT
from observability import request_id

LOOK_SECONDS = 1.0

ANSWER_SECONDS = 20.0
CONNECT_SECONDS = 5.0
AGAIN_SECONDS = 60.0
"""A deployment that Serve has given up, as no replica of it starts, is tried again so often:
somebody may have mended what is missing on a node."""

CLOSE_SECONDS = 1.0
"""For replicas to hear that nobody waits any more, when the service is gone."""

UNREACHABLE = (OSError, RuntimeError, ValueError, RayError, RayServeException)
"""What Ray raises where a cluster cannot be joined, or does not take a deployment."""

_VERSION = re.compile(r"(?:Ray|Python): (\d\S*)")

MAX_KEPT = 64
"""Recordings that lie in Ray's object store, under a MB each."""


class Gateway:
    """Hands on what the service and the cluster tell each other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._requests: dict[str, asyncio.Task[None]] = {}
        self._recordings: OrderedDict[str, tuple[str, Any]] = OrderedDict()
        self._background: set[asyncio.Task[None]] = set()
        self._handle: DeploymentHandle[Any] | None = None
        self._nodes: dict[str, tuple[str, int]] = {}
        self._own_node = ""
        self._described = False
        self._deployed_at = float("-inf")
        # Of their own, as a head that is away may keep each look waiting for as long as this
        # process lives, while requests need threads for their recordings.
        self._askers = ThreadPoolExecutor(math.ceil(AWAY_SECONDS / ANSWER_SECONDS) + 1)

    async def run(self) -> None:
        """Serve until the service closes the channel."""
        try:
            await self._serve()
        except (channel.ChannelBroken, asyncio.IncompleteReadError, ConnectionError):
            for request in self._requests.values():
                request.cancel()
            if self._requests:
                await asyncio.wait(self._requests.values(), timeout=CLOSE_SECONDS)

    async def _serve(self) -> None:
        first, _ = await self._read()
        self._wanted = Wanted.of(first["wanted"])
        try:
            connect(self._wanted.cluster.address)
            self._handle = self._deploy(anew=first["deploy"])
            self._own_node = ray.get_runtime_context().get_node_id()
            self._state()
        except UNREACHABLE as error:
            self._send({"kind": "unreachable", "reason": first_line(error)})
            await self._writer.drain()
            return
        self._send({"kind": "connected"})
        look = asyncio.create_task(self._look_forever())
        hear = asyncio.create_task(self._hear_forever())
        done, _ = await asyncio.wait({look, hear}, return_when=asyncio.FIRST_COMPLETED)
        await self._writer.drain()
        for task in done:
            task.result()

    async def _hear_forever(self) -> None:
        while True:
            head, _ = await self._read()
            self._hear(head)

    def _hear(self, head: Mapping[str, Any]) -> None:
        kind = head["kind"]
        if kind == "task":
            self._requests[head["id"]] = asyncio.create_task(self._work(head["id"], head["task"]))
        elif kind == "preview":
            self._requests[head["id"]] = asyncio.create_task(
                self._preview(head["id"], head["task"])
            )
        elif kind == "cancel" and (request := self._requests.get(head["id"])):
            request.cancel()
        elif kind == "restart":
            self._spawn(self._restart(head["reason"]))

    def _deploy(
        self, *, anew: bool, restart: Mapping[str, str] | None = None
    ) -> DeploymentHandle[Any]:
        """Have the cluster run what the service wants; not anew, if somebody changed it since."""
        name = self._wanted.cluster.app
        app = serve.status().applications.get(name)
        if anew or app is None:
            if restart is None:
                # What Serve has given up it does not try again, unless it is to run something else.
                once = request_id.new() if app and app.status == "DEPLOY_FAILED" else ""
                restart = {"restart": once, "reason": ""}
            wanted = application(self._wanted, restart)
            target = serve.RunTarget(target=wanted, name=name, route_prefix=None)
            serve.run_many([target], wait_for_applications_running=False)
            self._deployed_at = time.monotonic()
        return serve.get_deployment_handle(DEPLOYMENT, name)

    async def _restart(self, reason: str) -> None:
        """
        Have every engine started anew, or tried again where there is none and no reason.

        Not while the head is away, which nobody can ask.
        """
        once = {"restart": request_id.new(), "reason": reason}
        deploy = functools.partial(self._deploy, anew=True, restart=once)
        with suppress(*UNREACHABLE):
            await asyncio.get_running_loop().run_in_executor(self._askers, deploy)

    def _try_again(self) -> None:
        if time.monotonic() - self._deployed_at > AGAIN_SECONDS:
            self._deployed_at = time.monotonic()
            self._spawn(self._restart(""))

    async def _work(self, id_: str, fields: dict[str, Any]) -> None:
        """One request, and all that is heard of it; ends with `end` whatever happens."""
        assert self._handle  # noqa: S101  # nothing is heard before
        how: dict[str, Any] = {"how": "over"}
        node: str | None = None
        response: Any = None
        try:
            recordings = await self._recordings_of(fields)
            method = self._handle.options(method_name="work", stream=True)
            response = method.remote(fields, recordings)
            async for batch in response:
                for head, body in batch:
                    node = head.get("node_id", node)
                    self._send({**head, "id": id_}, body)
                await self._writer.drain()
        except asyncio.CancelledError:
            # Ray goes on with what nobody listens to any more.
            if response is not None:
                response.cancel()
            raise
        except (RayTaskError, OSError) as error:
            # Of our own code there; its message could hold anything.
            cause = getattr(error, "cause", error)
            how = {"how": "broken", "origin": f"{type(cause).__name__}@replica"}
        except RayActorError:
            how = {"how": "lost", "cause": await self._loss(node)}
        except (RayError, RayServeException) as error:
            how = {"how": "lost", "cause": "replica_lost", "origin": type(error).__name__}
        finally:
            self._requests.pop(id_, None)
            self._send({"kind": "end", "id": id_, **how})

    async def _loss(self, node: str | None) -> str:
        """What was lost with a replica; the cluster itself would tell only ten seconds later."""
        alive = node not in self._nodes or await _answers(*self._nodes[node])
        return "replica_lost" if alive else "node_lost"

    async def _preview(self, id_: str, fields: dict[str, Any]) -> None:
        assert self._handle  # noqa: S101
        response = self._handle.preview.remote(fields)
        try:
            head, body = await response
            self._send({**head, "id": id_}, body)
        except asyncio.CancelledError:
            response.cancel()
            raise
        except (RayError, RayServeException):
            self._send({"kind": "end", "id": id_, "how": "lost", "cause": "replica_lost"})
        finally:
            self._requests.pop(id_, None)

    async def _recordings_of(self, fields: dict[str, Any]) -> dict[str, tuple[str, list[Any]]]:
        """The recordings of a task, whose paths mean nothing elsewhere, taken from it."""
        found: dict[str, tuple[str, list[Any]]] = {}
        for field in RECORDINGS:
            if path := fields[field]:
                fields[field] = None
                if path not in self._recordings:
                    content = await asyncio.to_thread(Path(path).read_bytes)
                    name = f"{hashlib.sha256(content).hexdigest()}.wav"
                    self._recordings[path] = (name, ray.put(content))
                    while len(self._recordings) > MAX_KEPT:
                        self._recordings.popitem(last=False)
                self._recordings.move_to_end(path)
                name, content_ref = self._recordings[path]
                # In a list, which Ray hands on as it is: a node that has it does not ask for it.
                found[field] = (name, [content_ref])
        return found

    async def _look_forever(self) -> None:
        """Tell how the replicas are; ends where no news can come any more, and says why."""
        loop = asyncio.get_running_loop()
        answered = loop.time()
        while loop.time() - answered < AWAY_SECONDS:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    state = await loop.run_in_executor(self._askers, self._state)
                answered = loop.time()
                self._send(state)
                if state["failed"] and not state["ready"]:
                    self._try_again()
                if state["ready"] and not self._described:
                    self._described = True
                    self._spawn(self._describe())
            except (TimeoutError, RayError, RayServeException, RuntimeError):
                own = self._nodes.get(self._own_node)
                if own is None or not await _answers(*own):
                    self._send({"kind": "unreachable", "reason": "Ray on this machine has ended"})
                    return
            await asyncio.sleep(LOOK_SECONDS)
        self._send({"kind": "unreachable", "reason": "the head of the cluster does not answer"})

    def _state(self) -> dict[str, Any]:
        """How many replicas are ready, and why there are not more."""
        app = serve.status().applications.get(self._wanted.cluster.app)
        found = app.deployments.get(DEPLOYMENT) if app else None
        states = found.replica_states if found else {}
        ready = states.get("RUNNING", 0)
        failed = bool(app and app.status == "DEPLOY_FAILED")
        reason = None
        if not app or app.status == "DELETING":
            reason = (
                f"'{self._wanted.cluster.app}' was removed from it; restart a service that uses it "
                "to have it back"
            )
        elif failed or not ready:
            said = (found.message if found else "") or app.message
            reason = unfit_reason(said) or (
                said.partition("\n")[0] if failed else lacking(self._wanted.cluster.resources)
            )
        self._nodes = {
            node["NodeID"]: (node["NodeManagerAddress"], node["NodeManagerPort"])
            for node in ray.nodes()
        }
        return {
            "kind": "state",
            "ready": ready,
            "reason": reason,
            "failed": failed,
        }

    async def _describe(self) -> None:
        assert self._handle  # noqa: S101  # nothing is looked at before
        try:
            told = await self._handle.describe.remote()
        except (RayError, RayServeException):
            self._described = False
            return
        self._send({"kind": "described", **told})

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _read(self) -> tuple[dict[str, Any], bytes]:
        return await channel.read_async(self._reader)

    def _send(self, head: channel.Head, body: bytes = b"") -> None:
        self._writer.write(channel.pack_head(head, len(body)) + body)


def connect(address: str, *, code: bool = True) -> None:
    """
    Join the cluster as a client; with the code that its replicas run, where some are to be run.

    Raises:
        OSError, RuntimeError, ValueError: it cannot be joined; the message says why.
    """
    if address != "auto":
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
        except OSError as error:
            raise ConnectionError(f"nothing answers at {address} ({error.strerror})") from None
    with tempfile.TemporaryDirectory() as folder:
        for package in ("indextts_app", "observability") if code else ():
            shutil.copytree(
                ROOT / package,
                Path(folder, package),
                ignore=shutil.ignore_patterns("__pycache__"),
            )
        # It warns of requests that wait for long, which is what a queue is for.
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        ray.init(
            address=address,
            namespace="indextts",
            runtime_env={"working_dir": folder} if code else None,
            log_to_driver=False,
        )
    serve.start(proxy_location="Disabled")


def first_line(error: BaseException) -> str:
    """What an error of Ray says first; it goes on with advice that fits other programs."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(versions := _VERSION.findall(str(error))) == 4:
        # The one error whose other lines are what matters.
        return (
            "the cluster runs Ray {} with Python {}, this machine Ray {} with Python {}; they must "
            "be the same on all (requirements-cluster.txt pins Ray)".format(*versions)
        )
    return lines[0] if lines else type(error).__name__


async def _answers(host: str, port: int) -> bool:
    """Whether somebody listens there."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS / 10):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


def _end_after(connection: socket.socket) -> None:
    """End this process soon after its service, even while Ray keeps it waiting to be let in."""
    service = select.poll()
    service.register(connection, select.POLLRDHUP)
    service.poll()
    time.sleep(2 * CLOSE_SECONDS)
    os._exit(0)


async def _main() -> None:
    wake_when_one_is_free()
    connection = socket.socket(fileno=int(sys.argv[1]))
    threading.Thread(target=_end_after, args=(connection,), daemon=True).start()
    reader, writer = await asyncio.open_connection(sock=connection)
    await Gateway(reader, writer).run()


if __name__ == "__main__":
    asyncio.run(_main())
    # Not a normal exit: Ray's own threads may wait for a cluster that is gone.
    os._exit(0)
