"""What the measurement of a reference recording promises, on sounds whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from indextts_app.engines.reference_prosody import Prosody, measure

RATE = 24_000


def voice(f0_hz: float, seconds: float = 2.0, syllables: float = 4.0) -> NDArray[np.int16]:
    """A buzz of ten harmonics whose loudness swells once a syllable."""
    t = np.arange(round(seconds * RATE)) / RATE
    buzz = sum(np.sin(2 * np.pi * f0_hz * k * t) / k for k in range(1, 11))
    swell = 0.05 + np.sin(np.pi * syllables * t) ** 2
    return np.asarray(4000 * buzz * swell, dtype=np.int16)


@pytest.mark.parametrize("f0_hz", [60.0, 72.0, 90.0, 123.4, 180.0, 262.0, 390.0])
def test_pitch_is_right_within_a_sixth_of_a_semitone(f0_hz: float) -> None:
    """The fundamental is found, not its octaves, from a low man's voice to a child's."""
    assert measure(voice(f0_hz), RATE).f0_hz == pytest.approx(f0_hz, rel=0.01)


def test_pitch_does_not_depend_on_sample_rate_or_loudness() -> None:
    """A quiet recording at another rate has the same pitch."""
    quiet = (voice(150.0)[::2] * 0.05).astype(np.int16)
    assert measure(quiet, RATE // 2).f0_hz == pytest.approx(150.0, rel=0.01)


@pytest.mark.parametrize("syllables", [2.0, 3.5, 5.0, 7.0])
def test_pace_is_found_and_pauses_do_not_count(syllables: float) -> None:
    """Swells in a second of sound, however long the silence around it."""
    speech = np.concatenate([np.zeros(RATE, np.int16), voice(120.0, 4.0, syllables)])
    found = measure(speech, RATE).syllables_per_second
    assert found == pytest.approx(syllables, rel=0.2)


@pytest.mark.parametrize(
    "recording",
    [
        np.zeros(RATE, np.int16),
        np.zeros(0, np.int16),
        np.full(RATE, 20_000, np.int16),
        voice(150.0, seconds=0.1),
        np.random.default_rng(1).normal(0, 3000, RATE * 3).astype(np.int16),
    ],
    ids=["silence", "nothing", "constant", "too short", "noise"],
)
def test_what_has_no_voice_has_no_pitch(recording: NDArray[np.int16]) -> None:
    """No number is made up where there is nothing to measure."""
    assert measure(recording, RATE).f0_hz is None


def test_silence_has_no_pace() -> None:
    """Nor is a pace."""
    assert measure(np.zeros(RATE, np.int16), RATE) == Prosody(None, None)
