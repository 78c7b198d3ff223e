"""
What is failing now: how much, of which kind, since when, and the lines to look at first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from observability.log_store import logql, statements
from observability.log_store.questions import (
    DELIVERED,
    FAILED,
    FILTER_FIELDS,
    Counts,
    Figures,
    Filter,
    Found,
    Line,
    LogStore,
    Reading,
)

BY = ("error_type", "error_stage")

NAMES = {"stage": "error_stage", "error": "error_type", "verdict": "audio_verdict"}
"""Short names of fields that people type."""

MAX_FOLLOWED = 1_000
"""New failures that are told one by one; of more, their number."""

SLOWEST = ("request_id", "timestamp", "speaker", "status", "duration_ms", "queue_ms", "text_len")


class UnknownField(ValueError):
    """Nothing is counted by this field; one sentence in each language says by which it is."""

    def __init__(self, name: str) -> None:
        known = ", ".join(sorted({*FILTER_FIELDS, *NAMES}))
        self.en = f"Failures cannot be counted by {name!r}. Choose from {known}."
        self.zh = f"不能按 {name!r} 统计，可选：{known}。"
        super().__init__(self.en)


@dataclass(frozen=True, slots=True, kw_only=True)
class Triage:
    """
    The failures of a time.

    Args:
        since: first moment.
        until: first moment after it.
        total: figures of all requests of the time and instance, failed or not.
        failures: those that failed, grouped by `by`, the most frequent first.
        latest: finished lines of failures, newest first.
        silent: delivered audio with nothing to hear, newest first.
        slowest: delivered audio that took longest, with its `SLOWEST` fields.
        logql: the same failures as a query for Grafana.
        logql_counts: the same table as a query for Grafana.
    """

    since: datetime
    until: datetime
    by: tuple[str, ...]
    total: Figures
    failures: Counts
    latest: Found
    silent: Found
    slowest: tuple[Line, ...]
    logql: str
    logql_counts: str

    @property
    def reading(self) -> Reading:
        """What the answer rests on."""
        return self.failures.reading

    def document(self) -> dict[str, Any]:
        """Everything as plain dictionaries and lists, for programs."""
        return {
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "total": asdict(self.total),
            "by": list(self.by),
            "groups": [
                {
                    **dict(zip(self.by, group.values, strict=True)),
                    "requests": group.figures.requests,
                    "share": group.figures.requests / (self.failures.total.requests or 1),
                }
                for group in self.failures.groups
            ],
            "failed": self.failures.total.requests,
            "latest": [dict(line) for line in self.latest.lines],
            "silent": {
                "requests": self.silent.total,
                "lines": [dict(line) for line in self.silent.lines],
            },
            "slowest": [dict(line) for line in self.slowest],
            "logql": self.logql,
            "logql_counts": self.logql_counts,
            "reading": {
                **asdict(self.reading),
                "days_missing": [day.isoformat() for day in self.reading.days_missing],
            },
        }


def fields_named(names: Sequence[str]) -> tuple[str, ...]:
    """
    The fields that people mean by these names.

    Raises:
        UnknownField: nothing is counted by one of them.
    """
    fields = tuple(dict.fromkeys(NAMES.get(name, name) for name in names))
    for name in fields:
        if name not in FILTER_FIELDS:
            raise UnknownField(name)
    return fields


def triaged(store: LogStore, asked: Filter, by: Sequence[str] = BY, *, limit: int = 10) -> Triage:
    """
    The failures that a filter means; without a status those of `FAILED`.

    Raises:
        Unanswerable: the source is away.
    """
    by = tuple(by)
    failures = asked if asked.status else replace(asked, status=FAILED)
    everything = Filter(since=asked.since, until=asked.until, instance=asked.instance)
    no_error = {"error_type": (), "error_stage": (), "error_fingerprint": ()}
    delivered = replace(asked, status=DELIVERED, **no_error)  # type: ignore[arg-type]
    silent = replace(delivered, audio_verdict=("silent",))
    fields = {*statements.fields_of(failures, by), *silent.values()}
    with store.at_once(everything, sorted(fields)) as held:
        return Triage(
            since=asked.since,
            until=asked.until,
            by=by,
            total=held.counts(everything).total,
            failures=held.counts(failures, by),
            latest=held.search(failures, limit),
            silent=held.search(silent, limit),
            slowest=tuple(
                {name: line.get(name) for name in SLOWEST}
                for line in held.search(delivered, limit, slowest=True).lines
            ),
            logql=logql.lines(failures),
            logql_counts=logql.counts(failures, by, window=asked.until - asked.since),
        )


def followed(store: LogStore, window: Filter, seen: set[str]) -> tuple[tuple[Line, ...], int]:
    """
    The failures of a window that were not seen yet, oldest first, and how many more there were.

    Asked again and again with windows that overlap, because a line may be written, or reach Loki,
    a little after its own time; `seen` is brought up to date, and holds the window's ids only.

    Raises:
        Unanswerable: the source is away.
    """
    failures = window if window.status else replace(window, status=FAILED)
    found = store.search(failures, MAX_FOLLOWED)
    ids = {str(line["request_id"]) for line in found.lines}
    new = [line for line in found.lines if str(line["request_id"]) not in seen]
    seen.intersection_update(ids)
    seen.update(ids)
    return tuple(reversed(new)), found.total - len(found.lines)
