"""
Files of the archive: each appears whole, under its name, only when it was read back.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path

from observability.log_store import day_lines
from observability.log_store.day_sources import archive_name

BLOCK = 1 << 20


def write_archive(blocks: Iterable[bytes], target: Path, *, threads: int) -> tuple[int, int]:
    """
    Write blocks of lines as one archive, and read it back; returns its lines and their bytes.

    The archive appears under its name only when it gives back what was put in.

    Raises:
        Damaged: it did not, or what the blocks come from cannot be read.
    """
    partial = target.with_name(f".{target.name}.partial")
    lines, size, digest = 0, 0, hashlib.sha256()

    def seen() -> Iterator[bytes]:
        nonlocal lines, size
        for block in blocks:
            lines += block.count(b"\n")
            size += len(block)
            digest.update(block)
            yield block

    with partial.open("wb") as file:
        day_lines.compress(seen(), file, threads=threads)
        file.flush()
        os.fsync(file.fileno())
    again = hashlib.sha256()
    for block in day_lines.expanded(partial):
        again.update(block)
    if again.digest() != digest.digest():
        raise day_lines.Damaged("it did not give back what was put in")
    os.replace(partial, target)
    sync(target.parent)
    return lines, size


def write(target: Path, blocks: Iterable[bytes]) -> None:
    """Write a file, or replace it, whole."""
    partial = target.with_name(f".{target.name}.partial")
    with partial.open("wb") as file:
        file.writelines(blocks)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, target)
    sync(target.parent)


def seal_of(archive: Path) -> Path:
    """Where the checksum of an archive is, as `sha256sum --check` reads it."""
    return archive.with_name(f"{archive.name}.sha256")


def is_sealed(archive: Path) -> bool:
    """Whether an archive is what its checksum says."""
    try:
        said = seal_of(archive).read_text("ascii").split()
        return bool(said) and said[0] == sha256_of(archive)
    except (OSError, UnicodeDecodeError):
        return False


def check(archive: Path) -> None:
    """
    Read an archive to its end.

    Raises:
        Damaged: it cannot be.
    """
    for _ in day_lines.expanded(archive):
        pass


def sha256_of(path: Path) -> str:
    """The checksum of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def is_torn(path: Path) -> bool:
    """Whether a file of lines ends in the middle of one."""
    with day_lines.mapped(path) as content:
        return day_lines.is_torn(content)


def day_of_archive(name: str) -> date | None:
    """The day of an archive or its checksum, by its name; None for anything else."""
    stem = name.removesuffix(".sha256")
    try:
        day = date.fromisoformat(stem.removeprefix("indextts-").removesuffix(".jsonl.gz"))
    except ValueError:
        return None
    return day if stem == archive_name(day) else None


def sync(folder: Path) -> None:
    """Let a rename or removal in a folder survive a loss of power."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
