"""
A circuit breaker: so many failures in a row, and nothing more is asked of what fails for a while.

    closed      requests go on; `FAILURES` bad outcomes in a row call for a trial
    open        the trial failed: nothing is asked until the next, `WAITS` apart, longer each time
    half open   the next trial is on; it closes the breaker, or opens it again

Pure: outcomes and the time in, a state out. Outcomes alone never open it, because requests may fail
for what was asked; a trial is a sentence that a sound engine can always say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

State = Literal["closed", "open", "half_open"]

FAILURES = 5
"""Bad outcomes in a row, after which the engine must prove itself."""

WAITS = (5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0)
"""Seconds from a failed trial to the next; the last for all that follow."""


class Breaker:
    """The state, from what is told to it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.state: State = "closed"
        self._clock = clock
        self._failures = 0
        self._opened = 0
        self._next_trial = 0.0

    @property
    def wants_trial(self) -> bool:
        """Whether it is time to try."""
        if self.state == "open":
            return self._clock() >= self._next_trial
        return self.state == "closed" and self._failures >= FAILURES

    @property
    def seconds_left(self) -> float:
        """Until the next trial of an open breaker."""
        return max(self._next_trial - self._clock(), 0.0) if self.state == "open" else 0.0

    def saw(self, *, good: bool) -> None:
        """The outcome of a request; of one that was begun before the breaker opened, nothing."""
        if self.state == "closed":
            self._failures = 0 if good else self._failures + 1

    def trying(self) -> None:
        """A trial begins."""
        if self.state == "open":
            self.state = "half_open"

    def tried(self, *, good: bool | None) -> None:
        """A trial ended; None if it came to no result."""
        if good is None:
            self.state = "open" if self.state == "half_open" else self.state
            return
        self._failures = 0
        if good:
            self.state, self._opened = "closed", 0
            return
        self._next_trial = self._clock() + WAITS[min(self._opened, len(WAITS) - 1)]
        self._opened += 1
        self.state = "open"
