"""
A batch beside the bare engine on as many processes, for bench.py.

The bare engine is called in a loop and nothing else is done: no text comes in, no file is written,
nothing is checked. `python bench_batch.py ENGINE SECONDS COUNT` is one such process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from indextts_app import engines
from indextts_app.engines.base import Task
from scripts.bench_engine import BareJob

TEXT = "今天天气很好，我们一起去公园散步，好不好。"
"""A row's text has its number in place of the first two characters."""

WORKERS = 2
DRILL_SECONDS = 0.1
"""What a row costs the engine: less than a model of speech needs, so that the share is a bound."""

BARE_COUNT = 400
LOOK_SECONDS = 0.25


class Serve(Protocol):
    """Runs the service with these settings; its port and its process."""

    def __call__(self, folder: Path, **settings: str) -> AbstractContextManager[tuple[int, Any]]:
        """As `bench.service`."""


class _Job(BareJob):
    def entered(self, name: str) -> None:
        """Not kept."""

    def segment(self, number: int, count: int) -> None:
        """Not kept."""


def batch(serve: Serve, folder: Path, rows: int) -> Iterator[str]:
    """Rows a second of a batch with everything on, and of the bare engine."""
    yield "## Batch\n"
    yield (
        f"{rows:,} rows of 21 Chinese characters, {WORKERS} workers, from the first byte of the "
        "table sent to the last row done, everything on: one pair of lines a row, the signal "
        f"check, the stored file, ffprobe beside it. Beside it {WORKERS} processes that call the "
        f"bare engine and nothing else. `drill` takes {DRILL_SECONDS * 1000:g} ms a row and next "
        "to no CPU, as an engine on a GPU does, though any of those takes longer; `espeak` takes "
        "4 ms of CPU, far less than the rest of a request, and shows what a row costs at most.\n"
    )
    yield "| engine | bare rows/s | batch rows/s | share | audio for | probed |"
    yield "|---|---|---|---|---|---|"
    for engine, seconds in (("drill", DRILL_SECONDS), ("espeak", 0.0)):
        bare = _bare_rate(engine, seconds)
        settings = {
            "INDEXTTS_ENGINE": engine,
            "INDEXTTS_WORKERS": str(WORKERS),
            "INDEXTTS_DRILL_SECONDS": str(seconds),
        }
        with serve(folder / f"batch-{engine}", **settings) as (port, _):
            taken, done = _batch(port, rows)
        probed = _probed(folder / f"batch-{engine}")
        rate = rows / taken
        yield (
            f"| {engine} | {bare:.1f} | {rate:.1f} | **{rate / bare:.1%}** | {done:,} "
            f"| {probed / rows:.0%} |"
        )
    yield ""


def _bare_rate(engine: str, seconds: float) -> float:
    count = BARE_COUNT // WORKERS
    command = [sys.executable, __file__, engine, str(seconds), str(count)]
    running = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(WORKERS)
    ]
    for process in running:
        process.stdout.readline()  # type: ignore[union-attr]
    began = time.perf_counter()
    for process in running:
        process.stdin.write("go\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
    for process in running:
        process.wait()
    return WORKERS * count / (time.perf_counter() - began)


def _batch(port: int, rows: int) -> tuple[float, int]:
    """Seconds until the last row was done, and how many have audio."""
    base = f"http://127.0.0.1:{port}/batches"
    # Each its own, because the same one would be served again from the result cache.
    texts = [{"text": f"{number:04}{TEXT[2:]}"} for number in range(rows)]
    body = json.dumps({"rows": texts}).encode()
    asked = urllib.request.Request(  # our own service
        base, body, {"Content-Type": "application/json"}
    )
    began = time.time()
    job_id = _answer(asked)["job_id"]
    while not (found := _answer(f"{base}/{job_id}?limit=0"))["ended"]:
        time.sleep(LOOK_SECONDS)
    counts = found["counts"]
    return found["ended"] - began, counts.get("success", 0)


def _answer(asked: urllib.request.Request | str) -> dict[str, Any]:
    with urllib.request.urlopen(asked, timeout=60) as answer:  # noqa: S310  # our own service
        told: dict[str, Any] = json.load(answer)
        return told


def _probed(folder: Path) -> int:
    """Rows whose file ffprobe has looked at, once the service has ended."""
    lines = (json.loads(line) for path in folder.glob("logs/*.jsonl") for line in path.open())
    return sum(
        line["event"] == "synthesis.finished" and bool(line.get("job_id") and line.get("probe_ok"))
        for line in lines
    )


def main() -> None:
    """Call the bare engine so often."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine")
    parser.add_argument("seconds", type=float)
    parser.add_argument("count", type=int)
    asked = parser.parse_args()
    options = {"seconds": asked.seconds} if asked.engine == "drill" else {}
    engine = engines.make(asked.engine, options)
    speaker = engine.load().speakers[0].id

    def speak() -> None:
        engine.synthesize(_Job(Task("bench", TEXT, speaker, "neutral", 1.0)))

    speak()
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(asked.count):
        speak()


if __name__ == "__main__":
    main()
