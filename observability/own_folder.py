"""
A log folder has one writer: two would settle each other's requests as lost.
"""

from __future__ import annotations

import fcntl
import warnings
from itertools import count
from pathlib import Path
from typing import Final, TextIO

LOCK_FILE: Final = ".lock"
"""The service's own name for it, so that it is kept out of as well."""


def own_folder(folder: Path, *, stacklevel: int = 2) -> tuple[Path, TextIO]:
    """
    This folder, or the first free one in it, and the lock that keeps others out while it is open.

    Raises:
        OSError: the folder cannot be written.
    """
    for number in count(1):
        own = folder / str(number) if number > 1 else folder
        own.mkdir(parents=True, exist_ok=True)
        lock = (own / LOCK_FILE).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        except OSError:
            lock.close()
            raise
        if own != folder:
            warnings.warn(
                f"Another process writes its log to {folder}; this one writes to {own}. Give each "
                f"process its own log_dir. 另一进程正在使用 {folder}，本进程改用 {own}；"
                "请为每个进程指定各自的 log_dir。",
                stacklevel=stacklevel,
            )
        return own, lock
    raise AssertionError  # counting has no end
