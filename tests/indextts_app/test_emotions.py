"""Promises of the emotion: one source, and nothing that was sent is passed over."""

from __future__ import annotations

import math
from typing import Any

import pytest

from indextts_app import emotions, errors
from indextts_app.emotions import AskedEmotion, Emotion, resolved
from indextts_app.engines.base import EMOTION_MODES, Features

ALL = Features(emotion_modes=EMOTION_MODES)
BY_NAME = Features(emotion_modes=("speaker", "preset"))
SAD = (0.0, 0.0, 0.8, 0.0, 0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, Emotion("speaker")),
        ({"mode": "speaker"}, Emotion("speaker")),
        ({"name": "sad"}, Emotion("preset", "sad", 0.65)),
        ({"name": "sad", "mode": "preset", "weight": 1}, Emotion("preset", "sad", 1)),
        ({"recording": True}, Emotion("reference", weight=0.65)),
        ({"recording": True, "weight": 0.0}, Emotion("reference", weight=0.0)),
        ({"vector": list(SAD)}, Emotion("vector", weight=0.65, vector=SAD)),
        ({"text": "very sad"}, Emotion("text", weight=0.65, text="very sad")),
        ({"mode": "text"}, Emotion("text", weight=0.65)),
        ({"vector": [0] * 8}, Emotion("vector", weight=0.65, vector=(0,) * 8)),
    ],
    ids=str,
)
def test_the_mode_follows_from_what_is_sent(asked: dict[str, Any], found: Emotion) -> None:
    """A name, a recording, weights, a description, or nothing; an explicit mode agrees."""
    assert resolved(AskedEmotion(**asked), ALL) == found


def test_an_engine_that_cannot_weigh_gets_no_weight() -> None:
    """Its presets are all or nothing."""
    assert resolved(AskedEmotion(name="sad"), BY_NAME) == Emotion("preset", "sad")
    assert not emotions.weighs(BY_NAME)
    assert emotions.weighs(ALL)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"name": "sad", "vector": SAD}, "emotion, emotion_vector at once"),
        ({"text": "sad", "recording": True}, "emotion_reference, emotion_text at once"),
        ({"name": "sad", "mode": "speaker"}, "would pass over emotion."),
        ({"vector": SAD, "mode": "text"}, "send mode 'vector'"),
        ({"mode": "preset"}, "needs emotion."),
        ({"mode": "reference"}, "needs emotion_reference."),
        ({"mode": "vector"}, "needs emotion_vector."),
    ],
    ids=str,
)
def test_what_contradicts_itself_is_refused(asked: dict[str, Any], says: str) -> None:
    """The message names the fields, and which of them to send."""
    with pytest.raises(errors.EmotionUnclear) as raised:
        resolved(AskedEmotion(**asked), ALL)
    assert says in raised.value.message()
    assert raised.value.message("zh") != raised.value.message()


def test_a_mode_that_the_engine_lacks_is_told_which_it_has() -> None:
    """So is one that does not exist."""
    for mode in ("text", "furious"):
        with pytest.raises(errors.UnknownChoice, match="speaker, preset"):
            resolved(AskedEmotion(mode=mode), BY_NAME)


def test_what_would_have_no_effect_is_refused() -> None:
    """A weight with nothing to weigh, and a control of sampling where nothing is sampled."""
    with pytest.raises(errors.InvalidField, match="no emotion to weigh"):
        resolved(AskedEmotion(weight=0.5), ALL)
    for asked in (AskedEmotion(controls=["emotion_random"]),):
        with pytest.raises(errors.InvalidField, match="does nothing in emotion mode 'speaker'"):
            resolved(asked, ALL)
    assert resolved(AskedEmotion(vector=SAD, controls=["emotion_random"]), ALL).mode == "vector"


@pytest.mark.parametrize(
    ("vector", "says"),
    [
        ([0.1] * 7, "it has 7 values, and eight are needed: happy, angry, sad"),
        ([0.1] * 9, "it has 9 values"),
        ([], "it has 0 values"),
        ([1, 1, 1, 0, 0, 0, 0, 0], "its values add up to 3, at most 1.5"),
        ([0.2] * 8, "its values add up to 1.6"),
        ([-0.1, *[0.1] * 7], "each value must be from 0 to 1"),
        ([1.1, *[0] * 7], "each value must be from 0 to 1"),
        ([math.nan, *[0.1] * 7], "each value must be from 0 to 1"),
        ([math.inf, *[0] * 7], "each value must be from 0 to 1"),
    ],
    ids=str,
)
def test_weights_that_cannot_be_meant_are_refused(vector: list[float], says: str) -> None:
    """Before the model is touched, each with its own words."""
    with pytest.raises(errors.InvalidField) as raised:
        resolved(AskedEmotion(vector=vector), ALL)
    assert says in raised.value.message()
    assert "emotion_vector" in raised.value.message("zh")


def test_weights_may_add_up_to_the_limit() -> None:
    """Rounding of decimal fractions does not push them over it."""
    assert resolved(AskedEmotion(vector=[0.3] * 5 + [0] * 3), ALL).vector
    assert resolved(AskedEmotion(vector=[0.1875] * 8), ALL).vector


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "no words"), (" \n", "no words"), ("!?", "no words"), ("a" * 201, "201")],
)
def test_a_description_has_words_and_is_short(text: str, says: str) -> None:
    """An empty one is not taken for the text itself; the message says how to ask for that."""
    with pytest.raises(errors.InvalidField, match=says) as raised:
        resolved(AskedEmotion(text=text), ALL)
    assert text.strip() not in raised.value.message() or len(text.strip()) < 3
