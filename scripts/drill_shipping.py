"""
Break the way from the log file to Loki and count: scripts/drill_shipping.py [CASE ...]

A writer writes requests as the service does, into day files; the real Promtail ships them to the
real Loki, both with the files in loki/; each case breaks something meanwhile. Lines in the files
and lines in Loki are then compared one by one. Prints Markdown. Exit status 1: lines were lost.

Needs loki and promtail on PATH. Ten minutes of outage take twelve.
"""

from __future__ import annotations

import argparse
import logging
import platform
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from observability import request_id
from observability.day_file import DayFile
from observability.events import Event, Scalar
from observability.logs import EVENTS_LOGGER, LineFormatter
from scripts import shipping

DAY_SECONDS = 86_400
CALM_SECONDS = 4.0
"""Before something is broken, and after all of it is mended."""


class Writer:
    """
    Writes started and finished lines at an even rate until it is stopped.

    Args:
        folder: of the day files.
        rate: lines a second.
        midnight_in: seconds after which a new day begins. The lines' own time is as far back as
            it takes for that.
    """

    def __init__(self, folder: Path, *, rate: float, midnight_in: float) -> None:
        folder.mkdir(parents=True)
        turn = time.time() + midnight_in
        self._back = turn % DAY_SECONDS
        self.since = datetime.fromtimestamp(self.now() - 60, UTC)
        self._file = DayFile(folder, clock=self.now)
        self._formatter = LineFormatter({"service": "indextts", "version": "drill"})
        self._pause = 1 / rate
        self._begun, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._write, name="writer")

    def now(self) -> float:
        """The writer's own time, seconds since 1970."""
        return time.time() - self._back

    def __enter__(self) -> Self:
        self._thread.start()
        self._begun.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._file.close()

    def _write(self) -> None:
        due = time.monotonic()
        for number, line in enumerate(self._lines()):
            if not self._file.write(line.encode()):
                raise RuntimeError(f"line {number} could not be written")
            self._begun.set()
            due += self._pause
            if self._over.wait(max(0.0, due - time.monotonic())):
                return

    def _lines(self) -> Iterator[str]:
        while True:
            known: dict[str, Scalar] = {
                "request_id": request_id.new(),
                "engine": "drill",
                "speaker": "知燕",
                "emotion": "neutral",
                "source": "api",
                "text_len": 20,
            }
            yield self._line("started", known)
            yield self._line("finished", {**known, "status": "success", "duration_ms": 12.5})

    def _line(self, kind: str, known: Mapping[str, Scalar]) -> str:
        event = Event.build(f"synthesis.{kind}", known)
        message: Any = event.line()
        record = logging.LogRecord(EVENTS_LOGGER, logging.INFO, "", 0, message, None, None)
        record.created = self.now()
        return self._formatter.format(record)


@dataclass(frozen=True, slots=True)
class Counted:
    """What a case came to."""

    files: int
    lines: int
    lost: int
    twice: int
    caught_up_seconds: float


