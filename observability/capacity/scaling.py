"""
Autoscaling as Kubernetes' HorizontalPodAutoscaler does it: a target for each replica, some delay.

The law and its defaults are those of its documentation ("Algorithm details" and "Configurable
scaling behavior"): desired = ceil(total / target), no change within 10 % of the target, up by the
larger of four replicas and as many as there are, down to the highest that any look of the last five
minutes asked for, which is no reason to go up. It looks every 15 seconds.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscale:
    """
    A rule for the number of replicas.

    Args:
        least, most: bounds of the number.
        target: requests in the service (waiting or being served) that each replica should have.
        start_seconds: from the decision to the first request served by a new replica.
        waiting_only: count those that wait and not those that are served. Shrinks a busy service
            without a queue, and is here to show that.
    """

    least: int
    most: int
    target: float
    start_seconds: float
    look_seconds: float = 15.0
    settle_seconds: float = 300.0
    tolerance: float = 0.1
    step: int = 4
    waiting_only: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise ValueError("autoscaling needs 1 or more replicas at least, and as many at most")
        if not (self.target > 0 and self.look_seconds > 0):
            raise ValueError("target and look_seconds are more than 0")
        if not (self.start_seconds >= 0 and self.settle_seconds >= 0 and self.tolerance >= 0):
            raise ValueError("start_seconds, settle_seconds and tolerance are 0 or more")


class Scaler:
    """Applies a rule, look after look; counts what was there to be paid for."""

    def __init__(self, rule: Autoscale) -> None:
        self.rule = rule
        self.ready = rule.least
        self.coming: deque[float] = deque()
        """When replicas that were started are ready."""
        self.replica_seconds = 0.0
        self.most = rule.least
        self.counted_to = 0.0
        self._look_at = 0.0
        self._asked: deque[tuple[float, int]] = deque()

    @property
    def due(self) -> float:
        """When it is to look again, or a replica is ready, whichever comes first."""
        return min(self._look_at, self.coming[0]) if self.coming else self._look_at

    def look(self, moment: float, waiting: int, served: int) -> int:
        """
        Decide at a moment; how many of the ready replicas are to go.

        Those that are still starting go first, unpaid for from then on.
        """
        self.count_to(moment)
        self._look_at = moment + self.rule.look_seconds
        there = self.ready + len(self.coming)
        now = self._wanted(waiting, served, there)
        wanted = min(max(there, now), self._highest_lately(moment, now))
        if wanted > there:
            wanted = min(wanted, there + max(self.rule.step, there))
            self.coming.extend([moment + self.rule.start_seconds] * (wanted - there))
        self.most = max(self.most, self.ready + len(self.coming))
        too_many = max(there - wanted, 0)
        while too_many and self.coming:
            self.coming.pop()
            too_many -= 1
        self.ready -= too_many
        return too_many

    def arrived(self, moment: float) -> None:
        """A replica that was started is ready."""
        self.count_to(moment)
        self.coming.popleft()
        self.ready += 1

    def count_to(self, moment: float) -> None:
        """Count what is there until a moment."""
        self.replica_seconds += (self.ready + len(self.coming)) * (moment - self.counted_to)
        self.counted_to = moment

    def _wanted(self, waiting: int, served: int, there: int) -> int:
        total = waiting if self.rule.waiting_only else waiting + served
        if abs(total / (self.rule.target * there) - 1) <= self.rule.tolerance:
            return there
        needed = math.ceil(total / self.rule.target)
        return min(max(needed, self.rule.least), self.rule.most)

    def _highest_lately(self, moment: float, wanted: int) -> int:
        """The highest that was asked for lately, so that a lull ends nothing at once."""
        while self._asked and self._asked[0][0] < moment - self.rule.settle_seconds:
            self._asked.popleft()
        while self._asked and self._asked[-1][1] <= wanted:
            self._asked.pop()
        self._asked.append((moment, wanted))
        return self._asked[0][1]
