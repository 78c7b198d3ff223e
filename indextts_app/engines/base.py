"""
What an engine is: it says once what it can do, then turns one task at a time into sound.

Engines run in a worker process that may have another interpreter than the service, so this
package imports numpy and the standard library only; an engine's own library is imported inside
its `load`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int16]

EMOTIONS = (
    "neutral",
    "happy",
    "angry",
    "sad",
    "afraid",
    "disgusted",
    "melancholic",
    "surprised",
    "calm",
)
"""Neutral (as the speaker's reference), then IndexTTS-2's eight in its own order."""

Reference = Literal["none", "pitch_and_pace", "voice"]
"""What a reference recording can change: nothing, pitch and pace only, or the voice itself."""


class Cancelled(Exception):
    """The request was given up while the engine worked on it."""


class OutOfMemory(Exception):
    """The device has no memory left for this request."""


class EngineUnfit(Exception):
    """The engine must not serve: it is not installed, or failed its own check. Says why."""


@dataclass(frozen=True, slots=True)
class Translated:
    """One sentence of the page in its two languages."""

    en: str
    zh: str


class ReferenceUnusable(Exception):
    """The reference recording has nothing that this engine can use; `reason` says why."""

    def __init__(self, reason: Translated) -> None:
        super().__init__(reason.en)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Speaker:
    """A voice that can be asked for by `id`."""

    id: str
    name: Translated


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can do, said once when it is loaded; page, API and checks follow it."""

    engine: str
    engine_version: str
    model_version: str
    device: str
    sample_rate: int
    speakers: tuple[Speaker, ...]
    emotions: tuple[str, ...]
    scripts: tuple[str, ...]
    """First words of the Unicode names of the letters it can read (CJK, LATIN …); () = any."""
    stages: tuple[str, ...]
    """The stages it times; what it computes as one is named as one (`acoustic_vocoder`)."""
    reference: Reference
    self_test_text: str
    """A short sentence that must come out as sound before the worker counts as ready."""
    notes: Mapping[str, Translated] = field(default_factory=dict)
    """What `speaker`, `emotion` and `reference` really mean here, for the page."""


@dataclass(frozen=True, slots=True)
class Task:
    """One validated request, as the engine sees it."""

    request_id: str
    text: str
    speaker: str
    emotion: str
    speed: float
    """Pace, 1.0 = the speaker's own."""
    reference: str | None = None
    """Path of a 24 kHz mono WAV of at most 15 s, made by the service."""


class Job(Protocol):
    """One task being worked on: the engine reads the task and reports through the rest."""

    task: Task

    @property
    def cancelled(self) -> bool:
        """Whether the request was given up; engines ask as often as they can."""

    def check_cancelled(self) -> None:
        """Raise `Cancelled` if the request was given up."""

    def stage(self, name: str) -> AbstractContextManager[None]:
        """Time the block as (part of) a stage and show it as the current one."""

    def spent(self, name: str, seconds: float) -> None:
        """Add measured time to a stage whose parts alternate with another's."""

    def note(self, **fields: float | str) -> None:
        """Put fields of the canonical event (see `observability.events`) on this request."""

    def spoken(self, text: str) -> None:
        """Tell the user how the text was read; it goes to the answer, never to the log."""

    def audio(self, samples: Samples) -> None:
        """Hand over the next mono samples at the engine's sample rate."""

    def sample_rate(self, hertz: int) -> None:
        """Say that this audio has another rate than the engine's, before it is handed over."""


class Engine(Protocol):
    """The contract of every engine; one instance lives in one worker, called by one thread."""

    def load(self) -> Capabilities:
        """Get ready to serve, or raise `EngineUnfit` with the reason."""

    def synthesize(self, job: Job) -> None:
        """Turn `job.task` into sound through `job.audio`; raises `Cancelled`, `OutOfMemory`."""
