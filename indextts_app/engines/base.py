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
from typing import Literal, Protocol, runtime_checkable

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

EMOTION_MODES = ("speaker", "preset", "reference", "vector", "text")
"""As the speaker; one of `EMOTIONS` by name; from a second recording; eight weights; described."""

Reference = Literal["none", "pitch_and_pace", "voice"]
"""What a reference recording can change: nothing, pitch and pace only, or the voice itself."""


REMOTE_FAULTS = (
    "remote_unreachable",
    "remote_timeout",
    "remote_busy",
    "remote_refused",
    "remote_error",
    "remote_bad_audio",
)
"""
No connection, or one that broke; no whole answer in time; come back later; the request or its key
was refused; a fault of the server; an answer that claims to be audio and is none, or not whole.
"""


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


class FieldUnusable(Exception):
    """The engine cannot do what one field asks; `reason` says why, and what would fit."""

    def __init__(self, field: str, reason: Translated) -> None:
        super().__init__(reason.en)
        self.field = field
        self.reason = reason


class ReferenceUnusable(Exception):
    """The reference recording has nothing that this engine can use; `reason` says why."""

    def __init__(self, reason: Translated) -> None:
        super().__init__(reason.en)
        self.reason = reason


class RemoteFailed(Exception):
    """
    The server that an engine asks did not deliver; `reason` says why, in words safe to show.

    `code` is one of `REMOTE_FAULTS`; `retry_after_seconds` is what the server itself asked for.
    """

    def __init__(
        self, code: str, reason: Translated, *, retry_after_seconds: int | None = None
    ) -> None:
        super().__init__(reason.en)
        self.code = code
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True, slots=True)
class Speaker:
    """A voice that can be asked for by `id`."""

    id: str
    name: Translated


Value = float | int | bool | str
"""What a control may be set to."""


@dataclass(frozen=True, slots=True)
class Control:
    """A knob of an engine beyond the fields that all have; `default` stands where none is sent."""

    name: str
    label: Translated
    kind: Literal["number", "integer", "switch", "choice"]
    default: Value
    lowest: float = 0.0
    highest: float = 0.0
    step: float = 0.0
    choices: tuple[str, ...] = ()
    group: Literal["emotion", "delivery", "generation"] = "generation"
    info: Translated | None = None


@dataclass(frozen=True, slots=True)
class Features:
    """What may be asked of an engine, known before it is loaded: the page is built from it."""

    reference: Reference = "none"
    emotion_modes: tuple[str, ...] = ("speaker", "preset")
    controls: tuple[Control, ...] = ()
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    """Controls that another version of the engine has, and the name of that version."""
    speed: bool = True
    """Whether `speed` may be anything but 1."""
    seed: bool = False
    """Whether the same seed gives the same audio."""
    repeats: bool = True
    """
    Whether the same request gives as good as the same audio, with its seed where it has one, so
    that what was made once may be served again.
    """
    glossary: bool = False
    """Whether terms can be given readings."""
    segments: bool = False
    """Whether it cuts a text into segments and can show them beforehand (see `Previewing`)."""
    streams: bool = False
    """Whether it hands over audio before all of it is made."""
    text_hint: Translated | None = None
    """How a pronunciation is written into the text."""


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
    self_test_text: str
    """A short sentence that must come out as sound before the worker counts as ready."""
    features: Features = field(default_factory=Features)
    notes: Mapping[str, Translated] = field(default_factory=dict)
    """What `speaker`, `emotion` and `reference` really mean here, for the page."""

    @property
    def reference(self) -> Reference:
        """What a reference recording can change."""
        return self.features.reference


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
    """Path of a 24 kHz mono WAV of at most 15 s, named by the hash of its content; where the
    engine's reference is the voice, that of the speaker."""
    emotion_mode: str = "speaker"
    """One of `EMOTION_MODES`; the fields that it does not need are None."""
    emotion_weight: float = 1.0
    """How much of the emotion to mix in, 0 to 1."""
    emotion_vector: tuple[float, ...] | None = None
    """Eight weights from 0 to 1, in the order of `EMOTIONS` without neutral."""
    emotion_text: str | None = None
    """A description of the emotion; None in mode `text` means the text itself."""
    emotion_reference: str | None = None
    """Path of a second recording, as `reference`."""
    seed: int | None = None
    controls: Mapping[str, Value] = field(default_factory=dict)
    """A value for each of the engine's controls, validated."""
    glossary: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Term to its readings by language: {"API": {"zh": "接口", "en": "A P I"}}."""
    traceparent: str | None = None
    """W3C header for whoever the engine asks on the request's behalf; None without a trace."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of text that the engine speaks in one go."""

    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Memory:
    """What a worker holds, in MB; on a device without memory of its own only `worker_mb`."""

    worker_mb: float
    allocated_mb: float | None = None
    reserved_mb: float | None = None
    speakers_mb: float = 0.0
    """Held for speakers that may be asked for again."""


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

    def entered(self, name: str) -> None:
        """Show a stage as the current one; its time is told with `spent`."""

    def segment(self, number: int, count: int) -> None:
        """
        Say that segment `number` (from 1) of `count` is being made.

        All audio handed over before is sent on at once, so that who listens has the segments
        before it.
        """

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
        """
        Turn `job.task` into sound through `job.audio`.

        Raises:
            FieldUnusable, ReferenceUnusable: the task cannot be done as it is.
            RemoteFailed: a server that the engine asks did not deliver.
            Cancelled, OutOfMemory: what they say.
        """


@runtime_checkable
class Previewing(Protocol):
    """An engine that can tell beforehand how it will cut a text; `features.segments` says so."""

    def preview(self, task: Task) -> tuple[Segment, ...]:
        """The segments of `task.text`; may be called while another task is worked on."""


@runtime_checkable
class Relievable(Protocol):
    """An engine that holds memory which it can give back between two tasks."""

    def memory(self) -> Memory:
        """What it holds now."""

    def empty_cache(self) -> None:
        """Give back what the device's allocator keeps for later."""

    def drop_speakers(self) -> None:
        """Forget every encoded speaker; the next request encodes its own again."""
