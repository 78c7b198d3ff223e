"""
What a formant engine can take from a reference recording: how high the voice is, how fast it talks.

Numpy only. Nothing here knows the timbre; that needs a model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Signal = NDArray[np.float64]

LOWEST_HZ, HIGHEST_HZ = 50.0, 500.0
"""Speaking voices, from a low man's to a child's."""

_FRAME_SECONDS = 0.060
_HOP_SECONDS = 0.010
_LOUD_DB = 25.0
"""Below the loudest frame by more than this, a frame is a pause."""
_PERIODIC = 0.5
"""Autocorrelation from which a frame is voiced (Praat's default is 0.45)."""
_OCTAVE_COST = 0.03
"""Per octave, in favour of the shorter of two equally good periods."""
_VOICED_FRAMES = 10
"""Fewer are a click, not a voice: 0.2 s, as every second frame is looked at."""
_DIP_DB = 2.0
"""Two peaks of the envelope with no such dip between them are one syllable."""

_SMOOTHING = np.hanning(7) / np.hanning(7).sum()
"""Over 70 ms of levels, less than a short syllable."""


@dataclass(frozen=True, slots=True)
class Prosody:
    """What was measured; None where the recording has too little of it."""

    f0_hz: float | None
    """Median of the fundamental frequency over the voiced frames."""
    syllables_per_second: float | None
    """Peaks of the envelope in a second of sound, pauses left out: coarse, within about 20 %."""


def measure(samples: NDArray[np.int16], sample_rate: int) -> Prosody:
    """
    Median pitch and pace of mono speech; the same recording always gives the same numbers.

    Fifteen seconds take about 0.1 s and 50 MB. Not robust to music or to two voices at once.
    """
    frames = _framed(samples.astype(np.float64) / 32768.0, sample_rate)
    if not len(frames):
        return Prosody(None, None)
    level = 10.0 * np.log10(np.mean(frames**2, axis=1) + 1e-12)
    loud = (level > level.max() - _LOUD_DB) & (level > -60.0)
    return Prosody(_median_f0(frames[loud][::2], sample_rate), _pace(level, loud))


def _framed(signal: Signal, sample_rate: int) -> Signal:
    size, hop = round(_FRAME_SECONDS * sample_rate), round(_HOP_SECONDS * sample_rate)
    if len(signal) < size:
        return np.empty((0, size))
    frames: Signal = np.lib.stride_tricks.sliding_window_view(signal, size)[::hop]
    centred: Signal = frames - frames.mean(axis=1, keepdims=True)
    return centred


def _median_f0(frames: Signal, sample_rate: int) -> float | None:
    """By autocorrelation divided by that of the window (Boersma 1993), peaks interpolated."""
    if len(frames) < _VOICED_FRAMES:
        return None
    window = np.hanning(frames.shape[1])
    shortest, longest = int(sample_rate / HIGHEST_HZ), int(sample_rate / LOWEST_HZ)
    lags = np.arange(shortest, longest + 1)
    likeness = _autocorrelation(frames * window, longest + 2)
    likeness /= _autocorrelation(window[None, :], longest + 2)
    scored = likeness[:, lags] - _OCTAVE_COST * np.log2(lags / shortest)
    inner = scored[:, 1:-1]
    peaks = (inner >= scored[:, :-2]) & (inner > scored[:, 2:])
    best = np.where(peaks, inner, -np.inf).argmax(axis=1) + 1 + shortest

    rows = np.arange(len(frames))
    before, at, after = (likeness[rows, best + step] for step in (-1, 0, 1))
    curve = before - 2.0 * at + after
    shift = np.divide(
        0.5 * (before - after), curve, out=np.zeros_like(curve), where=np.abs(curve) > 1e-9
    )
    voiced = (at > _PERIODIC) & (best > shortest + 1)
    if np.count_nonzero(voiced) < _VOICED_FRAMES:
        return None
    return float(np.median(sample_rate / (best + shift.clip(-1, 1))[voiced]))


def _autocorrelation(frames: Signal, lags: int) -> Signal:
    """For lags from 0, where it is 1."""
    padded = 1 << (frames.shape[1] + lags).bit_length()
    power = np.abs(np.fft.rfft(frames, padded)) ** 2
    lagged: Signal = np.fft.irfft(power)[:, :lags]
    return lagged / np.maximum(lagged[:, :1], 1e-12)


def _pace(level: Signal, loud: NDArray[np.bool_]) -> float | None:
    """Counts rises and falls of the loudness by more than a dip, as a syllable makes them."""
    if len(level) < len(_SMOOTHING):
        return None
    smooth = np.convolve(level, _SMOOTHING, mode="same")
    peaks, rising, extreme = 0, True, -np.inf
    for value, sounding in zip(smooth, loud, strict=True):
        if rising and value < extreme - _DIP_DB:
            rising, extreme = False, value
            peaks += bool(sounding)
        elif not rising and value > extreme + _DIP_DB:
            rising, extreme = True, value
        else:
            extreme = max(extreme, value) if rising else min(extreme, value)
    seconds = np.count_nonzero(loud) * _HOP_SECONDS
    return float(peaks / seconds) if peaks > 1 else None
