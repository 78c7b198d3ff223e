"""
The questions as statements over the table of finished requests, the same for every source.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from observability.log_store import quantiles
from observability.log_store.duck import quoted
from observability.log_store.questions import (
    DELIVERED,
    FAILED,
    FILTER_FIELDS,
    Counts,
    Figures,
    Filter,
    Group,
    Point,
    Requests,
    Series,
)

NEEDED = ("status", "duration_ms")
"""Fields that every figure is made of."""

MAX_POINTS = 20_000

NO_FIGURES = Figures(
    requests=0,
    delivered=0,
    degraded=0,
    failed=0,
    rejected=0,
    share_failed=0.0,
    p50_ms=None,
    p95_ms=None,
    p99_ms=None,
)


def _statuses(statuses: Sequence[str]) -> str:
    return "status IN (" + ", ".join(f"'{status}'" for status in statuses) + ")"


def _numbers(of: str) -> str:
    """How many there are of each outcome, counted or added up."""
    outcomes = (
        _statuses(DELIVERED),
        "status = 'degraded'",
        _statuses(FAILED),
        "status = 'rejected'",
    )
    parts = (f"coalesce({of} FILTER ({outcome}), 0)::BIGINT" for outcome in ("true", *outcomes))
    return ", ".join(parts)


_FIGURES = f"""{_numbers("count(*)")},
    quantile_cont(duration_ms, {list(quantiles.SHARES)})
        FILTER ({_statuses(DELIVERED)} AND duration_ms IS NOT NULL)"""


def is_of_everything(asked: Filter, by: Sequence[str]) -> bool:
    """Whether a question is for the figures of all requests of a time, which days' sums tell."""
    return not by and not asked.values() and asked.client_request_id is None


def fields_of(asked: Filter, by: Sequence[str] = ()) -> tuple[str, ...]:
    """The fields of the event that a question needs."""
    unknown = [name for name in by if name not in FILTER_FIELDS]
    if unknown:
        raise ValueError(
            f"cannot count by {', '.join(unknown)}; there are {', '.join(FILTER_FIELDS)}"
        )
    client = ("client_request_id",) if asked.client_request_id is not None else ()
    return (*NEEDED, *asked.values(), *client, *by)


def matching(asked: Filter) -> tuple[str, list[object]]:
    """The condition of a filter, with its parameters; the time is the table's own."""
    conditions, parameters = ["true"], list[object]()
    for name, values in asked.values().items():
        conditions.append(f'"{name}" IN ({", ".join("?" * len(values))})')
        parameters += values
    if asked.client_request_id is not None:
        conditions.append("contains(lower(client_request_id), lower(?))")
        parameters.append(asked.client_request_id)
    return " AND ".join(conditions), parameters


def counts(tables: Requests, asked: Filter, by: Sequence[str]) -> Counts:
    """The figures by the values of some fields, and all together."""
    if tables.summed and is_of_everything(asked, by):
        (row,) = tables.rows(f"SELECT {_numbers('sum(requests)')} FROM cells")
        percentiles = quantiles.latencies(tables, {}).get(())
        return Counts((), figures((*row, percentiles)), tables.reading)
    where, parameters = matching(asked)
    total = tables.rows(f"SELECT {_FIGURES} FROM finished WHERE {where}", parameters)
    if not by:
        return Counts((), figures(total[0]), tables.reading)
    rows = tables.rows(
        f"SELECT {quoted(by)}, {_FIGURES} FROM finished WHERE {where} GROUP BY {quoted(by)}",
        parameters,
    )
    groups = [Group(tuple(map(_text, row[: len(by)])), figures(row[len(by) :])) for row in rows]
    groups.sort(key=lambda each: (-each.figures.requests, [value or "" for value in each.values]))
    return Counts(tuple(groups), figures(total[0]), tables.reading)


def series(tables: Requests, asked: Filter, step: timedelta) -> Series:
    """The figures of every step of the time."""
    steps = number_of_steps(asked, step)
    where, parameters = matching(asked)
    since = _microseconds(asked.since)
    rows = tables.rows(
        f"SELECT (epoch_us(timestamp) - {since}) // {step // timedelta(microseconds=1)} AS step, "
        f"{_FIGURES} FROM finished WHERE {where} GROUP BY step",
        parameters,
    )
    found = {row[0]: figures(row[1:]) for row in rows}
    points = (
        Point(asked.since.astimezone(UTC) + number * step, found.get(number, NO_FIGURES))
        for number in range(steps)
    )
    return Series(tuple(points), tables.reading)


def number_of_steps(asked: Filter, step: timedelta) -> int:
    """How many steps a time has; ValueError for none or too many."""
    if step <= timedelta(0):
        raise ValueError("a step must be longer than nothing")
    steps = max(0, -((asked.since - asked.until) // step))
    if steps > MAX_POINTS:
        raise ValueError(f"{steps} steps are more than {MAX_POINTS}; choose a longer step")
    return steps


def figures(row: Sequence[Any]) -> Figures:
    """Figures from the columns that every statement here has."""
    requests, delivered, degraded, failed, rejected, percentiles = row
    p50, p95, p99 = (round(value, 3) for value in percentiles) if percentiles else [None] * 3
    return Figures(
        requests=requests,
        delivered=delivered,
        degraded=degraded,
        failed=failed,
        rejected=rejected,
        share_failed=failed / requests if requests else 0.0,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _microseconds(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
