"""
The sums of a closed day beside its Parquet copy, so that a month is counted without its rows.

    indextts-2026-10-04.sums.parquet         rows of the kinds below
    indextts-2026-10-04.latencies.parquet    `duration_ms` of delivered audio, sorted

Each kind is also a statement over the requests themselves: a day without sums is counted by the
very statement that made the others', and the figures are the same. Sums of DOUBLE are taken as
DECIMAL, because those do not depend on the order of rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from observability.events import STAGES
from observability.log_store.columns import COLUMNS
from observability.log_store.duck import literal, literals, quoted
from observability.log_store.questions import DELIVERED, OPERATION

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FAST_MS = 2_000
"""What people take for prompt."""

CACHES = ("result", "speaker", "emotion")

KEYS = (
    "status", "speaker", "emotion", "source", "error_type", "audio_verdict", "engine", "version",
    "model_version", "instance", *(f"{cache}_cache_hit" for cache in CACHES),
)  # fmt: skip
SUMMED = (
    "text_len", "audio_seconds", "gpu_seconds", "duration_ms", "queue_ms",
    *(f"stage_{stage}_ms" for stage in STAGES),
)  # fmt: skip

FIELDS = tuple(name for name in (*KEYS, *SUMMED, "user") if name in COLUMNS)
"""Fields of the event that sums are made of."""

DAY = "(epoch_ms(timestamp) // 86400000)"
"""Days since 1970."""

LATENCY_KEYS = ("speaker", "engine", "version", "model_version", "instance")

_PERCENT = 100
_BUCKET = f"floor(ln(greatest(duration_ms, 1)) * {_PERCENT})::INTEGER"
"""Buckets 1 % wide: few, and few values in each; a value never leaves its bucket's order."""

_IS_DELIVERED = f"status IN {DELIVERED} AND duration_ms IS NOT NULL"
_ROW_GROUP = 4_096
_KEY = "indextts-sums"


def _column(name: str) -> str:
    """A column, or NULL of its type where no line of any version has it."""
    if name in COLUMNS:
        return f'"{name}"'
    return f"NULL::{'BOOLEAN' if name.endswith('_hit') else 'DOUBLE'}"


def _sum(name: str) -> str:
    """An exact sum; what is beyond all measure (a line may say anything) is left out."""
    return f'sum(TRY_CAST({_column(name)} AS DECIMAL(18, 6))) AS "{name}"'


def cells(rows: str) -> str:
    """Requests and their sums by day and every combination of `KEYS` that occurs."""
    keys = ", ".join(f'{_column(key)} AS "{key}"' for key in KEYS)
    sums = ", ".join(map(_sum, SUMMED))
    return (
        f"SELECT {DAY} AS day, {keys}, count(*) AS requests, "
        f"count(*) FILTER (duration_ms < {FAST_MS}) AS fast, {sums} FROM {rows} GROUP BY ALL"
    )


def minutes(rows: str) -> str:
    """Requests by minute since 1970."""
    return (
        "SELECT epoch_ms(timestamp) // 60000 AS minute, count(*) AS requests "
        f"FROM {rows} GROUP BY ALL"
    )


def users(rows: str) -> str:
    """Requests and their sums by user and status."""
    sums = ", ".join(map(_sum, ("text_len", "audio_seconds", "gpu_seconds")))
    return (
        f'SELECT "user", status, count(*) AS requests, {sums} FROM {rows} '
        'WHERE "user" IS NOT NULL GROUP BY ALL'
    )


def latencies(rows: str) -> str:
    """`duration_ms` of each request with audio, with its bucket."""
    return (
        f"SELECT {DAY} AS day, {quoted(LATENCY_KEYS)}, {_BUCKET} AS bucket, duration_ms "
        f"FROM {rows} WHERE {_IS_DELIVERED}"
    )


def buckets(rows: str) -> str:
    """How many `latencies` each bucket has."""
    return (
        f"SELECT day, {quoted(LATENCY_KEYS)}, bucket, count(*) AS requests FROM {rows} GROUP BY ALL"
    )


KINDS: Mapping[str, Callable[[str], str]] = {
    "cells": cells,
    "minutes": minutes,
    "users": users,
    "buckets": buckets,
}
"""Tables of sums, each with the statement for it; `buckets` of latencies, the others of rows."""

