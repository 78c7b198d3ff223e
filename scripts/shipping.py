"""
Loki and Promtail as they are deployed (loki/loki.yaml, loki/promtail.yaml), run as processes by
the drill, the benchmark and the tests: everything on loopback, data in a folder of the caller's.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

ROOT = Path(__file__).resolve().parents[1]
LOKI_CONFIG, PROMTAIL_CONFIG = ROOT / "loki/loki.yaml", ROOT / "loki/promtail.yaml"
PROMTAIL_SCRIPT = ROOT / "loki/promtail.sh"
LOKI_RULES = ROOT / "loki/rules"
PROGRAMS = ("loki", "promtail")

READY_SECONDS = 90.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def missing() -> list[str]:
    """The programs that are not on PATH."""
    return [program for program in PROGRAMS if shutil.which(program) is None]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Program:
    """One of the two as a process that can be ended in any way and started again."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._command = list(command)
        # Only what is given: the machine's own variables would change what is proven.
        self._environment = {"PATH": os.environ.get("PATH", ""), **environment}
        self._log = log
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self) -> None:
        """
        Start it and wait until it says that it is ready.

        Raises:
            RuntimeError: it ended, or was not ready in time; with the end of its log.
        """
        self.launch()
        deadline = time.monotonic() + READY_SECONDS
        while not self._is_ready():
            if self.process is None or self.process.poll() is not None:
                raise RuntimeError(f"{self._command[0]} ended: {self.said()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self._command[0]} is not ready: {self.said()}")
            time.sleep(0.05)

    def launch(self) -> None:
        """Start it and do not wait."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                cwd=self._log.parent,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def ask_to_end(self) -> None:
        """Terminate it and do not wait."""
        if self.process is not None:
            self.process.terminate()

    def end(self, how: signal.Signals = signal.SIGTERM, *, patience: float = 60.0) -> None:
        """Send it a signal and wait for its end; one that does not end in time is killed."""
        if self.process is None or self.process.poll() is not None:
            return
        if how == signal.SIGKILL:
            os.killpg(self.process.pid, how)
        else:
            self.process.send_signal(how)
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.process = None

    def said(self) -> str:
        """The end of its log."""
        return self._log.read_text(errors="replace")[-2000:]

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/ready", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()


class Loki(Program):
    """
    A Loki with loki/loki.yaml.

    Args:
        folder: for its data and log; an existing one's data is taken up again.
        retention: how long lines stay; long by default, because lines of tests are of any time.
        rules: folder of the rules for its ruler; none by default.
        alertmanager: address that its ruler tells.
        flags: more of its flags; they win over the file.
    """

    def __init__(
        self,
        folder: Path,
        *,
        retention: str = "87600h",
        rules: Path | None = None,
        alertmanager: str = "http://127.0.0.1:9",
        flags: Sequence[str] = (),
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        super().__init__(
            [
                shutil.which("loki") or "loki",
                f"-config.file={LOKI_CONFIG}",
                "-config.expand-env=true",
                *flags,
            ],
            {
                "LOKI_DATA": str(folder.resolve()),
                "LOKI_RETENTION": retention,
                "LOKI_RULES": str((rules or folder / "no-rules").resolve()),
                "LOKI_PORT": str(port),
                "LOKI_GRPC_PORT": str(free_port()),
                "ALERTMANAGER_URL": alertmanager,
            },
            folder / "loki.log",
        )
        self.url = f"http://127.0.0.1:{port}"
        self._client = httpx.Client(timeout=310.0)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        self._client.close()

    def flush(self) -> None:
        """Store what is in memory, so that lines of long ago that have just come are found."""
        self._client.post(f"{self.url}/flush").raise_for_status()

    def settled(self, lines: int, until: datetime, *, patience: float = 120.0) -> int:
        """How many lines of the service there are, once there are so many or patience ends."""
        query = 'sum(count_over_time({app="indextts"} [365d]))'
        deadline = time.monotonic() + patience
        while True:
            found = int(sum(self.numbers(query, until).values()))
            if found >= lines or time.monotonic() > deadline:
                return found
            self.flush()
            time.sleep(0.5)

    def lines(
        self, query: str, since: datetime, until: datetime, limit: int = 5000
    ) -> list[tuple[dict[str, str], int, str]]:
        """The lines of a query, newest first: labels and metadata, nanoseconds, text."""
        streams = self._ask(
            "query_range",
            query=query,
            start=_nanoseconds(since),
            end=_nanoseconds(until),
            limit=limit,
        )
        return [
            (stream["stream"], int(moment), text)
            for stream in streams
            for moment, text in stream["values"]
        ]

    def numbers(self, query: str, at: datetime) -> dict[tuple[tuple[str, str], ...], float]:
        """The numbers of a query at a moment, by their labels."""
        samples = self._ask("query", query=query, time=_nanoseconds(at) - 1)
        return {
            tuple(sorted(sample["metric"].items())): float(sample["value"][1]) for sample in samples
        }

    def graph(
        self, query: str, since: datetime, until: datetime, step: timedelta
    ) -> list[dict[str, Any]]:
        """The numbers of a query over time, as Loki gives them."""
        return self._ask(
            "query_range",
            query=query,
            start=_nanoseconds(since),
            end=_nanoseconds(until),
            step=f"{step.total_seconds():g}s",
        )

    def _ask(self, path: str, **parameters: str | int) -> list[dict[str, Any]]:
        answer = self._client.get(f"{self.url}/loki/api/v1/{path}", params=parameters)
        if answer.status_code != 200:
            raise RuntimeError(f"{answer.status_code}: {answer.text.strip()[:500]}")
        result: list[dict[str, Any]] = answer.json()["data"]["result"]
        return result


class Promtail(Program):
    """
    A Promtail with loki/promtail.yaml, started by loki/promtail.sh.

    Args:
        folder: for its positions and log.
        logs: the service's log folder.
        loki: address of Loki.
        flags: more of its flags.
    """

    def __init__(self, folder: Path, logs: Path, loki: str, *, flags: Sequence[str] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        super().__init__(
            ["sh", str(PROMTAIL_SCRIPT), *flags],
            {
                "INDEXTTS_LOG_DIR": str(logs.resolve()),
                "LOKI_URL": loki,
                "PROMTAIL_DATA": str(folder.resolve()),
                "PROMTAIL_PORT": str(port),
            },
            folder / "promtail.log",
        )
        self.url = f"http://127.0.0.1:{port}"

    def metric(self, name: str) -> float:
        """The sum of one of its own metrics; 0 where it has none."""
        text = httpx.get(f"{self.url}/metrics", timeout=5).text
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in text.splitlines()
            if line.startswith((f"{name}{{", f"{name} "))
        )


def _nanoseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000
