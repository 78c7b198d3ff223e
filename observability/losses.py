"""What observability itself could not deliver, counted by sink; it never raises instead."""

from __future__ import annotations

import threading
from collections import Counter

_lock = threading.Lock()
_lost: Counter[str] = Counter()


def count(sink: str, lines: int = 1) -> None:
    """Record that `sink` (file, stdout, metrics …) lost this many lines or updates."""
    with _lock:
        _lost[sink] += lines


def lost() -> dict[str, int]:
    """How much each sink has lost since the process began."""
    with _lock:
        return dict(_lost)
