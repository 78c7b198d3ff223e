"""
Has the C library keep freed memory for the next audio, and not for good, so that a service neither
pays for the same pages with each request nor grows in months of running.

Audio comes in buffers of 0.1 to 10 MB, made and freed by several threads. As it is shipped, glibc
keeps what they free in an arena for each thread, and what lies between two small objects that stay
never goes back by itself. Having each buffer come from the system and go back, as glibc can, costs
a page fault for every 4 kB: 1 ms for 2.3 MB, several times in a request. So the arenas are few, and
what is free in them is handed back once in a while.
"""

from __future__ import annotations

import asyncio
import ctypes

_TRIM_THRESHOLD = -1
_MMAP_THRESHOLD = -3
_ARENA_MAX = -8
"""Numbers of mallopt(3), from malloc.h."""

MMAP_BYTES = 16 * 1024 * 1024
"""From this size on, memory comes from the system by itself and goes back when it is freed."""

TRIM_BYTES = 2 * MMAP_BYTES
"""So much may be free at the end of an arena; more goes back at once."""

ARENAS = 2

TRIM_SECONDS = 60.0


def bound() -> bool:
    """Set it for this process, best before its threads begin; False where there is no glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_MMAP_THRESHOLD, MMAP_BYTES), (_TRIM_THRESHOLD, TRIM_BYTES), (_ARENA_MAX, ARENAS))
    return all(mallopt(name, value) for name, value in settings)


def give_memory_back() -> bool:
    """Hand every page that is free back to the system; False where there is none, or no glibc."""
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (OSError, AttributeError):
        return False


async def give_memory_back_forever() -> None:
    """Do so every `TRIM_SECONDS`, on a thread: the arenas are locked for some milliseconds."""
    while True:
        await asyncio.sleep(TRIM_SECONDS)
        await asyncio.to_thread(give_memory_back)
