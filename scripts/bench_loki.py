"""
Measure Loki as it is deployed, over a generated month: scripts/bench.py loki --requests 1000000

Loading the month takes minutes; --loki-folder keeps it for another run, and --prepare stops there.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from observability.day_file import DayFile
from observability.generated_logs import Month, generate
from observability.log_store.loki import LokiLogStore
from observability.request_id import new
from scripts import shipping, triage_book

SINCE, UNTIL = datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)
MONTH_DAYS = 30
IDS = 15
PLAIN_IDS = 5
ROUNDS = 3
FRESH_LINES = 200
FRESH_PAUSE_SECONDS = 0.2

AIMS = {"look-up": "< 10 ms", "month": "< 5 s"}


def loki(folder: Path, requests: int) -> Iterator[str]:
    """How fast a line is found after it was written, one request is, and a month's figures are."""
    if missing := shipping.missing():
        raise SystemExit(f"Not on PATH: {', '.join(missing)}. Install Loki and Promtail 3.6.")
    facts = prepare(folder, requests)
    yield "## Loki\n"
    yield (
        f"Loki and Promtail with the files in `loki/`, one process each, on this machine. A "
        f"generated month of {facts['requests']:,} requests: {facts['lines']:,} lines, "
        f"{facts['raw_mb']:,.0f} MB, of which Loki makes {facts['stored_mb']:,.0f} MB.\n"
    )
    with shipping.Loki(folder / "loki") as server:
        yield "| | median | worst | aim |"
        yield "|---|---|---|---|"
        # First what takes a while, so that Loki is done with what it does after a start.
        yield from _fresh(server, folder)
        yield from _look_ups(server, facts["ids"])
        yield ""
        yield from _month(server, facts["requests"])


def prepare(folder: Path, requests: int) -> dict[str, Any]:
    """Load the month into Loki's data in the folder, once; what was loaded."""
    told = folder / "loaded.json"
    if told.exists():
        facts: dict[str, Any] = json.loads(told.read_text())
        if facts["requests"] == requests:
            return facts
        raise SystemExit(f"{folder} holds {facts['requests']:,} requests; name another folder.")
    logs = folder / "logs"
    paths = generate(Month(SINCE.year, SINCE.month, requests), logs, processes=2)
    chance = random.Random(1)  # noqa: S311
    ids: list[str] = []
    lines = 0
    for path in paths:
        of_day = path.read_text("utf-8").splitlines()
        lines += len(of_day)
        ids += [json.loads(line)["request_id"] for line in chance.sample(of_day, 3)]
    with shipping.Loki(folder / "loki") as server:
        with shipping.Promtail(folder / "promtail", logs, server.url) as promtail:
            while promtail.metric("promtail_sent_entries_total") < lines:
                time.sleep(0.5)
        if (found := server.settled(lines, UNTIL, patience=300)) != lines:
            raise SystemExit(f"{found:,} of {lines:,} lines arrived.")
    stored = sum(
        path.stat().st_size for path in (folder / "loki/chunks").rglob("*") if path.is_file()
    )
    facts = {
        "requests": requests,
        "lines": lines,
        "raw_mb": sum(path.stat().st_size for path in paths) / 1e6,
        "stored_mb": stored / 1e6,
        "ids": chance.sample(ids, IDS),
    }
    told.write_text(json.dumps(facts))
    return facts


