"""Promises to a supervisor: it is told over a real socket, and a stuck loop is noticed."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from indextts_app import supervisor
from indextts_app.supervisor import LoopWatch, notify, watchdog_seconds

pytestmark = pytest.mark.anyio


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket that systemd would listen on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield channel


async def test_a_supervisor_is_told(systemd: socket.socket) -> None:
    """In a datagram to the socket that it names."""
    notify("READY=1")
    assert systemd.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", ["", "relative", "/nowhere/notify"])
async def test_without_one_nothing_happens(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is told, and nothing fails."""
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("READY=1")


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        ("60000000", None, 60.0),
        ("60000000", "own", 60.0),
        ("60000000", "1", None),
        ("x", None, None),
    ],
)
async def test_it_says_how_often_it_wants_a_sign(
    usec: str, pid: str | None, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of this process, and of no child of its."""
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    if pid:
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "own" else pid)
    assert watchdog_seconds() == seconds


async def test_a_loop_that_turns_keeps_the_watchdog_quiet(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice as often as systemd wants it."""
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    watch = LoopWatch(asyncio.get_running_loop(), acts=True)
    watch.start()
    for _ in range(3):
        assert await asyncio.to_thread(systemd.recv, 100) == b"WATCHDOG=1"
    watch.stop()


@pytest.mark.parametrize("acts", [False, True])
async def test_a_stuck_loop_is_told_and_where_it_is(
    acts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once; the process ends only where it may act, and a loop that turns again is told as well."""
    monkeypatch.setattr(supervisor, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(supervisor, "STUCK_SECONDS", 0.1)
    monkeypatch.setattr(supervisor, "HOPELESS_SECONDS", 0.25)
    monkeypatch.setattr(supervisor, "LAST_LINES_SECONDS", 0.0)
    ended = threading.Event()
    watch = LoopWatch(asyncio.get_running_loop(), acts=acts, end=ended.set)
    with capture_logs() as lines:
        watch.start()
        await asyncio.sleep(0.05)
        time.sleep(0.5)  # noqa: ASYNC251  # this is the fault
        await asyncio.sleep(0.1)
    watch.stop()
    assert ended.is_set() == acts
    events = [line["event"] for line in lines]
    assert events.count("loop.stuck") == 1
    assert ("loop.turns_again" in events, "service.gave_up" in events) == (True, acts)
    assert "test_a_stuck_loop_is_told_and_where_it_is" in lines[0]["traceback"]
