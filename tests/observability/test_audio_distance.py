"""A distance is nothing for the same sound, little for the same words, much for other ones."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from observability.audio_distance import MAX_SECONDS, RATE, distance

Samples = NDArray[np.int16]

PYSTOI = {20: 0.9467, 10: 0.8127, 0: 0.5393}
"""What pystoi 0.4.1 says of `sentence()` with noise of so many dB below it, seed 2."""


def sentence(
    seed: int = 1, *, rate: int = RATE, pace: float = 1.0, pitch: float = 120.0
) -> Samples:
    """Sixteen syllables of harmonics under three formants each."""
    draw = np.random.default_rng(seed)
    pieces = []
    for _ in range(16):
        length = int(rate / 4 * pace)
        moments = np.arange(length) / rate
        formants = draw.uniform((300, 900, 2200), (800, 2000, 3300))
        tone = np.zeros(length)
        for harmonic in range(1, int(4000 / pitch)):
            gain = sum(1 / (1 + ((harmonic * pitch - centre) / 120) ** 2) for centre in formants)
            tone += gain * np.sin(2 * np.pi * harmonic * pitch * moments + harmonic)
        pieces.append(tone * np.sin(np.pi * np.arange(length) / length) ** 0.5)
    sound = np.concatenate(pieces)
    return np.round(sound / np.abs(sound).max() * 12_000).astype(np.int16)


def noisy(samples: Samples, snr_db: float) -> Samples:
    draw = np.random.default_rng(2)
    noise = draw.normal(0, samples.std() * 10 ** (-snr_db / 20), samples.size)
    return np.clip(samples + noise, -32768, 32767).astype(np.int16)


def test_the_same_sound_is_no_distance_away() -> None:
    """Half the level is nearly none: rounding to 16 bits is all that differs."""
    found = distance(sentence(), sentence(), RATE, RATE)
    assert found.mel_cepstral_db == pytest.approx(0, abs=1e-6)
    assert found.stoi == pytest.approx(1)
    quieter = distance(sentence(), (sentence() // 2).astype(np.int16), RATE, RATE)
    assert quieter.mel_cepstral_db < 0.5
    assert quieter.stoi is not None
    assert quieter.stoi > 0.85


@pytest.mark.parametrize("snr_db", PYSTOI)
def test_intelligibility_is_that_of_the_reference_implementation(snr_db: int) -> None:
    """Within 0.002 of pystoi, for a sentence in noise."""
    found = distance(sentence(), noisy(sentence(), snr_db), RATE, RATE)
    assert found.stoi == pytest.approx(PYSTOI[snr_db], abs=0.002)


def test_pace_and_sample_rate_are_no_distance() -> None:
    """The same words, said more slowly or recorded at another rate, stay close."""
    slower = distance(sentence(), sentence(pace=1.2), RATE, RATE)
    assert slower.mel_cepstral_db < 1
    assert slower.stoi is not None
    assert slower.stoi > 0.95
    assert distance(sentence(), sentence(rate=22_050), RATE, 22_050).mel_cepstral_db < 1


def test_other_words_and_noise_are_far() -> None:
    """Further than another voice, and hard to take for the same sentence."""
    other_voice = distance(sentence(), sentence(pitch=200.0), RATE, RATE)
    other_words = distance(sentence(), sentence(seed=9), RATE, RATE)
    assert other_words.mel_cepstral_db > other_voice.mel_cepstral_db > 2
    assert other_words.stoi is not None
    assert other_words.stoi < 0.6


@pytest.mark.parametrize("length", [0, 100, RATE])
def test_without_sound_there_is_no_distance(length: int) -> None:
    """Silence and a click are refused, and no figure is made up; on either side."""
    silence = np.zeros(length, np.int16)
    with pytest.raises(ValueError, match="without two frames of sound"):
        distance(sentence(), silence, RATE, RATE)
    with pytest.raises(ValueError, match="without two frames of sound"):
        distance(silence, sentence(), RATE, RATE)


def test_a_word_has_no_intelligibility() -> None:
    """Too short for one segment of 384 ms: the figure is left out."""
    word = sentence()[: RATE // 4]
    found = distance(word, word, RATE, RATE)
    assert (found.stoi, found.mel_cepstral_db) == (None, pytest.approx(0, abs=1e-6))


def test_an_endless_recording_is_cut() -> None:
    """Time and memory are bounded: what is beyond the limit is not heard."""
    long = np.tile(sentence(), 9)
    assert long.size > MAX_SECONDS * RATE
    assert distance(sentence(), long, RATE, RATE) == distance(
        sentence(), long[: int(MAX_SECONDS * RATE)], RATE, RATE
    )
