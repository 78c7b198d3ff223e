"""
Entries as files, which a restart finds again.

A file is there whole or not at all, is read whole, and is judged by its checksum: a crash, a full
disk and a sweep that takes a file away cost an entry and never a wrong audio.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from pathlib import Path

from indextts_app import audio
from indextts_app.results.entry import Damaged, Entry

SUFFIX = ".result"


class Disk:
    """A folder of at most `max_bytes`; its methods block, and may be called from any thread."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        """
        Args:
            folder: made when the first entry comes.
            max_bytes: of all entries together; the least recently used goes first.
        """
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._sizes: OrderedDict[str, int] | None = None
        self._bytes = 0

    @property
    def bytes_used(self) -> int:
        """What its files hold, as far as is known."""
        return self._bytes

    def find(self, key: str, *, made_after: float) -> Entry | None:
        """
        The entry, if there is one that is not too old.

        Raises:
            OSError, Damaged: it cannot be read, and is deleted.
        """
        path = self._path(key)
        try:
            entry = Entry.unpacked(path.read_bytes())
        except FileNotFoundError:
            self._forget(key)
            return None
        except (OSError, Damaged):
            self._remove(key)
            raise
        if entry.made_at < made_after:
            self._remove(key)
            return None
        with self._lock:
            sizes = self._known()
            if key in sizes:
                sizes.move_to_end(key)
        return entry

    def put(self, key: str, entry: Entry) -> int:
        """
        Keep it, and say how large its file is; one larger than all that may be held is not kept.

        Raises:
            OSError: it cannot be written.
        """
        data = entry.packed()
        if len(data) > self._max_bytes:
            return 0
        self._folder.mkdir(parents=True, exist_ok=True)
        audio.stored(data, self._path(key))
        with self._lock:
            sizes = self._known()
            self._bytes += len(data) - sizes.pop(key, 0)
            sizes[key] = len(data)
            surplus = []
            while self._bytes > self._max_bytes:
                oldest, size = sizes.popitem(last=False)
                self._bytes -= size
                surplus.append(oldest)
        for oldest in surplus:
            self._path(oldest).unlink(missing_ok=True)
        return len(data)

    def _known(self) -> OrderedDict[str, int]:
        """The size of each entry, looked up once; the oldest first."""
        if self._sizes is None:
            found = []
            for path in self._folder.glob(f"*{SUFFIX}"):
                try:
                    status = path.stat()
                except OSError:
                    continue
                found.append((status.st_mtime, path.stem, status.st_size))
            self._sizes = OrderedDict((key, size) for _, key, size in sorted(found))
            self._bytes = sum(self._sizes.values())
        return self._sizes

    def _remove(self, key: str) -> None:
        try:
            self._path(key).unlink()
        except OSError:
            return
        self._forget(key)

    def _forget(self, key: str) -> None:
        with self._lock:
            self._bytes -= self._known().pop(key, 0)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}{SUFFIX}"
