"""
The worker process: loads one engine, then works off one task at a time until its channel closes.

What a text will be cut into is answered beside a running task, by a thread of its own. After each
task the service hears how much memory the process holds, and may ask it to give some back.

Run as `python -m indextts_app.workers.child ENGINE CHANNEL_FD`. Imports the standard
library, numpy and the engine only.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

if find_spec("numpy") is None:
    # One line instead of the traceback of the import below: the service shows it as the reason.
    sys.exit(
        "the Python of INDEXTTS_WORKER_PYTHON lacks what the engine needs (numpy): run "
        "scripts/setup_indextts2.sh and name the one that it tells, or unset the setting"
    )

from indextts_app import engines
from indextts_app.engines.base import (
    Cancelled,
    EngineUnfit,
    FieldUnusable,
    Memory,
    OutOfMemory,
    Previewing,
    ReferenceUnusable,
    Relievable,
    RemoteFailed,
    Samples,
    Segment,
    Task,
    Translated,
)
from indextts_app.engines.resident import resident_mb
from indextts_app.workers import channel

MAX_TRACE_CHARS = 8_000

PIECE_BYTES = 128 * 1024
PIECE_SECONDS = 0.05
"""Audio is held back until one of these is reached: each message wakes the service once."""

_NO_PREVIEW = Translated(
    "this engine does not cut texts into segments. Leave the preview out.",
    "当前引擎不会对文本分段，无法预览。",
)


class WorkerJob:
    """The engine's side of one request: what it reports goes straight to the channel."""

    def __init__(self, task: Task, send: _Send) -> None:
        self.task = task
        self.stages: dict[str, float] = {}
        self.notes: dict[str, float | str] = {}
        self.spoken_text: str | None = None
        self.rate: int | None = None
        self._send = send
        self._cancelled = threading.Event()
        self._pending = bytearray()
        self._sent_at = float("-inf")

    @property
    def cancelled(self) -> bool:
        """Whether the service gave the request up."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Called by the thread that listens to the service."""
        self._cancelled.set()

    def check_cancelled(self) -> None:
        """Raise `Cancelled` if the service gave the request up."""
        if self.cancelled:
            raise Cancelled

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block and tell the service which stage runs."""
        self.check_cancelled()
        self.entered(name)
        began = time.perf_counter()
        try:
            yield
        finally:
            self.spent(name, time.perf_counter() - began)

    def entered(self, name: str) -> None:
        """Tell the service which stage runs; its time is told with `spent`."""
        self._send({"kind": "stage", "stage": name})

    def segment(self, number: int, count: int) -> None:
        """Send on what was made before it, and tell the service which segment is being made."""
        self.flush()
        self._send({"kind": "segment", "number": number, "count": count})

    def spent(self, name: str, seconds: float) -> None:
        """Add time to a stage."""
        self.stages[name] = self.stages.get(name, 0.0) + seconds

    def note(self, **fields: float | str) -> None:
        """Fields for the event."""
        self.notes.update(fields)

    def spoken(self, text: str) -> None:
        """How the text was read."""
        self.spoken_text = text

    def sample_rate(self, hertz: int) -> None:
        """Another rate than the engine's own."""
        self.rate = hertz

    def audio(self, samples: Samples) -> None:
        """Send samples on as little-endian 16-bit: the first at once, then in larger pieces."""
        self._pending += samples.astype("<i2", copy=False).tobytes()
        now = time.perf_counter()
        if len(self._pending) >= PIECE_BYTES or now - self._sent_at >= PIECE_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send what is still held back."""
        if self._pending:
            self._send({"kind": "audio", "sample_rate": self.rate}, self._pending)
            self._pending = bytearray()
            self._sent_at = time.perf_counter()


class _Send:
    """Writes messages to the service, whole; a service that is gone ends this process."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def __call__(self, head: channel.Head, body: channel.Body = b"") -> None:
        try:
            with self._lock:
                # In two calls: a copy of the body would cost more than the second one.
                self._connection.sendall(channel.pack_head(head, len(body)))
                if body:
                    self._connection.sendall(body)
        except OSError:
            os._exit(0)


