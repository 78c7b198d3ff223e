"""A real Redis, reached through a socket of this test's own."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(slots=True)
class RedisServer:
    """A server that can be stopped and started again."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def path(self) -> Path:
        """Its socket."""
        return self.folder / "redis.sock"

    @property
    def url(self) -> str:
        """What `INDEXTTS_REDIS_URL` is set to."""
        return f"unix://{self.path}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = ["redis-server", "--port", "0", "--unixsocket", str(self.path), "--save", ""]
        self.process = subprocess.Popen(
            command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + 10
        while not self._answers():
            assert time.monotonic() < until, "redis-server does not start"
            time.sleep(0.01)

    def stop(self) -> None:
        """End it, and what it held."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.path.unlink(missing_ok=True)
            self.process = None

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as asking:
            try:
                asking.connect(str(self.path))
                asking.sendall(b"PING\r\n")
                return asking.recv(7) == b"+PONG\r\n"
            except OSError:
                return False


@pytest.fixture
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A running one; the test is skipped where there is none."""
    if not shutil.which("redis-server"):
        pytest.skip("redis-server is not installed (Debian: redis-server)")
    # A short path: a socket's name has 107 characters at most.
    server = RedisServer(tmp_path_factory.mktemp("r"))
    server.start()
    yield server
    server.stop()