_DEFINITION = hashlib.sha256(
    "\n".join([*(kind(name) for name, kind in KINDS.items()), latencies("rows")]).encode()
).hexdigest()[:16]
"""Sums that another version made otherwise are not used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Starts:
    """The lines of requests that started in a day."""

    count: int
    first_time: str | None
    last_time: str | None


def paths_of(finished: Path) -> tuple[Path, Path]:
    """Where the sums and the sorted latencies of a copy stand: beside its finished requests."""
    return finished.with_suffix(".sums.parquet"), finished.with_suffix(".latencies.parquet")


def drop(finished: Path) -> None:
    """Remove the sums of a copy that is about to change."""
    for path in paths_of(finished):
        path.unlink(missing_ok=True)


def write(
    connection: DuckDBPyConnection,
    finished: Path,
    other: Path,
    facts: object,
    *,
    into: Callable[[DuckDBPyConnection, str, Path, str, int], None],
) -> None:
    """
    Make a day's sums from its Parquet copy; `facts` are those of the copy.

    `into` writes the rows of a statement to a file whole or not at all.
    """
    sums, sorted_latencies = paths_of(finished)
    rows = f"read_parquet({literals([finished])})"
    lacking = _lacking(connection, rows)
    if lacking:
        nothing = ", ".join(f'NULL::{COLUMNS[name]} AS "{name}"' for name in lacking)
        rows = f"(SELECT *, {nothing} FROM {rows})"
    others = f"read_parquet({literals([other])})"
    starts = f"(SELECT * FROM {others} WHERE event = '{OPERATION}.started')"
    count, first, last = connection.execute(
        f"SELECT count(*), min(timestamp)::VARCHAR, max(timestamp)::VARCHAR FROM {starts}"
    ).fetchone() or (0, None, None)
    told = {
        "definition": _DEFINITION,
        "facts": asdict(facts),  # type: ignore[call-overload]
        "starts": asdict(Starts(count=count, first_time=first, last_time=last)),
    }
    metadata = f"{{'{_KEY}': {literal(json.dumps(told))}}}"
    into(
        connection,
        f"{latencies(rows)} ORDER BY duration_ms",
        sorted_latencies,
        metadata,
        _ROW_GROUP,
    )
    values = f"read_parquet({literals([sorted_latencies])})"
    tables = [
        f"SELECT '{name}' AS kind, * FROM ({kind(values if name == 'buckets' else rows)})"
        for name, kind in KINDS.items()
    ]
    pairs = (("open_starts", starts, rows), ("open_ends", rows, starts))
    tables += [
        f"SELECT '{name}' AS kind, request_id FROM {ours} "
        f"WHERE request_id NOT IN (SELECT request_id FROM {theirs} WHERE request_id IS NOT NULL)"
        for name, ours, theirs in pairs
    ]
    into(connection, " UNION ALL BY NAME ".join(tables), sums, metadata, _ROW_GROUP)


def _lacking(connection: DuckDBPyConnection, rows: str) -> list[str]:
    """Columns that a copy of before they were invented has not."""
    there = {row[0] for row in connection.execute(f"DESCRIBE FROM {rows}").fetchall()}
    return [name for name in FIELDS if name not in there]


def starts_of(connection: DuckDBPyConnection, finished: Path, facts: object) -> Starts | None:
    """
    The starts of a day whose sums are of this copy; None without such sums.

    Sums of another copy, of another definition or in damaged files are as good as none.
    """
    import duckdb

    try:
        found = connection.execute(
            f"SELECT value FROM parquet_kv_metadata({literals(paths_of(finished))}) WHERE key = ?",
            [_KEY.encode()],
        ).fetchall()
        told = [json.loads(value) for (value,) in found]
        expected = json.loads(json.dumps(asdict(facts)))  # type: ignore[call-overload]
        if len(told) != 2 or told[0] != told[1] or told[0]["definition"] != _DEFINITION:
            return None
        return Starts(**told[0]["starts"]) if told[0]["facts"] == expected else None
    except (duckdb.Error, ValueError, TypeError, KeyError):
        return None


def stored(kind: str, days: Sequence[Path]) -> str:
    """A kind's rows in the sums of some copies, at least one."""
    if kind == "latencies":
        return f"SELECT * FROM read_parquet({literals(paths_of(day)[1] for day in days)})"
    columns = _COLUMNS_OF[kind]
    files = literals(paths_of(day)[0] for day in days)
    return f"SELECT {quoted(columns)} FROM read_parquet({files}) WHERE kind = '{kind}'"


_COLUMNS_OF: Mapping[str, tuple[str, ...]] = {
    "cells": ("day", *KEYS, "requests", "fast", *SUMMED),
    "minutes": ("minute", "requests"),
    "users": ("user", "status", "requests", "text_len", "audio_seconds", "gpu_seconds"),
    "buckets": ("day", *LATENCY_KEYS, "bucket", "requests"),
    "open_starts": ("request_id",),
    "open_ends": ("request_id",),
}
