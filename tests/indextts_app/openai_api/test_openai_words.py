"""Promises of saying OpenAI's words in ours."""

from __future__ import annotations

from dataclasses import replace

import pytest

from indextts_app import errors
from indextts_app.engines.base import (
    EMOTION_MODES,
    EMOTIONS,
    Capabilities,
    Features,
    Speaker,
    Translated,
)
from indextts_app.openai_api.words import Speech, speech

CAN = Capabilities(
    engine="indextts2",
    engine_version="1",
    model_version="2",
    device="cpu",
    sample_rate=22_050,
    speakers=tuple(Speaker(name, Translated(name, name)) for name in ("anna", "nova")),
    emotions=EMOTIONS,
    scripts=(),
    stages=(),
    self_test_text="x",
    features=Features(emotion_modes=EMOTION_MODES, streams=True, seed=True),
)


def said(
    can: Capabilities | None = CAN, voices: dict[str, str] | None = None, **sent: object
) -> dict[str, object]:
    """What the synthesizer is asked."""
    found = speech({"input": "hi", **sent}, "indextts2", can, voices or {})
    if isinstance(found.asked, errors.ServiceError):
        raise found.asked
    return dict(found.asked)


def test_a_request_is_said_in_our_words() -> None:
    """Only what was sent, and MP3 where no format is."""
    assert said() == {"text": "hi", "format": "mp3"}
    assert said(
        model="indextts2",
        voice="anna",
        response_format="wav",
        speed=1.2,
        instructions="Sadly.",
        seed=7,
    ) == {
        "text": "hi",
        "speaker": "anna",
        "format": "wav",
        "speed": 1.2,
        "emotion_text": "Sadly.",
        "seed": 7,
    }


@pytest.mark.parametrize(
    ("stream_format", "kind", "can", "stream", "events"),
    [
        (None, "mp3", CAN, False, False),
        ("audio", "mp3", CAN, True, False),
        ("sse", "mp3", CAN, True, True),
        ("sse", "ogg", CAN, False, True),
        ("audio", "ogg", CAN, False, False),
        ("sse", "mp3", replace(CAN, features=Features()), False, True),
        ("audio", "mp3", None, False, False),
    ],
)
def test_what_can_stream_does(
    stream_format: str | None, kind: str, can: Capabilities | None, stream: bool, events: bool
) -> None:
    """And what cannot is answered whole, in the form that was asked for."""
    sent = {"input": "hi", "stream_format": stream_format, "response_format": kind}
    found = speech(sent, "indextts2", can, {})
    assert (found.streams, found.events) == (stream, events)


def test_whose_a_name_is() -> None:
    """The operator's before the engine's before OpenAI's, which mean the first speaker."""
    assert "speaker" not in said(voice="alloy")
    assert said(voice="nova")["speaker"] == "nova"
    assert said(voice="nova", voices={"nova": "anna"})["speaker"] == "anna"
    assert said(voice="alloy", voices={"nova": "anna"})["speaker"] == "alloy"
    assert said(voice="nobody")["speaker"] == "nobody"
    assert said(voice={"id": "anna"})["speaker"] == "anna"
    assert said(voice={"name": "anna"})["speaker"] == {"name": "anna"}


def test_instructions_are_the_emotion_in_words() -> None:
    """Of an engine that reads emotions from text; not twice, and empty ones are none."""
    assert "emotion_text" not in said(instructions="")
    with pytest.raises(errors.EmotionUnclear, match="Send one of the two"):
        said(instructions="Sadly.", emotion_text="Gladly.")
    with pytest.raises(errors.FieldNotOffered) as refused:
        said(replace(CAN, features=Features()), instructions="Sadly.")
    assert refused.value.details["field"] == "instructions"


def test_what_cannot_be_read_stays_the_error_that_it_is() -> None:
    """So that it has its event."""
    error = errors.TooLarge(limit_mb="1")
    assert speech(error, "drill", CAN, {}) == Speech(error)
