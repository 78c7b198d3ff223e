"""
The last failed requests behind an alert, asked of the log store: which, how, where, never what.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from observability.alerts.notification import Alert
from observability.log_store.questions import (
    FAILED,
    TURNED_AWAY,
    Filter,
    Found,
    LogStore,
    Unanswerable,
)

BEFORE = timedelta(minutes=15)
"""An alert fires minutes after the requests that made it fire."""

SERVICE_JOB = "indextts"
"""The service's own job in prometheus/targets.yml."""

DEGRADED = ("silent", "clipped", "truncated", "wrong_format")

Kind = Literal["failed", "degraded", "turned_away"]
"""What they are: without audio by a fault, with flawed audio, or refused by the service's fault."""

OpenStore = Callable[[str | None], LogStore]
"""The log store, or the part of it that one instance wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedRequest:
    """What may be told of a failed request."""

    request_id: str
    finished_at: str
    error: str
    stage: str | None
    speaker: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """
    The newest failed requests of a time, and how many there were.

    `matched` are the values of the alert's labels that they were chosen by, but for what `kind`
    says. `unread` says in both languages why there are none to show although there may be some.
    """

    requests: tuple[FailedRequest, ...] = ()
    total: int = 0
    kind: Kind = "failed"
    since: datetime
    until: datetime
    matched: tuple[tuple[str, str], ...] = ()
    unread: tuple[str, str] | None = None


def failures_of(
    open_store: OpenStore, alerts: Sequence[Alert], now: datetime, *, limit: int = 10
) -> Failures:
    """
    The last failed requests that these alerts are about; never raises for a source that is away.

    Chosen by what the labels of all the alerts say: speaker, emotion, engine, model_version,
    error_type, and instance where the store can tell instances apart. An alert with a verdict
    (or several, `silent,truncated`) is about delivered audio that has it. Where none failed, those
    that the service turned away for a fault of its own are meant.
    """
    since = min(alert.starts_at for alert in alerts) - BEFORE
    until = max((alert.ends_at or now for alert in alerts), default=now)
    until = now if any(alert.state == "firing" for alert in alerts) else until
    since, until = min(since, until - BEFORE), until + timedelta(seconds=1)
    told = _values(alerts, "verdict") or _values(alerts, "audio_verdict")
    verdicts = {verdict for value in told for verdict in value.split(",")}
    # Of an exporter's alert the instance is the exporter's, which writes no lines.
    of_service = all(alert.labels.get("job", SERVICE_JOB) == SERVICE_JOB for alert in alerts)
    instances = _values(alerts, "instance") if of_service else ()
    asked = Filter(
        since=since,
        until=until,
        status=("degraded", *FAILED) if verdicts else FAILED,
        audio_verdict=tuple(verdict for verdict in DEGRADED if verdict in verdicts),
        speaker=_values(alerts, "speaker"),
        emotion=_values(alerts, "emotion"),
        engine=_values(alerts, "engine"),
        model_version=_values(alerts, "model_version"),
        error_type=_values(alerts, "error_type"),
    )
    matched = tuple(
        (name, value)
        for name, chosen in asked.values().items()
        for value in chosen
        if name not in ("status", "audio_verdict")
    )
    try:
        store = open_store(instances[0] if len(instances) == 1 else None)
        kind, found = _found(store, asked, limit)
    except Unanswerable as reason:
        return Failures(since=since, until=until, matched=matched, unread=(reason.en, reason.zh))
    return Failures(
        requests=tuple(
            FailedRequest(
                request_id=str(line.get("request_id", "")),
                finished_at=str(line.get("timestamp", "")),
                error=str(line.get("error_type") or line.get("audio_verdict") or "unknown"),
                stage=_text(line.get("error_stage")),
                speaker=_text(line.get("speaker")),
            )
            for line in found.lines
        ),
        total=found.total,
        kind=kind,
        since=since,
        until=until,
        matched=matched,
    )


def _found(store: LogStore, asked: Filter, limit: int) -> tuple[Kind, Found]:
    found = store.search(asked, limit)
    if asked.audio_verdict:
        return "degraded", found
    errors = tuple(code for code in TURNED_AWAY if code in (asked.error_type or TURNED_AWAY))
    if found.total or not errors:
        return "failed", found
    refused = store.search(replace(asked, status=("rejected",), error_type=errors), limit)
    return ("turned_away", refused) if refused.total else ("failed", found)


def _values(alerts: Iterable[Alert], label: str) -> tuple[str, ...]:
    """The label's values where every alert has it; else nothing can be said by it."""
    values = [alert.labels.get(label, "") for alert in alerts]
    return tuple(dict.fromkeys(values)) if all(values) else ()


def _text(value: object) -> str | None:
    return None if value is None else str(value)
