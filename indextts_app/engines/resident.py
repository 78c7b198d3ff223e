"""What a worker's process holds in memory, as the kernel counts it."""

from __future__ import annotations

import os
from pathlib import Path

_STATM = Path("/proc/self/statm")


def resident_mb() -> float:
    """The resident memory of this process, in MB."""
    return int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
