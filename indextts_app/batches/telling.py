"""What is told of a batch while it is worked on: how far it is, and each row's state."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from indextts_app import errors
from indextts_app.batches.job import Job
from indextts_app.batches.table import Table
from indextts_app.underway import Underway
from observability.events import STATUSES

ITEM_STATES = ("pending", "running", "not_asked", *STATUSES)
"""Where a row may stand; what can be asked for."""


def summary(job: Job) -> dict[str, Any]:
    """What is told of a job; nothing of its texts."""
    about, left = job.about, job.remaining_seconds()
    return {
        "job_id": about.job_id,
        "state": about.state,
        "waits_because": job.reason[0] if job.reason else None,
        "total": about.total,
        "done": job.done,
        "running": len(job.running),
        "counts": job.counts,
        "created": about.created,
        "ended": about.ended,
        "remaining_seconds": None if left is None else round(left, 1),
    }


def items(
    job: Job, underway: Underway, offset: int, limit: int, state: str | None
) -> list[dict[str, Any]]:
    """The rows from `offset` on, each with its state: pending, running, or how it ended."""
    found: list[dict[str, Any]] = []
    skipped = 0
    for row in range(1, job.about.total + 1):
        if len(found) >= limit:
            break
        item = _item(job, underway, row)
        if state in (None, item["status"]):
            skipped += 1
            if skipped > offset:
                found.append(item)
    return found


def broken(read: Table) -> list[dict[str, Any]]:
    """The rows that are no requests, by their lines; they are in the batch as failed ones."""
    return [
        {"line": row.line, "message": errors.RowUnreadable(**_reasons(row.fault)).message("en")}
        for row in read.rows
        if row.fault
    ]


def _item(job: Job, underway: Underway, row: int) -> dict[str, Any]:
    if done := job.items.get(row):
        return asdict(done)
    if running := job.running.get(row):
        standing = underway.standing_of(running)
        known = asdict(standing) if standing else {}
        return {"row": row, "status": "running", "request_id": running, **known}
    return {"row": row, "status": "not_asked" if job.has_ended else "pending"}


def _reasons(fault: tuple[str, str] | None) -> dict[str, str]:
    reason, reason_zh = fault or ("", "")
    return {"reason": reason, "reason_zh": reason_zh}
