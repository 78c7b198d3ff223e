"""
Promises of a join: no click, a pause as it should be, and the same however the samples come in.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indextts_app.engines.base import Samples
from indextts_app.joining import FADE_SECONDS, Joiner

RATE = 22_050


def tone(seconds: float, hertz: float = 220.0, peak: int = 20_000, phase: float = 1.0) -> Samples:
    """Neither begins nor ends at zero: put together as it is, it clicks."""
    moments = np.arange(round(seconds * RATE)) / RATE
    return (peak * np.sin(2 * np.pi * hertz * moments + phase)).astype(np.int16)


def joined(parts: list[Samples], pause: float, cut: int | None = None) -> Samples:
    joiner, whole = Joiner(RATE), []
    for number, part in enumerate(parts):
        size = cut or len(part)
        whole += [joiner.add(part[at : at + size]) for at in range(0, len(part), size)]
        whole.append(joiner.close() if number == len(parts) - 1 else joiner.next_piece(pause))
    return np.concatenate(whole)


def largest_jump(samples: Samples) -> int:
    return int(np.abs(np.diff(samples.astype(np.int32))).max(initial=0))


@pytest.mark.parametrize("pause", [0.0, 0.2])
def test_no_sample_jumps_further_than_the_signals_own(pause: float) -> None:
    """Of two tones that would click if they were only put one behind the other."""
    parts = [tone(0.3), tone(0.3, phase=-2.0), tone(0.3, 330.0, phase=2.0)]
    own = max(largest_jump(part) for part in parts)
    assert largest_jump(np.concatenate(parts)) > 5 * own
    assert largest_jump(joined(parts, pause)) <= own


def test_all_but_the_joins_is_as_it_was() -> None:
    """The first piece begins and the last ends as they are; 5 ms beside a join fade."""
    first, second = tone(0.3), tone(0.3, phase=-2.0)
    whole, fade = joined([first, second], 0.2), round(FADE_SECONDS * RATE)
    pause = round(0.2 * RATE)
    assert len(whole) == len(first) + pause + len(second)
    assert np.array_equal(whole[: len(first) - fade], first[:-fade])
    assert not whole[len(first) : len(first) + pause].any()
    assert np.array_equal(whole[len(first) + pause + fade :], second[fade:])


def test_quiet_at_the_end_counts_as_pause() -> None:
    """An engine that pauses after its sentence is not made to pause twice."""
    quiet = np.zeros(round(0.15 * RATE), dtype=np.int16)
    ended = np.concatenate((tone(0.3), quiet))
    assert len(joined([ended, tone(0.3)], 0.2)) == pytest.approx(0.8 * RATE, abs=3)
    longer = np.concatenate((ended, quiet))
    assert len(joined([longer, tone(0.3)], 0.2)) == len(longer) + round(0.3 * RATE)


@given(st.integers(1, 400), st.lists(st.integers(1, 500), min_size=1, max_size=4))
def test_it_is_the_same_however_the_samples_come_in(cut: int, lengths: list[int]) -> None:
    """What is streamed is what is stored, for pieces shorter than the fade as well."""
    parts = [tone(length / RATE) for length in lengths]
    assert np.array_equal(joined(parts, 0.01, cut), joined(parts, 0.01))


def test_one_piece_is_left_alone() -> None:
    """Nothing is joined to it."""
    assert np.array_equal(joined([tone(0.1)], 0.2, 7), tone(0.1))


def test_the_last_samples_are_told_only_once() -> None:
    """After the end nothing is left to give back."""
    joiner = Joiner(RATE)
    joiner.add(tone(0.1))
    assert [len(joiner.close()), len(joiner.close())] == [round(FADE_SECONDS * RATE), 0]
    assert list(itertools.chain(joiner.close())) == []
