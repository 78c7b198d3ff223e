"""
Ask for speech 2,000 times in the same moment, and see that everybody is answered.

    scripts/storm.py [--requests 2000] [--rounds 3] [--engine espeak] [--busy]

Starts a service of its own. Each request has a connection and, of 250, an address of its own; all
are opened and sent at once, and its time counts from there. Meanwhile another process asks for
/health, on a new connection every 20 ms. Exit status 1 if anything was not as promised: somebody
unanswered, an admitted request that did not finish, a refusal without Retry-After, the 99th
percentile of the refusals from 1 s, /health from 100 ms, books that do not balance. With --busy
times are shown and not judged: other programs have this machine too.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import multiprocessing
import multiprocessing.connection
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.ledger import ledger_of
from scripts.own_service import OwnService, serving

TEXT = "今天天气很好，我们一起去公园散步，好不好。"
ADDRESSES = 250
REFUSED = (429, 503)
PATIENCE_SECONDS = 120.0
CALM_SECONDS = 2.0
PROBE_EVERY_SECONDS = 0.02

MAX_REFUSAL_SECONDS = 1.0
MAX_HEALTH_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one request; status 0 if the connection ended without an answer."""

    status: int
    seconds: float
    retry_after: bool = False


class _Question(asyncio.Protocol):
    """One connection with one request on it."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._began = time.perf_counter()
        self._received = bytearray()
        self._length: int | None = None
        self._transport: asyncio.Transport | None = None
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        headers = head.lower()
        length = int(headers.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) >= length:
            status = int(head[9:12])
            self._finish(Answer(status, self._seconds(), b"\r\nretry-after: " in headers))

    def connection_lost(self, _exc: Exception | None) -> None:
        self._finish(Answer(0, self._seconds()))

    def _seconds(self) -> float:
        return time.perf_counter() - self._began

    def _finish(self, answer: Answer) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)
        if self._transport:
            self._transport.close()


async def _ask(port: int, number: int, request: bytes) -> Answer:
    address = f"127.0.0.{2 + number % ADDRESSES}"
    question = _Question(request)
    loop = asyncio.get_running_loop()
    try:
        await loop.create_connection(lambda: question, "127.0.0.1", port, local_addr=(address, 0))
    except OSError:
        return Answer(0, 0.0)
    return await question.answer


async def _all_at_once(port: int, requests: int) -> list[Answer]:
    body = json.dumps({"text": TEXT}).encode()
    request = (
        f"POST /tts HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
    asked = [asyncio.create_task(_ask(port, number, request)) for number in range(requests)]
    done, pending = await asyncio.wait(asked, timeout=PATIENCE_SECONDS)
    for task in pending:
        task.cancel()
    return [task.result() for task in done] + [Answer(0, PATIENCE_SECONDS)] * len(pending)


def _probe(port: int, results: multiprocessing.connection.Connection) -> None:
    """In a process of its own: seconds of GET /health until told to stop."""
    taken: list[tuple[float, int]] = []
    while not results.poll():
        began = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
        try:
            connection.request("GET", "/health")
            answer = connection.getresponse()
            answer.read()
            status = answer.status
        except OSError:
            status = 0
        finally:
            connection.close()
        taken.append((time.perf_counter() - began, status))
        time.sleep(PROBE_EVERY_SECONDS)
    results.send(taken)


@contextmanager
def _watching_health(port: int) -> Iterator[list[tuple[float, int]]]:
    ours, theirs = multiprocessing.Pipe()
    prober = multiprocessing.Process(target=_probe, args=(port, theirs))
    prober.start()
    found: list[tuple[float, int]] = []
    try:
        time.sleep(CALM_SECONDS / 2)
        yield found
        time.sleep(CALM_SECONDS / 2)
    finally:
        ours.send("stop")
        found += ours.recv()
        prober.join()


def percentile(values: list[float], percent: int) -> float:
    """The value that so many percent do not exceed; 0 without values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)] if ordered else 0.0


def storm(service: OwnService, requests: int, *, busy: bool) -> tuple[str, list[str]]:
    """One round: what was seen, as a row of a table, and what was not as promised."""
    with _watching_health(service.port) as health:
        answers = uvloop.run(_all_at_once(service.port, requests))
    statuses = Counter(answer.status for answer in answers)
    refusals = [answer for answer in answers if answer.status in REFUSED]
    refused = [answer.seconds for answer in refusals]
    delivered = [answer.seconds for answer in answers if answer.status == 200]
    asked_health = [seconds for seconds, _ in health]
    found = {
        f"{statuses[0]} unanswered": statuses[0],
        "answers other than 200, 429 and 503": len(answers) - len(refused) - len(delivered),
        "nothing was delivered": not delivered,
        "refusals without Retry-After": not all(answer.retry_after for answer in refusals),
        "p99 of refusals": percentile(refused, 99) >= MAX_REFUSAL_SECONDS and not busy,
        "/health took too long": max(asked_health) >= MAX_HEALTH_SECONDS and not busy,
        "/health was not healthy": any(status != 200 for _, status in health),
    }
    row = (
        f"| {requests:,} | {dict(sorted(statuses.items()))} "
        f"| {percentile(delivered, 50):.2f} / {max(delivered, default=0):.2f} "
        f"| {percentile(refused, 50):.3f} / {percentile(refused, 99):.3f} "
        f"| {statistics.median(asked_health) * 1000:.1f} / {max(asked_health) * 1000:.1f} |"
    )
    return row, [fault for fault, is_so in found.items() if is_so]


def main() -> int:
    """Run the rounds, print a table; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument("--requests", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engine", default="espeak")
    parser.add_argument("--busy", action="store_true")
    asked = parser.parse_args()
    broken: list[str] = []
    print(
        "| requests | answers by status | delivered s: median / longest | refused s: median / p99 "
        "| /health ms: median / longest |\n|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with serving(folder, INDEXTTS_ENGINE=asked.engine, INDEXTTS_LOG_STDOUT="false") as service:
            for _ in range(asked.rounds):
                row, faults = storm(service, asked.requests, busy=asked.busy)
                print(row, flush=True)
                broken += faults
            status = service.stop()
        ledger = ledger_of(folder / "logs")
        broken += ledger.faults + ([f"exit status {status}"] if status else [])
        print(
            f"\nstarted {len(ledger.started):,}, finished {len(ledger.finished):,}, "
            f"by status {dict(ledger.statuses)}"
        )
    for fault in broken:
        print(f"NOT AS PROMISED: {fault}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
