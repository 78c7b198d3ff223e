"""
The columns that the log lines have in DuckDB and Parquet, as the canonical event says.

Types are stated and never inferred, so that a month without any error has its error columns, and a
line of an older version is a row with fewer values.
"""

from __future__ import annotations

from dataclasses import fields

from observability.events import Event, field_names

_TYPES = {
    "str": "VARCHAR",
    "Status": "VARCHAR",
    "int": "BIGINT",
    "float": "DOUBLE",
    "bool": "BOOLEAN",
}

HEAD = {"timestamp": "TIMESTAMP", "level": "VARCHAR", "event": "VARCHAR"}
"""Of every line, before the event's own fields."""

TAIL = {"logger": "VARCHAR", "service": "VARCHAR", "version": "VARCHAR"}
"""Of every line, after the event's own fields."""

COLUMNS: dict[str, str] = {
    **HEAD,
    **{
        item.name: _TYPES[str(item.type).removesuffix(" | None")]
        for item in fields(Event)
        if item.name in field_names()
    },
    **TAIL,
}
"""Every column with its type in DuckDB."""