class Worker:
    """One engine and the task it is working on."""

    def __init__(self, name: str, options: dict[str, Any], connection: socket.socket) -> None:
        self._engine = engines.make(name, options)
        self._incoming = connection.makefile("rb")
        self._send = _Send(connection)
        self._turns: queue.Queue[WorkerJob | str] = queue.Queue()
        self._previews: queue.Queue[Task] = queue.Queue()
        self._jobs: dict[str, WorkerJob] = {}

    def run(self) -> None:
        """Serve until the service closes the channel, which ends the process."""
        threading.Thread(target=self._listen, name="channel", daemon=True).start()
        try:
            can = self._engine.load()
        except EngineUnfit as error:
            self._send({"kind": "unfit", "reason": str(error)})
            return
        threading.Thread(target=self._preview_each, name="preview", daemon=True).start()
        self._send(
            {
                "kind": "ready",
                "capabilities": asdict(can),
                "relievable": isinstance(self._engine, Relievable),
            }
        )
        while True:
            turn = self._turns.get()
            if isinstance(turn, WorkerJob):
                self._work(turn)
            else:
                self._relieve(turn)

    def _listen(self) -> None:
        while True:
            try:
                head, _ = channel.read(self._incoming)
            except (channel.ChannelBroken, OSError):
                # Nobody is left to work for; a stuck engine would outlive a normal exit.
                os._exit(0)
            kind = head["kind"]
            if kind == "task":
                job = WorkerJob(channel.task_of(head["task"]), self._send)
                self._jobs[job.task.request_id] = job
                self._turns.put(job)
            elif kind == "relieve":
                self._turns.put(head["step"])
            elif kind == "preview":
                self._previews.put(channel.task_of(head["task"]))
            elif job_or_none := self._jobs.get(head["request_id"]):
                job_or_none.cancel()

    def _work(self, job: WorkerJob) -> None:
        """Always ends with one last message, which carries the stages that were measured."""

        def synthesize() -> None:
            self._engine.synthesize(job)
            job.flush()

        last = _outcome(synthesize)
        memory = self._memory()
        job.note(worker_memory_mb=memory.worker_mb)
        self._jobs.pop(job.task.request_id, None)
        self._send(
            {
                **last,
                "spoken_text": job.spoken_text,
                "sample_rate": job.rate,
                "stages": job.stages,
                "notes": job.notes,
                "memory": asdict(memory),
            }
        )

    def _relieve(self, step: str) -> None:
        engine = self._engine
        outcome: dict[str, Any] = {"kind": "done"}
        if isinstance(engine, Relievable):
            outcome = _outcome(
                engine.empty_cache if step == "empty_cache" else engine.drop_speakers
            )
        self._send({"kind": "relieved", "outcome": outcome, "memory": asdict(self._memory())})

    def _memory(self) -> Memory:
        """What the engine says that it holds, or else what the process does."""
        told: list[Memory] = []
        engine = self._engine
        if isinstance(engine, Relievable):
            _outcome(lambda: told.append(engine.memory()))
        return told[0] if told else Memory(worker_mb=resident_mb())

    def _preview_each(self) -> None:
        while True:
            self._preview(self._previews.get())

    def _preview(self, task: Task) -> None:
        engine = self._engine
        segments: list[Segment] = []

        def preview() -> None:
            if not isinstance(engine, Previewing):
                raise FieldUnusable("text", _NO_PREVIEW)
            segments.extend(engine.preview(task))

        outcome = _outcome(preview)
        self._send(
            {"kind": "previewed", "outcome": outcome, "segments": [asdict(one) for one in segments]}
        )


def _outcome(work: Callable[[], None]) -> dict[str, Any]:
    """How a call of the engine ended, as the head of a message tells it."""
    try:
        work()
    except Cancelled:
        return {"kind": "cancelled"}
    except (OutOfMemory, MemoryError) as error:
        return _failure("out_of_memory", error)
    except ReferenceUnusable as error:
        return {"kind": "reference_unusable", "reason": asdict(error.reason)}
    except FieldUnusable as error:
        return {"kind": "field_unusable", "field": error.field, "reason": asdict(error.reason)}
    except RemoteFailed as error:
        return {
            "kind": "remote_failed",
            "code": error.code,
            "reason": asdict(error.reason),
            "retry_after_seconds": error.retry_after_seconds,
        }
    except Exception as error:  # noqa: BLE001  # an edge: the service decides what it means
        return _failure("engine_error", error)
    return {"kind": "done"}


def _failure(kind: str, error: BaseException) -> dict[str, str]:
    frames = traceback.extract_tb(error.__traceback__)
    origin = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].name}" if frames else ""
    return {
        "kind": kind,
        "origin": f"{type(error).__name__}@{origin}",
        "traceback": "".join(traceback.format_exception(error))[-MAX_TRACE_CHARS:],
    }


def main() -> None:
    """Serve the channel whose file descriptor stands on the command line."""
    name, fd = sys.argv[1:]
    # An address may have a password in it, and a command line is read by everybody.
    options = os.environ.pop(channel.OPTIONS_VARIABLE)
    Worker(name, json.loads(options), socket.socket(fileno=int(fd))).run()


if __name__ == "__main__":
    main()
