"""Pieces of audio made one after the other, joined into one without clicks."""

from __future__ import annotations

import numpy as np

from indextts_app.engines.base import Samples

FADE_SECONDS = 0.005
"""At both sides of a join: too short to be heard as a fade, long enough not to click."""

_QUIET = 104
"""Samples up to -50 dBFS count as pause, as in `observability.audio_check`."""


class Joiner:
    """
    Joins pieces while they come in; what it gives back, one after the other, is the whole.

    At a join the piece before fades out and the one behind fades in over 5 ms, so that no sample
    jumps further than the signal's own do, and between them is a pause: what the engine itself
    left of quiet at the end counts, the rest is silence. The first piece begins and the last ends
    as they are. The last 5 ms of a piece are held back until it is known whether another follows.
    """

    def __init__(self, sample_rate: int) -> None:
        self._rate = sample_rate
        self._fade = max(round(FADE_SECONDS * sample_rate), 1)
        self._held = np.empty(0, dtype=np.int16)
        self._heard = 0
        self._quiet = 0
        self._first = True

    def add(self, samples: Samples) -> Samples:
        """The next samples of the piece; what of them, and of those before, is final."""
        loud = np.flatnonzero(np.abs(samples.astype(np.int32)) > _QUIET)
        self._quiet = self._quiet + len(samples) if not len(loud) else len(samples) - 1 - loud[-1]
        if not self._first and self._heard < self._fade:
            samples = self._faded_in(samples)
        self._heard += len(samples)
        waiting = np.concatenate((self._held, samples))
        final = max(len(waiting) - self._fade, 0)
        self._held = waiting[final:]
        return waiting[:final]

    def next_piece(self, pause_seconds: float) -> Samples:
        """The end of the piece and the pause after it; another piece follows."""
        held = self._held
        if self._heard:
            # From the end, so that a piece shorter than the fade ends in silence as well.
            left = np.arange(len(held))[::-1] / self._fade
            held = np.rint(held * left).astype(np.int16)
            self._first = False
        pause = max(round(pause_seconds * self._rate) - self._quiet, 0) if self._heard else 0
        self._held, self._heard, self._quiet = self._held[:0], 0, 0
        return np.concatenate((held, np.zeros(pause, dtype=np.int16)))

    def close(self) -> Samples:
        """The end of the last piece."""
        held, self._held = self._held, self._held[:0]
        return held

    def _faded_in(self, samples: Samples) -> Samples:
        weights = np.minimum((self._heard + np.arange(len(samples))) / self._fade, 1.0)
        faded: Samples = np.rint(samples * weights).astype(np.int16)
        return faded
