"""
What a supervisor is told (sd_notify of systemd), and the watch over the loop that all runs in.

A loop that does not turn answers nobody, its own health check included, and nothing within it can
tell. So a thread asks it for a sign of life, and passes it on to systemd's watchdog, where there is
one (`WatchdogSec=`). Where none comes for `STUCK_SECONDS`, the log says so and where the loop is;
after `HOPELESS_SECONDS` the process ends with status 70, if it may act.

The protocol is that of sd_notify(3): datagrams to the socket that `NOTIFY_SOCKET` names.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable

import structlog

log = structlog.get_logger("indextts_app.supervisor")

STUCK_SECONDS = 15.0
HOPELESS_SECONDS = 60.0
LOOK_SECONDS = 5.0
MAX_FRAMES = 12

LAST_LINES_SECONDS = 1.0
"""For the log to be written before the process ends."""


def notify(state: str) -> None:
    """Tell the supervisor, if there is one that listens; never raises."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.settimeout(1.0)
            channel.sendto(state.encode(), address.replace("@", "\0", 1))
    except OSError as error:
        log.warning("supervisor.not_told", reason=error.strerror)


def watchdog_seconds() -> float | None:
    """How often systemd wants a sign of life of this process; None if it wants none."""
    try:
        own = int(os.environ.get("WATCHDOG_PID", os.getpid())) == os.getpid()
        return int(os.environ["WATCHDOG_USEC"]) / 1e6 if own else None
    except (KeyError, ValueError):
        return None


class LoopWatch:
    """Watches a loop from a thread of its own, from `start` to `stop`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        acts: bool,
        end: Callable[[], None] = lambda: os._exit(70),
    ) -> None:
        """
        Args:
            loop: that must turn.
            acts: whether a process whose loop is stuck is ended, or it is only logged.
            end: ends it.
        """
        self._loop = loop
        self._acts = acts
        self._end = end
        self._loop_thread = threading.get_ident()
        wanted = watchdog_seconds()
        self._tells = wanted is not None
        # systemd's advice: twice as often as it wants.
        self._look_seconds = min(LOOK_SECONDS, (wanted or 2 * LOOK_SECONDS) / 2)
        self._turned_at = time.monotonic()
        self._told_stuck = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="loop-watch", daemon=True)

    def start(self) -> None:
        """Begin; call it in the loop's own thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the watch."""
        self._stopping.set()

    def _watch(self) -> None:
        while not self._stopping.is_set():
            self._loop.call_soon_threadsafe(self._turned)
            if self._stopping.wait(self._look_seconds):
                return
            silent_seconds = time.monotonic() - self._turned_at
            if silent_seconds < self._look_seconds + STUCK_SECONDS / 2 and self._tells:
                notify("WATCHDOG=1")
            self._judge(silent_seconds)

    def _turned(self) -> None:
        if self._told_stuck:
            self._told_stuck = False
            stuck_seconds = round(time.monotonic() - self._turned_at, 1)
            log.warning("loop.turns_again", stuck_seconds=stuck_seconds)
        self._turned_at = time.monotonic()

    def _judge(self, silent_seconds: float) -> None:
        if silent_seconds >= STUCK_SECONDS and not self._told_stuck:
            self._told_stuck = True
            log.error(
                "loop.stuck",
                stuck_seconds=round(silent_seconds, 1),
                acted=self._acts,
                traceback=_where(self._loop_thread),
            )
        if silent_seconds >= HOPELESS_SECONDS and self._acts:
            log.critical("service.gave_up", reason="the loop does not turn", acted=True)
            time.sleep(LAST_LINES_SECONDS)
            self._end()
            self._stopping.set()


def _where(thread: int) -> str:
    """The innermost frames of a thread, without what is in their variables."""
    frame = sys._current_frames().get(thread)
    frames = traceback.extract_stack(frame)[-MAX_FRAMES:] if frame else []
    return "\n".join(f"{one.filename}:{one.lineno} {one.name}" for one in frames)