def _look_ups(server: shipping.Loki, ids: list[str]) -> Iterator[str]:
    store = LokiLogStore(server.url, clock=lambda: UNTIL + timedelta(days=1))
    store.lines_of(ids[0])
    by_time = [_seconds(lambda one=one: store.lines_of(one)) for one in ids]  # type: ignore[misc]
    plain = [
        _seconds(lambda one=one: server.lines(f'{{app="indextts"}} |= "{one}"', SINCE, UNTIL))  # type: ignore[misc]
        for one in ids[:PLAIN_IDS]
    ]
    stored = [
        _seconds(
            lambda one=one: server.lines(f'{{app="indextts"}} | request_id="{one}"', SINCE, UNTIL)  # type: ignore[misc]
        )
        for one in ids[:PLAIN_IDS]
    ]
    yield (
        f"| a request by its id, asked for around the time in the id ({IDS} ids) "
        f"| **{_ms(by_time)}** | {max(by_time) * 1000:.0f} ms | {AIMS['look-up']} |"
    )
    yield (
        f"| {PLAIN_IDS} of them by a plain line filter over {MONTH_DAYS} days "
        f"| {_ms(plain)} | {max(plain) * 1000:.0f} ms | |"
    )
    yield (
        f"| the same by the structured metadata `request_id` over {MONTH_DAYS} days "
        f"| {_ms(stored)} | {max(stored) * 1000:.0f} ms | |"
    )


def _fresh(server: shipping.Loki, folder: Path) -> Iterator[str]:
    """From a finished line's write to the first answer of Loki that holds it."""
    logs = folder / f"fresh-{time.time_ns()}"
    file = DayFile(logs)
    file.write(_line(new()).encode())
    chance = random.Random(2)  # noqa: S311
    waits: list[float] = []
    with shipping.Promtail(folder / logs.name / "promtail", logs, server.url):
        for _ in range(FRESH_LINES):
            # Not in step with Promtail's own rhythm.
            time.sleep(chance.uniform(0, 2 * FRESH_PAUSE_SECONDS))
            request_id = new()
            line = _line(request_id).encode()
            began = time.perf_counter()
            file.write(line)
            now = datetime.now(UTC)
            around = now - timedelta(minutes=1), now + timedelta(minutes=1)
            query = f'{{app="indextts", event="synthesis.finished"}} | request_id="{request_id}"'
            while not server.lines(query, *around):
                if time.perf_counter() - began > 60:
                    raise SystemExit("A line did not come within a minute.")
                time.sleep(0.005)
            waits.append(time.perf_counter() - began)
    file.close()
    yield (
        f"| from the finished line to Loki's answer ({FRESH_LINES} lines) | **{_ms(waits)}** "
        f"| P99 {statistics.quantiles(waits, n=100)[98] * 1000:.0f} ms | |"
    )


def _month(server: shipping.Loki, requests: int) -> Iterator[str]:
    questions = [
        question
        for section in triage_book.book()
        for question in section["questions"]
        if question["id"].startswith("month_")
    ]
    yield (
        f"The month's figures from Loki, {requests:,} requests, by the triage book's own queries; "
        f"no answer is cached. Aim: {AIMS['month']} each.\n"
    )
    yield "| question | first | median | worst |"
    yield "|---|---|---|---|"
    slowest = 0.0
    for question in questions:
        asked = question["logql"]
        taken = [
            _seconds(lambda asked=asked: server.numbers(asked, UNTIL))  # type: ignore[misc]
            for _ in range(ROUNDS)
        ]
        slowest = max(slowest, *taken)
        yield (
            f"| {question['en']} `{question['id']}` | {taken[0]:.2f} s "
            f"| **{statistics.median(taken):.2f} s** | {max(taken):.2f} s |"
        )
    counted = sum(server.numbers(questions[0]["logql"], UNTIL).values())
    if counted != requests:
        raise SystemExit(f"Loki counts {counted:,.0f} of {requests:,} requests.")
    yield f"\nSlowest of all: {slowest:.2f} s. Loki counts {counted:,.0f} requests.\n"


def _line(request_id: str) -> str:
    moment = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return json.dumps(
        {
            "timestamp": moment,
            "level": "info",
            "event": "synthesis.finished",
            "request_id": request_id,
            "status": "success",
            "duration_ms": 12.5,
        }
    )


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    if not call():
        raise SystemExit("Loki had no answer.")
    return time.perf_counter() - began


def _ms(seconds: list[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.1f} ms"
