"""
A place of its own in a bucket for each service: several may share one, none overwrites another's.

    PREFIX tts-a/indextts-2026-10-04.jsonl.gz   a day of the instance tts-a
    PREFIX tts-a/.owner                         the mark of the log folder that its days come from
    PREFIX indextts-2026-10-04.jsonl.gz         of a service that archived before it had a name

A log folder keeps the place that it began with, whatever its service is called later.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Final

from observability.archive_files import day_of_archive, is_sealed, seal_of, write
from observability.archive_remote import Remote, RemoteFailed
from observability.log_store.day_sources import ARCHIVE, day_sources

OWNER: Final = ".owner"
_NAME: Final = re.compile(r"(?:(?P<place>[A-Za-z0-9\[][A-Za-z0-9._:\[\]-]*)/)?(?P<file>[^/]+)")


class Below:
    """A part of a remote, as a remote: what is stored under names that begin so."""

    def __init__(self, remote: Remote, beginning: str) -> None:
        self._remote = remote
        self._beginning = beginning

    def put(self, path: Path, name: str) -> None:
        """Store a file under a name; it is whole there when this returns."""
        self._remote.put(path, self._beginning + name)

    def holds(self, path: Path, name: str) -> bool:
        """Whether what is stored under a name is this file, byte for byte."""
        return self._remote.holds(path, self._beginning + name)

    def get(self, name: str, path: Path) -> bool:
        """Fetch what is stored under a name into a file; False if there is nothing."""
        return self._remote.get(self._beginning + name, path)

    def delete(self, name: str) -> None:
        """Remove what is stored under a name, if anything."""
        self._remote.delete(self._beginning + name)

    def names(self) -> list[str]:
        """Everything that is stored in this part."""
        begin = len(self._beginning)
        return [name[begin:] for name in self._remote.names() if name.startswith(self._beginning)]


class PlaceTaken(RemoteFailed):
    """The place in the bucket is that of another log folder, whose days would be overwritten."""


def own_place(folder: Path, remote: Remote, instance: str) -> Remote:
    """
    The part of a remote that a log folder's archives go to, marked as its own.

    Raises:
        PlaceTaken: it is that of another folder.
        RemoteFailed: the object storage is away.
    """
    kept = folder / ARCHIVE / OWNER
    kept.parent.mkdir(parents=True, exist_ok=True)
    try:
        mark, _, place = kept.read_text("ascii", errors="replace").partition(" ")
    except FileNotFoundError:
        mark = secrets.token_hex(16)
        place = "" if _stored_before(folder, remote) else f"{instance}/"
        write(kept, [f"{mark} {place}".encode()])
    own = Below(remote, place)
    if _owner(own, folder) is None:
        own.put(kept, OWNER)
    if _owner(own, folder) != mark:
        raise PlaceTaken(
            en=f"Another service archives to {place or 'the same place'} in this bucket, and its "
            f"days would be overwritten: give each its own INDEXTTS_INSTANCE, remove {kept} here, "
            f"and run this again. If the other is gone for good, delete {place}{OWNER} there.",
            zh=f"另一服务正在归档到该存储桶的 {place or '同一位置'}，继续会覆盖它的数据："
            f"请为每个服务设置不同的 INDEXTTS_INSTANCE，删除本机的 {kept} 后重试。"
            f"若对方已永久停用，请删除存储桶中的 {place}{OWNER}。",
        )
    return own


def _stored_before(folder: Path, remote: Remote) -> bool:
    """Whether the remote holds days of this folder outside any instance's place."""
    names = set(remote.names())
    return any(
        source.archive.name in names and remote.holds(source.archive, source.archive.name)
        for source in day_sources(folder)
        if source.archive is not None
    )


def _owner(remote: Remote, folder: Path) -> str | None:
    read = folder / ARCHIVE / f"{OWNER}.partial"
    try:
        if not remote.get(OWNER, read):
            return None
        return read.read_text("ascii", errors="replace").partition(" ")[0]
    finally:
        read.unlink(missing_ok=True)


def fetch(remote: Remote, is_wanted: Callable[[date], bool], target: Path) -> list[Path]:
    """
    Bring the archives of some days, of all services in a bucket, into log folders below a folder.

    What is there already and whole is left. Returns the archives, checked by their checksums.

    Raises:
        RemoteFailed: the object storage is away, or an archive there is not what its checksum says.
    """
    found = []
    for name in sorted(remote.names()):
        parts = _NAME.fullmatch(name)
        day = day_of_archive(parts["file"]) if parts else None
        if parts is None or day is None or name.endswith(".sha256") or not is_wanted(day):
            continue
        path = target / (parts["place"] or "") / ARCHIVE / parts["file"]
        path.parent.mkdir(parents=True, exist_ok=True)
        if not is_sealed(path):
            partial = path.with_name(f".{path.name}.partial")
            remote.get(seal_of(Path(name)).as_posix(), seal_of(path))
            remote.get(name, partial)
            partial.replace(path)
        if not is_sealed(path):
            raise RemoteFailed(
                en=f"{name} in the object storage is not what its checksum says.",
                zh=f"对象存储中的 {name} 与其校验和不符。",
            )
        found.append(path)
    return found
