"""
DuckDB as the log store uses it: bounded memory, UTC, nothing fetched from anywhere.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

MEMORY_LIMIT = "640MB"
"""Of DuckDB's buffers; with the interpreter and reading buffers a process stays below 1 GiB."""


def connect() -> DuckDBPyConnection:
    """
    A connection of its own, with temporary tables of its own, to this process's one database.

    The database is in memory and shares its bounds among all connections; what does not fit goes
    to a folder of temporary files.
    """
    return _database().cursor()


def restrain(*, threads: int, memory: str) -> None:
    """Let all questions of this process take no more; for one that has other work to do."""
    connection = connect()
    try:
        connection.execute(f"SET GLOBAL threads = {threads:d}")
        connection.execute(f"SET GLOBAL memory_limit = {literal(memory)}")
    finally:
        connection.close()


@cache
def _database() -> DuckDBPyConnection:
    # Here, because its import takes longer than a look-up that does not need it.
    import duckdb

    return duckdb.connect(
        ":memory:",
        config={
            "memory_limit": MEMORY_LIMIT,
            "temp_directory": str(Path(tempfile.gettempdir()) / f"indextts-duckdb-{os.getpid()}"),
            "TimeZone": "UTC",
            "autoinstall_known_extensions": "false",
            "parquet_metadata_cache": "true",
        },
    )


@contextmanager
def on_disk(connection: DuckDBPyConnection, file: Path) -> Iterator[None]:
    """Let the tables that a connection makes stand in a file, compressed, until the block ends."""
    name = f"file_{next(_numbers)}"
    connection.execute(f"ATTACH {literal(str(file))} AS {name}")
    connection.execute(f"USE {name}")
    try:
        yield
    finally:
        connection.execute("USE memory")
        connection.execute(f"DETACH {name}")


_numbers = count()


def quoted(names: Iterable[str]) -> str:
    """Columns for a statement; `user` and others are words of SQL."""
    return ", ".join(f'"{name}"' for name in names)


def literal(text: str) -> str:
    """A text for a statement, where a parameter cannot stand."""
    return "'" + text.replace("'", "''") + "'"


def literals(paths: Iterable[Path]) -> str:
    """A list of files for a statement, each name taken as it is."""
    # A file's name is a pattern to DuckDB; a folder with brackets in its name is not meant as one.
    escaped = (str(path).translate(_PATTERN) for path in paths)
    return "[" + ", ".join(map(literal, escaped)) + "]"


_PATTERN = str.maketrans({"[": "[[]", "*": "[*]", "?": "[?]"})
