"""
Measure the service beside the bare engine and the textbook recipe: scripts/bench.py [PART ...]

Parts: overhead, throughput, memory, start, logs, scrape, batch, surface; all of them by default.
Everything runs on this machine, in one run, with the espeak engine. Prints Markdown; --write FILE
stores it too.

The part indextts2 runs only if it is named: bench.py indextts2 --python MODEL_PYTHON. It measures
that engine beside the bare class, on a tiny random checkpoint or on --model-dir. So does loki, with
Loki and Promtail on PATH: bench.py loki --requests 1000000 --loki-folder FOLDER. And capacity, with
the drill engine: bench.py capacity --seconds 60 --requests 2000. And cluster, with Ray
(requirements-cluster.txt) and the drill engine: bench.py cluster --seconds 20 --rounds 60.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts import (
    bench_batch,
    bench_capacity,
    bench_cluster,
    bench_logs,
    bench_loki,
    bench_scrape,
    bench_surface,
    bench_traces,
)
from scripts.own_service import free_port, launch

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "scripts"

TEXTS = {
    "20 Chinese characters": "今天天气很好，我们一起去公园散步，好不好。",
    "200 Chinese characters": "今天天气很好，我们一起去公园散步，好不好。" * 10,
}
SHORT = "你好。"
CLIENTS = (1, 2, 8, 32)
WORKERS = 2
PAUSE_SECONDS = 0.25
"""Between two measurements, so that ffprobe of the one is done before the next begins."""


class Client:
    """One keep-alive connection."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def speak(self, text: str) -> float:
        """Seconds of one request, from the first byte sent to the last received."""
        body = json.dumps({"text": text}).encode()
        began = time.perf_counter()
        self._connection.request("POST", "/tts", body, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        audio = answer.read()
        seconds = time.perf_counter() - began
        if answer.status != 200 or audio[:4] != b"RIFF":
            raise RuntimeError(f"status {answer.status}: {audio[:200]!r}")
        return seconds


class Bare:
    """A process that calls the engine and nothing else."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, SCRIPTS / "bench_engine.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._questions: IO[str] = self._process.stdin  # type: ignore[assignment]
        self._answers: IO[str] = self._process.stdout  # type: ignore[assignment]
        self._answer()

    def speak(self, text: str) -> float:
        """Seconds of one call, measured inside the process."""
        self._questions.write(f"{text}\n")
        self._questions.flush()
        return float(self._answer())

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()

    def _answer(self) -> str:
        return self._answers.readline()


@contextmanager
def service(folder: Path, **settings: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The service with everything on, serving."""
    port = free_port()
    process = launch(folder, port, **settings)
    try:
        _until_speaking(port)
        yield port, process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@contextmanager
def recipe(folder: Path) -> Iterator[int]:
    """The textbook recipe, serving."""
    port = free_port()
    process = subprocess.Popen([sys.executable, SCRIPTS / "bench_recipe.py", str(port), folder])
    try:
        _until_speaking(port)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def overhead(folder: Path, rounds: int) -> Iterator[str]:
    """Our whole POST /tts and the recipe's, over the bare engine call; turn and turn about."""
    yield "## Overhead of one request\n"
    yield (
        f"Median of {rounds} rounds, milliseconds; in each round the three run one after the "
        f"other with {PAUSE_SECONDS} s between them, one client, one worker. Overhead is the "
        "request, HTTP included, minus the bare engine call.\n"
    )
    yield "| text | bare engine | ours | recipe | overhead ours | overhead recipe | share |"
    yield "|---|---|---|---|---|---|---|"
    with service(folder / "one", INDEXTTS_WORKERS="1") as (port, _), recipe(folder) as other:
        contenders: list[Callable[[str], float]] = [
            (bare := Bare()).speak,
            Client(port).speak,
            Client(other).speak,
        ]
        for name, text in TEXTS.items():
            times: list[list[float]] = [[], [], []]
            for _ in range(rounds):
                for contender, taken in zip(contenders, times, strict=True):
                    taken.append(contender(text) * 1000)
                    time.sleep(PAUSE_SECONDS)
            engine, ours, theirs = map(statistics.median, times)
            mine, its = ours - engine, theirs - engine
            yield (
                f"| {name} | {engine:.2f} | {ours:.2f} | {theirs:.2f} | **{mine:.2f}** "
                f"| {its:.2f} | {mine / its:.1%} |"
            )
        bare.close()
    yield ""


def throughput(folder: Path, seconds: float) -> Iterator[str]:
    """Requests a second with everything on, beside as many bare engine processes as workers."""
    text = TEXTS["20 Chinese characters"]
    yield "## Throughput\n"
    yield (
        f"Requests a second over {seconds:g} s each, {WORKERS} workers, the 20-character text, "
        f"everything on, clients on the same machine ({os.cpu_count()} cores). Beside them "
        f"{WORKERS} processes that call the bare engine. ffprobe runs beside the answers; where "
        "more files come than it can take, the event says `probe_error=backlog`.\n"
    )
    yield "| | requests/s | p50 ms | p99 ms | probed |"
    yield "|---|---|---|---|---|"
    bare = [Bare() for _ in range(WORKERS)]
    rate, _ = _rate([one.speak for one in bare], text, seconds)
    for one in bare:
        one.close()
    yield f"| bare engine, {WORKERS} processes | {rate:.0f} | | | |"
    with service(folder / "many", INDEXTTS_WORKERS=str(WORKERS)) as (port, _):
        for clients in CLIENTS:
            before = _probes(port)
            rate, taken = _rate([Client(port).speak for _ in range(clients)], text, seconds)
            cuts = statistics.quantiles(taken, n=100)
            after = _probes(port)
            ran = {result: after[result] - before.get(result, 0) for result in after}
            probed = ran.get("ok", 0) / max(sum(ran.values()), 1)
            yield (
                f"| ours, {clients} clients | {rate:.0f} | {cuts[49] * 1000:.1f} "
                f"| {cuts[98] * 1000:.1f} | {probed:.0%} |"
            )
    yield ""


def memory(folder: Path, requests: int) -> Iterator[str]:
    """Resident memory of service and workers at rest and after many requests."""
    yield "## Memory\n"
    yield f"Resident memory in MB, {WORKERS} workers, 8 clients, a short text.\n"
    yield "| after | service | workers |"
    yield "|---|---|---|"
    with service(folder / "memory", INDEXTTS_WORKERS=str(WORKERS)) as (port, process):
        done = 0
        for target in (0, requests // 10, requests // 2, requests):
            speakers: list[Callable[[str], float]] = [Client(port).speak for _ in range(8)]
            _spread(speakers, SHORT, target - done)
            done = target
            time.sleep(2)
            own = psutil.Process(process.pid)
            workers = sum(child.memory_info().rss for child in own.children()) / 1e6
            yield f"| {done:,} requests | {own.memory_info().rss / 1e6:.0f} | {workers:.0f} |"
    yield ""


def start(folder: Path, rounds: int) -> Iterator[str]:
    """From the start of the process to the first audio served."""
    taken = []
    for number in range(rounds):
        port = free_port()
        began = time.perf_counter()
        process = launch(folder / f"start{number}", port)
        _until_speaking(port)
        taken.append(time.perf_counter() - began)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    yield "## Start\n"
    yield (
        f"From process start to the first audio served, {rounds} starts: median "
        f"**{statistics.median(taken):.2f} s**, {min(taken):.2f} to {max(taken):.2f} s.\n"
    )


def logs(folder: Path, asked: argparse.Namespace) -> Iterator[str]:
    """The questions to the log, over lines that were prepared, or are now."""
    if asked.folder:
        known = bench_logs.Prepared.known(asked.folder)
    else:
        known = bench_logs.prepare(folder / "prepared", asked.requests, asked.months)
    yield from bench_logs.measured(known, with_loki=not asked.without_loki)


def surface(folder: Path, rounds: int) -> Iterator[str]:
    """What integrators wait for."""
    asked = {"INDEXTTS_MAX_TEXT_CHARS": "2000", "INDEXTTS_RESULT_CACHE_MB": "64"}
    with service(folder / "surface", **asked) as (port, _):
        yield from bench_surface.streaming(port, rounds)
        yield from bench_surface.cached(port, rounds)


def capacity(folder: Path, asked: argparse.Namespace) -> Iterator[str]:
    """What the arithmetic of growing rests on."""
    yield from bench_capacity.waits(folder, asked.seconds)
    yield from bench_capacity.sizes(folder, asked.requests)


def indextts2(folder: Path, asked: argparse.Namespace) -> Iterator[str]:
    """The engine `indextts2` beside the bare class, both in the model's own interpreter."""
    yield "## IndexTTS-2: ours beside the bare class\n"
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": str(ROOT)}
    checkpoint = asked.model_dir
    if checkpoint is None:
        checkpoint = folder / "checkpoint"
        make = [asked.python, ROOT / "tests/tiny_checkpoint.py", checkpoint]
        made = subprocess.run(
            [*make, "--version", asked.model_version],
            env=environment,
            capture_output=True,
            text=True,
        )
        if made.returncode:
            raise SystemExit(made.stderr)
        yield (
            "A tiny random checkpoint: the parts whose size its code fixes have it (GPT 1280 wide, "
            "CAMPPlus), all others are small. Shares of a larger model are smaller.\n"
        )
    command = [
        asked.python,
        SCRIPTS / "bench_indextts2.py",
        checkpoint,
        f"--version={asked.model_version}",
        f"--device={asked.device}",
        f"--rounds={asked.rounds}",
        f"--turns={asked.turns}",
        f"--requests={min(asked.requests, 200)}",
    ]
    with (
        (folder / "stderr").open("w+") as said,
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=said, text=True
        ) as process,
    ):
        for line in process.stdout or ():
            yield line.rstrip("\n")
        if process.wait():
            said.seek(0)
            raise SystemExit(said.read()[-4_000:])


def _until_speaking(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            Client(port).speak(SHORT)
        except (OSError, RuntimeError, http.client.HTTPException):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _rate(
    speakers: list[Callable[[str], float]], text: str, seconds: float
) -> tuple[float, list[float]]:
    taken: list[float] = []
    end = time.perf_counter() + seconds

    def speak_on(speak: Callable[[str], float]) -> None:
        while time.perf_counter() < end:
            taken.append(speak(text))

    began = time.perf_counter()
    _together([lambda speak=speak: speak_on(speak) for speak in speakers])  # type: ignore[misc]
    return len(taken) / (time.perf_counter() - began), taken


def _spread(speakers: list[Callable[[str], float]], text: str, requests: int) -> None:
    def speak_share(speak: Callable[[str], float], share: int) -> None:
        for _ in range(share):
            speak(text)

    share = requests // len(speakers)
    _together([lambda speak=speak: speak_share(speak, share) for speak in speakers])  # type: ignore[misc]


def _together(jobs: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _probes(port: int) -> dict[str, float]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/metrics")
    found = {}
    for line in connection.getresponse().read().decode().splitlines():
        if line.startswith("indextts_probes_total{"):
            labels, value = line.rsplit(" ", 1)
            found[labels.split('"')[1]] = float(value)
    return found


def main() -> None:
    """Run the parts that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=2_000, help="of a batch")
    parser.add_argument("--months", type=int, default=2, help="of generated lines, for logs")
    parser.add_argument("--folder", type=Path, help="of bench_logs.py prepare, for logs")
    parser.add_argument("--without-loki", action="store_true", help="for logs")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--python", type=Path, help="the model's interpreter, for indextts2")
    parser.add_argument("--model-dir", type=Path, help="weights; a tiny checkpoint if not named")
    parser.add_argument("--model-version", choices=("2", "2.5"), default="2")
    parser.add_argument("--device", default="auto", help="where indextts2 runs")
    parser.add_argument("--turns", type=int, default=40, help="requests of alternating speakers")
    parser.add_argument("--loki-folder", type=Path, help="keeps the month that was loaded")
    parser.add_argument("--prepare", action="store_true", help="load it and measure nothing")
    asked = parser.parse_args()
    if asked.prepare:
        bench_loki.prepare(asked.loki_folder, asked.requests)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts: dict[str, Callable[[], Iterator[str]]] = {
            "overhead": lambda: overhead(folder, asked.rounds),
            "throughput": lambda: throughput(folder, asked.seconds),
            "memory": lambda: memory(folder, asked.requests),
            "start": lambda: start(folder, 5),
            "logs": lambda: logs(folder, asked),
            "scrape": lambda: bench_scrape.scrape(folder, service),
            "batch": lambda: bench_batch.batch(service, folder, asked.rows),
            "traces": bench_traces.traces,
            "surface": lambda: surface(folder, asked.rounds),
        }
        by_default = tuple(parts)
        parts["capacity"] = lambda: capacity(folder, asked)
        parts["cluster"] = lambda: bench_cluster.cluster(folder, asked.seconds, asked.rounds * 5)
        parts["indextts2"] = lambda: indextts2(folder, asked)
        parts["loki"] = lambda: bench_loki.loki(asked.loki_folder or folder, asked.requests)
        if "indextts2" in asked.parts and asked.python is None:
            parser.error("indextts2 needs --python: the interpreter of the model's environment")
        if unknown := set(asked.parts) - set(parts):
            parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(parts)}")
        machine = f"{os.cpu_count()} cores {platform.machine()}"
        python = f"Python {platform.python_version()}"
        engine = "IndexTTS-2" if asked.parts == ["indextts2"] else "espeak"
        lines = [
            "# Benchmarks\n",
            f"`scripts/bench.py`, {time.strftime('%Y-%m-%d')}, {machine}, {python}, {engine}.\n",
        ]
        print(*lines, sep="\n", flush=True)
        for part in asked.parts or by_default:
            for line in parts[part]():
                print(line, flush=True)
                lines.append(line)
    if asked.write:
        asked.write.write_text("\n".join(lines).rstrip() + "\n")


if __name__ == "__main__":
    main()
