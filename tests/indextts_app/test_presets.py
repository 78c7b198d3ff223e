"""Promises of the presets: a request's defaults under a name, and what is asked goes first."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indextts_app import errors, presets, references
from indextts_app.kept_files import Recordings
from indextts_app.presets import Preset, PresetStore, applied

ONE, OTHER = "1" * 64, "2" * 64
FIELDS = {"speaker": "anna", "emotion": "sad", "emotion_weight": 0.4, "temperature": 1.2, "seed": 7}


@pytest.fixture
def recordings(tmp_path: Path) -> Recordings:
    """A folder of recordings that came in."""
    incoming = Recordings(tmp_path / "incoming")
    for sha256 in (ONE, OTHER):
        incoming.put(sha256, np.full(references.SAMPLE_RATE, 1_000, "<i2").tobytes())
    return incoming


def opened(folder: Path) -> PresetStore:
    return PresetStore(folder / "presets", Recordings(folder / "recordings"))


def test_a_preset_is_kept(recordings: Recordings, tmp_path: Path) -> None:
    """Fields, recordings and description; whoever opens the folder anew finds it."""
    store = opened(tmp_path)
    voice, mood = recordings.find(ONE), recordings.find(OTHER)
    assert voice
    assert mood
    made = store.add(
        "News at nine",
        "for the evening",
        {"temperature": 1.2, "seed": None},
        {"reference": voice, "emotion_reference": mood},
    )
    assert made.id == "news-at-nine"
    assert made.fields == {"temperature": 1.2}
    assert made.recordings == {"reference": ONE, "emotion_reference": OTHER}
    assert opened(tmp_path).all() == store.all() == (made,)
    assert opened(tmp_path).get("news-at-nine") == made
    assert store.hashes() == {ONE, OTHER}
    assert (tmp_path / "recordings" / f"{ONE}.wav").exists()


def test_what_belongs_to_one_request_is_not_kept(tmp_path: Path) -> None:
    """No text ever lies in a preset, not even one that was put into its file by hand."""
    store = opened(tmp_path)
    store.add("a", "", {**FIELDS, "text": "canary", "stream": True, "preset": "b"}, {})
    path = tmp_path / "presets" / "a.json"
    assert "canary" not in path.read_text("utf-8")
    content = json.loads(path.read_text("utf-8"))
    content["fields"]["text"] = "canary"
    path.write_text(json.dumps(content), "utf-8")
    assert opened(tmp_path).get("a").fields == FIELDS


def test_names_are_taken_once_and_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with speakers: unique, bounded, and gone for good."""
    store = opened(tmp_path)
    store.add("新闻", "", FIELDS, {})
    with pytest.raises(errors.NameTaken):
        store.add("新闻", "", FIELDS, {})
    second = store.add("天气", "", FIELDS, {})
    assert len({preset.id for preset in store.all()}) == 2
    monkeypatch.setattr(presets, "MAX_PRESETS", 2)
    with pytest.raises(errors.LibraryFull):
        store.add("third", "", FIELDS, {})
    store.remove(second.id)
    assert [preset.name for preset in opened(tmp_path).all()] == ["新闻"]
    for unknown in (second.id, "../x"):
        with pytest.raises(errors.NotKept):
            store.remove(unknown)


def test_what_is_spoilt_is_passed_over(tmp_path: Path) -> None:
    """Each broken file costs itself only."""
    store = opened(tmp_path)
    store.add("good", "", FIELDS, {})
    good = json.loads((tmp_path / "presets" / "good.json").read_text("utf-8"))
    for name, content in {
        "broken": "{",
        "nothing": "{}",
        "no-fields": json.dumps({**good, "fields": 7}),
        "no-recordings": json.dumps({**good, "recordings": None}),
    }.items():
        (tmp_path / "presets" / f"{name}.json").write_text(content, "utf-8")
    assert [preset.id for preset in opened(tmp_path).all()] == ["good"]


def preset(fields: dict[str, Any], **recordings: str) -> Preset:
    return Preset("mine", "Mine", "", fields, recordings, "2026-01-01T00:00:00+00:00")


@pytest.mark.parametrize(
    ("asked", "sent", "fields", "kept"),
    [
        ({}, (), FIELDS, {}),
        ({"temperature": None}, (), FIELDS, {}),
        ({"temperature": 0.5}, (), {**FIELDS, "temperature": 0.5}, {}),
        ({"emotion_weight": 0.9}, (), {**FIELDS, "emotion_weight": 0.9}, {}),
        ({"speaker": "bertha"}, (), {**FIELDS, "speaker": "bertha"}, {}),
        (
            {"emotion_text": "proud"},
            (),
            {"speaker": "anna", "temperature": 1.2, "seed": 7, "emotion_text": "proud"},
            {},
        ),
        (
            {"emotion": "neutral"},
            (),
            {"speaker": "anna", "temperature": 1.2, "seed": 7, "emotion": "neutral"},
            {},
        ),
        ({}, ("emotion_reference",), {"speaker": "anna", "temperature": 1.2, "seed": 7}, {}),
        ({}, ("reference",), {k: v for k, v in FIELDS.items() if k != "speaker"}, {}),
    ],
    ids=str,
)
def test_what_is_asked_goes_first(
    asked: dict[str, Any], sent: tuple[str, ...], fields: dict[str, Any], kept: dict[str, str]
) -> None:
    """An own emotion replaces the preset's whole, an own voice its speaker."""
    assert applied(preset(FIELDS), {"text": "x", **asked}, sent) == (
        {**fields, "text": "x"},
        kept,
    )


def test_recordings_of_a_preset_give_way_as_well() -> None:
    """Each is used unless the request has its own voice, or its own emotion."""
    both = preset({"seed": 7}, reference=ONE, emotion_reference=OTHER)
    assert applied(both, {}) == ({"seed": 7}, {"reference": ONE, "emotion_reference": OTHER})
    assert applied(both, {"speaker": "anna"})[1] == {"emotion_reference": OTHER}
    assert applied(both, {}, ("reference",))[1] == {"emotion_reference": OTHER}
    assert applied(both, {"emotion": "sad"})[1] == {"reference": ONE}
    assert applied(both, {}, ("emotion_reference",))[1] == {"reference": ONE}
