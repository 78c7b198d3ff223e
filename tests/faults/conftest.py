"""Real services for real faults: processes that are stopped, starved and killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

from scripts.own_service import OwnService, read_lines, serving

PATIENCE_SECONDS = 30.0
DRILL = {
    "INDEXTTS_ENGINE": "drill",
    "INDEXTTS_DRILL_SECONDS": "0.005",
    "INDEXTTS_DRILL_SLOW_SECONDS": "0.5",
}


class Service:
    """A service, a client for it, and its log."""

    def __init__(self, own: OwnService) -> None:
        self.own = own
        self.pid = own.process.pid
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{own.port}", timeout=20)

    def speak(self, **asked: Any) -> httpx.Response:
        """What `POST /tts` answers."""
        return self.client.post("/tts", json={"text": "hello", **asked})

    def lines(self, event: str | None = None, **fields: object) -> list[dict[str, Any]]:
        """The lines of an event with these fields; a torn one is none."""
        wanted = fields if event is None else {"event": event, **fields}
        found = []
        for line in read_lines(self.own.log_dir):
            with suppress(ValueError):
                found.append(json.loads(line))
        return [
            line for line in found if all(line.get(name) == value for name, value in wanted.items())
        ]

    def finished(self, request_id: str) -> dict[str, Any]:
        """The one finished line of a request, once it is there."""
        until(lambda: self.lines("synthesis.finished", request_id=request_id))
        (line,) = self.lines("synthesis.finished", request_id=request_id)
        return line

    def metric(self, name: str) -> float:
        """The value of a series as it stands in the exposition; 0 if it is not there."""
        for line in self.client.get("/metrics").text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.rpartition(" ")[2])
        return 0.0


def until(condition: Callable[[], object]) -> None:
    """Wait until something is the case, or fail."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


@contextmanager
def running(folder: Path, **environment: Any) -> Iterator[Service]:
    """A service with the drill engine, and whatever else is asked for."""
    with serving(folder, **{**DRILL, **environment}) as own:
        service = Service(own)
        try:
            yield service
        finally:
            service.client.close()


@pytest.fixture(scope="session")
def start() -> Callable[..., AbstractContextManager[Service]]:
    """`with start(folder, INDEXTTS_…="…", within=[…]) as service:`."""
    return running


@pytest.fixture(scope="session", name="until")
def until_fixture() -> Callable[[Callable[[], object]], None]:
    """`until(condition)`."""
    return until


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service for all tests that leave it running; a request may take two seconds."""
    with running(tmp_path_factory.mktemp("shared"), INDEXTTS_TIMEOUT_SECONDS="2") as one:
        yield one


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[str, int], Path]]:
    """`small_disk(name, bytes)`: a file system of that size, which can really be filled."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk to fill")
    mounted: list[Path] = []

    def mount(name: str, size: int) -> Path:
        path = tmp_path / name
        path.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"no small disk to fill: {done.stderr.partition(chr(10))[0]}")
        mounted.append(path)
        return path

    yield mount
    for path in mounted:
        subprocess.run(["umount", "-l", path], check=True)


@pytest.fixture
def apart() -> Callable[..., list[str]]:
    """`apart("--net")`: what runs a command in namespaces of its own, or the test is skipped."""

    def unshare(*kinds: str) -> list[str]:
        tried = subprocess.run(
            ["unshare", *kinds, "true"], capture_output=True, text=True, check=False
        )
        if tried.returncode:
            pytest.skip(f"no namespaces here: {tried.stderr.strip()}")
        return ["unshare", *kinds]

    return unshare
