"""The canary hears what an ear would, and keeps what it was asked beside what was answered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

from observability import canary

Samples = NDArray[np.int16]
RATE = 16_000
QUESTION = canary.Question(engine="indextts2", speaker="小明/1", text="你好", seed=7)


def speech(seconds: float = 2.0, *, level: int = 9_000, seed: int = 3) -> Samples:
    """Noise that swells and fades five times a second, as syllables do."""
    moments = np.arange(int(RATE * seconds)) / RATE
    swell = np.abs(np.sin(np.pi * 2.5 * moments)) + 0.05
    tones = sum(np.sin(2 * np.pi * hertz * (1 + 0.2 * np.sin(seed * moments)) * moments + hertz)
                for hertz in (220, 660, 1_500, 2_600))  # fmt: skip
    return np.round(np.clip(swell * tones / 4, -1, 1) * level).astype(np.int16)


def heard(samples: Samples, *, exact: bool = False, rate: int = RATE) -> canary.Comparison:
    return canary.compared(samples, rate, speech(), RATE, exact=exact)


def test_the_same_is_no_drift() -> None:
    """Neither sample by sample nor by ear."""
    assert heard(speech(), exact=True).exact
    for exact in (True, False):
        found = heard(speech(), exact=exact)
        assert found.drifts == ()
        assert (found.duration_ratio, found.loudness_change_db) == (1.0, 0.0)


def test_an_exact_speaker_drifts_by_one_sample() -> None:
    """What computes has changed when anything has; what samples has not."""
    samples = speech()
    samples[1_000] += 1
    assert heard(samples, exact=True).drifts == ("samples",)
    assert heard(samples).drifts == ()


@pytest.mark.parametrize(
    ("samples", "drift"),
    [
        (speech(2.6), "duration"),
        (speech(level=4_000), "loudness"),
        (np.concatenate([speech(), np.zeros(int(0.29 * RATE), np.int16)])[int(0.0 * RATE) :], None),
        (speech(seed=40), "spectrum"),
        (np.zeros(2 * RATE, np.int16), "spectrum"),
        (np.zeros(2 * RATE, np.int16), "loudness"),
    ],
)
def test_each_kind_of_drift_is_named(samples: Samples, drift: str | None) -> None:
    """By what an ear would notice first."""
    drifts = heard(samples).drifts
    assert (drift in drifts) if drift else not drifts


def test_a_long_silence_inside_is_a_drift() -> None:
    """As IndexTTS users report them: the words are there, and half a second of nothing."""
    samples = speech()
    gap = np.zeros(int(0.8 * RATE), np.int16)
    assert "silence" in heard(np.concatenate([samples[:RATE], gap, samples[RATE:]])).drifts


def test_another_sample_rate_is_a_drift() -> None:
    """Whatever the samples are."""
    assert "sample_rate" in heard(speech(), rate=22_050).drifts


def test_the_golden_audio_is_kept_with_its_question(tmp_path: Path) -> None:
    """The same samples come back for the same question, whatever its speaker is called."""
    path = canary.learn(tmp_path / "golden", QUESTION, speech(), RATE)
    assert path.name == "indextts2-小明_1.wav"
    samples, rate = canary.golden(tmp_path / "golden", QUESTION)
    assert rate == RATE
    assert np.array_equal(samples, speech())


def test_another_question_has_no_golden(tmp_path: Path) -> None:
    """None learned, another sentence, a file that is none: each says what to do."""
    cases = {
        "No golden audio": "没有",
        "another sentence": "其他句子",
        "cannot be read": "无法读取",
    }
    said = []
    for step in range(3):
        with pytest.raises(canary.NoGolden) as reason:
            canary.golden(tmp_path, replace(QUESTION, text="再见"))
        said.append(reason.value)
        path = canary.learn(tmp_path, QUESTION, speech(), RATE)
        if step == 1:
            path.write_bytes(b"RIFF")
            path.with_suffix(".json").write_text("{}")
        elif step == 0:
            continue
    for error, (en, zh) in zip(said, cases.items(), strict=True):
        assert en in error.en
        assert zh in error.zh
        assert "--learn" in error.zh


def test_metrics_are_for_the_textfile_collector(tmp_path: Path) -> None:
    """One file for each canary, replaced as a whole, labelled with its name only."""
    found = heard(speech(level=3_000))
    path = canary.write_metrics(
        tmp_path, "night", at=1_700_000_000.0, seconds=0.5, answered=True, found=found
    )
    assert [path] == list(tmp_path.iterdir())
    assert path.name == "indextts_canary_night.prom"
    values = {
        sample.name: (sample.value, sample.labels)
        for family in text_string_to_metric_families(path.read_text())
        for sample in family.samples
    }
    assert values["indextts_canary_drift"] == (1.0, {"canary": "night"})
    assert values["indextts_canary_up"][0] == 1.0
    assert values["indextts_canary_last_run_timestamp_seconds"][0] == 1_700_000_000.0
    assert values["indextts_canary_loudness_change_decibels"][0] == found.loudness_change_db


def test_without_an_answer_no_drift_is_claimed(tmp_path: Path) -> None:
    """The metric is absent, so that its alert neither fires nor resolves by it."""
    path = canary.write_metrics(tmp_path, "night", at=1.0, seconds=0.5, answered=False, found=None)
    text = path.read_text()
    assert 'indextts_canary_up{canary="night"} 0.0' in text
    assert "indextts_canary_drift" not in text
