"""
What to do about a worker's memory, one step at a time, from what it reported lately.

    empty_cache     the device's allocator keeps more than it uses
    drop_speakers   the worker holds more than it may
    recycle         it still does, or it grows with each request, or it has served its number
    unload          nobody has asked for anything for a while

Pure: reports in, a step out; the pool takes it. The first two only cost the next request some
time and are always taken. The others end a process: they are taken where the operator said so
(`INDEXTTS_SELF_HEAL=act`), and otherwise only proposed in the log.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Literal

from indextts_app.engines.base import Memory

Step = Literal["empty_cache", "drop_speakers", "recycle", "unload"]
Reason = Literal["unused", "memory", "growth", "requests", "idle"]

WINDOW = 40
"""Reports that are kept of a worker: its growth is that over so many requests."""

ENOUGH = 20
"""With fewer reports than this nothing is said about growth."""

WARM_UP = 5
"""After so many reports a start is over: before, kernels, pools and buffers are still made."""

SERVED_AT_LEAST = 10
"""A worker serves so many requests before its memory costs it its place: with a limit below what
every request needs, the model would else be loaded anew for each."""


@dataclass(frozen=True, slots=True)
class Need:
    """A step that something speaks for."""

    step: Step
    reason: Reason


@dataclass(frozen=True, slots=True)
class Ladder:
    """The operator's limits, in MB where not said otherwise; 0 means no limit."""

    empty_cache_mb: float = 0.0
    """Unused memory on the device."""
    worker_memory_mb: float = 0.0
    """Memory of the process, or on the device: whichever is larger."""
    memory_slope_mb: float = 0.0
    """Growth a request."""
    recycle_requests: int = 0
    idle_unload_seconds: float = 0.0
    acts: bool = False
    """Whether processes are ended, or it is only proposed."""

    def needs(self, history: Sequence[Memory], *, served: int) -> tuple[Need, ...]:
        """
        Every step that something speaks for now, lowest rung first.

        Args:
            history: the reports of one worker, oldest first, without those of its warm-up.
            served: requests that it has worked on.
        """
        if not history:
            return ()
        latest, needs = history[-1], []
        if 0 < self.empty_cache_mb < _unused_mb(latest):
            needs.append(Need("empty_cache", "unused"))
        too_much = 0 < self.worker_memory_mb < held_mb(latest)
        if too_much:
            needs.append(Need("drop_speakers", "memory"))
        if too_much and served >= SERVED_AT_LEAST:
            needs.append(Need("recycle", "memory"))
        elif 0 < self.memory_slope_mb < lasting_growth_mb(history):
            needs.append(Need("recycle", "growth"))
        elif 0 < self.recycle_requests <= served:
            needs.append(Need("recycle", "requests"))
        return tuple(needs)

    def unloads_after(self, idle_seconds: float) -> bool:
        """Whether a worker that was idle for so long is not kept."""
        return 0 < self.idle_unload_seconds <= idle_seconds


class History:
    """The recent reports of one worker, oldest first; of its warm-up only the latest."""

    def __init__(self) -> None:
        self._reports: deque[Memory] = deque(maxlen=WINDOW)
        self._count = 0

    def add(self, report: Memory) -> None:
        """Keep what the worker reported after a request."""
        self._count += 1
        if self._count <= WARM_UP + 1:
            self._reports.clear()
        self._reports.append(report)

    def correct(self, report: Memory) -> None:
        """Replace the latest report by that after a step, which is no request."""
        self._reports[-1] = report

    @property
    def reports(self) -> tuple[Memory, ...]:
        """Oldest first."""
        return tuple(self._reports)

    @property
    def latest(self) -> Memory | None:
        """None before the first report."""
        return self._reports[-1] if self._reports else None


def next_need(needs: Sequence[Need], tried: AbstractSet[Step]) -> Need | None:
    """The lowest rung that was not tried yet in this trouble."""
    return next((need for need in needs if need.step not in tried), None)


def held_mb(memory: Memory) -> float:
    """The larger of what the process holds and what it holds on the device."""
    return max(memory.worker_mb, memory.reserved_mb or 0.0)


def growth_mb(history: Sequence[Memory]) -> float | None:
    """
    Growth a request: the least-squares slope of what is in use; None with too few reports.

    Without the speakers, which have a budget of their own: a cache that fills is no leak.
    """
    return _slope(_in_use(history)) if len(history) >= ENOUGH else None


def lasting_growth_mb(history: Sequence[Memory]) -> float:
    """
    The least growth of the whole time and of each half of it; 0 with too few reports.

    One large request that leaves a larger pool behind is a step, and is in one half only; what
    leaks goes on in both.
    """
    if len(history) < ENOUGH:
        return 0.0
    figures = _in_use(history)
    middle = len(figures) // 2
    return min(map(_slope, (figures, figures[:middle], figures[middle:])))


def _in_use(history: Sequence[Memory]) -> list[float]:
    return [
        memory.worker_mb
        if memory.allocated_mb is None
        else memory.allocated_mb - memory.speakers_mb
        for memory in history
    ]


def _unused_mb(memory: Memory) -> float:
    if memory.reserved_mb is None or memory.allocated_mb is None:
        return 0.0
    return memory.reserved_mb - memory.allocated_mb


def _slope(figures: Sequence[float]) -> float:
    middle = (len(figures) - 1) / 2
    mean = sum(figures) / len(figures)
    rises = sum((at - middle) * (figure - mean) for at, figure in enumerate(figures))
    return rises / sum((at - middle) ** 2 for at in range(len(figures)))
