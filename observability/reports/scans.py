"""
The statements that count a month.

They ask the tables of sums, which the days' Parquet copies have beside them, because a month may
have ten million lines; days without are counted by the same statements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from observability.events import STAGES
from observability.log_store import quantiles
from observability.log_store.questions import DELIVERED, FAILED, TURNED_AWAY, Reading, Requests
from observability.log_store.sums import CACHES, KEYS
from observability.reports.arithmetic import part_of, share
from observability.reports.figures import BusyMinutes, Reconciliation, Terms, UserRow
from observability.reports.month import Month

BUSY_REQUESTS = 10
"""A minute with more requests than this is a busy one."""

WEEK_DAYS = 7
MAX_ROWS = 1_000
"""Of users, speakers and errors the most frequent; the rest is in the totals all the same."""

_KEYS = ("week", *KEYS)
_SETS: Mapping[str, tuple[str, ...]] = {
    "all": (),
    "outcome": ("status", "error_type", "audio_verdict"),
    "speaker": ("speaker",),
    "emotion": ("emotion",),
    "source": ("source",),
    "version": ("engine", "version", "model_version"),
    "instance": ("instance",),
    "week": ("week",),
    "caches": tuple(f"{cache}_cache_hit" for cache in CACHES),
}
_DELIVERED = f"status IN {DELIVERED}"
_FAILED = f"status IN {FAILED}"
_TURNED_AWAY = f"(status = 'rejected' AND error_type IN {TURNED_AWAY})"
_UNAVAILABLE = f"({_FAILED} OR {_TURNED_AWAY})"
_EXCLUDED = f"(status = 'cancelled' OR (status = 'rejected' AND NOT {_TURNED_AWAY}))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """The sums of one group of requests; characters, audio and times over delivered audio."""

    requests: int = 0
    delivered: int = 0
    failed: int = 0
    silent: int = 0
    fast: int = 0
    characters: int = 0
    audio_seconds: float = 0.0
    gpu_seconds: float = 0.0
    gpu_seconds_wasted: float = 0.0
    duration_ms: float = 0.0
    queue_ms: float = 0.0
    first_day: int = 0
    last_day: int = 0
    stages: tuple[float, ...] = (0.0,) * len(STAGES)
    week: int | None = None
    status: str | None = None
    speaker: str | None = None
    emotion: str | None = None
    source: str | None = None
    error_type: str | None = None
    audio_verdict: str | None = None
    engine: str | None = None
    version: str | None = None
    model_version: str | None = None
    instance: str | None = None
    hits: tuple[bool | None, ...] = ()

    def mean_stages(self) -> dict[str, float]:
        """Mean milliseconds of each stage that took any time, in the order of the work."""
        return {
            stage: round(spent / self.delivered, 3)
            for stage, spent in zip(STAGES, self.stages, strict=True)
            if spent and self.delivered
        }


def groups_of(requests: Requests, month: Month) -> dict[str, list[Sums]]:
    """
    The groups are sums of the cells, one for every combination of values in a day.
    """
    over_delivered = ", ".join(
        f'coalesce(sum("{name}") FILTER ({_DELIVERED}), 0)'
        for name in ("text_len", "audio_seconds", "duration_ms", "queue_ms")
    )
    stages = ", ".join(
        f'coalesce(sum("stage_{stage}_ms") FILTER ({_DELIVERED}), 0)' for stage in STAGES
    )
    sets = ", ".join(f"({', '.join(columns)})" for columns in _SETS.values())
    numbered = " ".join(
        f"WHEN {_grouping(columns)} THEN '{name}'" for name, columns in _SETS.items()
    )
    statement = f"""
        WITH weeks AS MATERIALIZED (
            SELECT {_week(month)} AS week, * FROM cells
        )
        SELECT CASE {numbered} END, {", ".join(_KEYS)},
            sum(requests), coalesce(sum(requests) FILTER ({_DELIVERED}), 0),
            coalesce(sum(requests) FILTER ({_FAILED}), 0),
            coalesce(sum(requests) FILTER ({_DELIVERED} AND audio_verdict = 'silent'), 0),
            coalesce(sum(fast) FILTER ({_DELIVERED}), 0), {over_delivered},
            coalesce(sum(gpu_seconds), 0),
            coalesce(sum(gpu_seconds) FILTER (NOT {_DELIVERED}), 0),
            min(day), max(day), {stages}
        FROM weeks GROUP BY GROUPING SETS ({sets})
    """  # noqa: S608  # made of names that are written here
    groups: dict[str, list[Sums]] = {name: [] for name in _SETS}
    for row in requests.rows(statement):
        name, values = row[0], dict(zip(_KEYS, row[1:], strict=False))
        hits = tuple(values.pop(f"{cache}_cache_hit") for cache in CACHES)
        rest = row[1 + len(_KEYS) :]
        if rest[0] is None:  # the empty set of no rows at all
            continue
        counts = [int(value) for value in rest[:5]]
        characters, audio, duration, queue, gpu, wasted = rest[5:11]
        groups[name].append(
            Sums(
                requests=counts[0],
                delivered=counts[1],
                failed=counts[2],
                silent=counts[3],
                fast=counts[4],
                characters=int(characters),
                audio_seconds=float(audio),
                duration_ms=float(duration),
                queue_ms=float(queue),
                gpu_seconds=float(gpu),
                gpu_seconds_wasted=float(wasted),
                first_day=int(rest[11]),
                last_day=int(rest[12]),
                stages=tuple(float(spent) for spent in rest[13:]),
                hits=hits,
                **values,
            )
        )
    return groups


def _week(month: Month) -> str:
    """The week of the month, from a column `day`."""
    return f"((day - {day_number(month.days[0])}) // {WEEK_DAYS})"


def _grouping(columns: Sequence[str]) -> str:
    """The condition that tells the rows of one grouping set from those of the others."""
    return " AND ".join(f"grouping({key}) = {int(key not in columns)}" for key in _KEYS)


NO_QUANTILES: tuple[float | None, ...] = (None, None, None)
Quantiles = dict[str, dict[tuple[object, ...], tuple[float | None, ...]]]


def quantiles_of(requests: Requests, month: Month) -> Quantiles:
    """
    The percentiles of `duration_ms` by group.

    One statement for each grouping, as each keeps values in memory while it runs.
    """
    groupings: Mapping[str, Mapping[str, str]] = {
        "all": {},
        "speaker": {"speaker": "speaker"},
        "version": {key: key for key in ("engine", "version", "model_version")},
        "instance": {"instance": "instance"},
        "week": {"week": _week(month)},
    }
    return {name: quantiles.latencies(requests, keys) for name, keys in groupings.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Requests over time; of each day the sums, and the requests of its busiest minute."""

    days: Mapping[int, tuple[Any, ...]]
    weekday_hours: tuple[tuple[int, ...], ...]
    busy_minutes: int
    busy_requests: int
    most_requests: int
    busiest: datetime | None

    def busy(self, total: int) -> BusyMinutes:
        """The busy minutes as they stand in the report."""
        return BusyMinutes(
            above=BUSY_REQUESTS,
            minutes=self.busy_minutes,
            share_of_requests=share(self.busy_requests, total),
            most_requests=self.most_requests,
            busiest=f"{self.busiest:%Y-%m-%dT%H:%MZ}" if self.busiest else None,
        )


