"""
What a crash swallowed: started lines that no finished line follows become `status=lost`.

Run once at start, before the first new request, by the only process that writes to the folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from observability.day_file import day_files
from observability.events import Event, Scalar, field_names
from observability.observe import emit

RECONCILED = "log.reconciled"
"""The event that ends a recovery: everything before it is settled, so the next looks no further."""


def unfinished(folder: Path) -> list[dict[str, Scalar]]:
    """
    The fields of every `<name>.started` line since the last recovery that was never finished.

    Lines that cannot be read (torn, foreign) are passed over; oldest first.
    """
    open_lines: dict[tuple[str, str], dict[str, Scalar]] = {}
    for line in _lines_since_reconciled(folder):
        if fields := _fields(line, ".started") or _fields(line, ".finished"):
            name, _, kind = str(fields["event"]).rpartition(".")
            key = name, str(fields.get("request_id"))
            if kind == "finished":
                open_lines.pop(key, None)
            elif "request_id" in fields:
                open_lines[key] = fields
    return list(open_lines.values())


def write_lost(folder: Path) -> int:
    """Write `<name>.finished` with `status=lost` for each unfinished request; says how many."""
    lost = unfinished(folder)
    for fields in lost:
        known = {key: value for key, value in fields.items() if key in field_names()}
        known |= {
            "status": "lost",
            "error_type": "process_died",
            "error_message": "The service stopped before this request was finished.",
        }
        name = str(fields["event"]).removesuffix(".started")
        emit("finished", Event.build(f"{name}.finished", known))
    return len(lost)


def _lines_since_reconciled(folder: Path) -> Iterator[bytes]:
    """Lines after the last recovery; whole files are kept in reach, their lines are not."""
    since: list[tuple[Path, int]] = []
    for _, path in reversed(day_files(folder)):
        offset = _after_last(path, RECONCILED)
        since.append((path, offset or 0))
        if offset is not None:
            break
    for path, offset in reversed(since):
        with path.open("rb") as file:
            file.seek(offset)
            yield from file


def _after_last(path: Path, event: str) -> int | None:
    """Where the line after the last one of this event begins; None if there is none."""
    last = None
    with path.open("rb") as file:
        position = 0
        for line in file:
            position += len(line)
            if _fields(line, event) is not None:
                last = position
    return last


def _fields(line: bytes, event: str) -> dict[str, Scalar] | None:
    """The fields of a line whose event ends so, not of one that only quotes its name."""
    if f'{event}"'.encode() not in line:
        return None
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    if isinstance(fields, dict) and str(fields.get("event")).endswith(event):
        return fields
    return None
