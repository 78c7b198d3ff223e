"""The bare engine for bench.py: espeak called directly, nothing around it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from indextts_app.engines.base import Samples, Task
from indextts_app.engines.espeak import EspeakEngine


class BareJob:
    """A job that keeps the samples and measures nothing."""

    cancelled = False

    def __init__(self, task: Task) -> None:
        self.task = task
        self.pieces: list[Samples] = []

    def check_cancelled(self) -> None:
        """Never cancelled."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Not timed."""
        del name
        yield

    def entered(self, name: str) -> None:
        """Not kept."""

    def segment(self, number: int, count: int) -> None:
        """Not kept."""

    def spent(self, name: str, seconds: float) -> None:
        """Not kept."""

    def note(self, **fields: float | str) -> None:
        """Not kept."""

    def spoken(self, text: str) -> None:
        """Not kept."""

    def sample_rate(self, hertz: int) -> None:
        """Not kept."""

    def audio(self, samples: Samples) -> None:
        """Kept."""
        self.pieces.append(samples)


class BareEngine:
    """espeak, loaded in this process; one caller at a time."""

    def __init__(self) -> None:
        self._engine = EspeakEngine()
        can = self._engine.load()
        self.sample_rate = can.sample_rate
        self._speaker = can.speakers[0].id
        self.speak(can.self_test_text)

    def speak(self, text: str, emotion: str = "neutral") -> Samples:
        """The samples of a text."""
        job = BareJob(Task("bench", text, self._speaker, emotion, 1.0))
        self._engine.synthesize(job)
        return np.concatenate(job.pieces)


def main() -> None:
    """For each line of stdin, speak it and print the seconds that took."""
    engine = BareEngine()
    sys.stdout.write("ready\n")
    for line in iter(sys.stdin.readline, ""):
        sys.stdout.flush()
        began = time.perf_counter()
        engine.speak(line.strip())
        sys.stdout.write(f"{time.perf_counter() - began}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