@dataclass(frozen=True, slots=True)
class Way:
    """Promtail and Loki at work, and how long Loki is away where it is taken away."""

    loki: shipping.Loki
    promtail: shipping.Promtail
    outage: float

    def without_loki(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Kill Loki; half-way through the outage something else happens; start it again."""
        self.loki.end(signal.SIGKILL)
        time.sleep(self.outage / 2)
        meanwhile()
        time.sleep(self.outage / 2)
        self.loki.start()


def loki_away(way: Way) -> None:
    """Loki is killed (kill -9) and comes back; a new day begins meanwhile"""
    way.without_loki()


def promtail_killed(way: Way) -> None:
    """Promtail is killed (kill -9) ten times while a new day begins"""
    _again_and_again(way, signal.SIGKILL)


def promtail_terminated(way: Way) -> None:
    """Promtail is terminated ten times while a new day begins"""
    _again_and_again(way, signal.SIGTERM)


def both_killed(way: Way) -> None:
    """Promtail is killed (kill -9) and started again while Loki is away"""

    def kill() -> None:
        way.promtail.end(signal.SIGKILL)
        way.promtail.launch()

    way.without_loki(kill)


def terminated_while_away(way: Way) -> None:
    """Promtail is terminated while Loki is away; it waits for Loki, ends, is started again"""

    way.without_loki(way.promtail.ask_to_end)
    way.promtail.end()
    way.promtail.start()


def _again_and_again(way: Way, how: signal.Signals) -> None:
    for _ in range(10):
        time.sleep(1.5)
        way.promtail.end(how)
        way.promtail.start()


CASES: dict[str, Callable[[Way], None]] = {
    "loki-away": loki_away,
    "promtail-killed": promtail_killed,
    "promtail-terminated": promtail_terminated,
    "both-killed": both_killed,
    "terminated-while-away": terminated_while_away,
}
OUTAGES = (loki_away, both_killed, terminated_while_away)


def drill(case: Callable[[Way], None], folder: Path, *, outage: float, rate: float) -> Counted:
    """
    Run one case in a folder of its own and count.

    Args:
        case: what is broken.
        folder: for the day files, Loki's data and Promtail's positions.
        outage: seconds without Loki, where the case takes it away.
        rate: lines a second.
    """
    logs = folder / "logs"
    midnight_in = CALM_SECONDS + (outage / 2 if case in OUTAGES else 8.0)
    with shipping.Loki(folder / "loki") as loki:
        promtail = shipping.Promtail(folder / "promtail", logs, loki.url)
        try:
            with Writer(logs, rate=rate, midnight_in=midnight_in) as writer:
                promtail.start()
                time.sleep(CALM_SECONDS)
                case(Way(loki, promtail, outage))
                mended = time.monotonic()
                time.sleep(CALM_SECONDS)
            files = sorted(logs.iterdir())
            written = [line for path in files for line in path.read_text("utf-8").splitlines()]
            until = datetime.fromtimestamp(writer.now() + 60, UTC)
            # What is lost never comes: wait for all of them, but not for ever.
            loki.settled(len(written), until, patience=60)
            caught_up = time.monotonic() - mended
            found = Counter(_all_lines(loki, writer.since, until))
        finally:
            promtail.end(signal.SIGKILL)
    wanted = Counter(written)
    if strange := found.keys() - wanted.keys():
        raise RuntimeError(f"lines in Loki that nobody wrote, {next(iter(strange))} say")
    return Counted(
        files=len(files),
        lines=len(written),
        lost=len(wanted.keys() - found.keys()),
        twice=sum(found.values()) - len(found),
        caught_up_seconds=caught_up,
    )


def _all_lines(loki: shipping.Loki, since: datetime, until: datetime) -> Iterator[str]:
    step = timedelta(seconds=10)
    while since < until:
        page = loki.lines('{app="indextts"}', since, since + step, limit=20_000)
        if len(page) == 20_000:
            raise RuntimeError("more lines in ten seconds than one answer holds")
        yield from (text for _, _, text in page)
        since += step


def main() -> int:
    """Run the cases that were asked for and print what they came to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--outage", type=float, default=600, help="seconds without Loki")
    parser.add_argument("--rate", type=float, default=20, help="lines a second")
    asked = parser.parse_args()
    if unknown := set(asked.cases) - set(CASES):
        parser.error(f"no such case: {', '.join(unknown)}; there are {', '.join(CASES)}")
    if missing := shipping.missing():
        print(f"Not on PATH: {', '.join(missing)}. Install Loki and Promtail 3.6.", file=sys.stderr)
        return 2
    print(f"`scripts/drill_shipping.py`, {time.strftime('%Y-%m-%d')}, {platform.machine()}\n")
    print("| | lines/s | outage s | files | lines in | lost | twice | caught up after s |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    lost = 0
    for name in asked.cases or CASES:
        case = CASES[name]
        with tempfile.TemporaryDirectory(prefix="drill-shipping-") as folder:
            done = drill(case, Path(folder), outage=asked.outage, rate=asked.rate)
        away = f"{asked.outage:g}" if case in OUTAGES else "–"
        print(
            f"| {case.__doc__} | {asked.rate:g} | {away} | {done.files} "
            f"| {done.lines:,} | **{done.lost:,}** | {done.twice:,} "
            f"| {done.caught_up_seconds:.0f} |",
            flush=True,
        )
        lost += done.lost
    return int(lost > 0)


if __name__ == "__main__":
    sys.exit(main())
