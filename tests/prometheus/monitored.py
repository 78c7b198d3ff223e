"""
A real Prometheus that scrapes two real services with the drill engine, and all that stands around.

One service is well and ill under load, the other is asked now and then. Beside them a real node
exporter with what the canary writes, Prometheus itself, a real Alertmanager, stand-ins for what
this machine has not, and where they are on PATH, Promtail and Loki with the lines of both services.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from recorded import Cloning, exporter, others

from observability import canary
from scripts import shipping

ROOT = Path(__file__).parents[2]
PROGRAMS = {
    "prometheus": "prometheus",
    "node": "prometheus-node-exporter",
    "alertmanager": "prometheus-alertmanager",
}
PATIENCE_SECONDS = 60.0
FILLED = {"__rate_interval": "30s", "__range": "1m", "__auto": "30s"}

needs_programs = pytest.mark.skipif(
    not all(map(shutil.which, PROGRAMS.values())),
    reason=f"not all installed: {', '.join(PROGRAMS.values())}",
)


@dataclass(frozen=True, slots=True)
class Monitored:
    """A Prometheus that scrapes all of it, and the services that it scrapes, by their instance."""

    url: str
    service: str
    other: str
    """The second service; the log folder of the first is one of its `INDEXTTS_OTHER_LOG_DIRS`."""
    folder: Path
    """`service/logs` and `other/logs` are in it."""
    loki: shipping.Loki | None
    """Where the lines of both are, and where the first service looks; None without the program."""
    only_failures: threading.Event
    """While it is set, every request to the service fails."""

    def ask(self, expr: str, at: float | None = None) -> list[dict[str, Any]]:
        """The series of an answer whose value is a number, now or at a moment."""
        asked = {"query": expr} if at is None else {"query": expr, "time": str(at)}
        answer = httpx.post(f"{self.url}/api/v1/query", data=asked, timeout=30)
        body = answer.json()
        assert body["status"] == "success", f"{expr}\n{body}"
        data = body["data"]
        found = data["result"] if data["resultType"] == "vector" else [{"value": data["result"]}]
        return [series for series in found if series["value"][1] != "NaN"]

    def has_series(self, selector: str) -> bool:
        """Whether anything that was scraped matches."""
        asked = {"match[]": selector}
        body = httpx.get(f"{self.url}/api/v1/series", params=asked, timeout=30).json()
        assert body["status"] == "success", f"{selector}\n{body}"
        return bool(body["data"])

    def until_none_is_left(self, wanted: set[str], is_there: Callable[[str], bool]) -> set[str]:
        """What is still not there after some patience."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            wanted = {each for each in wanted if not is_there(each)}
            if not wanted or time.monotonic() > deadline:
                return wanted
            time.sleep(1)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def launched(
    command: list[str | Path], folder: Path, **environment: str
) -> Iterator[Callable[[str], None]]:
    """A program while this is entered; what is given waits until it answers at an address."""
    folder.mkdir()
    own = {name: value for name, value in os.environ.items() if not name.startswith("INDEXTTS_")}
    with (folder / "said.txt").open("wb") as said:
        process = subprocess.Popen(
            command, cwd=folder, env={**own, **environment}, stdout=said, stderr=said
        )

    def until_it_answers(ready: str) -> None:
        deadline = time.monotonic() + 60
        while True:
            with suppress(httpx.HTTPError):
                if httpx.get(ready, timeout=5).status_code == 200:
                    return
            said_so_far = (folder / "said.txt").read_text(errors="replace")
            assert process.poll() is None, said_so_far
            assert time.monotonic() < deadline, said_so_far
            time.sleep(0.1)

    try:
        yield until_it_answers
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@contextmanager
def running(command: list[str | Path], folder: Path, ready: str) -> Iterator[None]:
    """A program that answers at an address while this is entered."""
    with launched(command, folder) as until_it_answers:
        until_it_answers(ready)
        yield


def speak(service: str, speaker: str, text: str, emotion: str) -> None:
    asked = {"text": text, "speaker": speaker, "emotion": emotion}
    with suppress(httpx.HTTPError):
        httpx.post(f"http://{service}/tts", json=asked, timeout=30)


