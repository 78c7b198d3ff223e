"""
One append-only file of lines a UTC day, under its final name from the first line.

Never renamed and never truncated, because a shipper that is behind loses renamed files whole and
truncated ones in part; a day that grows too large goes on in `-2`, `-3` ….
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

MIN_KEEP_DAYS = 7
KEEP_DAYS = 65
"""A month and the one before it are still there on the second of the next."""

MAX_BYTES = 256 * 1024 * 1024

_NAME = re.compile(r"indextts-(\d{4}-\d{2}-\d{2})(?:-(\d+))?\.jsonl")


def day_of(path: Path) -> tuple[date, int] | None:
    """The day and the part (1, 2, …) that a log file's name tells; None for other files."""
    match = _NAME.fullmatch(path.name)
    if not match:
        return None
    try:
        return date.fromisoformat(match[1]), int(match[2] or 1)
    except ValueError:
        return None


def day_files(folder: Path) -> list[tuple[date, Path]]:
    """The log files of a folder with their days, oldest first, parts of a day in order."""
    try:
        names = list(folder.iterdir())
    except OSError:
        return []
    dated = [(found, path) for path in names if (found := day_of(path)) and path.is_file()]
    return [(day, path) for (day, _part), path in sorted(dated)]


class DayFile:
    """
    Appends whole lines with one write call each, so that a killed process tears none.

    `write` never raises: it says whether the line is in the file. A removed file or a folder
    that was not writable for a while is taken up again by itself. Not thread-safe.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keep_days: int = KEEP_DAYS,
        max_bytes: int = MAX_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.folder = folder
        self.keep_days = max(keep_days, MIN_KEEP_DAYS)
        self.max_bytes = max_bytes
        self._clock = clock
        self._fd: int | None = None
        self._day: date | None = None
        self._part = 1
        self._size = 0
        self._torn = False

    @property
    def path(self) -> Path:
        """The file that the last line went to."""
        suffix = f"-{self._part}" if self._part > 1 else ""
        return self.folder / f"indextts-{self._day}{suffix}.jsonl"

    def write(self, line: bytes) -> bool:
        """Append a line (without its newline); False if it could not be written whole."""
        try:
            fd = self._file_for(len(line) + 1)
            data = (b"\n" if self._torn else b"") + line + b"\n"
            written = os.write(fd, data)
        except OSError:
            self.close()
            return False
        self._size += written
        # A full disk may take a part of a line; the next line then ends the torn one first.
        self._torn = written < len(data)
        return not self._torn

    def close(self) -> None:
        """Close the file; the next write opens it again."""
        fd, self._fd = self._fd, None
        if fd is not None:
            with suppress(OSError):
                os.close(fd)

    def _file_for(self, size: int) -> int:
        today = datetime.fromtimestamp(self._clock(), UTC).date()
        if self._fd is not None and (today != self._day or os.fstat(self._fd).st_nlink == 0):
            self.close()
        if self._fd is None:
            self._open(today)
        if self._size and self._size + size > self.max_bytes:
            self.close()
            self._part += 1
            self._open(today)
        if self._fd is None:
            raise OSError("the log file did not open")
        return self._fd

    def _open(self, today: date) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if today != self._day:
            self._day = today
            parts = [
                found[1]
                for _, path in day_files(self.folder)
                if (found := day_of(path)) and found[0] == today
            ]
            self._part = max(parts, default=1)
            self._sweep(today)
        self._fd = os.open(
            self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, mode=0o640
        )
        self._size = os.fstat(self._fd).st_size
        self._torn = self._size > 0 and os.pread(self._fd, 1, self._size - 1) != b"\n"

    def _sweep(self, today: date) -> None:
        oldest = today - timedelta(days=self.keep_days)
        for day, path in day_files(self.folder):
            if day < oldest:
                with suppress(OSError):
                    path.unlink()
