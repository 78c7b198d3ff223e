"""A player for tests: ffmpeg, which reads a file as it comes through a pipe."""

from __future__ import annotations

import subprocess

import numpy as np

from indextts_app.engines.base import Samples


def played(data: bytes, rate: int, *, whole: bool = True) -> Samples:
    """What is heard of the bytes; of a `whole` file without a word of complaint."""
    run = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", "pipe:0", "-f", "s16le", "-ar", str(rate), "-"],
        input=data,
        capture_output=True,
        check=whole,
    )
    assert not (whole and run.stderr), run.stderr
    return np.frombuffer(run.stdout, np.int16)
