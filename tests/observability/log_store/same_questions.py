"""
The questions that the file store and the Loki store are both asked, and their answers to compare.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from observability.log_store.questions import FAILED, Filter, LogStore, Reading

NO_READING = Reading(source="")

STATEMENTS = (
    """SELECT speaker, status, count(*), sum(duration_ms::DECIMAL(18, 3)), min("user")
    FROM finished GROUP BY ALL ORDER BY ALL""",
    "SELECT count(*), min(speaker), max(timestamp) FROM started",
    "SELECT request_id FROM started_before ORDER BY 1",
    "SELECT request_id FROM finished_after ORDER BY 1",
    "SELECT quantile_cont(duration_ms, [0.5, 0.95, 0.99]) FROM finished",
)


def answers(
    store: LogStore, since: datetime, until: datetime, *, request_ids: list[str], client_id: str
) -> Iterator[tuple[str, Any]]:
    """Each question's name and answer, without what the sources read for it."""
    whole = Filter(since=since, until=until)
    chosen = replace(whole, status=FAILED, speaker=("知燕", "zhiyan", "zhibei"))
    one = replace(whole, emotion=("neutral",), source=("api",))

    def bare(answer: Any) -> Any:
        return replace(answer, reading=NO_READING)

    yield "counts", bare(store.counts(whole, ("status", "speaker")))
    yield "counts of failures", bare(store.counts(chosen, ("error_type", "error_stage")))
    yield "counts of some", bare(store.counts(one, ("model_version",)))
    yield "search", bare(store.search(replace(whole, status=("failed", "degraded")), 20))
    yield "slowest", bare(store.search(whole, 20, slowest=True))
    yield "series", bare(store.series(whole, timedelta(hours=3)))
    for request_id in request_ids:
        yield f"lines of {request_id}", store.lines_of(request_id)
    yield "neighbours", bare(store.neighbours(request_ids[0], seconds=3600))
    yield "client", bare(store.find_client_id(client_id, since=since, until=until))
    part = client_id[2:-2].upper()
    yield "client's part", bare(store.find_client_id(part, since=since, until=until))
    fields = ["speaker", "status", "duration_ms", "user"]
    with store.requests(since, until, fields) as requests:
        for statement in STATEMENTS:
            yield statement, requests.rows(statement)
