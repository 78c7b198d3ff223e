"""
The Parquet copy of a closed day: quick to ask, and always to be had again from the lines.

Finished requests stand in one file, sorted by request_id, a column for each field; a line that its
columns cannot give back exactly is kept as text beside them. All other lines stand as text in a
second file. What was read to make them is in the files' own metadata.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from observability.log_store import day_lines, sums
from observability.log_store.columns import COLUMNS
from observability.log_store.duck import literal, literals
from observability.log_store.questions import OPERATION, Line

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

FORMAT = 1
"""Of the copy; one of another format is not read but made anew from the lines."""

ROW_GROUPS = {"finished": 8_192, "other": 4_096}
"""Rows: small enough to find one request among 200,000 in 20 ms, large enough to scan quickly."""

_KEY = "indextts"

_IS_FINISHED = (
    f"x.event = '{OPERATION}.finished' AND moment IS NOT NULL AND x.request_id IS NOT NULL"
)


class Unreadable(Exception):
    """A Parquet copy that cannot be used: damaged, or of another format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayFacts:
    """What a copy was made from, and what a reader has to know of it before asking."""

    files: int
    raw_bytes: int
    lines_read: int
    lines_unreadable: int
    lines_foreign: int
    finished: int
    duplicates: int
    clock_back: int
    torn: bool
    first_id: str | None
    last_id: str | None
    first_time: str | None
    last_time: str | None
    versions: tuple[str, ...]
    columns: tuple[str, ...]
    format: int = FORMAT


def copy_day(
    connection: DuckDBPyConnection,
    lines: Sequence[Path],
    finished: Path,
    other: Path,
    *,
    files: int,
    raw_bytes: int,
    torn: bool,
) -> DayFacts:
    """
    Write the two files from a day's lines (plain or gzip); each appears whole or not at all.

    Its sums are made anew beside them.

    `files`, `raw_bytes` and `torn` describe the service's own files that the lines came from.
    """
    # First, because they name users, and a copy without some may be what is written.
    sums.drop(finished)
    _load(connection, lines)
    count = sum(_lines_in(block) for block in day_lines.blocks_of(lines))
    facts = _facts(connection, lines=count, files=files, raw_bytes=raw_bytes, torn=torn)
    metadata = f"{{{_KEY}: {literal(json.dumps(asdict(facts)))}}}"
    columns = ", ".join(f'x."{name}" AS "{name}"' for name in COLUMNS if name != "timestamp")
    exact = " + ".join(f'(x."{name}" IS NOT NULL)::INT' for name in COLUMNS)
    _write(
        connection,
        f"""SELECT moment AS timestamp, {columns},
            CASE WHEN length(json_keys(line)) <> {exact}
            OR x.timestamp <> strftime(moment, '%Y-%m-%dT%H:%M:%S.%fZ')
            THEN line END AS line
        FROM day WHERE {_IS_FINISHED}
        ORDER BY x.request_id, moment""",
        finished,
        metadata,
        ROW_GROUPS["finished"],
    )
    _write(
        connection,
        f"""SELECT moment AS timestamp, x.event AS event, x.request_id AS request_id, line
        FROM day
        WHERE x.event IS NOT NULL AND moment IS NOT NULL AND NOT ({_IS_FINISHED})
        ORDER BY x.request_id, moment""",
        other,
        metadata,
        ROW_GROUPS["other"],
    )
    connection.execute("DROP TABLE day")
    sum_day(connection, finished, other, facts)
    return facts


def sum_day(connection: DuckDBPyConnection, finished: Path, other: Path, facts: DayFacts) -> None:
    """Write the sums of a day beside its copy, from the copy itself."""
    sums.write(connection, finished, other, facts, into=_write)


def facts_of(connection: DuckDBPyConnection, path: Path) -> DayFacts:
    """
    What a copy says of itself.

    Raises:
        Unreadable: it is damaged, or of another format than this version's.
    """
    import duckdb

    try:
        found = connection.execute(
            "SELECT value FROM parquet_kv_metadata(?) WHERE key = ?", [str(path), _KEY.encode()]
        ).fetchone()
    except duckdb.Error as error:
        raise Unreadable(path.name) from error
    try:
        facts = json.loads(found[0]) if found else {}
        if facts.get("format") != FORMAT:
            raise Unreadable(path.name)
        versions, columns = tuple(facts.pop("versions")), tuple(facts.pop("columns"))
        return DayFacts(**facts, versions=versions, columns=columns)
    except (ValueError, TypeError, KeyError) as error:
        raise Unreadable(path.name) from error


def lines_of(
    connection: DuckDBPyConnection, request_ids: Sequence[str], paths: Iterable[Path]
) -> list[Line]:
    """
    The lines of some requests in copies of either kind, in the order of writing.

    Raises:
        Unreadable: a copy is damaged.
    """
    import duckdb

    found: list[tuple[datetime, Line]] = []
    for path in paths:
        try:
            cursor = connection.execute(
                f"SELECT * FROM read_parquet({literals([path])}) "
                f"WHERE request_id IN ({', '.join('?' * len(request_ids))}) ORDER BY timestamp",
                list(request_ids),
            )
            names = [column[0] for column in cursor.description or ()]
            for row in cursor.fetchall():
                fields = dict(zip(names, row, strict=True))
                found.append((fields["timestamp"], _line(fields)))
        except duckdb.Error as error:
            raise Unreadable(path.name) from error
    found.sort(key=lambda each: each[0])
    return [line for _, line in found]


