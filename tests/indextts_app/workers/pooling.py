"""What the tests of the pool share: a fast drill, a task for it, and ears to listen with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import psutil

from indextts_app.engines.base import Task
from indextts_app.workers.listener import Silence
from indextts_app.workers.worker import EngineSpec

DRILL = EngineSpec(
    "drill", {"seconds": 0.005, "slow_seconds": 0.3}, start_seconds=10, settle_seconds=0.1
)
SLOWER = replace(DRILL, options={"seconds": 0.005, "slow_seconds": 60.0})


@dataclass
class Ear(Silence):
    """Remembers what it hears."""

    positions: list[int] = field(default_factory=list)
    workers: list[str] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    measures: dict[str, float] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    segments: list[tuple[int, int]] = field(default_factory=list)

    def waiting(self, ahead: int) -> None:
        self.positions.append(ahead)

    def taken(self, worker: str) -> None:
        self.workers.append(worker)

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def measured(self, stages: Mapping[str, float], notes: Mapping[str, Any]) -> None:
        self.measures.update(stages)
        self.notes.update(notes)

    def segment(self, number: int, count: int) -> None:
        self.segments.append((number, count))


def task(speaker: str = "steady", *, text: str = "hello", name: str = "1") -> Task:
    return Task(request_id=name, text=text, speaker=speaker, emotion="neutral", speed=1.0)


def is_gone(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
