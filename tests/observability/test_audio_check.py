"""
Promises of `observability.audio_check`.
"""

from __future__ import annotations

import time
from dataclasses import asdict, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from observability.audio_check import (
    FLOOR_DBFS,
    SignalReport,
    check_signal,
    shortest_plausible_seconds,
)

RATE = 22_050


def tone(seconds: float, amplitude: float = 0.5) -> NDArray[np.int16]:
    times = np.arange(round(seconds * RATE)) / RATE
    return np.round(np.sin(2 * np.pi * 441 * times) * amplitude * 32_767).astype(np.int16)


def test_a_healthy_signal_is_measured_exactly() -> None:
    """A second of a half-scale sine and a quarter of silence give their known levels and ratios."""
    samples = np.concatenate([tone(1.0), np.zeros(RATE // 4, np.int16)])
    report = check_signal(samples, RATE)
    assert asdict(report) == {
        "audio_verdict": "ok",
        "rms_dbfs": pytest.approx(-10.0, abs=0.02),
        "peak_dbfs": pytest.approx(-6.02, abs=0.02),
        "clipped_ratio": 0.0,
        "silence_ratio": pytest.approx(0.2, abs=0.01),
        "longest_silence_seconds": pytest.approx(0.25, abs=0.01),
        "audio_seconds": pytest.approx(1.25, abs=0.001),
    }


SILENCE = SignalReport("silent", FLOOR_DBFS, FLOOR_DBFS, 0.0, 1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("samples", "report"),
    [
        (np.zeros(RATE, np.int16), SILENCE),
        (
            np.zeros(0, np.int16),
            replace(SILENCE, longest_silence_seconds=0.0, audio_seconds=0.0),
        ),
    ],
)
def test_digital_silence_has_finite_levels(
    samples: NDArray[np.int16], report: SignalReport
) -> None:
    """Silence and no samples at all are silent at -120 dBFS, never at minus infinity."""
    assert check_signal(samples, RATE) == report


@pytest.mark.parametrize(
    ("samples", "verdict"),
    [
        (tone(1.0, amplitude=0.0008), "silent"),
        (tone(1.0, amplitude=0.01), "ok"),
        (np.concatenate([tone(0.1), np.zeros(RATE * 5, np.int16)]), "silent"),
        (np.concatenate([tone(0.5), np.zeros(RATE * 5, np.int16)]), "ok"),
        (np.concatenate([tone(1.0), np.zeros(3, np.int16)]), "ok"),
        (np.clip(tone(1.0, amplitude=0.99) * 1.5, -32_767, 32_767).astype(np.int16), "clipped"),
        (np.clip(tone(1.0, amplitude=0.99) * 1.5, -32_768, 32_766).astype(np.int16), "clipped"),
        (tone(1.0, amplitude=1.0), "ok"),
        (np.full(1, 32_767, np.int16), "ok"),
    ],
)
def test_each_verdict_begins_at_its_threshold(samples: NDArray[np.int16], verdict: str) -> None:
    """Faint or nearly empty audio is silent, flat tops are clipped, a touch of full scale is ok."""
    assert check_signal(samples, RATE).audio_verdict == verdict


def test_flat_tops_count_and_single_peaks_do_not() -> None:
    """Only samples in runs of three or more at full scale are counted as clipped."""
    samples = tone(1.0)
    samples[100:102] = 32_767
    samples[200:203] = 32_767
    samples[300:304] = -32_768
    assert check_signal(samples, RATE).clipped_ratio == 7 / RATE


def test_a_signal_too_short_for_its_text_is_truncated() -> None:
    """A second cannot hold forty Chinese characters, unless they were asked for at great speed."""
    text = "今天天气很好我们一起去公园散步吧" * 2 + "一二三四五六七八"
    assert check_signal(tone(1.0), RATE, text=text).audio_verdict == "truncated"
    assert check_signal(tone(1.0), RATE, text=text, speed=4.0).audio_verdict == "ok"
    assert check_signal(tone(1.0), RATE).audio_verdict == "ok"
    assert check_signal(tone(1.0), RATE, length_limited=True).audio_verdict == "truncated"


# Seconds of espeak-ng 1.52 at 102, 205 and 410 words a minute, which is its speed 0.5, 1 and 2 with
# its quickest emotion; voice cmn for Chinese, en-us for the rest.
ESPEAK = [
    ("今天天气很好，我们一起去公园散步吧。", 8.02, 3.79, 1.73),
    ("好", 0.6, 0.29, 0.1),
    ("The quick brown fox jumps over the lazy dog, and nobody is surprised.", 7.16, 3.58, 1.85),
    ("Though through thought straight eight weighed.", 2.89, 1.45, 0.73),
    ("我们用Gradio和IndexTTS做语音合成API，RTF是0.3。", 9.99, 4.63, 2.36),
    ("一共1000000000000元，或者13800138000元。", 10.45, 4.85, 2.25),
    ("1000000000000 and 99999999", 8.64, 4.3, 2.45),
    ("……。。。好！！！？？？，，，", 0.6, 0.29, 0.1),
    ("😀😀😀好的😀😀thanks😀", 1.4, 0.72, 0.36),
    ("a" * 400, 11.18, 4.53, 2.87),
    ("是十四" * 20, 26.97, 11.98, 4.91),
]


@pytest.mark.parametrize(("text", "slow", "usual", "fast"), ESPEAK)
def test_real_speech_is_never_called_truncated(
    text: str, slow: float, usual: float, fast: float
) -> None:
    """What espeak needed for a text, at any speed, is at least 1.5 times the plausible minimum."""
    for speed, seconds in ((0.5, slow), (1.0, usual), (2.0, fast)):
        assert shortest_plausible_seconds(text, speed) * 1.5 <= seconds


@pytest.mark.parametrize("text", ["", "……！？", "😀" * 50, "\ud800\0"])
def test_a_text_without_speech_needs_no_time(text: str) -> None:
    """Signs and emoji may be silent."""
    assert shortest_plausible_seconds(text) == 0.0


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("<行|HANG2>长<重|CHONG2>来", "行长重来"),
        ("行HANG2长", "行长"),
        ("晕XUAN4是一种GAN3觉", "晕是一种感觉"),
        ("DE5HEN3好", "得很好"),
        ("zhuang4", "状"),
    ],
)
def test_a_written_pronunciation_takes_no_time_of_its_own(text: str, plain: str) -> None:
    """Good short audio of an annotated text is not called truncated."""
    assert 0 < shortest_plausible_seconds(text) <= shortest_plausible_seconds(plain)


@pytest.mark.parametrize(
    ("samples", "rate", "speed"),
    [
        (np.zeros((2, 10), np.int16), RATE, 1.0),
        (np.zeros(10, np.float32), RATE, 1.0),
        (np.ones(RATE, np.int16) * 1000, 0, 1.0),
        (np.ones(RATE, np.int16) * 1000, RATE, 0.0),
        (np.ones(RATE, np.int16) * 1000, RATE, float("nan")),
    ],
)
def test_what_is_no_signal_is_refused(samples: NDArray[np.int16], rate: int, speed: float) -> None:
    """Other shapes and types, and rates and speeds that are not positive, are a ValueError."""
    with pytest.raises(ValueError):
        check_signal(samples, rate, speed=speed)


def test_ten_seconds_are_checked_within_a_millisecond() -> None:
    """The check costs the user less than a millisecond (best of ten; 0.1 ms where measured)."""
    samples = tone(10.0)
    times = []
    for _ in range(10):
        began = time.perf_counter()
        check_signal(samples, RATE, text="今天天气很好。" * 5)
        times.append(time.perf_counter() - began)
    assert min(times) < 0.001
