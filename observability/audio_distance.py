"""
How far one recording of a sentence is from another: spectrum and intelligibility.

Both are heard at 10 kHz in frames of 25.6 ms, 12.8 ms apart, and laid over each other by dynamic
time warping first, because a model that samples speaks at another pace each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.int16]
_Floats = NDArray[np.float64]

RATE: Final = 10_000
_FRAME: Final = 256
_HOP: Final = 128
_FFT: Final = 512
_MELS: Final = 26
_CEPSTRA: Final = 13
_BANDS: Final = 15
_LOWEST_BAND_HZ: Final = 150.0
_SEGMENT: Final = 30
_CLIP_DB: Final = -15.0
_DYNAMIC_RANGE_DB: Final = 40.0
_TINY: Final = float(np.finfo(np.float64).eps)

MAX_SECONDS: Final = 30.0
"""Of either recording; the warping's time grows with the product of both lengths."""


@dataclass(frozen=True, slots=True)
class Distance:
    """
    Between a recording and the one that it is compared with.

    Args:
        mel_cepstral_db: mel-cepstral distance in dB along the warping path (Kubichek 1993), over
            coefficients 1 to 13 of frames in which the reference is not silent; 0 for the same
            sound, some 4 to 8 between two good readings, more for another voice or noise.
        stoi: short-time objective intelligibility (Taal et al. 2011, 15 third-octave bands from
            150 Hz, segments of 384 ms, clipped at -15 dB) on the warped frames, at most 1; None
            for a recording that is too short to have one segment.
    """

    mel_cepstral_db: float
    stoi: float | None


def distance(reference: Samples, other: Samples, reference_rate: int, other_rate: int) -> Distance:
    """
    The distance of a recording from its reference; mono, up to `MAX_SECONDS` of each.

    Raises:
        ValueError: one of them is shorter than two frames, or silent throughout.
    """
    ours = _spectra(_at_10_khz(reference, reference_rate))
    theirs = _spectra(_at_10_khz(other, other_rate))
    ours, theirs = _without_silence(ours), _without_silence(theirs)
    if min(len(ours), len(theirs)) < 2:
        raise ValueError("a recording without two frames of sound has no distance to another")
    first, second = _cepstra(ours), _cepstra(theirs)
    path = _warping(first, second)
    apart = first[path[:, 0]] - second[path[:, 1]]
    cepstral = 10 / np.log(10) * np.sqrt(2 * (apart**2).sum(axis=1))
    # One frame of the other for each of the reference: the last that the path lays on it.
    laid_on = np.zeros(len(ours), dtype=np.intp)
    laid_on[path[:, 0]] = path[:, 1]
    return Distance(
        mel_cepstral_db=float(cepstral.mean()),
        stoi=_intelligibility(_bands(ours), _bands(theirs[laid_on])),
    )