def ids_among(connection: DuckDBPyConnection, request_ids: Iterable[str], path: Path) -> set[str]:
    """
    Which of some requests a copy holds.

    Raises:
        Unreadable: it is damaged.
    """
    return _ids(connection, path, "list_contains(?, request_id)", [list(request_ids)])


def ids_of_user(connection: DuckDBPyConnection, user: str, path: Path) -> set[str]:
    """
    The requests of a user that a copy of either kind holds.

    Raises:
        Unreadable: it is damaged.
    """
    is_text = path.name.endswith(".other.parquet")
    own = "json_extract_string(line, '$.user')" if is_text else '"user"'
    return _ids(connection, path, f"{own} = ?", [user])


def _ids(
    connection: DuckDBPyConnection, path: Path, condition: str, parameters: list[object]
) -> set[str]:
    import duckdb

    try:
        rows = connection.execute(
            f"SELECT DISTINCT request_id FROM read_parquet({literals([path])}) "
            f"WHERE request_id IS NOT NULL AND {condition}",
            parameters,
        ).fetchall()
    except duckdb.Error as error:
        raise Unreadable(path.name) from error
    return {request_id for (request_id,) in rows}


def _line(fields: dict[str, Any]) -> Line:
    text = fields.pop("line")
    if text is not None:
        line: Line = json.loads(text)
        return line
    moment = fields["timestamp"].replace(tzinfo=UTC)
    fields["timestamp"] = moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return {name: value for name, value in fields.items() if value is not None}


def _load(connection: DuckDBPyConnection, lines: Sequence[Path]) -> None:
    # The time stays as text beside its value, so that a line is given back as it was written.
    types = json.dumps({**COLUMNS, "timestamp": "VARCHAR"})
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE day AS
        SELECT line, kind, x,
            make_timestamp(epoch_us(TRY_CAST(x.timestamp AS TIMESTAMPTZ))) AS moment
        FROM (SELECT line, json_type(json) AS kind, json_transform(json, {literal(types)}) AS x
            FROM (SELECT line, CASE WHEN json_valid(line) THEN line END AS json
                FROM {lines_as_text(lines)}))"""
    )


def _lines_in(block: bytes) -> int:
    """Lines of a block, without blank ones, which nobody counts."""
    return block.count(b"\n") - sum(not line.strip() for line in block.split(b"\n")[:-1])


def lines_as_text(paths: Sequence[Path]) -> str:
    """The table function that reads files line by line; what is no UTF-8 is left out."""
    return (
        f"read_csv({literals(paths)}, delim='', quote='', escape='', header=false, "
        "auto_detect=false, columns={'line': 'VARCHAR'}, max_line_size=2000000, "
        "ignore_errors=true)"
    )


def _facts(
    connection: DuckDBPyConnection, *, lines: int, files: int, raw_bytes: int, torn: bool
) -> DayFacts:
    objects, foreign = connection.execute(
        """SELECT count(*) FILTER (kind = 'OBJECT'),
            count(*) FILTER (kind = 'OBJECT' AND (x.event IS NULL OR moment IS NULL))
        FROM day"""
    ).fetchone() or (0, 0)
    finished = f"FROM day WHERE {_IS_FINISHED}"
    count, ids, first_id, last_id, first_time, last_time = connection.execute(
        "SELECT count(*), count(DISTINCT x.request_id), min(x.request_id), max(x.request_id), "
        f"min(moment)::VARCHAR, max(moment)::VARCHAR {finished}"
    ).fetchone() or (0, 0, None, None, None, None)
    (back,) = connection.execute(
        "SELECT count(*) FROM (SELECT moment, lag(moment) OVER () AS before FROM day "
        "WHERE moment IS NOT NULL) "
        "WHERE moment < before - INTERVAL 1 SECOND"
    ).fetchone() or (0,)
    versions = connection.execute(
        f"SELECT DISTINCT x.version {finished} AND x.version IS NOT NULL ORDER BY 1"
    ).fetchall()
    return DayFacts(
        files=files,
        raw_bytes=raw_bytes,
        lines_read=lines,
        lines_unreadable=lines - objects,
        lines_foreign=foreign,
        finished=count,
        duplicates=count - ids,
        clock_back=back,
        torn=torn,
        first_id=first_id,
        last_id=last_id,
        first_time=first_time,
        last_time=last_time,
        versions=tuple(version for (version,) in versions),
        columns=tuple(COLUMNS),
    )


def _write(
    connection: DuckDBPyConnection, query: str, target: Path, metadata: str, row_group: int
) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    connection.execute(
        f"COPY ({query}) TO {literal(str(partial))} (FORMAT parquet, COMPRESSION zstd, "
        f"ROW_GROUP_SIZE {row_group}, KV_METADATA {metadata})"
    )
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(partial, target)
