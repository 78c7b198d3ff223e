"""
Work that the finished event waits for and the caller does not.

A few threads behind a backlog that is bounded in length and in time: a burst can delay finished
lines by seconds, never the answers. What has no room, or waited too long, runs its short path.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from observability import losses

Work = Callable[[bool], None]
"""Called once: with True to do all of its work, with False to leave the slow part out."""

BACKLOG = 256
THREADS = 2
PATIENCE_SECONDS = 10.0
"""Longer than this no finished line waits for its turn: a crash would make it a lost one."""


class Deferred:
    """Runs each submitted work exactly once, in the background where there is room."""

    def __init__(
        self,
        *,
        threads: int = THREADS,
        backlog: int = BACKLOG,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._threads = threads
        self._patience_seconds = patience_seconds
        self._queue: queue.Queue[tuple[Work, float]] = queue.Queue(backlog)
        self._started = False
        self._closing = False
        self._unfinished = 0
        self._changed = threading.Condition()

    def submit(self, work: Work) -> None:
        """Run `work` soon in the background, or its short path now if the backlog is full."""
        with self._changed:
            if not self._started:
                self._start()
            self._unfinished += 1
        try:
            self._queue.put_nowait((work, time.monotonic()))
        except queue.Full:
            self._run(work, whole=False)

    def drain(self, timeout_seconds: float) -> bool:
        """Finish what was submitted, slow parts left out where not begun; False if time ran out."""
        self._closing = True
        deadline = time.monotonic() + timeout_seconds
        with self._changed:
            while self._unfinished:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
        self._closing = False
        return True

    def _start(self) -> None:
        self._started = True
        for number in range(self._threads):
            threading.Thread(target=self._serve, name=f"deferred-{number}", daemon=True).start()

    def _serve(self) -> None:
        while True:
            work, submitted = self._queue.get()
            late = time.monotonic() - submitted > self._patience_seconds
            self._run(work, whole=not (late or self._closing))

    def _run(self, work: Work, *, whole: bool) -> None:
        try:
            work(whole)
        except Exception:  # noqa: BLE001  # an edge: observability never fails what it observes
            losses.count("deferred")
        finally:
            with self._changed:
                self._unfinished -= 1
                self._changed.notify_all()