def _at_10_khz(samples: Samples, rate: int) -> _Floats:
    """Band-limited resampling of the whole recording by its spectrum."""
    sound = samples[: int(MAX_SECONDS * rate)].astype(np.float64) / 32768
    length = round(sound.size * RATE / rate)
    if rate == RATE or length == 0:
        return sound
    spectrum = np.fft.rfft(sound)
    kept = np.zeros(length // 2 + 1, dtype=np.complex128)
    width = min(kept.size, spectrum.size)
    kept[:width] = spectrum[:width]
    resampled: _Floats = np.fft.irfft(kept, n=length) * (length / sound.size)
    return resampled


def _spectra(sound: _Floats) -> _Floats:
    """Power spectra of its frames; none for a sound shorter than a frame."""
    if sound.size < _FRAME:
        return np.empty((0, _FFT // 2 + 1))
    frames = np.lib.stride_tricks.sliding_window_view(sound, _FRAME)[::_HOP]
    window = np.hanning(_FRAME + 2)[1:-1]
    spectra: _Floats = np.abs(np.fft.rfft(frames * window, n=_FFT, axis=1)) ** 2
    return spectra


def _without_silence(spectra: _Floats) -> _Floats:
    """The frames that are at most 40 dB below the loudest, as STOI keeps them."""
    if not len(spectra):
        return spectra
    energies = spectra.sum(axis=1)
    loudest = energies.max()
    if loudest <= _TINY:
        return spectra[:0]
    kept: _Floats = spectra[energies > loudest * 10 ** (-_DYNAMIC_RANGE_DB / 10)]
    return kept


def _cepstra(spectra: _Floats) -> _Floats:
    """Mel cepstra 1 to 13 of each frame: what the sound is like, without how loud it is."""
    log_mels = np.log(spectra @ _mel_filters().T + 1e-10) / 2
    places = np.arange(_MELS) + 0.5
    cosines = np.cos(np.pi / _MELS * np.outer(np.arange(1, _CEPSTRA + 1), places))
    cepstra: _Floats = log_mels @ cosines.T * (2 / _MELS)
    return cepstra


def _mel_filters() -> _Floats:
    highest = 2595 * np.log10(1 + RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, highest, _MELS + 2) / 2595) - 1)
    hertz = np.linspace(0, RATE / 2, _FFT // 2 + 1)
    filters = np.zeros((_MELS, hertz.size))
    for place in range(_MELS):
        low, middle, high = edges[place : place + 3]
        rising, falling = (hertz - low) / (middle - low), (high - hertz) / (high - middle)
        filters[place] = np.clip(np.minimum(rising, falling), 0, None)
    return filters


def _warping(first: _Floats, second: _Floats) -> NDArray[np.intp]:
    """The path of least distance through all pairs of frames, from both begins to both ends."""
    rows, columns = len(first), len(second)
    squares = (first**2).sum(1)[:, None] + (second**2).sum(1)[None, :] - 2 * first @ second.T
    cost = np.sqrt(np.clip(squares, 0, None))
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0.0
    # By anti-diagonals, whose cells do not depend on each other.
    for diagonal in range(rows + columns - 1):
        row = np.arange(max(0, diagonal - columns + 1), min(rows, diagonal + 1))
        column = diagonal - row
        before = np.minimum(
            np.minimum(total[row, column + 1], total[row + 1, column]), total[row, column]
        )
        total[row + 1, column + 1] = cost[row, column] + before
    path = [(rows - 1, columns - 1)]
    while path[-1] != (0, 0):
        at, beside = path[-1]
        steps = ((at - 1, beside - 1), (at - 1, beside), (at, beside - 1))
        path.append(min(steps, key=lambda step: total[step[0] + 1, step[1] + 1]))
    return np.array(path[::-1], dtype=np.intp)


def _bands(spectra: _Floats) -> _Floats:
    """Amplitudes in third-octave bands, a row for each band."""
    hertz = np.linspace(0, RATE / 2, _FFT // 2 + 1)
    centres = _LOWEST_BAND_HZ * 2 ** (np.arange(_BANDS) / 3)
    filters = np.zeros((_BANDS, hertz.size))
    for place, centre in enumerate(centres):
        low = np.argmin((hertz - centre * 2 ** (-1 / 6)) ** 2)
        high = np.argmin((hertz - centre * 2 ** (1 / 6)) ** 2)
        filters[place, low:high] = 1
    bands: _Floats = np.sqrt(filters @ spectra.T)
    return bands


def _intelligibility(reference: _Floats, other: _Floats) -> float | None:
    if reference.shape[1] < _SEGMENT:
        return None
    clean = np.lib.stride_tricks.sliding_window_view(reference, _SEGMENT, axis=1)
    heard = np.lib.stride_tricks.sliding_window_view(other, _SEGMENT, axis=1)
    level = np.linalg.norm(clean, axis=2) / (np.linalg.norm(heard, axis=2) + _TINY)
    bounded = np.minimum(heard * level[..., None], clean * (1 + 10 ** (-_CLIP_DB / 20)))
    return float(np.mean(_normalised(clean) * _normalised(bounded)) * _SEGMENT)


def _normalised(segments: _Floats) -> _Floats:
    centred: _Floats = segments - segments.mean(axis=2, keepdims=True)
    normalised: _Floats = centred / (np.linalg.norm(centred, axis=2, keepdims=True) + _TINY)
    return normalised
