"""
The judgement of an output by its samples: silent, clipped, truncated, or ok.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import groupby
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

SignalVerdict = Literal["ok", "silent", "clipped", "truncated"]

FLOOR_DBFS: Final = -120.0
"""
The level of digital silence: below the 16-bit step (-90.3 dBFS), and a number, unlike -inf.
"""

_FULL_SCALE: Final = 32_768.0


@dataclass(frozen=True, slots=True)
class Thresholds:
    """
    Where the verdicts begin; the defaults accept whatever a healthy engine was seen to make.

    Levels are dBFS with 0 for a square wave at full scale. Speech of the engines lies near
    -19 dBFS RMS, its pauses below -60 and the noise of a quiet recording near -60.
    """

    silent_rms_dbfs: float = -60.0
    """Below it nothing is heard at any ordinary volume."""

    silent_frame_dbfs: float = -50.0
    """A frame below it is silence: 30 dB under speech, yet above the noise of a recording."""

    silent_frame_seconds: float = 0.010
    """Shorter than any pause that is heard, and long enough to hold a period of a low voice."""

    silent_ratio: float = 0.95
    """With more silence, a click or one stray syllable is all there is."""

    full_scale: int = 32_767
    """The engines limit to ±32767; -32768 counts as well."""

    clipped_run: int = 3
    """One or two samples may touch full scale by chance; a flat top is three and more."""

    clipped_ratio: float = 0.001
    """Share of samples in flat tops from which clipping is heard as distortion."""

    syllables_per_second: float = 12.0
    """Half as fast again as the fastest speakers, about 8 a second in any language."""


DEFAULT_THRESHOLDS: Final = Thresholds()


@dataclass(frozen=True, slots=True)
class SignalReport:
    """
    What the samples are: verdict, levels in dBFS (never below -120), ratios from 0 to 1, seconds.
    """

    audio_verdict: SignalVerdict
    rms_dbfs: float
    peak_dbfs: float
    clipped_ratio: float
    silence_ratio: float
    longest_silence_seconds: float
    audio_seconds: float


def check_signal(
    samples: NDArray[np.int16],
    sample_rate: int,
    *,
    text: str = "",
    speed: float = 1.0,
    length_limited: bool = False,
    thresholds: Thresholds = DEFAULT_THRESHOLDS,
) -> SignalReport:
    """
    Return what the samples are and the first verdict that applies: silent, clipped, truncated, ok.

    silent: no samples, RMS below -60 dBFS, or 95 % of the 10 ms frames below -50 dBFS. clipped:
    more than 0.1 % of the samples stand in runs of three or more at full scale. truncated: shorter
    than the text can be spoken at this speed, which nothing is without a text, or `length_limited`.
    The `longest_silence` may lie at either end. Ten seconds take about 0.1 ms, and 0.5 ms where
    much of it is clipped.

    Args:
        samples: one channel, shape (n,), int16.
        sample_rate: samples per second.
        text: what was to be spoken.
        speed: 1.0 is the engine's own, 2.0 twice as fast.
        length_limited: the engine says that it stopped before the end of the text.

    Raises:
        ValueError: samples of another shape or type, or a rate or speed that is not positive.
    """
    if samples.ndim != 1 or samples.dtype != np.int16:
        raise ValueError(f"samples must be int16 of shape (n,), not {samples.dtype}{samples.shape}")
    if sample_rate <= 0:
        raise ValueError(f"sample_rate must be positive, not {sample_rate}")

    seconds = samples.size / sample_rate
    width = max(1, round(thresholds.silent_frame_seconds * sample_rate))
    energies, sizes = _frame_energies(samples, width)
    rms = math.sqrt(float(energies.sum()) / samples.size) if samples.size else 0.0
    peak = max(int(samples.max()), -int(samples.min())) if samples.size else 0

    quiet = (_FULL_SCALE * 10 ** (thresholds.silent_frame_dbfs / 20)) ** 2
    silent = energies < quiet * sizes
    silence_ratio = float(silent.mean()) if silent.size else 1.0
    longest = min(_longest_run(silent) * width / sample_rate, seconds)
    clipped_ratio = _clipped_ratio(samples, thresholds) if peak >= thresholds.full_scale else 0.0

    rms_dbfs = _dbfs(rms)
    verdict: SignalVerdict = "ok"
    if rms_dbfs < thresholds.silent_rms_dbfs or silence_ratio >= thresholds.silent_ratio:
        verdict = "silent"
    elif clipped_ratio > thresholds.clipped_ratio:
        verdict = "clipped"
    elif length_limited or seconds < shortest_plausible_seconds(text, speed, thresholds=thresholds):
        verdict = "truncated"
    return SignalReport(
        audio_verdict=verdict,
        rms_dbfs=rms_dbfs,
        peak_dbfs=_dbfs(peak),
        clipped_ratio=clipped_ratio,
        silence_ratio=silence_ratio,
        longest_silence_seconds=longest,
        audio_seconds=seconds,
    )


_ANNOTATED: Final = re.compile(r"<([^|>\n]+)\|[^>\n]+>")
_PINYIN: Final = re.compile(
    r"([\u4e00-\u9fff]|(?<![A-Za-z]))"
    r"(?:[zcs]h|[bpmfdtnlgkhjqxzcsryw])?[aeiouüv]{1,3}(?:ng|n|r)?[1-5](?![0-9])",
    re.IGNORECASE,
)
_REPEATED: Final = re.compile(r"(.)\1+", re.DOTALL)
_HAN: Final = re.compile("[\u4e00-\u9fff]")
_WORD: Final = re.compile("[A-Za-z0-9]+")
_LETTERS_PER_SYLLABLE: Final = 4


def shortest_plausible_seconds(
    text: str, speed: float = 1.0, *, thresholds: Thresholds = DEFAULT_THRESHOLDS
) -> float:
    """
    Return a time in which nobody can have spoken the whole text; a bound, not an estimate.

    A Chinese character is one syllable, four Latin letters or digits are one; everything else may
    be silent, and so may repetitions of a character or word, which engines run together (1000000 is
    一百万, and espeak says aaaaaa as one). A written pronunciation counts as little as it may take:
    <行|HANG2> and 行HANG2 are one syllable, and so is HANG2 in place of a character. At 12
    syllables a second, times the speed; espeak at up to 410 words a minute takes at least 1.5 times
    as long over prose, numbers and symbols.

    Raises:
        ValueError: the speed is not positive.
    """
    if not speed > 0:
        raise ValueError(f"speed must be positive, not {speed}")
    read = _PINYIN.sub(lambda found: found[1] or "字", _ANNOTATED.sub(r"\1", text))
    spoken = _REPEATED.sub(r"\1", read)
    letters = sum(len(word) for word, _ in groupby(_WORD.findall(spoken)))
    syllables = len(_HAN.findall(spoken)) + letters / _LETTERS_PER_SYLLABLE
    return syllables / (thresholds.syllables_per_second * speed)


def _frame_energies(
    samples: NDArray[np.int16], width: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """
    Return the sum of squares of each frame, the last one shorter, and how many samples each has.
    """
    whole = samples.size - samples.size % width
    # float32 is right to one part in a million here, and twice as fast as float64.
    squared = samples.astype(np.float32)
    frames = squared[:whole].reshape(-1, width)
    energies = np.einsum("ij,ij->i", frames, frames)
    sizes = np.full(energies.size, width, dtype=np.float32)
    if rest := samples.size - whole:
        energies = np.append(energies, np.dot(squared[whole:], squared[whole:]))
        sizes = np.append(sizes, np.float32(rest))
    return energies, sizes


def _longest_run(flags: NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(np.diff(flags, prepend=False, append=False))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def _clipped_ratio(samples: NDArray[np.int16], thresholds: Thresholds) -> float:
    flat = (samples >= thresholds.full_scale) | (samples <= -thresholds.full_scale)
    edges = np.flatnonzero(np.diff(flat, prepend=False, append=False))
    runs = edges[1::2] - edges[::2]
    return float(runs[runs >= thresholds.clipped_run].sum() / samples.size)


def _dbfs(amplitude: float) -> float:
    return max(20 * math.log10(amplitude / _FULL_SCALE), FLOOR_DBFS) if amplitude else FLOOR_DBFS