def times_of(requests: Requests, month: Month) -> Times:
    minutes = f"""
        SELECT minute // 1440 AS day, (minute // 60) % 24 AS hour, sum(requests),
            count(*) FILTER (requests > {BUSY_REQUESTS}),
            coalesce(sum(requests) FILTER (requests > {BUSY_REQUESTS}), 0),
            max(requests), arg_max(minute, (requests, -minute))
        FROM (SELECT minute, sum(requests) AS requests FROM minutes GROUP BY minute)
        GROUP BY GROUPING SETS ((day, hour), (day))
    """  # noqa: S608  # made of numbers and names that are written here
    sums = f"""
        SELECT day, sum(requests), coalesce(sum(requests) FILTER ({_DELIVERED}), 0),
            coalesce(sum(requests) FILTER ({_UNAVAILABLE}), 0),
            coalesce(sum(requests) FILTER ({_EXCLUDED}), 0),
            coalesce(sum(requests) FILTER ({_DELIVERED} AND audio_verdict = 'silent'), 0),
            coalesce(sum(text_len) FILTER ({_DELIVERED}), 0),
            coalesce(sum(audio_seconds) FILTER ({_DELIVERED}), 0)
        FROM cells GROUP BY day
    """  # noqa: S608  # made of names that are written here
    by_day = {row[0]: row[1:] for row in requests.rows(sums)}
    days: dict[int, tuple[Any, ...]] = {}
    hours = [[0] * 24 for _ in range(7)]
    busy = busy_requests = most = 0
    busiest: int | None = None
    for row in sorted(requests.rows(minutes), key=lambda row: row[0]):
        day, hour = row[:2]
        if hour is not None:
            hours[(month.since.date().weekday() + day - day_number(month.days[0])) % 7][hour] += (
                int(row[2])
            )
            continue
        days[day] = (*by_day[day], int(row[5]))
        busy += int(row[3])
        busy_requests += int(row[4])
        if row[5] > most:
            most, busiest = int(row[5]), int(row[6])
    return Times(
        days=days,
        weekday_hours=tuple(tuple(day) for day in hours),
        busy_minutes=busy,
        busy_requests=busy_requests,
        most_requests=most,
        busiest=None if busiest is None else datetime.fromtimestamp(busiest * 60, UTC),
    )


