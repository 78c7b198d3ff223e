"""
The arithmetic of growing, held against the real service: scripts/bench.py capacity

Waits: requests come at random to the drill engine, two workers; what each waited stands in its
line, beside what the simulation and the formula say. Bytes: lines of the espeak engine, what
archive and Parquet make of them, and Loki where it is on PATH.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import structlog

from observability.capacity.growth import measure
from observability.capacity.load import Floats, Load, replayed
from observability.capacity.queueing import Demand, mean_wait, wait_quantile
from observability.capacity.simulation import Fleet, simulate
from observability.log_store.files import FileLogStore
from scripts import own_service, shipping

WORKERS = 2
SLOW_SHARE = 0.2
SLOW_SECONDS = 0.6
RUNS = (
    ("all 200 ms", 0.0, 0.6),
    ("all 200 ms", 0.0, 0.85),
    ("200 ms, every fifth 800 ms", SLOW_SHARE, 0.7),
)
"""What the work is, how much of it is slow, and how busy the workers are to be."""

SHARES = (0.5, 0.95, 0.99)
EMOTIONS = ("neutral", "happy", "calm", "sad", "angry")
SENTENCES = ("今天天气很好。", "列车将在三分钟后进站，请注意安全。", "Your order has been shipped.",
             "请在听到提示音后留言。", "会议改到明天下午三点半，地点不变。")  # fmt: skip


def waits(folder: Path, seconds: float) -> Iterator[str]:
    """Measured waits beside those of the simulation and the formula."""
    yield "## Waiting, measured and simulated\n"
    yield (
        f"`drill`, {WORKERS} workers, requests that come independently for {seconds:g} s each. "
        "Measured: `queue_ms` of the lines. Simulated: `scripts/simulate.py --from-logs` on the "
        "same lines, whose moments and work it takes. Formula: Allen-Cunneen with their means, for "
        "a time without end. Waits in ms.\n"
    )
    yield "| work | busy | requests | | mean | p50 | p95 | p99 |"
    yield "|---|---|---|---|---|---|---|---|"
    for number, (name, slow, busy) in enumerate(RUNS):
        own = folder / f"waits{number}"
        work = 0.2 + slow * SLOW_SECONDS
        rate = busy * WORKERS / work
        settings = {
            "INDEXTTS_ENGINE": "drill",
            "INDEXTTS_DRILL_SECONDS": "0.2",
            "INDEXTTS_DRILL_SLOW_SECONDS": str(SLOW_SECONDS),
            "INDEXTTS_WORKERS": str(WORKERS),
            "INDEXTTS_MAX_QUEUE": "1000",
        }
        with own_service.serving(own, **settings) as service:
            since = datetime.now(UTC)
            asyncio.run(_at_random(service.port, rate, seconds, slow, seed=number))
        until = datetime.now(UTC) + timedelta(seconds=1)
        store = FileLogStore(own / "logs")
        load = replayed(store, since, until)
        with store.requests(since, until, ("queue_ms",)) as found:
            measured = np.array(
                found.rows("SELECT queue_ms / 1e3 FROM finished ORDER BY request_id"), float
            ).ravel()
        simulated = simulate(load, Fleet(replicas=WORKERS)).waits
        demand = Demand(
            rate=load.arrivals.size / seconds,
            work_seconds=load.work_seconds,
            work_cv=load.work_cv,
        )
        formula = [mean_wait(WORKERS, demand)]
        formula += [wait_quantile(WORKERS, demand, share) for share in SHARES]
        requests = load.arrivals.size
        yield f"| {name} | {demand.offered / WORKERS:.0%} | {requests:,} | measured {_of(measured)}"
        yield f"| | | | simulated {_of(simulated)}"
        yield f"| | | | formula | {' | '.join(f'{1000 * value:.0f}' for value in formula)} |"
        apart = np.abs(_paired(load, measured, simulated))
        yield (
            f"| | | | difference, request by request: median {1000 * np.median(apart):.1f}, "
            f"95 % {1000 * np.quantile(apart, 0.95):.1f} | | | | |"
        )
    yield ""


def sizes(folder: Path, requests: int) -> Iterator[str]:
    """Bytes of a request of the real service."""
    own = folder / "sizes"
    with own_service.serving(own, INDEXTTS_WORKERS="2") as service:
        asyncio.run(_speak(service.port, requests))
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    found = measure(own / "logs")
    yield "## Bytes of a request\n"
    yield (
        f"espeak, {found.requests:,} requests over HTTP with {len(EMOTIONS)} emotions and texts of "
        f"{len(SENTENCES)} sentences in any order; {found.lines:,} lines.\n"
    )
    yield "| of a request | bytes | share of its lines |"
    yield "|---|---|---|"
    kept = [("lines", found.lines_bytes), ("archive (gzip)", found.archive_bytes),
            ("Parquet copies", found.parquet_bytes)]  # fmt: skip
    if not shipping.missing():
        chunks, index = _in_loki(own, found.lines)
        kept += [("Loki, chunks (snappy)", chunks), ("Loki, index", index)]
    for name, size in kept:
        share = size / found.lines_bytes
        yield f"| {name} | {size / found.requests:,.0f} | {share:.0%} |"
    yield ""


async def _at_random(port: int, rate: float, seconds: float, slow: float, seed: int) -> None:
    """Requests at independent moments, whether those before are done or not."""
    chance = random.Random(seed)  # noqa: S311
    at = f"http://127.0.0.1:{port}"
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
    async with httpx.AsyncClient(base_url=at, timeout=120, limits=limits) as client:
        tasks = []
        begin = time.perf_counter()
        moment = chance.expovariate(rate)
        while moment < seconds:
            await asyncio.sleep(max(0.0, begin + moment - time.perf_counter()))
            speaker = "slow" if chance.random() < slow else "steady"
            asked = {"text": "你好。", "speaker": speaker, "cache": False}
            tasks.append(asyncio.create_task(client.post("/tts", json=asked)))
            moment += chance.expovariate(rate)
        for answer in await asyncio.gather(*tasks):
            answer.raise_for_status()


async def _speak(port: int, requests: int) -> None:
    chance = random.Random(1)  # noqa: S311
    at = f"http://127.0.0.1:{port}"
    turns = asyncio.Semaphore(2)
    async with httpx.AsyncClient(base_url=at, timeout=120) as client:

        async def one() -> None:
            text = "".join(chance.choices(SENTENCES, k=chance.randint(1, 12)))
            async with turns:
                asked = {"text": text, "emotion": chance.choice(EMOTIONS)}
                (await client.post("/tts", json=asked)).raise_for_status()

        await asyncio.gather(*(one() for _ in range(requests)))


def _in_loki(folder: Path, lines: int) -> tuple[int, int]:
    """Bytes of the chunks and of the index that Loki makes of the folder's lines."""
    with shipping.Loki(folder / "loki") as server:
        with shipping.Promtail(folder / "promtail", folder / "logs", server.url):
            found = server.settled(lines, datetime.now(UTC) + timedelta(minutes=1))
        if found != lines:
            raise SystemExit(f"{found:,} of {lines:,} lines arrived in Loki.")
    # When it has ended its index is there as well.
    chunks = index = 0
    for path in (folder / "loki/chunks").rglob("*"):
        if path.is_file():
            if "index" in path.relative_to(folder / "loki/chunks").parts:
                index += path.stat().st_size
            else:
                chunks += path.stat().st_size
    return chunks, index


def _paired(load: Load, measured: Floats, simulated: Floats) -> Floats:
    """Differences, where both have the requests in the order of arrival."""
    if not measured.size == simulated.size == load.arrivals.size:
        raise SystemExit("Not every request got audio; nothing can be compared.")
    return measured - simulated


def _of(values: Floats) -> str:
    told = [float(values.mean()), *(float(np.quantile(values, share)) for share in SHARES)]
    return "| " + " | ".join(f"**{1000 * value:.0f}**" for value in told) + " |"
