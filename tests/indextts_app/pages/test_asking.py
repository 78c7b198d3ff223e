"""Promises of what the page asks, made of what the browser sent."""

from __future__ import annotations

from typing import Any

import pytest

from indextts_app import errors
from indextts_app.engines import features
from indextts_app.engines.base import Features
from indextts_app.pages import asking

TWO = features("indextts2", {"model_version": "2"})
TWO_FIVE = features("indextts2", {"model_version": "2.5"})
SIMPLE = Features()

FILE = {"path": "/uploads/voice.wav"}


def sent(features: Features = TWO, **changes: Any) -> dict[str, Any]:
    """All fields of the page as they are when it is opened, with these changes."""
    return {
        "text": "hello",
        "preset": "",
        "reference": None,
        "emotion_reference": None,
        "speaker": "sample",
        **asking.filled(features, {}),
        **changes,
    }


def of_controls(request: dict[str, object], features: Features = TWO) -> dict[str, object]:
    """The request without the engine's own controls."""
    names = {control.name for control in features.controls}
    return {name: value for name, value in request.items() if name not in names}


def asked(**changes: Any) -> dict[str, object]:
    """What the page of IndexTTS-2 asks, controls aside."""
    request = asking.asked(TWO, sent(**changes))
    assert isinstance(request, dict)
    return of_controls(request)


AS_OPENED = {"text": "hello", "speaker": "sample", "format": "wav", "emotion_mode": "speaker"}


def test_a_page_as_it_is_opened_asks_for_the_defaults() -> None:
    """No emotion, no seed, no speed where the engine has none, and each control at its default."""
    assert asked() == AS_OPENED
    request = asking.asked(TWO, sent())
    assert isinstance(request, dict)
    assert {
        control.name: request[control.name]
        for control in TWO.controls
        if control.group != "emotion"
    } == {control.name: control.default for control in TWO.controls if control.group != "emotion"}
    faster = asking.asked(TWO_FIVE, sent(TWO_FIVE, speed=1.2))
    assert isinstance(faster, dict)
    assert faster["speed"] == 1.2


@pytest.mark.parametrize(
    ("mode", "needed"),
    [
        ("preset", {"emotion": "sad"}),
        ("reference", {}),
        ("vector", {"emotion_vector": [0.1, 0, 0, 0, 0, 0, 0, 0.2]}),
        ("text", {"emotion_text": "afraid"}),
    ],
)
def test_a_mode_sends_only_what_it_needs(mode: str, needed: dict[str, Any]) -> None:
    """What was filled in for another mode stays on the page."""
    filled = {
        "emotion": "sad",
        "emotion_text": "afraid",
        "emotion_reference": FILE,
        "weight_happy": 0.1,
        "weight_calm": 0.2,
        "emotion_weight": 0.4,
    }
    expected = {**AS_OPENED, "emotion_mode": mode, "emotion_weight": 0.4, **needed}
    assert asked(emotion_mode=mode, **filled) == expected
    files = asking.recordings(TWO, sent(emotion_mode=mode, **filled))
    assert files == ({"emotion_reference": FILE} if mode == "reference" else {})


@pytest.mark.parametrize(
    ("mode", "has"),
    [("speaker", False), ("reference", False), ("preset", True), ("vector", True), ("text", True)],
)
def test_the_emotions_own_controls_go_with_the_modes_that_use_them(mode: str, has: bool) -> None:
    """A switch that would do nothing is not sent, so that it is not refused."""
    request = asking.asked(
        TWO, sent(emotion_mode=mode, emotion_reference=FILE, control_emotion_random=True)
    )
    assert isinstance(request, dict)
    assert ("emotion_random" in request) is has


def test_an_empty_description_is_none() -> None:
    """Then the engine reads the emotion out of the text itself."""
    assert "emotion_text" not in asked(emotion_mode="text", emotion_text="")


def test_the_voice_is_one_or_the_other() -> None:
    """A recording goes without a speaker, a stored speaker without the recording."""
    stored = sent(voice="stored", reference=FILE)
    assert asking.recordings(TWO, stored) == {}
    own = sent(voice="recording", reference=FILE)
    assert asking.recordings(TWO, own) == {"reference": FILE}
    assert "speaker" not in asked(voice="recording", reference=FILE)


