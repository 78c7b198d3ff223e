"""Files that nobody needs any more: old audio, old references, and what a crash left half done."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path


def sweep(folder: Path, *, keep_seconds: float, now: float | None = None) -> int:
    """
    Delete the files below `folder` that were last written before `keep_seconds`; says how many.

    Hidden files at the top (the key of the text hashes) stay; a file that cannot be deleted is
    tried again the next time.
    """
    oldest = (time.time() if now is None else now) - keep_seconds
    removed = 0
    for path in _files(folder):
        try:
            if path.lstat().st_mtime < oldest:
                path.unlink()
                removed += 1
        except OSError:
            continue
    return removed


def remove_partial(folder: Path) -> int:
    """Delete the half-written files that a killed service left; only at start, before serving."""
    places = ("", "references/", "recordings/", "speakers/", "presets/")
    partial = [path for place in places for path in folder.glob(f"{place}*.part")]
    for path in partial:
        path.unlink(missing_ok=True)
    return len(partial)


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if not (path.parent == folder and path.name.startswith(".")) and (
            path.is_symlink() or path.is_file()
        ):
            yield path
