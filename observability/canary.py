"""
The canary's ear: is what the service says today what it said when it was last found good?

The golden recording and what was asked for it are kept in a folder. Speakers who give the same
samples each time are compared sample by sample; the others by duration, loudness, longest silence,
spectrum and intelligibility.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from observability.audio_check import check_signal
from observability.audio_distance import distance

Samples = NDArray[np.int16]

EXACT_SPEAKERS: Final = frozenset({("espeak", "espeak-adam")})
"""
Speakers who give the same samples whatever was said before, or something has changed.

espeak's other voices carry the state of their oscillators from one sentence into the next: the
samples differ a little each time, and nobody hears it. Measured over 60 mixed requests.
"""

DRIFTS: Final = (
    "samples", "sample_rate", "duration", "loudness", "silence", "spectrum", "intelligibility",
)  # fmt: skip
"""What can have drifted."""

NAME: Final = re.compile("[a-z0-9_]{1,40}")
"""What a canary may be called: it becomes a file's name and a metric's label."""


class NoGolden(Exception):
    """There is nothing to compare with, and this is why; one sentence in each language."""

    status = "failed"
    code = "canary_no_golden"

    def __init__(self, *, en: str, zh: str) -> None:
        super().__init__(en)
        self.en = en
        self.zh = zh


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What the canary asks; another question has another answer, and needs a golden of its own."""

    engine: str
    speaker: str
    text: str
    emotion: str = "neutral"
    seed: int | None = None

    @property
    def exact(self) -> bool:
        """Whether the same samples are expected again."""
        return (self.engine, self.speaker) in EXACT_SPEAKERS

    @property
    def name(self) -> str:
        """A name for its files that is the same for the same engine and speaker."""
        return re.sub(r"[^\w.-]+", "_", f"{self.engine}-{self.speaker}")[:80]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How far an answer may be from its golden where the same samples are not expected."""

    duration_share: float = 0.15
    loudness_db: float = 3.0
    silence_seconds: float = 0.5
    mel_cepstral_db: float = 6.0
    stoi: float = 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """
    An answer beside its golden; `drifts` names what is beyond its limit, none means none is.

    Args:
        exact: whether every sample is the same; None where that is not expected.
        duration_ratio: length over the golden's.
        loudness_change_db: loudness (RMS) minus the golden's.
        silence_change_seconds: longest silence minus the golden's.
        mel_cepstral_db: see `audio_distance.Distance`; None where one of the two has no sound.
        stoi: the same.
    """

    exact: bool | None
    duration_ratio: float
    loudness_change_db: float
    silence_change_seconds: float
    mel_cepstral_db: float | None
    stoi: float | None
    drifts: tuple[str, ...]


def learn(folder: Path, question: Question, samples: Samples, rate: int) -> Path:
    """
    Keep an answer as the golden one; says where. What was kept for the speaker is replaced.

    Raises:
        NoGolden: it cannot be written there.
    """
    path = folder / f"{question.name}.wav"
    partial = path.with_suffix(".partial")
    asked = json.dumps(asdict(question), ensure_ascii=False, indent=2)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(partial, samples, rate, subtype="PCM_16", format="WAV")
        os.replace(partial, path)
        path.with_suffix(".json").write_text(f"{asked}\n", "utf-8")
    except (OSError, soundfile.SoundFileError):
        raise NoGolden(
            en=f"The golden audio cannot be written to {folder}. Give the canary's user the right "
            "to write there and room on its disk, or name another folder with --golden.",
            zh=f"基准音频无法写入 {folder}。请给巡检所用的用户写权限并确认磁盘有空间，"
            "或用 --golden 指定其他目录。",
        ) from None
    return path


def golden(folder: Path, question: Question) -> tuple[Samples, int]:
    """
    The golden samples of a question and their rate.

    Raises:
        NoGolden: none was learned, another question was asked for it, or it cannot be read.
    """
    path = folder / f"{question.name}.wav"
    try:
        asked = json.loads(path.with_suffix(".json").read_text("utf-8"))
        samples, rate = soundfile.read(path, dtype="int16")
    except FileNotFoundError:
        raise NoGolden(
            en=f"No golden audio of {question.engine} / {question.speaker} is kept in {folder}. "
            "Listen to an answer, then run with --learn.",
            zh=f"{folder} 中没有 {question.engine} / {question.speaker} 的基准音频。"
            "请先试听确认，再加 --learn 运行。",
        ) from None
    except (OSError, ValueError, soundfile.SoundFileError):
        raise NoGolden(
            en=f"The golden audio {path} cannot be read. Learn it anew with --learn.",
            zh=f"基准音频 {path} 无法读取，请用 --learn 重新记录。",
        ) from None
    if asked != asdict(question):
        raise NoGolden(
            en=f"The golden audio {path} was learned from another sentence or other settings. "
            "Learn it anew with --learn.",
            zh=f"基准音频 {path} 来自其他句子或参数，请用 --learn 重新记录。",
        )
    return samples, rate


def compared(
    samples: Samples,
    rate: int,
    reference: Samples,
    reference_rate: int,
    *,
    exact: bool,
    limits: Limits | None = None,
) -> Comparison:
    """An answer beside its golden, by samples where `exact`, else by what an ear would notice."""
    limits = limits or Limits()
    heard, expected = check_signal(samples, rate), check_signal(reference, reference_rate)
    try:
        apart = distance(reference, samples, reference_rate, rate)
        mel_cepstral_db: float | None = round(apart.mel_cepstral_db, 3)
        stoi = None if apart.stoi is None else round(apart.stoi, 4)
    except ValueError:
        mel_cepstral_db = stoi = None
    comparison = Comparison(
        exact=bool(rate == reference_rate and np.array_equal(samples, reference))
        if exact
        else None,
        duration_ratio=round(heard.audio_seconds / max(expected.audio_seconds, 1e-9), 4),
        loudness_change_db=round(heard.rms_dbfs - expected.rms_dbfs, 2) + 0.0,
        silence_change_seconds=round(
            heard.longest_silence_seconds - expected.longest_silence_seconds, 3
        ),
        mel_cepstral_db=mel_cepstral_db,
        stoi=stoi,
        drifts=(),
    )
    drifts = tuple(_drifts(comparison, rate == reference_rate, limits))
    return Comparison(**{**asdict(comparison), "drifts": drifts})


def _drifts(found: Comparison, same_rate: bool, limits: Limits) -> Iterator[str]:
    if not same_rate:
        yield "sample_rate"
    if found.exact is not None:
        if not found.exact:
            yield "samples"
        return
    if abs(found.duration_ratio - 1) > limits.duration_share:
        yield "duration"
    if abs(found.loudness_change_db) > limits.loudness_db:
        yield "loudness"
    if found.silence_change_seconds > limits.silence_seconds:
        yield "silence"
    if found.mel_cepstral_db is None or found.mel_cepstral_db > limits.mel_cepstral_db:
        yield "spectrum"
    # A sentence too short for one segment of STOI has no figure, and no drift by it.
    if found.mel_cepstral_db is not None and found.stoi is not None and found.stoi < limits.stoi:
        yield "intelligibility"


def write_metrics(
    folder: Path, name: str, *, at: float, seconds: float, answered: bool, found: Comparison | None
) -> Path:
    """
    Write what node_exporter's textfile collector reads; the file appears whole or not at all.

    Args:
        folder: the collector's folder.
        name: of this canary, the label of all its series.
        at: when it asked, in seconds since 1970.
        seconds: from the question to the answer, or to its failing.
        answered: whether audio came.
        found: the comparison; None where no audio came, or there was nothing to compare it with.
    """
    registry = CollectorRegistry()

    def gauge(figure: str, text: str, value: float | None) -> None:
        if value is not None:
            one = Gauge(f"indextts_canary_{figure}", text, ("canary",), registry=registry)
            one.labels(name).set(value)

    gauge("up", "Whether the last question was answered with audio.", float(answered))
    gauge("last_run_timestamp_seconds", "When the canary last asked.", at)
    gauge("duration_seconds", "From the question to the answer.", seconds)
    if found:
        gauge("drift", "Whether the answer is not what it was.", float(bool(found.drifts)))
        gauge("audio_ratio", "Length of the audio over the golden's.", found.duration_ratio)
        gauge("loudness_change_decibels", "Loudness minus the golden's.", found.loudness_change_db)
        gauge(
            "silence_change_seconds",
            "Longest silence minus the golden's.",
            found.silence_change_seconds,
        )
        gauge("mel_cepstral_distance_decibels", "Distance to the golden.", found.mel_cepstral_db)
        gauge("stoi", "Intelligibility beside the golden, at most 1.", found.stoi)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"indextts_canary_{name}.prom"
    write_to_textfile(str(path), registry)
    return path
