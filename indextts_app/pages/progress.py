"""Where a request stands, kept for whoever draws it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from indextts_app.engines.base import Samples
from indextts_app.underway import Remaining


class Progress:
    """
    A watcher of the synthesizer that remembers the last word.

    `ahead` is the number of requests in front of this one, or None when it does not wait;
    `current` is the stage that it is in, or None before the first; `segments` the segment that is
    being made and their count, where the engine tells them; `heard` says whether there is audio.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.ahead: int | None = None
        self.current: str | None = None
        self._entered: set[str] = set()
        self.segments: tuple[int, int] | None = None
        self.heard = False
        self._remaining = Remaining(clock)
        self._clock = clock
        self._began = clock()

    def waiting(self, ahead: int) -> None:
        """In the queue, with so many requests ahead."""
        self.ahead = ahead

    def stage(self, name: str) -> None:
        """The request entered a stage."""
        self.ahead = None
        self.current = name
        self._entered.add(name)

    def segment(self, number: int, count: int) -> None:
        """The engine is at segment `number` of `count`."""
        self.segments = number, count
        self._remaining.segment(number, count)

    def audio(self, samples: Samples, sample_rate: int) -> None:  # noqa: ARG002
        """There is something to be heard."""
        self.heard = True

    def elapsed_seconds(self) -> float:
        """Since the request was sent."""
        return self._clock() - self._began

    def remaining_seconds(self) -> float | None:
        """About how long it will still take; None where that cannot be told."""
        return self._remaining.seconds()

    def steps(self, stages: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        """Each stage with its state: done, now or next; one that was passed over is skipped."""
        current = stages.index(self.current) if self.current in stages else -1
        for place, name in enumerate(stages):
            if place < current:
                yield name, "done" if name in self._entered else "skipped"
            else:
                yield name, "now" if place == current else "next"
