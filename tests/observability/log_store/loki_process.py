"""
A real Loki for the tests, where the program is on PATH, and lines pushed into it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from scripts.shipping import Loki

LABELS = ("event", "level")


@contextmanager
def running_loki(folder: Path) -> Iterator[str]:
    """The address of a Loki as it is deployed; it is up when this is entered, gone afterwards."""
    uncached = "-querier.cache-results=false"
    with Loki(folder / "loki", flags=[uncached]) as loki:
        yield loki.url


def push(
    url: str,
    lines: Iterable[bytes],
    *,
    fallback: datetime,
    is_sent_twice: Callable[[int], bool] = lambda number: False,
) -> int:
    """
    Send lines as a shipper does: at their own time, with `event` and `level` as labels.

    A line without a readable time gets that of the line before it; some are sent once
    more, half a millisecond later. Returns how many went.
    """
    streams: dict[tuple[tuple[str, str], ...], list[list[str]]] = defaultdict(list)
    moment, sent = fallback, 0
    for raw in lines:
        text = raw.decode(errors="replace").rstrip("\n")
        labels = {"app": "indextts"}
        try:
            fields = json.loads(text)
            labels |= {name: fields[name] for name in LABELS if name in fields}
            moment = datetime.fromisoformat(fields["timestamp"])
        except (ValueError, TypeError, KeyError):
            pass
        nanoseconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        streams[tuple(labels.items())].append([str(nanoseconds * 1000), text])
        if is_sent_twice(sent):
            streams[tuple(labels.items())].append([str(nanoseconds * 1000 + 500_000), text])
        sent += 1
    for stream, values in streams.items():
        for at in range(0, len(values), 2000):
            cut = {"stream": dict(stream), "values": values[at : at + 2000]}
            answer = httpx.post(f"{url}/loki/api/v1/push", json={"streams": [cut]}, timeout=30)
            assert answer.status_code == 204, answer.text
    # Lines of long ago are looked for in the stored chunks only.
    httpx.post(f"{url}/flush", timeout=30)
    return sent
