"""What the tests of `indextts2` share: recordings, tasks, and workers that are listened to."""

from __future__ import annotations

import math
import struct
import wave
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from indextts_app.engines.base import Capabilities, Samples, Task
from indextts_app.workers.listener import Silence
from indextts_app.workers.worker import EngineSpec, Worker

TEXT = "你好世界。Hello world, this is a test! 这是第二句。"
LONG = TEXT * 3


def recording(folder: Path, hertz: float = 220.0, seconds: float = 1.0) -> str:
    """A tone of this pitch, as the service stores recordings."""
    rate = 24_000
    path = folder / f"{hertz:g}hz-{seconds:g}s.wav"
    values = [
        round(8_000 * math.sin(2 * math.pi * hertz * index / rate))
        for index in range(round(rate * seconds))
    ]
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(struct.pack(f"<{len(values)}h", *values))
    return str(path)


@dataclass
class Spoken(Silence):
    """What came of a task, and what was heard on the way, in its order."""

    events: list[Any] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    samples: Samples = field(default_factory=lambda: np.zeros(0, np.int16))
    sample_rate: int = 0
    text: str | None = None

    def stage(self, name: str) -> None:
        """Kept."""
        self.events.append(name)

    def segment(self, number: int, count: int) -> None:
        """Kept."""
        self.events.append((number, count))

    def audio(self, samples: Samples, sample_rate: int) -> None:
        """Kept as one word, however much it is."""
        if self.events[-1:] != ["audio"]:
            self.events.append("audio")

    def measured(self, stages: Mapping[str, float], notes: Mapping[str, Any]) -> None:
        """Kept."""
        self.stages.update(stages)
        self.notes.update(notes)


@dataclass(frozen=True)
class Speaking:
    """A worker with a loaded engine."""

    worker: Worker
    can: Capabilities
    voice: str
    other_voice: str

    def task(self, text: str = TEXT, **changes: Any) -> Task:
        """A task with the first voice and the seed 1."""
        fields = {
            "request_id": "1",
            "text": text,
            "speaker": "reference",
            "emotion": "neutral",
            "speed": 1.0,
            "reference": self.voice,
            "seed": 1,
            **changes,
        }
        return Task(**fields)

    async def speak(self, text: str = TEXT, **changes: Any) -> Spoken:
        """What the worker makes of a task."""
        return await self.work(self.task(text, **changes))

    async def work(self, task: Task, spoken: Spoken | None = None) -> Spoken:
        """What the worker makes of this task."""
        spoken = spoken or Spoken()
        delivery = await self.worker.work(task, spoken)
        spoken.samples = delivery.samples
        spoken.sample_rate = delivery.sample_rate
        spoken.text = delivery.spoken_text
        return spoken


@asynccontextmanager
async def speaking(
    python: Path, weights: Path, folder: Path, version: str = "2", **options: Any
) -> AsyncIterator[Speaking]:
    """A worker of this interpreter, ended afterwards."""
    spec = EngineSpec(
        "indextts2",
        {"model_dir": str(weights), "model_version": version, "device": "cpu", **options},
        python,
        settle_seconds=5,
    )
    worker = Worker(0, spec)
    try:
        can = await worker.start()
        yield Speaking(worker, can, recording(folder), recording(folder, 330.0))
    finally:
        await worker.end("test")
