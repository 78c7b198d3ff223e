"""
One worker process as the service sees it: start it, give it a task, cancel it, see it end.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from pydantic import TypeAdapter

from indextts_app import errors
from indextts_app.engines.base import Capabilities, Memory, Samples, Segment, Task
from indextts_app.settings import PREFIX
from indextts_app.workers import channel
from indextts_app.workers.listener import Listener
from indextts_app.workers.memory_ladder import History, Reason, Step, growth_mb
from indextts_app.workers.messages import Messages
from observability.events import Scalar
from observability.redaction import mask_private

log = structlog.get_logger("indextts_app.workers")

_CAPABILITIES = TypeAdapter(Capabilities)

ROOT = Path(__file__).resolve().parents[2]
MAX_OUTPUT_LINE = 8_192
RELIEVE_SECONDS = 10.0
"""How long an engine may take to give memory back before its process is killed."""

LAST_WORDS_SECONDS = 1.0
"""How long a worker may take to end by itself once its channel is closed."""


class WorkerUnfit(Exception):
    """The worker did not become ready; the message says why."""


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """Which engine a worker loads, and how."""

    engine: str
    options: Mapping[str, float | str] = field(default_factory=dict)
    python: Path = field(default_factory=lambda: Path(sys.executable))
    start_seconds: float = 120.0
    settle_seconds: float = 2.0
    """How long a cancelled engine may take to stop before its process is killed."""
    trial_seconds: float = 10.0
    """How long a sentence as short as that of the self-test may take a worker that is well."""
    sample_voice: Path | None = None
    """The recording that an engine whose voices are recordings speaks its self-test with."""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Environment of the process, where other users of the machine cannot read what stands there;
    its command line they can."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What an engine made of a task."""

    samples: Samples
    sample_rate: int
    spoken_text: str | None


