"""
Ask 20,000 times while one request in twenty goes wrong, and see that nothing is lost and nothing
grows.

    scripts/soak.py [--requests 20000] [--clients 8] [--workers 2] [--faults 0.05] [--busy]

Starts a service of its own. Faults come by chance from `FAULTS`: requests that cannot be read,
fields that do not fit, recordings that are none, clients that leave before the answer or in the
middle of what they send, workers that are killed or stopped under a request. Beside it, memory,
threads, descriptors and disk are read every second. Exit status 1 if the books do not balance, an
answer is none of those that are promised, or anything grows after the first quarter. With --busy
memory is shown and not judged: a short run is all warm-up.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.ledger import Ledger, ledger_of
from scripts.own_service import ROOT, OwnService, serving

TEXTS = (
    "你好。",
    "今天天气很好，我们一起去公园散步。",
    "Good morning, and good luck.",
    "订单 2026 已经发出，请在 3 天内查收。",
)
FORMATS = ("wav", "mp3", "flac", "ogg")
PROMISED = {200, 400, 422, 503, 504}
"""What may be answered under these faults: no 500, and nothing refused for want of room."""

STOPPED_SECONDS = 0.3
OUTPUT_MAX_MB = 600
"""More than a minute's audio, which no sweep touches: else there would be no room for more."""

SAMPLE_SECONDS = 1.0
BLOCKS = 10
T_95 = 2.306
"""Student's t for 95 % and BLOCKS - 2 degrees of freedom."""

VOICE = ROOT / "indextts_app" / "sample_voice.flac"


@dataclass(frozen=True, slots=True)
class Sample:
    """What the service held at one moment, after so many requests."""

    requests: int
    service_mb: float
    workers_mb: float
    threads: int
    descriptors: int
    outputs_mb: float


class Client:
    """Asks, well or badly, over a connection that it opens again when it is closed."""

    def __init__(self, service: OwnService, chance: random.Random) -> None:
        self._service = service
        self._chance = chance
        self._connection: http.client.HTTPConnection | None = None

    def ask_well(self) -> int | None:
        """An ordinary request; one in fifty sends a recording."""
        if self._chance.random() < 0.02:
            return self._form(VOICE.read_bytes())
        return self._json(text=self._chance.choice(TEXTS), format=self._chance.choice(FORMATS))

    def unreadable(self) -> int | None:
        """Bytes that are no JSON object."""
        return self._post(self._chance.choice((b"", b"{", b"[]", b"\xff\xfe", b"nonsense")))

    def unfit(self) -> int | None:
        """A field that does not fit."""
        wrong: tuple[dict[str, object], ...] = (
            {"text": ""},
            {"text": "x" * 600},
            {"text": "你好", "speaker": "nobody"},
            {"text": "你好", "speed": "fast"},
            {"text": "你好", "reference": "/etc/passwd"},
        )
        return self._json(**self._chance.choice(wrong))

    def broken_recording(self) -> int | None:
        """A file that is no recording, or breaks off."""
        return self._form(self._chance.choice((b"", os.urandom(2_000), VOICE.read_bytes()[:900])))

    def leave(self) -> None:
        """Ask, and hang up before the answer."""
        body = json.dumps({"text": TEXTS[1]}).encode()
        self._hang_up(body, len(body), after=self._chance.uniform(0, 0.01))

    def break_off(self) -> None:
        """Hang up in the middle of what is sent."""
        self._hang_up(b'{"text": "hel', 1_000, after=0)

    def kill_worker(self) -> int | None:
        """kill -9 of a worker, and a request."""
        self._signal_worker(signal.SIGKILL)
        return self.ask_well()

    def stop_worker(self) -> int | None:
        """A worker stands still under a request, and goes on."""
        stopped = self._signal_worker(signal.SIGSTOP)
        resume = threading.Timer(STOPPED_SECONDS, self._resume, (stopped,))
        resume.start()
        try:
            return self.ask_well()
        finally:
            resume.join()

    def _signal_worker(self, number: signal.Signals) -> psutil.Process | None:
        workers = self._service.workers()
        worker = self._chance.choice(workers) if workers else None
        if worker:
            with suppress(psutil.Error):
                worker.send_signal(number)
        return worker

    @staticmethod
    def _resume(worker: psutil.Process | None) -> None:
        if worker:
            with suppress(psutil.Error):
                worker.send_signal(signal.SIGCONT)

    def _json(self, **fields: object) -> int | None:
        return self._post(json.dumps(fields).encode())

    def _form(self, recording: bytes) -> int | None:
        part = b"--x\r\nContent-Disposition: form-data; name="
        head = part + b'"text"\r\n\r\n' + TEXTS[0].encode() + b"\r\n"
        file = part + b'"reference"; filename="voice.flac"\r\n\r\n' + recording + b"\r\n--x--\r\n"
        return self._post(head + file, "multipart/form-data; boundary=x")

    def _post(self, body: bytes, kind: str = "application/json") -> int | None:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(
                "127.0.0.1", self._service.port, timeout=90
            )
        try:
            self._connection.request("POST", "/tts", body, {"Content-Type": kind})
            answer = self._connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            self._connection = None
            raise
        return answer.status

    def _hang_up(self, body: bytes, length: int, *, after: float) -> None:
        with socket.create_connection(("127.0.0.1", self._service.port)) as connection:
            head = f"POST /tts HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
            connection.sendall(head.encode() + body)
            time.sleep(after)


