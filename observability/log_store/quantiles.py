"""
Percentiles of the latency, linearly interpolated, to a microsecond: from rows, or from stored sums.

The sums of a day hold its latencies sorted, and how many lie in each bucket. Counting buckets up
tells in which few of them the values around a percentile are, so that only those are read. Either
way gives what DuckDB's `quantile_cont` gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from observability.log_store.questions import Requests

SHARES = (0.5, 0.95, 0.99)


def latencies(
    requests: Requests, keys: Mapping[str, str]
) -> dict[tuple[object, ...], tuple[float | None, ...]]:
    """
    The percentiles of `SHARES` by the values of some expressions, over the tables of sums.

    Args:
        requests: asked for with all of `sums.FIELDS`.
        keys: names, each with an expression over the columns of `latencies` and `buckets`; none
            for all together.
    """
    named = "".join(f"{expression} AS {key}, " for key, expression in keys.items())
    if requests.summed:
        rows = _located(requests, named, tuple(keys))
    else:
        rows = requests.rows(
            f"SELECT {named}quantile_cont(duration_ms, {list(SHARES)}) FROM latencies GROUP BY ALL"
        )
    return {row[:-1]: tuple(round(value, 3) for value in row[-1]) for row in rows if row[-1]}


def _located(requests: Requests, named: str, keys: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """
    What `quantile_cont` gives, from the few buckets that the two values around it lie in.

    Counting buckets up tells which those are, and how many values of the group lie before them.
    """
    group = "".join(f"{key}, " for key in keys)
    within = f"PARTITION BY {', '.join(keys)}" if keys else ""
    wanted = f"""
        counted AS (
            SELECT {named}bucket, sum(requests)::BIGINT AS n FROM buckets GROUP BY ALL
        ), added AS (
            SELECT *, (sum(n) OVER ({within} ORDER BY bucket))::BIGINT AS upto,
                (sum(n) OVER ({within}))::BIGINT AS total FROM counted
        ), asked AS (
            SELECT *, unnest({list(SHARES)}::DOUBLE[]) AS q FROM added
        ), sides AS (
            SELECT {group}q, bucket, upto, n, (total - 1) * q - floor((total - 1) * q) AS rest,
                unnest([false, true]) AS above,
                unnest([floor((total - 1) * q), ceil((total - 1) * q)])::BIGINT AS place
            FROM asked
        ), wanted AS MATERIALIZED (
            SELECT {group}q, above, bucket, place - (upto - n) + 1 AS nth, rest FROM sides
            WHERE place < upto AND place >= upto - n
        )"""
    found = requests.rows(f"WITH {wanted} SELECT DISTINCT bucket FROM wanted")
    buckets = [int(bucket) for (bucket,) in found]
    if not buckets:
        return []
    same = " AND ".join(f"sorted.{key} IS NOT DISTINCT FROM wanted.{key}" for key in keys)
    rows = requests.rows(
        f"""
        WITH {wanted}, sorted AS MATERIALIZED (
            SELECT {named}bucket, list_sort(list(duration_ms)) AS spent FROM latencies
            WHERE bucket IN ({", ".join(map(str, buckets))}) GROUP BY ALL
        ), pairs AS (
            SELECT {"".join(f"wanted.{key}, " for key in keys)}q, any_value(rest) AS rest,
                max(spent[nth]) FILTER (NOT above) AS low, max(spent[nth]) FILTER (above) AS high
            FROM wanted JOIN sorted ON sorted.bucket = wanted.bucket{" AND " if same else ""}{same}
            GROUP BY ALL
        )
        SELECT {group}list([low, high, rest] ORDER BY q) FROM pairs GROUP BY ALL
        """
    )
    return [(*row[:-1], [_between(requests, *pair) for pair in row[-1]]) for row in rows]


def _between(requests: Requests, low: float, high: float, rest: float) -> float:
    """The value so far on the way from one to the other, as `quantile_cont` has it when rounded."""
    value = low * (1.0 - rest) + high * rest
    if abs(value * 1000 % 1 - 0.5) > _NEAR_TIE:
        return value
    # The last bit decides which way this is rounded, and it hangs on how DuckDB was compiled.
    ((told,),) = requests.rows(
        f"SELECT quantile_cont(x, {rest!r}::DOUBLE) FROM (VALUES (?::DOUBLE), (?::DOUBLE)) AS v(x)",
        [low, high],
    )
    return float(told)


_NEAR_TIE = 1e-4
