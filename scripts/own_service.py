"""A service of one's own for a measurement: a real process in a folder, on a free port."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 120.0
STOP_SECONDS = 60.0
READY = (b'"worker.ready"', b'"cluster.ready"')


@dataclass(frozen=True, slots=True)
class OwnService:
    """A process that listens on `port` of this machine; its files are below `folder`."""

    process: subprocess.Popen[bytes]
    folder: Path
    log_dir: Path
    port: int

    @property
    def output_dir(self) -> Path:
        """Where its audio is."""
        return self.folder / "outputs"

    def workers(self) -> list[psutil.Process]:
        """The processes that hold an engine at this moment."""
        own = psutil.Process(self.process.pid)
        return [one for one in own.children() if "indextts_app.workers.child" in _command(one)]

    def kill(self) -> None:
        """End it as a power cut would: nothing is finished, nothing is told."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask it to end in order; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)


def launch(
    folder: Path, port: int = 0, *, within: Sequence[str] = (), **settings: str
) -> subprocess.Popen[bytes]:
    """
    Start a service whose every file is below `folder`; it is not listening yet.

    Only `settings` count: no INDEXTTS_* variable of this shell, and no .env file elsewhere.

    Args:
        folder: where it runs.
        port: where it listens; 0 for a free one.
        within: a command that runs the service in its place: unshare, setpriv, prlimit.
        settings: variables of its environment.
    """
    folder.mkdir(parents=True, exist_ok=True)
    own = {name: value for name, value in os.environ.items() if not name.startswith("INDEXTTS_")}
    with (folder / "stdout").open("ab") as out, (folder / "stderr").open("ab") as err:
        return subprocess.Popen(
            [*within, sys.executable, "-m", "indextts_app"],
            cwd=folder,
            env={
                **own,
                "PYTHONPATH": str(ROOT),
                "INDEXTTS_PORT": str(port),
                # What is measured is asked for again and again.
                "INDEXTTS_RESULT_CACHE_MB": "0",
                **settings,
            },
            stdout=out,
            stderr=err,
        )


@contextmanager
def serving(folder: Path, *, within: Sequence[str] = (), **settings: str) -> Iterator[OwnService]:
    """
    A service that speaks, as `launch` starts it; at the end it is stopped in order, if nobody has
    killed it before.

    Raises:
        RuntimeError: it ended, or was not ready in time; the message holds its last words.
    """
    logs = Path(settings.get("INDEXTTS_LOG_DIR", folder / "logs"))
    lines_before = len(read_lines(logs))
    process = launch(folder, 0, within=within, **settings)
    try:
        yield OwnService(
            process, folder, logs, _port_when_ready(process, folder, logs, lines_before)
        )
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            finally:
                process.kill()


def read_lines(log_dir: Path) -> list[bytes]:
    """Every line in the folder's files as it stands there, oldest file first."""
    return [
        line
        for path in sorted(log_dir.glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
        for line in path.read_bytes().splitlines(keepends=True)
    ]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _port_when_ready(
    process: subprocess.Popen[bytes], folder: Path, logs: Path, lines_before: int
) -> int:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        seen = {}
        for line in read_lines(logs)[lines_before:]:
            if any(event in line for event in (b'"service.listening"', *READY)):
                fields = json.loads(line)
                seen["service" if fields["event"].startswith("service") else "engine"] = fields
        if len(seen) == 2:
            return int(seen["service"]["url"].rpartition(":")[2])
        time.sleep(0.05)
    last_words = (folder / "stderr").read_text()[-2_000:]
    raise RuntimeError(f"the service did not start (status {process.poll()}): {last_words}")


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
