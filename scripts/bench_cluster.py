"""What the engines on a Ray cluster cost and gain: throughput by replicas, latency beside local."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from scripts.bench_surface import Client
from scripts.cluster_drill import settings_of, until_ready
from scripts.own_cluster import clustered
from scripts.own_service import serving

REPLICAS = (1, 2)
CLIENTS_PER_REPLICA = 2
"""So that another request always waits; the queue is what a replica must not wait for."""
TEXT = "Good morning, all."
WARM_UP = 10
WORK_SECONDS = 0.05
"""Of the request that both ways are compared with."""


def cluster(folder: Path, seconds: float, requests: int) -> Iterator[str]:
    """Both tables, on one cluster of this machine."""
    with clustered() as own:
        yield from _throughput(folder, own.address, seconds)
        yield from _latency(folder, own.address, requests)


def _throughput(folder: Path, address: str, seconds: float) -> Iterator[str]:
    yield "## Replicas on a cluster\n"
    yield (
        f"The drill engine asleep for 200 ms a request, `POST /tts`, {CLIENTS_PER_REPLICA} clients "
        f"for each replica for {seconds:g} s; head, nodes, replicas, service and clients on this "
        "machine. An engine that did nothing else would make 5.00 a second.\n"
    )
    yield "| replicas | requests a second | of what their engines could | one replica times |"
    yield "|---|---|---|---|"
    alone = 0.0
    for replicas in REPLICAS:
        app = f"bench-{replicas}"
        settings = settings_of(address, replicas, INDEXTTS_CLUSTER_APP=app)
        with serving(folder / app, **settings) as service:
            until_ready(service, replicas)
            rate = _rate(service.port, CLIENTS_PER_REPLICA * replicas, seconds)
        alone = alone or rate
        yield (
            f"| {replicas} | **{rate:.2f}** | {rate / (5 * replicas):.0%} | {rate / alone:.2f} |"
        )
    yield ""


def _rate(port: int, clients: int, seconds: float) -> float:
    """Answers a second to so many clients, each asking again at once."""
    for _ in range(WARM_UP):
        Client(port).whole(TEXT, cache=False)
    answered = [0] * clients
    until = time.perf_counter() + seconds

    def ask_on(number: int) -> None:
        client = Client(port)
        while time.perf_counter() < until:
            client.whole(TEXT, cache=False)
            answered[number] += 1

    threads = [threading.Thread(target=ask_on, args=(number,)) for number in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(answered) / (time.perf_counter() - began)


def _latency(folder: Path, address: str, requests: int) -> Iterator[str]:
    yield "## The way through a cluster\n"
    yield (
        f"The drill engine asleep for {WORK_SECONDS * 1000:g} ms, one client, {requests} requests "
        "each way in turn: a worker of the service itself, and a replica on a node of the same "
        "machine. Milliseconds, from the first byte sent; of a stream to its first sound.\n"
    )
    work = {"INDEXTTS_DRILL_SECONDS": str(WORK_SECONDS)}
    local = {"INDEXTTS_ENGINE": "drill", "INDEXTTS_LOG_STDOUT": "false", **work}
    away = settings_of(address, 1, INDEXTTS_CLUSTER_APP="bench-latency", **work)
    with (
        serving(folder / "local", **local) as here,
        serving(folder / "away", **away) as there,
    ):
        until_ready(there, 1)
        clients = {"local worker": Client(here.port), "replica": Client(there.port)}
        whole: dict[str, list[float]] = {name: [] for name in clients}
        first: dict[str, list[float]] = {name: [] for name in clients}
        for number in range(requests + WARM_UP):
            for name, client in clients.items():
                took, _ = client.whole(TEXT, cache=False)
                heard, _ = client.first_audio(TEXT)
                if number >= WARM_UP:
                    whole[name].append(took)
                    first[name].append(heard)
    yield "| | median | 99 % | first sound, median | 99 % |"
    yield "|---|---|---|---|---|"
    figures = {
        name: [figure for times in (whole[name], first[name]) for figure in _middle_and_end(times)]
        for name in clients
    }
    for name, told in figures.items():
        yield f"| {name} | {' | '.join(f'{figure:.1f}' for figure in told)} |"
    more = [b - a for a, b in zip(*figures.values(), strict=True)]
    yield f"| **the cluster adds** | {' | '.join(f'**{figure:+.1f}**' for figure in more)} |"
    yield ""


def _middle_and_end(times: list[float]) -> tuple[float, float]:
    return statistics.median(times), statistics.quantiles(times, n=100)[98]
