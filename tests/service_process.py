"""The service as a process of its own, for tests that kill it or ask it from outside."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[1]
PATIENCE_SECONDS = 60.0


@contextmanager
def serving(
    folder: Path, **settings: str
) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    """A fast drill service on a free port, with its files in this folder; killed afterwards."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "indextts_app"],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "INDEXTTS_PORT": str(port),
            "INDEXTTS_ENGINE": "drill",
            "INDEXTTS_DRILL_SECONDS": "0.05",
            **settings,
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            until(lambda: _is_healthy(client))
            yield process, client
    finally:
        process.kill()
        process.wait()


def until(condition: Callable[[], object]) -> None:
    """Wait until something is the case, or fail."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _is_healthy(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False
