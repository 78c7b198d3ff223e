"""The books of a log folder: every started request against every finished one, to the line."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from scripts.own_service import read_lines


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the lines of a folder say of its requests."""

    lines: int
    torn: tuple[bytes, ...]
    """Lines that are no JSON object, or that lack their end."""
    started: Counter[str]
    finished: Counter[str]
    """How often a request_id has a started, a finished line."""
    lost: frozenset[str]
    """Those that a later start had to finish."""
    statuses: Counter[str]
    """Finished lines by status."""
    events: Counter[str]
    """Lines by event."""

    @property
    def faults(self) -> list[str]:
        """What would be wrong in the books of a service that has ended or settled; none is good."""
        twice = [name for name, times in (self.started + self.finished).items() if times > 2]
        found = {
            "torn lines": len(self.torn),
            "started and never finished": len(self.started.keys() - self.finished.keys()),
            "finished and never started": len(self.finished.keys() - self.started.keys()),
            "told more than once": len(twice),
        }
        return [f"{number} {fault}" for fault, number in found.items() if number]


def ledger_of(*log_dirs: Path) -> Ledger:
    """The books of all files in the folders of one or several services; no line is passed over."""
    torn: list[bytes] = []
    started: Counter[str] = Counter()
    finished: Counter[str] = Counter()
    lost: set[str] = set()
    statuses: Counter[str] = Counter()
    events: Counter[str] = Counter()
    lines = [line for log_dir in log_dirs for line in read_lines(log_dir)]
    for line in lines:
        try:
            fields = json.loads(line)
        except ValueError:
            fields = None
        if not isinstance(fields, dict) or not line.endswith(b"\n"):
            torn.append(line)
            continue
        events[fields["event"]] += 1
        if fields["event"] == "synthesis.started":
            started[fields["request_id"]] += 1
        elif fields["event"] == "synthesis.finished":
            finished[fields["request_id"]] += 1
            statuses[fields["status"]] += 1
            if fields["status"] == "lost":
                lost.add(fields["request_id"])
    return Ledger(len(lines), tuple(torn), started, finished, frozenset(lost), statuses, events)