def users_of(requests: Requests, total: int, terms: Terms) -> tuple[tuple[UserRow, ...], int, int]:
    rows = requests.rows(
        f"""
        SELECT "user", sum(requests)::BIGINT AS requests,
            coalesce(sum(requests) FILTER ({_DELIVERED}), 0)::BIGINT,
            coalesce(sum(requests) FILTER ({_FAILED}), 0)::BIGINT,
            coalesce(sum(text_len) FILTER ({_DELIVERED}), 0),
            coalesce(sum(audio_seconds) FILTER ({_DELIVERED}), 0),
            coalesce(sum(gpu_seconds), 0),
            count(*) OVER (), sum(sum(requests)) OVER ()
        FROM users GROUP BY "user"
        ORDER BY requests DESC, "user" LIMIT {MAX_ROWS}
        """  # noqa: S608  # made of names that are written here
    )
    users = tuple(
        UserRow(
            user=user,
            requests=count,
            share=part_of(count, total),
            delivered=delivered,
            failed=failed,
            characters=int(characters),
            audio_seconds=round(float(audio), 3),
            gpu_seconds=round(float(gpu), 3),
            cost=priced(float(gpu) / 3600, terms),
        )
        for user, count, delivered, failed, characters, audio, gpu, *_ in rows
    )
    return users, int(rows[0][7]) if rows else 0, int(rows[0][8]) if rows else 0


_BUCKET = "left(request_id, 6)"
"""The id's time in steps of 17 minutes: a request's lines are in one bucket, whenever written."""


_FEW = 1_000


def reconciled(requests: Requests, finished: int, lost: int, reading: Reading) -> Reconciliation:
    """
    Who has no other half, looked for only in the buckets whose two sets of ids differ.

    Two sets are the same where their counts and the exclusive or of their ids' 64-bit hashes are;
    that two different ones agree in both is as likely as a collision of two random ids.
    """
    singles = f"""
        WITH ours AS (
            SELECT {_BUCKET} AS bucket, count(*) AS n, bit_xor(hash(request_id)) AS ids
            FROM open_starts GROUP BY bucket
        ), theirs AS (
            SELECT {_BUCKET} AS bucket, count(*) AS n, bit_xor(hash(request_id)) AS ids
            FROM open_ends GROUP BY bucket
        ), different AS MATERIALIZED (
            SELECT coalesce(ours.bucket, theirs.bucket) AS bucket
            FROM ours FULL JOIN theirs USING (bucket)
            WHERE ours.n IS DISTINCT FROM theirs.n OR ours.ids IS DISTINCT FROM theirs.ids
        ), single_starts AS MATERIALIZED (
            SELECT request_id FROM open_starts
            WHERE {_BUCKET} IN (FROM different)
                AND request_id NOT IN (
                    SELECT request_id FROM open_ends WHERE {_BUCKET} IN (FROM different)
                )
        ), single_ends AS MATERIALIZED (
            SELECT request_id FROM open_ends
            WHERE {_BUCKET} IN (FROM different)
                AND request_id NOT IN (
                    SELECT request_id FROM open_starts WHERE {_BUCKET} IN (FROM different)
                )
        )"""  # noqa: S608  # made of names that are written here
    ids: list[str] = []
    if requests.summed:
        # A few ids as constants lead to their places in the sorted copies; a join reads them whole.
        found = requests.rows(
            f"{singles} FROM single_starts UNION ALL FROM single_ends LIMIT {_FEW + 1}"
        )
        ids = [request_id for (request_id,) in found]
    among = f"request_id IN ({', '.join('?' * len(ids))})" if 0 < len(ids) <= _FEW else "true"
    (row,) = requests.rows(
        f"""
        {singles}, starts_alone AS MATERIALIZED (
            SELECT request_id FROM single_starts WHERE request_id NOT IN (
                SELECT request_id FROM closed_ends WHERE {among}
                    AND request_id IN (FROM single_starts)
            )
        ), ends_alone AS MATERIALIZED (
            SELECT request_id FROM single_ends WHERE request_id NOT IN (
                SELECT request_id FROM closed_starts WHERE {among}
                    AND request_id IN (FROM single_ends)
            )
        )
        SELECT (SELECT sum(requests) FROM starts),
            (SELECT count(*) FROM starts_alone),
            (SELECT count(*) FROM starts_alone
                WHERE request_id IN (SELECT request_id FROM finished_after)),
            (SELECT count(*) FROM ends_alone),
            (SELECT count(*) FROM ends_alone
                WHERE request_id IN (SELECT request_id FROM started_before))
        """,  # noqa: S608  # made of names that are written here
        [] if among == "true" else [*ids, *ids],
    )
    started, open_starts, carried_out, open_ends, carried_in = (int(value or 0) for value in row)
    unsettled, without_start = open_starts - carried_out, open_ends - carried_in
    return Reconciliation(
        started=started,
        finished=finished,
        lost=lost,
        unsettled=unsettled,
        carried_in=carried_in,
        carried_out=carried_out,
        finished_without_start=without_start,
        balanced=not unsettled and not without_start,
        source=reading.source,
        files=reading.files,
        lines_read=reading.lines_read,
        lines_unreadable=reading.lines_unreadable,
        lines_foreign=reading.lines_foreign,
        duplicates=reading.duplicates,
        days_missing=tuple(day.isoformat() for day in reading.days_missing),
    )


def priced(gpu_hours: float, terms: Terms) -> float | None:
    """What GPU hours cost; None without a price."""
    return None if terms.gpu_hour_price is None else round(gpu_hours * terms.gpu_hour_price, 4)


def day_number(day: date) -> int:
    """Days since 1970."""
    return (day - date(1970, 1, 1)).days
