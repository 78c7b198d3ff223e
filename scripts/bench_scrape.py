"""What one scrape costs, and how large /metrics is: the part `scrape` of scripts/bench.py."""

from __future__ import annotations

import http.client
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from subprocess import Popen

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psutil

from observability.events import HINTS, STAGES, VERDICTS, Event
from observability.metrics import Metrics

SCRAPES = 200
SPEAKERS = 500
"""What INDEXTTS_MAX_SPEAKERS allows by default."""

Service = Callable[..., AbstractContextManager[tuple[int, "Popen[bytes]"]]]


def scrape(folder: Path, service: Service) -> Iterator[str]:
    """The real service fresh, then with every speaker and emotion of espeak; then at the limit."""
    yield "## One scrape\n"
    yield (
        f"`GET /metrics` of the service, {SCRAPES} times, uncompressed; CPU is the service's own "
        "over all of them. Below, the exposition of a process in which every one of "
        f"{SPEAKERS} speakers was asked for with every emotion, written without HTTP.\n"
    )
    yield "| | series | KB | median ms | P99 ms | CPU ms |"
    yield "|---|---|---|---|---|---|"
    with service(folder / "scrape", INDEXTTS_WORKERS="1") as (port, process):
        yield _row("service after one request", port, process.pid)
        pairs = _every_pair(port)
        # Counted with the finished line, which waits for ffprobe.
        time.sleep(2)
        yield _row(f"service after {pairs} pairs of speaker and emotion", port, process.pid)
    yield _at_the_limit()
    yield ""


def _row(name: str, port: int, pid: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    own, taken, body = psutil.Process(pid), [], b""
    before = own.cpu_times()
    for _ in range(SCRAPES):
        began = time.perf_counter()
        connection.request("GET", "/metrics")
        body = connection.getresponse().read()
        taken.append((time.perf_counter() - began) * 1000)
    after = own.cpu_times()
    cpu = (after.user + after.system - before.user - before.system) * 1000 / SCRAPES
    return _line(name, body, taken, cpu)


def _line(name: str, body: bytes, taken: list[float], cpu_ms: float) -> str:
    series = sum(not line.startswith(b"#") for line in body.splitlines())
    p99 = statistics.quantiles(taken, n=100)[98]
    return (
        f"| {name} | {series:,} | {len(body) / 1000:,.0f} | **{statistics.median(taken):.1f}** "
        f"| {p99:.1f} | {cpu_ms:.1f} |"
    )


def _every_pair(port: int) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/speakers")
    told = json.loads(connection.getresponse().read())
    pairs = [
        (speaker["id"], emotion) for speaker in told["speakers"] for emotion in told["emotions"]
    ]
    for speaker, emotion in pairs:
        body = json.dumps({"text": "好。", "speaker": speaker, "emotion": emotion}).encode()
        connection.request("POST", "/tts", body, {"Content-Type": "application/json"})
        connection.getresponse().read()
    return len(pairs)


def _at_the_limit() -> str:
    metrics = Metrics()
    metrics.build_info(engine="indextts2")
    emotions = [f"emotion-{number}" for number in range(9)]
    for number in range(SPEAKERS):
        for emotion in emotions:
            metrics.finished(
                Event(
                    event="synthesis.finished",
                    request_id="01K8ZQ3V7M1ABCDEFGHJKMNPQR",
                    engine="indextts2",
                    speaker=f"speaker-{number:06}",
                    emotion=emotion,
                    source="api",
                    status="success",
                    format="wav",
                    text_len=30 * (number % 10) + 1,
                    duration_ms=1000.0,
                    queue_ms=1.0,
                    first_audio_ms=500.0,
                    rtf=0.3,
                    audio_seconds=3.0,
                    audio_bytes=100_000,
                    audio_verdict=VERDICTS[number % len(VERDICTS)],
                    probe_ok=True,
                    speaker_cache_hit=True,
                    **{f"stage_{stage}_ms": 100.0 for stage in STAGES},  # type: ignore[arg-type]
                    **dict.fromkeys(HINTS, 1),  # type: ignore[arg-type]
                )
            )
    taken, began_cpu = [], time.process_time()
    for _ in range(SCRAPES // 10):
        began = time.perf_counter()
        body = metrics.text()
        taken.append((time.perf_counter() - began) * 1000)
    cpu = (time.process_time() - began_cpu) * 1000 / len(taken)
    return _line(f"{SPEAKERS} speakers × {len(emotions)} emotions", body, taken, cpu)