def test_a_recording_that_is_not_there_is_missed() -> None:
    """Nobody gets another voice than the one that was chosen."""
    error = asking.asked(TWO, sent(voice="recording"))
    assert isinstance(error, errors.ReferenceRefused)
    assert "Upload or record one" in error.message()


def test_where_a_reference_is_no_voice_it_comes_with_the_speaker() -> None:
    """Engines that take pitch and pace from a recording keep their speaker."""
    fields = {"text": "a", "speaker": "f2", "emotion": "neutral", "reference": FILE}
    assert asking.recordings(SIMPLE, fields) == {"reference": FILE}
    assert asking.asked(SIMPLE, fields) == {"text": "a", "speaker": "f2", "emotion": "neutral"}


@pytest.mark.parametrize(
    ("typed", "seed"),
    [("7", 7), (" 4294967295 ", 4294967295), ("7.5", "7.5"), ("9" * 5000, "9" * 5000), ([1], [1])],
)
def test_a_seed_is_a_number_or_what_was_sent(typed: object, seed: object) -> None:
    """What is no number is left for the synthesizer to refuse."""
    assert asked(seed=typed)["seed"] == seed


@pytest.mark.parametrize("value", [None, [], {"path": 1}, 3, "no such mode"])
def test_a_hand_written_request_breaks_nothing(value: Any) -> None:
    """Whatever stands in a field, a request comes out for the synthesizer to judge."""
    for name in sent():
        changed = sent() | {name: value}
        assert isinstance(asking.asked(TWO, changed), dict | errors.ServiceError)
        assert isinstance(asking.recordings(TWO, changed), dict)


@pytest.mark.parametrize(
    "request_fields",
    [
        {"emotion_mode": "vector", "emotion_vector": [0, 0, 0.5, 0, 0, 0, 0, 0]},
        {"emotion_mode": "text", "emotion_text": "quietly"},
        {"emotion_mode": "preset", "emotion": "calm", "emotion_random": True},
        {"emotion_mode": "speaker", "seed": 12, "temperature": 1.1, "format": "mp3"},
    ],
)
def test_fields_filled_from_a_request_make_it_again(request_fields: dict[str, Any]) -> None:
    """What a preset holds comes back as it was."""
    weighed = request_fields["emotion_mode"] != "speaker"
    whole = {
        "speaker": "sample",
        "format": "wav",
        **{item.name: item.default for item in TWO.controls if weighed or item.group != "emotion"},
        **({"emotion_weight": 0.3} if weighed else {}),
        **request_fields,
    }
    assert asking.kept(TWO, sent(**asking.filled(TWO, whole))) == whole


@pytest.mark.parametrize(
    ("request_fields", "files", "mode"),
    [
        ({}, (), "speaker"),
        ({"emotion": "neutral"}, (), "speaker"),
        ({"emotion": "happy"}, (), "preset"),
        ({"emotion_vector": [0.1] * 8}, (), "vector"),
        ({"emotion_text": "sadly"}, (), "text"),
        ({}, ("emotion_reference",), "reference"),
    ],
)
def test_a_mode_that_is_not_named_follows_from_the_rest(
    request_fields: dict[str, Any], files: tuple[str, ...], mode: str
) -> None:
    """Presets that were made over REST may leave the mode out."""
    assert asking.filled_emotion(request_fields, files)["emotion_mode"] == mode


def test_what_another_engine_had_is_named() -> None:
    """A preset of 2.5 on the page of 2 is loaded, and what is lost is told."""
    kept = asking.kept(TWO_FIVE, sent(TWO_FIVE, control_language="ja"))
    assert asking.unfit(TWO_FIVE, kept) == []
    assert asking.unfit(TWO, kept) == [
        "duration_factor",
        "language",
        "speed",
        "text_normalization",
    ]


def test_a_recording_of_the_emotion_that_is_missing_is_asked_for() -> None:
    """In the words of the page, which has no field of that name."""
    refused = asking.asked(TWO, {"text": "hi", "emotion_mode": "reference"})
    assert isinstance(refused, errors.EmotionReferenceRefused)
    assert "Upload or record one" in refused.message("en")
    assert "请上传或录制" in refused.message("zh")