def talk(service: str, other: str, stop: threading.Event, only_failures: threading.Event) -> None:
    """
    Requests of every kind, round after round, and a run of failures at the end of each.

    The other service has no run of failures.
    """
    while not stop.is_set():
        for speaker in ("steady", "error", "silent", "steady"):
            speak(other, speaker, "你好，另一个世界。", "happy")
        if only_failures.is_set():
            speak(service, "error", "你好。", "angry")
            stop.wait(0.5)
            continue
        for characters in (10, 40, 100, 200, 300):
            speak(service, "steady", "好" * characters, "happy")
        for speaker in ("slow", "silent", "clipped", "truncated", "crash", "steady"):
            speak(service, speaker, "你好，世界。", "sad")
        speak(service, "nobody", "你好。", "calm")
        for _ in range(6):
            speak(service, "error", "你好。", "angry")
            stop.wait(0.2)


def canary_file(folder: Path) -> None:
    same = canary.Comparison(
        exact=True, duration_ratio=1.0, loudness_change_db=0.0, silence_change_seconds=0.0,
        mel_cepstral_db=0.0, stoi=1.0, drifts=(),
    )  # fmt: skip
    canary.write_metrics(folder, "default", at=time.time(), seconds=0.1, answered=True, found=same)


@contextmanager
def all_running(folder: Path) -> Iterator[Monitored]:
    """All of it, running, under load."""
    ports = {name: free_port() for name in ("service", "other", *PROGRAMS)}
    at = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    canary_file(folder / "textfiles")
    shutil.copytree(ROOT / "prometheus", folder / "config")
    config = yaml.safe_load((folder / "config/prometheus.yml").read_text("utf-8"))
    config["global"] |= {
        "scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "2s",
    }  # fmt: skip
    (folder / "config/prometheus.yml").write_text(yaml.safe_dump(config))
    with ExitStack() as stack:
        start = stack.enter_context
        loki = None if shipping.missing() else start(shipping.Loki(folder / "loki"))
        look_in = {
            "service": {"INDEXTTS_LOKI_URL": loki.url} if loki else {},
            "other": {"INDEXTTS_OTHER_LOG_DIRS": str(folder / "service/logs")},
        }
        until_they_answer = {
            name: start(
                launched(
                    [sys.executable, "-m", "indextts_app"],
                    folder / name,
                    PYTHONPATH=str(ROOT),
                    INDEXTTS_ENGINE="drill",
                    INDEXTTS_PORT=str(ports[name]),
                    INDEXTTS_LOG_STDOUT="false",
                    INDEXTTS_DRILL_SLOW_SECONDS="0.2",
                    **more,
                )
            )
            for name, more in look_in.items()
        }
        for name, until_it_answers in until_they_answer.items():
            until_it_answers(f"http://{at[name]}/health/ready")
        if loki:
            # One for both, as where their folders lie on one disk.
            start(shipping.Promtail(folder / "promtail", folder / "*" / "logs", loki.url))
        start(
            running(
                [
                    PROGRAMS["node"],
                    f"--web.listen-address={at['node']}",
                    f"--collector.textfile.directory={folder / 'textfiles'}",
                ],
                folder / "node",
                f"http://{at['node']}/",
            )
        )
        start(
            running(
                [
                    PROGRAMS["alertmanager"],
                    f"--web.listen-address={at['alertmanager']}",
                    "--cluster.listen-address=",
                    f"--storage.path={folder / 'alertmanager/data'}",
                    f"--config.file={_no_receiver(folder)}",
                ],
                folder / "alertmanager",
                f"http://{at['alertmanager']}/-/ready",
            )
        )
        jobs = {"indextts": [at["service"], at["other"], start(exporter(Cloning().text))]}
        jobs |= {job: [at[job]] for job in PROGRAMS}
        jobs |= {job: [start(exporter(text))] for job, text in others().items()}
        targets = [{"labels": {"job": job}, "targets": each} for job, each in jobs.items()]
        (folder / "config/targets.yml").write_text(yaml.safe_dump(targets))
        start(
            running(
                [
                    PROGRAMS["prometheus"],
                    f"--web.listen-address={at['prometheus']}",
                    f"--config.file={folder / 'config/prometheus.yml'}",
                    f"--storage.tsdb.path={folder / 'prometheus/data'}",
                ],
                folder / "prometheus",
                f"http://{at['prometheus']}/-/ready",
            )
        )
        stop, only_failures = threading.Event(), threading.Event()
        speaking = at["service"], at["other"], stop, only_failures
        talking = threading.Thread(target=talk, args=speaking)
        talking.start()
        try:
            yield Monitored(
                f"http://{at['prometheus']}",
                at["service"],
                at["other"],
                folder,
                loki,
                only_failures,
            )
        finally:
            stop.set()
            talking.join(60)


def _no_receiver(folder: Path) -> Path:
    path = folder / "alertmanager.yml"
    path.write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
    return path
