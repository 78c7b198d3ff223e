"""Which weights a model has, so that no audio of others is served again."""

from __future__ import annotations

import hashlib
from pathlib import Path

END_BYTES = 65_536


def fingerprint(folder: Path) -> str | None:
    """
    What changes with any file below `folder` that is replaced; None where there are none.

    Of each file its name, its size, and both its ends: gigabytes are not read at every start, and
    training changes numbers everywhere. The same files give the same on every machine: hidden ones
    are left out, in which download tools keep when they fetched what.
    """
    found = hashlib.sha256()
    below = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    files = [name for name in below if not any(part.startswith(".") for part in name.parts)]
    for name in files:
        path = folder / name
        size = path.stat().st_size
        found.update(f"{name.as_posix()}\0{size}\0".encode())
        with path.open("rb") as file:
            found.update(file.read(END_BYTES))
            file.seek(max(size - END_BYTES, 0))
            found.update(file.read(END_BYTES))
    return found.hexdigest() if files else None
