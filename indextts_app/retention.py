"""
Files that nobody needs any more: what is too old, what is too much, what a crash left half done.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

YOUNG_SECONDS = 60.0
"""A file so young is just being handed to somebody: it is not deleted to make room."""

EMPTY_SECONDS = 3600.0
"""An empty folder so old is nobody's; a younger one is about to be filled."""

ROOM = 0.9
"""Where there is too much, it is brought down to this share of the limit, and not swept for each
file that comes."""

JUMP_SECONDS = 60.0
"""The wall clock and time itself may drift apart by so much before it is called a jump."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did."""

    old: int
    """Files that were deleted because of their age."""
    surplus: int
    """Files that were deleted to make room, the oldest first."""
    bytes_left: int


class SteadyClock:
    """
    The time that files are told old by, which no jump of the wall clock moves forward.

    The earlier of the wall clock and of the time that has really passed: a clock that is set an
    hour forward makes no file an hour older. Once so much time has passed since a jump that every
    file from before it is old enough, the wall clock is believed again.
    """

    def __init__(
        self,
        keep_seconds: float,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keep_seconds = keep_seconds
        self._wall = wall
        self._monotonic = monotonic
        self._offset = wall() - monotonic()
        self._jumped_at: float | None = None

    def __call__(self) -> float:
        wall, passed = self._wall(), self._monotonic()
        if wall <= passed + self._offset + JUMP_SECONDS:
            self._jumped_at = None
        elif self._jumped_at is None:
            self._jumped_at = passed
        elif passed - self._jumped_at > self._keep_seconds:
            self._offset = wall - passed
        return min(wall, passed + self._offset)


@dataclass(frozen=True, slots=True)
class _File:
    """A file under all its names."""

    paths: tuple[Path, ...]
    written: float
    size: int


def sweep(
    folder: Path,
    *,
    keep_seconds: float,
    max_bytes: int = 0,
    now: float | None = None,
    in_use: Collection[str] = (),
) -> Swept:
    """
    Delete the files below `folder` that are too old, and then the oldest until there is room.

    Hidden files at the top (the key of the text hashes) stay, and what is `in_use`, by the names of
    its files; what cannot be deleted is tried again the next time. Two links to a file are one.

    Args:
        folder: whose files and empty folders are looked at; a symbolic link is a file.
        keep_seconds: age from the last write at which a file goes.
        max_bytes: what may lie there; 0 for any amount.
        now: the time, by the wall clock if not given.
        in_use: names of files that somebody is reading or writing.
    """
    now = time.time() if now is None else now
    files = sorted(_files(folder), key=lambda file: file.written)
    old = surplus = 0
    total = sum(file.size for file in files)
    target = ROOM * max_bytes if 0 < max_bytes < total else float("inf")
    for file in files:
        age = now - file.written
        is_old = age > keep_seconds
        is_surplus = total > target and age > YOUNG_SECONDS
        if not (is_old or is_surplus) or any(path.name in in_use for path in file.paths):
            continue
        if removed := _unlinked(file):
            total -= file.size
            old += removed * is_old
            surplus += removed * (not is_old)
    _remove_empty(folder, now)
    return Swept(old=old, surplus=surplus, bytes_left=total)


def remove_partial(folder: Path) -> int:
    """Delete the half-written files that a killed service left; only at start, before serving."""
    places = ("", "references/", "recordings/", "speakers/", "presets/", "cache/")
    partial = [path for place in places for path in folder.glob(f"{place}*.part")]
    # Uploads that Gradio was still writing.
    partial += folder.glob("gradio/tmp*")
    for path in partial:
        path.unlink(missing_ok=True)
    return len(partial) + _remove_below(folder / "uploads") + _remove_below(folder / "tmp")


def _remove_below(folder: Path) -> int:
    """Delete what belonged to requests of an earlier process."""
    if folder.is_symlink() or not folder.is_dir():
        return 0
    count = sum(1 for path in folder.rglob("*") if not path.is_dir())
    shutil.rmtree(folder, ignore_errors=True)
    return count


def _files(folder: Path) -> Iterator[_File]:
    """Every file once, however many links it has below the folder."""
    names: dict[tuple[int, int], list[Path]] = defaultdict(list)
    found: dict[tuple[int, int], os.stat_result] = {}
    for path in folder.rglob("*"):
        if path.parent == folder and path.name.startswith("."):
            continue
        try:
            if path.is_symlink() or path.is_file():
                status = path.lstat()
                inode = status.st_dev, status.st_ino
                found[inode] = status
                names[inode].append(path)
        except OSError:
            continue
    for inode, status in found.items():
        yield _File(tuple(names[inode]), status.st_mtime, status.st_size)


def _unlinked(file: _File) -> int:
    removed = 0
    for path in file.paths:
        try:
            path.unlink()
            removed += 1
        except OSError:
            continue
    return removed


def _remove_empty(folder: Path, now: float) -> None:
    """Gradio makes a folder for each upload, and deletes none."""
    for parent in ("gradio", "uploads"):
        for path in (folder / parent).glob("*"):
            try:
                if path.is_dir() and now - path.stat().st_mtime > EMPTY_SECONDS:
                    path.rmdir()
            except OSError:
                continue
