"""Recordings that came to a node with a request, each kept under the hash of its content."""

from __future__ import annotations

import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

KEEP_SECONDS = 24 * 3600.0
"""So long nobody used it: it goes. A speaker that is used stays."""

MAX_MB = 1_000.0
"""Of more, those that nobody has used for longest go. A thousand recordings at least: far more than
the requests of one moment need."""

_NAME = re.compile(r"[0-9a-f]{16,64}\.wav")


class Recordings:
    """A folder of one node, shared by its replicas; what lies there is found by its name."""

    def __init__(self, folder: Path | None = None, *, max_mb: float = MAX_MB) -> None:
        """
        Raises:
            OSError: the folder cannot be made, or others could read or change what lies there.
        """
        self._max_mb = max_mb
        self.folder = folder or Path(tempfile.gettempdir(), f"indextts-recordings-{os.getuid()}")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_own(self.folder)

    def path(self, name: str) -> Path:
        """
        Where a recording of this name lies, or would lie.

        Raises:
            ValueError: it is not named by a hash.
        """
        if not _NAME.fullmatch(name):
            raise ValueError("a recording is named by the hash of its content")
        return self.folder / name

    def has(self, name: str) -> bool:
        """Whether it is there; if so, it stays for a while."""
        path = self.path(name)
        try:
            os.utime(path)
        except FileNotFoundError:
            return False
        return True

    def add(self, name: str, content: bytes) -> None:
        """Keep it; another replica that does the same at the same time keeps the same."""
        part = self.path(name).with_suffix(f".{os.getpid()}.part")
        part.write_bytes(content)
        os.replace(part, self.path(name))
        self._sweep()

    def _sweep(self) -> None:
        """Remove what is too old, and beyond the limit the oldest first."""
        held_mb = 0.0
        for used, size, path in sorted(self._lying(), reverse=True):
            held_mb += size / 1e6
            if time.time() - used > KEEP_SECONDS or held_mb > self._max_mb:
                path.unlink(missing_ok=True)

    def _lying(self) -> Iterator[tuple[float, int, Path]]:
        for path in self.folder.iterdir():
            # Another replica may be quicker.
            with suppress(FileNotFoundError):
                status = path.stat()
                yield status.st_mtime, status.st_size, path


def _check_own(folder: Path) -> None:
    """A temporary folder is everybody's: whoever was there first may have made this one."""
    found = folder.lstat()
    private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
    if not private or found.st_uid != os.getuid():
        raise PermissionError(
            f"{folder} holds recordings of voices and must be a folder of this user alone (UID "
            f"{os.getuid()}, mode 0700): remove what is there"
        )
