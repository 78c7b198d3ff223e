"""
Kill a replica every 5 s under load, and see that each request has an answer and its one line.

    scripts/cluster_drill.py [--requests 1000] [--every 5] [--replicas 3] [--clients 4]

A Ray cluster of its own on this machine, a service with the drill engine (0.2 s a request) beside
it. Exit status 1 if a request is without its one finished line, or a client without an answer.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.ledger import ledger_of
from scripts.own_cluster import clustered
from scripts.own_service import OwnService, read_lines, serving

DRILL_SECONDS = 0.2
APP = "drill"
PATIENCE_SECONDS = 120.0


class Clients:
    """Threads that ask until so many requests are made."""

    def __init__(self, port: int, clients: int, requests: int) -> None:
        self.answers: dict[str, int] = {}
        """Status by request_id."""
        self.unanswered = 0
        self._port = port
        self._left = requests
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask_on) for _ in range(clients)]

    def ask(self) -> None:
        """Ask for all of them, and wait for the last answer."""
        for thread in self._threads:
            thread.start()
        for thread in self._threads:
            thread.join()

    def _is_one_left(self) -> bool:
        with self._lock:
            self._left -= 1
            return self._left >= 0

    def _ask_on(self) -> None:
        while self._is_one_left():
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=300)
            try:
                connection.request("POST", "/tts", json.dumps({"text": "Good morning."}))
                answer = connection.getresponse()
                answer.read()
                self.answers[answer.headers["X-Request-ID"]] = answer.status
            except (OSError, http.client.HTTPException):
                self.unanswered += 1
            finally:
                connection.close()


def replicas(app: str = APP) -> list[psutil.Process]:
    """The processes of an app's replicas on this machine, by the title that Ray gives them."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if " ".join(process.info["cmdline"] or ()).startswith(f"ray::ServeReplica:{app}:")
    ]


@contextmanager
def killing(every_seconds: float, chance: random.Random) -> Iterator[list[float]]:
    """End a replica of any every so many seconds; the times of it."""
    over, times = threading.Event(), []

    def kill_on() -> None:
        while not over.wait(every_seconds):
            alive = replicas()
            if alive:
                chance.choice(alive).kill()
                times.append(time.monotonic())

    thread = threading.Thread(target=kill_on)
    thread.start()
    try:
        yield times
    finally:
        over.set()
        thread.join()


def until_ready(service: OwnService, count: int) -> None:
    """Wait until the service counts so many replicas."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
        connection.close()
        if f"indextts_workers_ready {count:.1f}" in text:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"there are not {count} replicas after {PATIENCE_SECONDS:g} s")
        time.sleep(0.2)


def settings_of(address: str, replicas_wanted: int, **more: str) -> dict[str, str]:
    """A service whose engines are on the cluster."""
    return {
        "INDEXTTS_ENGINE": "drill",
        "INDEXTTS_DRILL_SECONDS": str(DRILL_SECONDS),
        "INDEXTTS_LOG_STDOUT": "false",
        "INDEXTTS_CLUSTER": address,
        "INDEXTTS_CLUSTER_APP": APP,
        "INDEXTTS_CLUSTER_CPUS": "0.5",
        "INDEXTTS_CLUSTER_MIN_REPLICAS": str(replicas_wanted),
        "INDEXTTS_CLUSTER_MAX_REPLICAS": str(replicas_wanted),
        **more,
    }


def main() -> int:
    """Ask, kill, count, tell; 1 if anything is not as promised."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=1_000)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two kills")
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, clustered() as cluster:
        folder = Path(name)
        with serving(folder, **settings_of(cluster.address, asked.replicas)) as service:
            until_ready(service, asked.replicas)
            clients = Clients(service.port, asked.clients, asked.requests)
            began = time.monotonic()
            with killing(asked.every, random.Random(asked.seed)) as kills:  # noqa: S311  # chance
                clients.ask()
            seconds = time.monotonic() - began
            service.stop()
        ledger = ledger_of(folder / "logs")
        finished = [
            line
            for line in map(json.loads, read_lines(folder / "logs"))
            if line["event"] == "synthesis.finished"
        ]
    retries = Counter(line["retry_cause"] for line in finished if "retries" in line)
    errors = Counter(line["error_type"] for line in finished if "error_type" in line)
    again = sorted(line["duration_ms"] for line in finished if "retries" in line)
    print(
        f"{asked.requests:,} requests in {seconds:.0f} s by {asked.clients} clients, "
        f"{asked.replicas} replicas, {len(kills)} of them killed, one every {asked.every:g} s: "
        f"started {len(ledger.started):,} = finished {ledger.finished.total():,}; "
        f"by status {dict(ledger.statuses)}; errors {dict(errors)}; begun anew {dict(retries)}"
        + (f", the longest of these {again[-1] / 1000:.1f} s" if again else "")
    )
    faults = ledger.faults
    if clients.unanswered or len(clients.answers) != asked.requests:
        faults.append(f"{asked.requests - len(clients.answers)} requests without an answer")
    if set(clients.answers) != set(ledger.finished):
        faults.append("answers and lines are not of the same requests")
    for fault in faults:
        print(f"NOT AS PROMISED: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