FAULTS: dict[str, tuple[int, Callable[[Client], int | None]]] = {
    "unreadable": (4, Client.unreadable),
    "unfit": (5, Client.unfit),
    "broken_recording": (3, Client.broken_recording),
    "leave": (5, Client.leave),
    "break_off": (2, Client.break_off),
    "kill_worker": (1, Client.kill_worker),
    "stop_worker": (1, Client.stop_worker),
}
"""Each with its weight: a worker that is killed takes a second to come back."""


class Soak:
    """The clients' work, and what was seen meanwhile."""

    def __init__(self, service: OwnService, requests: int, faults: float, seed: int) -> None:
        self.statuses: Counter[int | None] = Counter()
        self.injected: Counter[str] = Counter()
        self.samples: list[Sample] = []
        self.broken: list[str] = []
        self._service = service
        self._process = psutil.Process(service.process.pid)
        self._requests = requests
        self._faults = faults
        self._seed = seed
        self._lock = threading.Lock()
        self._asked = 0
        self._over = threading.Event()

    def run(self, clients: int) -> float:
        """Ask until all is asked; seconds that it took."""
        began = time.perf_counter()
        watch = threading.Thread(target=self._watch)
        asking = [threading.Thread(target=self._ask_on, args=(one,)) for one in range(clients)]
        for thread in (watch, *asking):
            thread.start()
        for thread in asking:
            thread.join()
        seconds = time.perf_counter() - began
        self._over.set()
        watch.join()
        return seconds

    def _ask_on(self, number: int) -> None:
        chance = random.Random(f"{self._seed}/{number}")  # noqa: S311  # chance, not secrecy
        client = Client(self._service, chance)
        while self._is_next():
            fault = self._fault(chance)
            ask = FAULTS[fault][1] if fault else Client.ask_well
            try:
                status = ask(client)
            except (OSError, http.client.HTTPException) as error:
                with self._lock:
                    self.broken.append(f"{fault or 'ask_well'}: {error!r}")
                continue
            with self._lock:
                self.statuses[status] += 1
                if fault:
                    self.injected[fault] += 1

    def _is_next(self) -> bool:
        with self._lock:
            self._asked += 1
            return self._asked <= self._requests

    def _fault(self, chance: random.Random) -> str | None:
        if chance.random() >= self._faults:
            return None
        weights = [weight for weight, _ in FAULTS.values()]
        return chance.choices(list(FAULTS), weights)[0]

    def _watch(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            self.samples.append(self._sample())

    def _sample(self) -> Sample:
        workers = 0.0
        for worker in self._service.workers():
            with suppress(psutil.Error):
                workers += worker.memory_info().rss / 1e6
        return Sample(
            requests=self._asked,
            service_mb=self._process.memory_info().rss / 1e6,
            workers_mb=workers,
            threads=self._process.num_threads(),
            descriptors=self._process.num_fds(),
            outputs_mb=sum(_size(path) for path in self._service.output_dir.rglob("*")) / 1e6,
        )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def slope(samples: list[Sample]) -> tuple[float, float]:
    """
    MB that the service grows in 1,000 requests, and the half-width of its 95 % interval.

    By least squares over the medians of ten blocks, because samples that follow each other are not
    independent.
    """
    size = len(samples) // BLOCKS
    blocks = [samples[number * size : (number + 1) * size] for number in range(BLOCKS)]
    x = [statistics.fmean(one.requests for one in block) / 1000 for block in blocks]
    y = [statistics.median(one.service_mb for one in block) for block in blocks]
    line = statistics.linear_regression(x, y)
    spread = sum((one - statistics.fmean(x)) ** 2 for one in x)
    left = sum(
        (value - line.intercept - line.slope * at) ** 2 for at, value in zip(x, y, strict=True)
    )
    return line.slope, T_95 * (left / (BLOCKS - 2) / spread) ** 0.5


def growth(samples: list[Sample], requests: int) -> tuple[list[str], list[str]]:
    """A table of the four quarters, and what has grown since the first of them."""
    rows = ["| quarter | service MB | workers MB | threads | descriptors | audio on disk MB |"]
    rows.append("|---|---|---|---|---|---|")
    quarters = [
        [one for one in samples if number * requests < 4 * one.requests <= (number + 1) * requests]
        for number in range(4)
    ]
    if min(map(len, quarters)) < BLOCKS:
        return [], [f"a quarter of the requests took less than {BLOCKS} s: too short to judge by"]
    found = []
    for number, quarter in enumerate(quarters, 1):
        middle = [
            statistics.median(getattr(one, name) for one in quarter)
            for name in ("service_mb", "workers_mb", "threads", "descriptors")
        ]
        most = [max(getattr(one, name) for one in quarter) for name in ("threads", "descriptors")]
        found.append((middle, most))
        rows.append(
            f"| {number} | {middle[0]:.0f} | {middle[1]:.0f} | {middle[2]:.0f}, at most {most[0]} "
            f"| {middle[3]:.0f}, at most {most[1]} | {max(one.outputs_mb for one in quarter):.0f} |"
        )
    later = [one for quarter in quarters[1:] for one in quarter]
    rise, noise = slope(later)
    rows.append(
        f"\nMemory after the first quarter: {rise:+.2f} ± {noise:.2f} MB in 1,000 requests (95 %)."
    )
    second, last = found[1], found[3]
    grown = {
        "memory grows": rise - noise > 0,
        "threads grow": last[0][2] > second[0][2] + 2,
        "descriptors grow": last[0][3] > second[0][3] + 8,
        "audio beyond its share": max(one.outputs_mb for one in later) > 1.2 * OUTPUT_MAX_MB,
    }
    return rows, [fault for fault, is_so in grown.items() if is_so]


def main() -> int:
    """Soak, count, tell; 1 if anything is not as promised."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--faults", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--busy", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with serving(
            folder,
            INDEXTTS_ENGINE="espeak",
            INDEXTTS_WORKERS=str(asked.workers),
            INDEXTTS_LOG_STDOUT="false",
            INDEXTTS_OUTPUT_MAX_MB=str(OUTPUT_MAX_MB),
        ) as service:
            soak = Soak(service, asked.requests, asked.faults, asked.seed)
            seconds = soak.run(asked.clients)
            status = service.stop()
        ledger = ledger_of(folder / "logs")
        log_mb = sum(map(_size, (folder / "logs").iterdir())) / 1e6
    faults = _faults(soak, ledger, status)
    print(
        f"{asked.requests:,} requests in {seconds:.0f} s, {asked.clients} clients, {asked.workers} "
        f"workers; answers by status {_told(soak.statuses)}\n"
        f"faults {sum(soak.injected.values()):,}: {_told(soak.injected)}\n"
        f"started {len(ledger.started):,} = finished {len(ledger.finished):,}, by status "
        f"{_told(ledger.statuses)}; torn lines {len(ledger.torn)}; workers ended "
        f"{ledger.events['worker.ended']}; log {log_mb:.0f} MB in {ledger.lines:,} lines\n"
    )
    if asked.busy:
        print(soak.samples[-1])
    else:
        rows, grown = growth(soak.samples, asked.requests)
        faults += grown
        print(*rows, sep="\n")
    for fault in faults:
        print(f"NOT AS PROMISED: {fault}")
    return 1 if faults else 0


def _faults(soak: Soak, ledger: Ledger, status: int) -> list[str]:
    other = {code for code in soak.statuses if code is not None} - PROMISED
    # Whoever hangs up at once may never have been heard.
    unheard = soak.injected["leave"] + soak.injected["break_off"]
    answered = sum(number for code, number in soak.statuses.items() if code is not None)
    found = {
        f"connections that broke: {soak.broken[:3]}": len(soak.broken),
        f"answers by other statuses: {sorted(other)}": len(other),
        "requests without lines": max(answered - len(ledger.started), 0),
        "lines without requests": max(len(ledger.started) - answered - unheard, 0),
        "exit status": status,
        "lost": ledger.statuses["lost"],
    }
    return ledger.faults + [f"{number} {fault}" for fault, number in found.items() if number]


def _told(counted: Counter[str] | Counter[int | None]) -> str:
    return ", ".join(f"{name or 'hung up'} {number:,}" for name, number in counted.most_common())


if __name__ == "__main__":
    sys.exit(main())
