"""
Kill the whole service 50 times under load, and see that its books and its files are whole again.

    scripts/crash_loop.py [--crashes 50] [--clients 8] [--engine espeak]

Each time: start, clients ask without pause, kill -9 at a random moment, the next start settles what
was open. Then it is counted: lines that are torn, requests without an end, audio files under their
final name that are not whole, answers that a client got and that the books do not know. Exit status
1 if there is any.
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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.ledger import Ledger, ledger_of
from scripts.own_service import OwnService, serving

TEXTS = ("你好。", "今天天气很好，我们一起去公园散步，好不好。", "Good morning, and good luck.")
FORMATS = ("wav", "wav", "flac", "mp3", "ogg")
LONGEST_LOAD_SECONDS = 1.5
DEATH_SECONDS = 10.0


class Clients:
    """Threads that ask without pause until the service is gone; they keep the ids of answers."""

    def __init__(self, port: int, number: int, seed: int) -> None:
        self.answered: set[str] = set()
        self._port = port
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask_on, args=(f"{seed}/{one}",)) for one in range(number)
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Wait until each has noticed."""
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask_on(self, seed: str) -> None:
        chance = random.Random(seed)  # noqa: S311  # chance, not secrecy
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            while not self._over.is_set():
                asked = {"text": chance.choice(TEXTS), "format": chance.choice(FORMATS)}
                connection.request("POST", "/tts", json.dumps(asked))
                answer = connection.getresponse()
                answer.read()
                self.answered.add(answer.headers["X-Request-ID"])
        except (OSError, http.client.HTTPException):
            return
        finally:
            connection.close()


@contextmanager
def under_load(service: OwnService, clients: int, seed: int) -> Iterator[Clients]:
    """Clients that ask, until the block has ended the service."""
    asking = Clients(service.port, clients, seed)
    try:
        yield asking
    finally:
        asking.end()


def broken_files(outputs: Path) -> list[str]:
    """Audio files that are there under their final name and cannot be read to their end."""
    broken = []
    for path in outputs.iterdir():
        if path.suffix.lstrip(".") not in FORMATS:
            continue
        try:
            samples, _rate = soundfile.read(path)
            size = path.stat().st_size
            whole = path.suffix != ".wav" or size == 8 + int.from_bytes(
                path.read_bytes()[4:8], "little"
            )
        except (OSError, soundfile.LibsndfileError):
            whole = False
        if not whole or not len(samples):
            broken.append(path.name)
    return broken


def crash_once(folder: Path, engine: str, clients: int, chance: random.Random) -> set[str]:
    """One start, load, and kill at a random moment; the ids that the clients were given."""
    settings = {"INDEXTTS_ENGINE": engine, "INDEXTTS_LOG_STDOUT": "false"}
    with serving(folder, **settings) as service:
        workers = service.workers()
        with under_load(service, clients, chance.randrange(2**32)) as asking:
            time.sleep(chance.uniform(0, LONGEST_LOAD_SECONDS))
            service.kill()
        _, alive = psutil.wait_procs(workers, DEATH_SECONDS)
        if alive:
            raise RuntimeError(f"{len(alive)} workers outlived their service")
    return asking.answered


def faults_of(ledger: Ledger, answered: set[str], broken: list[str], partial: int) -> list[str]:
    """What is not as promised after the last restart."""
    unknown = answered - ledger.started.keys()
    found = {
        "answers that no line tells of": len(unknown),
        f"broken files under their final name: {broken[:3]}": len(broken),
        "partial files left": partial,
    }
    return ledger.faults + [f"{number} {fault}" for fault, number in found.items() if number]


def main() -> int:
    """Crash, count, tell; 1 if anything is not as promised."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--crashes", type=int, default=50)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--engine", default="espeak")
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    chance = random.Random(asked.seed)  # noqa: S311  # chance, not secrecy
    answered: set[str] = set()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        outputs = folder / "outputs"
        left_partial = 0
        for number in range(asked.crashes):
            answered |= crash_once(folder, asked.engine, asked.clients, chance)
            left_partial += len(list(outputs.glob("*.part")))
            if broken := broken_files(outputs):
                print(f"crash {number + 1}: {broken}")
            torn = len(ledger_of(folder / "logs").torn)
            if torn:
                print(f"crash {number + 1}: {torn} torn lines")
        with serving(folder, INDEXTTS_ENGINE=asked.engine, INDEXTTS_LOG_STDOUT="false") as service:
            service.stop()
        ledger = ledger_of(folder / "logs")
        faults = faults_of(
            ledger, answered, broken_files(outputs), len(list(outputs.glob("*.part")))
        )
    lost = ledger.statuses["lost"]
    told = len(answered & ledger.lost)
    print(
        f"{asked.crashes} crashes, {ledger.lines:,} lines, {len(answered):,} answers: "
        f"started {len(ledger.started):,} = finished {sum(ledger.statuses.values()) - lost:,} "
        f"+ lost {lost:,} ({told:,} of these had been answered, their line waited for ffprobe); "
        f"torn lines {len(ledger.torn)}; partial files seen after a crash "
        f"{left_partial}, left after the restart none; "
        f"by status {dict(ledger.statuses)}"
    )
    for fault in faults:
        print(f"NOT AS PROMISED: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