class Worker:
    """A process with one engine; takes one task at a time."""

    def __init__(self, slot: int, spec: EngineSpec) -> None:
        self.slot = slot
        self.pid = 0
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.served = 0
        self.history = History()
        self.tried: set[Step] = set()
        """Steps that were taken in the present trouble about its memory."""
        self.trouble: Reason | None = None
        """What the latest of them was taken for."""
        self.idle_since = 0.0
        self.relievable = False
        self._spec = spec
        self._process: asyncio.subprocess.Process | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._ready: asyncio.Future[Capabilities] = asyncio.get_running_loop().create_future()
        self._capabilities: Capabilities | None = None
        self._work: _Work | None = None
        self._relief: asyncio.Future[Mapping[str, Any]] | None = None
        self._preview: asyncio.Future[Mapping[str, Any]] | None = None
        self._previewers = 0
        self._preview_turn = asyncio.Lock()
        self._previewed: deque[Task] = deque(maxlen=2)
        # What a task made the engine print may be read only when the next one has begun.
        self._recent: deque[Task] = deque(maxlen=2)
        self._background: set[asyncio.Task[None]] = set()
        self._end_reason: str | None = None
        self._last_line = ""
        self._outputs: list[asyncio.Task[None]] = []

    @property
    def name(self) -> str:
        """The slot and the process in it, as the event names them."""
        return f"{self.slot}:{self.pid}"

    @property
    def previews(self) -> int:
        """How many previews it has to do, the one that it is busy with included."""
        return max(self._previewers, int(self._preview is not None))

    @property
    def is_free(self) -> bool:
        """Whether it is alive and has no task."""
        return self._work is None and not self.ended.done()

    async def start(self) -> Capabilities:
        """
        Start the process and load its engine.

        Raises:
            WorkerUnfit: it could not be started, refused to serve, or took too long.
        """
        loop = asyncio.get_running_loop()
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise WorkerUnfit(f"no channel to it can be opened: {error.strerror}") from error
        with theirs:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    str(self._spec.python),
                    "-m",
                    "indextts_app.workers.child",
                    self._spec.engine,
                    str(theirs.fileno()),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                    pass_fds=(theirs.fileno(),),
                    env={
                        **_not_ours(os.environ),
                        **self._spec.secrets,
                        channel.OPTIONS_VARIABLE: json.dumps(dict(self._spec.options)),
                        "PYTHONPATH": str(ROOT),
                        "PYTHONUNBUFFERED": "1",
                    },
                    # A Ctrl-C in the terminal is the service's to handle, requests drain first.
                    start_new_session=True,
                )
            except OSError as error:
                raise WorkerUnfit(f"{self._spec.python} cannot be run: {error.strerror}") from error
            finally:
                if self._process is None:
                    ours.close()
        self.pid = self._process.pid
        self._spawn(self._await_end())
        self._transport, _ = await loop.create_unix_connection(
            lambda: Messages(self._hear, self._lost_channel), sock=ours
        )
        for stream, reader in (("stdout", self._process.stdout), ("stderr", self._process.stderr)):
            if reader:
                self._outputs.append(self._spawn(self._log_output(stream, reader)))
        try:
            async with asyncio.timeout(self._spec.start_seconds):
                self._capabilities = await self._ready
        except TimeoutError:
            self.kill("start_timeout")
            raise WorkerUnfit(
                f"the engine did not load within {self._spec.start_seconds:g} s"
            ) from None
        return self._capabilities

    async def work(self, task: Task, listener: Listener) -> Delivery:
        """
        Have the engine work on a task; what the listener raises ends this worker's channel.

        Raises:
            errors.SynthesisFailed: the engine failed, or its process died.
            errors.ReferenceRefused: the engine has no use for the reference.
            asyncio.CancelledError: the caller gave up; `settle` must follow.
        """
        self._work = _Work(task, listener)
        self._recent.append(task)
        if self.ended.done():
            raise errors.WorkerDied(origin=self.ended.result())
        self._send({"kind": "task", "task": channel.fields_of(task)})
        last = await asyncio.shield(self._work.last)
        work, self._work = self._work, None
        self.served += 1
        return self._delivery(work, last)

    async def settle(self) -> None:
        """Stop the task that was given up; a process that does not stop in time is killed."""
        work = self._work
        if work is None or self.ended.done():
            return
        self._send({"kind": "cancel", "request_id": work.task.request_id})
        done, _ = await asyncio.wait({work.last}, timeout=self._spec.settle_seconds)
        if done:
            # What it still said is of no use to anybody, an error included.
            work.last.exception()
        else:
            self.kill("hung")
            await asyncio.shield(self.ended)
        self._work = None

    async def preview(self, task: Task) -> tuple[Segment, ...]:
        """
        The segments that a task's text will be cut into, also while another task is worked on.

        One at a time: whoever comes second waits. A caller may be cancelled; the next one then
        waits until the engine has answered.

        Raises:
            errors.InvalidField: the engine cannot cut this text.
            errors.SynthesisFailed: the engine failed, or its process died.
        """
        self._previewers += 1
        try:
            async with self._preview_turn:
                answer = await self._previewed_by_engine(task)
        finally:
            self._previewers -= 1
        self._check(answer["outcome"], task)
        return tuple(Segment(**segment) for segment in answer["segments"])

    async def _previewed_by_engine(self, task: Task) -> Mapping[str, Any]:
        if self._preview:
            # Its caller has left.
            await asyncio.wait({self._preview})
        if self.ended.done():
            raise errors.WorkerDied(origin=self.ended.result())
        self._preview = _future()
        self._previewed.append(task)
        self._send({"kind": "preview", "task": channel.fields_of(task)})
        return await asyncio.shield(self._preview)

    async def relieve(self, step: Step) -> Memory | None:
        """
        Have a free worker's engine give memory back; what it holds then.

        None if it could not; a process that does not answer in time is killed.
        """
        self._relief = _future()
        self._send({"kind": "relieve", "step": step})
        try:
            async with asyncio.timeout(RELIEVE_SECONDS):
                answer = await asyncio.shield(self._relief)
        except TimeoutError:
            await self.end("hung")
            return None
        except errors.WorkerDied:
            return None
        finally:
            self._relief = None
        memory = Memory(**answer["memory"])
        self.history.correct(memory)
        if answer["outcome"]["kind"] != "done":
            told = answer["outcome"].get("traceback", answer["outcome"]["kind"])
            log.error("worker.error", worker=self.name, traceback=told)
            return None
        return memory

    def kill(self, reason: str) -> None:
        """End the process now; the first `reason` is what `ended` will say."""
        if self._process and self._process.returncode is None and self._end_reason is None:
            self._end_reason = reason
            # Not Process.kill(): it reaps a process that has ended by itself, and asyncio then
            # never learns how.
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    async def end(self, reason: str) -> None:
        """End the process now, if there is one, and wait until it is gone."""
        self.kill(reason)
        if self._process:
            await asyncio.shield(self.ended)

    def _delivery(self, work: _Work, last: Mapping[str, Any]) -> Delivery:
        self._check(last, work.task)
        samples = samples_of(b"".join(work.audio))
        return Delivery(samples, self._sample_rate(last), last["spoken_text"])

    def _check(self, outcome: Mapping[str, Any], task: Task) -> None:
        """Raise the error that the engine's outcome stands for."""
        kind = outcome["kind"]
        if kind == "done":
            return
        if kind == "reference_unusable":
            reason = outcome["reason"]
            raise errors.ReferenceRefused(reason=reason["en"], reason_zh=reason["zh"])
        if kind == "field_unusable":
            reason = outcome["reason"]
            raise errors.InvalidField(
                field=outcome["field"], reason=reason["en"], reason_zh=reason["zh"]
            )
        if kind == "cancelled":
            raise errors.ClientGone
        if kind == "remote_failed":
            raise errors.remote_failed(
                outcome["code"],
                reason=outcome["reason"]["en"],
                reason_zh=outcome["reason"]["zh"],
                retry_after_seconds=outcome["retry_after_seconds"],
            )
        log.error(
            "worker.error",
            worker=self.name,
            request_id=task.request_id,
            traceback=mask_private(outcome["traceback"], _private(task)),
        )
        failed = errors.EngineOutOfMemory if kind == "out_of_memory" else errors.EngineError
        raise failed(origin=outcome["origin"])

    def _sample_rate(self, head: Mapping[str, Any]) -> int:
        """The rate that a message names, or else the engine's own."""
        return head["sample_rate"] or (self._capabilities.sample_rate if self._capabilities else 0)

    def _hear(self, head: dict[str, Any], body: bytes) -> None:
        kind = head["kind"]
        if kind == "ready":
            self.relievable = head["relievable"]
            self._ready.set_result(_CAPABILITIES.validate_python(head["capabilities"]))
        elif kind == "unfit":
            self._ready.set_exception(WorkerUnfit(head["reason"]))
        elif kind == "previewed":
            preview, self._preview = self._preview, None
            _tell(preview, head)
        elif kind == "relieved":
            _tell(self._relief, head)
        elif work := self._work:
            if kind == "stage":
                work.listener.stage(head["stage"])
            elif kind == "segment":
                work.listener.segment(head["number"], head["count"])
            elif kind == "audio":
                work.audio.append(body)
                work.listener.audio(samples_of(body), self._sample_rate(head))
            elif not work.last.done():
                work.listener.measured(head["stages"], {**head["notes"], **self._growth(head)})
                work.last.set_result(head)

    def _growth(self, last: Mapping[str, Any]) -> dict[str, Scalar]:
        """Keep what the worker holds after a task; its growth, once that can be told."""
        self.history.add(Memory(**last["memory"]))
        slope = growth_mb(self.history.reports)
        return {} if slope is None else {"memory_slope_mb": slope}

    def _send(self, head: channel.Head) -> None:
        if self._transport and not self._transport.is_closing():
            self._transport.write(channel.pack_head(head))

    def _lost_channel(self) -> None:
        # A process without its channel is of no use. Most are about to end, and then say how.
        if self._transport:
            self._transport.close()
        asyncio.get_running_loop().call_later(LAST_WORDS_SECONDS, self.kill, "channel_lost")

    async def _await_end(self) -> None:
        if self._process is None:
            return
        code = await self._process.wait()
        reason = self._end_reason
        if reason is None or reason == "channel_lost":
            reason = f"signal_{-code}" if code < 0 else f"exit_{code}"
        if self._transport:
            self._transport.close()
        if not self._ready.done():
            if self._outputs:
                await asyncio.wait(self._outputs, timeout=LAST_WORDS_SECONDS)
            said = f", saying: {self._last_line}" if self._last_line else ""
            self._ready.set_exception(WorkerUnfit(f"the worker process ended ({reason}){said}"))
        self.ended.set_result(reason)
        for awaited in (self._work and self._work.last, self._relief, self._preview):
            if awaited and not awaited.done():
                awaited.set_exception(errors.WorkerDied(origin=reason))
        self._preview = None

    async def _log_output(self, stream: str, reader: asyncio.StreamReader) -> None:
        """Whatever the model prints is a line of the log, with the request it was printed for."""
        rest = b""
        while chunk := await reader.read(65_536):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._log_line(stream, line)
            rest = rest[-MAX_OUTPUT_LINE:]
        self._log_line(stream, rest)

    def _log_line(self, stream: str, line: bytes) -> None:
        text = line.decode(errors="replace").strip()[:MAX_OUTPUT_LINE]
        if not text:
            return
        if not self._ready.done():
            self._last_line = text[:200]
        tasks = (*self._recent, *self._previewed)
        text = mask_private(text, [private for task in tasks for private in _private(task)])
        fields = {"request_id": self._recent[-1].request_id} if self._recent else {}
        log.info("worker.output", worker=self.name, stream=stream, message=text, **fields)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task


class _Work:
    """The task that a worker is busy with, and what came of it so far."""

    def __init__(self, task: Task, listener: Listener) -> None:
        self.task = task
        self.listener = listener
        self.audio: list[bytes] = []
        self.last = _future()


def samples_of(data: bytes) -> Samples:
    """The samples of a message's body."""
    return np.frombuffer(data, dtype="<i2").astype(np.int16, copy=False)


def _future() -> asyncio.Future[Mapping[str, Any]]:
    """A message that is awaited."""
    future: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
    # Whoever gave up reads no result; asyncio must not complain about that.
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return future


def _tell(awaited: asyncio.Future[Mapping[str, Any]] | None, message: Mapping[str, Any]) -> None:
    if awaited and not awaited.done():
        awaited.set_result(message)


def _private(task: Task) -> list[str]:
    """What a user wrote."""
    return [task.text, *([task.emotion_text] if task.emotion_text else [])]


def _not_ours(environment: Mapping[str, str]) -> dict[str, str]:
    """
    An environment without the service's settings, which a worker has no use for.

    Passwords and keys are among them, and a model's code is not ours.
    """
    return {name: value for name, value in environment.items() if not name.startswith(PREFIX)}
