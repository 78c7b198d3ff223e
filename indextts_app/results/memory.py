"""Entries in this process's memory, the least recently used forgotten first."""

from __future__ import annotations

from collections import OrderedDict

from indextts_app.results.entry import Entry


class Memory:
    """Holds `max_bytes` of audio at most; for one thread."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self.bytes_used = 0

    def find(self, key: str, *, made_after: float) -> Entry | None:
        """The entry, if there is one that is not too old."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry.made_at < made_after:
            self._forget(key)
            return None
        self._entries.move_to_end(key)
        return entry

    def put(self, key: str, entry: Entry) -> None:
        """Keep it; one that is larger than all that may be held is not kept."""
        self._forget(key)
        if len(entry.audio) > self._max_bytes:
            return
        self._entries[key] = entry
        self.bytes_used += len(entry.audio)
        while self.bytes_used > self._max_bytes:
            self._forget(next(iter(self._entries)))

    def _forget(self, key: str) -> None:
        if entry := self._entries.pop(key, None):
            self.bytes_used -= len(entry.audio)
