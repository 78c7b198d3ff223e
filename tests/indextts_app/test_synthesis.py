"""Promises of the door: a request that exists is valid; a refused one hears what would fit."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from indextts_app import errors
from indextts_app.engines.drill import DrillEngine
from indextts_app.synthesis import AudioFormat, SynthesisRequest, validated

LIMIT = 500

ANY_SCRIPT = DrillEngine().load()
CHINESE_AND_ENGLISH = replace(ANY_SCRIPT, scripts=("CJK", "LATIN", "FULLWIDTH"))


def ask(**fields: Any) -> SynthesisRequest:
    return validated({"text": "hello", **fields}, CHINESE_AND_ENGLISH, max_text_chars=LIMIT)


def test_what_is_left_out_has_a_default() -> None:
    """A text alone is enough: the first speaker, neutral, ordinary pace, WAV."""
    assert ask() == SynthesisRequest(
        text="hello", speaker="steady", emotion="neutral", speed=1.0, format=AudioFormat.WAV
    )


def test_everything_can_be_chosen() -> None:
    """What was asked for arrives as it was asked for."""
    asked = {"speaker": "slow", "emotion": "happy", "speed": 0.5, "format": "ogg"}
    assert ask(text=" 你好, Welt! ", **asked) == SynthesisRequest(
        text=" 你好, Welt! ", **{**asked, "format": AudioFormat.OGG}
    )


@pytest.mark.parametrize(
    "text", ["7", "ｈｉ", "é", "a\tb\r\nc", "一" * LIMIT, "〇", "hello 👋", "x́"]
)
def test_a_text_that_can_be_spoken_is_taken(text: str) -> None:
    """Digits, full width, accents, line ends, the longest text, 〇, emoji beside words."""
    assert ask(text=text).text == text


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", errors.TextEmpty),
        (" \t\r\n\u3000\u2003", errors.TextEmpty),
        ("a" * (LIMIT + 1), errors.TextTooLong),
        ("\ud800" * (LIMIT + 1), errors.TextTooLong),
        ("a\0b", errors.TextUnreadable),
        ("a\x1b[31mb", errors.TextUnreadable),
        ("a\x7f", errors.TextUnreadable),
        ("\ud800", errors.TextUnreadable),
        ("text \udfff text", errors.TextUnreadable),
        ("😀🎉👍🏽", errors.TextNotSpeakable),
        ("…——!?。", errors.TextNotSpeakable),
        ("\u200b\u200d\ufeff", errors.TextNotSpeakable),
        ("مرحبا بالعالم", errors.ScriptNotSpoken),
        ("שלום hello", errors.ScriptNotSpoken),
        ("привет", errors.ScriptNotSpoken),
        ("𠀀", errors.ScriptNotSpoken),
        (None, errors.InvalidField),
        (7, errors.InvalidField),
        (["hello"], errors.InvalidField),
    ],
    ids=ascii,
)
def test_a_text_that_cannot_be_spoken_is_refused(
    text: object, error: type[errors.InvalidField]
) -> None:
    """Each kind of bad text has its own code."""
    with pytest.raises(errors.InvalidField) as raised:
        ask(text=text)
    assert type(raised.value) is error


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("speaker", "nobody", errors.UnknownSpeaker),
        ("speaker", "", errors.UnknownSpeaker),
        ("speaker", 1, errors.InvalidField),
        ("emotion", "furious", errors.UnknownEmotion),
        ("emotion", None, errors.InvalidField),
        ("format", "aiff", errors.UnknownFormat),
        ("format", "WAV", errors.UnknownFormat),
        ("speed", 0, errors.SpeedOutOfRange),
        ("speed", -1, errors.SpeedOutOfRange),
        ("speed", 0.49, errors.SpeedOutOfRange),
        ("speed", 2.01, errors.SpeedOutOfRange),
        ("speed", float("nan"), errors.SpeedOutOfRange),
        ("speed", float("inf"), errors.SpeedOutOfRange),
        ("speed", 10**400, errors.SpeedOutOfRange),
        ("speed", "1.0", errors.SpeedOutOfRange),
        ("speed", True, errors.SpeedOutOfRange),
        ("reference", "/etc/passwd", errors.UnknownField),
        ("pitch", 3, errors.UnknownField),
    ],
    ids=ascii,
)
def test_a_field_that_does_not_fit_is_named(
    field: str, value: object, error: type[errors.InvalidField]
) -> None:
    """The message names the field, unless it is none that exists."""
    with pytest.raises(errors.InvalidField) as raised:
        ask(**{field: value})
    assert type(raised.value) is error
    assert field in raised.value.message() or field == "pitch"
    assert field in raised.value.message("zh") or field == "pitch"


@pytest.mark.parametrize(
    "asked",
    [
        {"text": "canary \0"},
        {"text": "канарейка canary"},
        {"text": "canary" * LIMIT},
        {"text": {"canary": 1}},
        {"speaker": "canary"},
        {"emotion": "canary"},
        {"format": "canary"},
        {"speed": "canary"},
        {"canary \n\x1b[31m": 1},
    ],
    ids=ascii,
)
def test_no_message_repeats_what_was_sent(asked: dict[str, object]) -> None:
    """What a client sent goes into no message, so neither into a log nor onto another's page."""
    with pytest.raises(errors.InvalidField) as raised:
        ask(**asked)
    for language in ("en", "zh"):
        assert "canary" not in raised.value.message(language)
        assert raised.value.message(language).isprintable()


def test_a_refused_script_is_told_what_can_be_read() -> None:
    """The message names the letters that cannot be read and those that can."""
    with pytest.raises(errors.ScriptNotSpoken) as raised:
        ask(text="hello שלום")
    assert "Hebrew" in raised.value.message()
    assert "Chinese, Latin" in raised.value.message()


def test_an_engine_that_reads_everything_refuses_no_script() -> None:
    """Without a list of scripts the engine decides for itself."""
    request = validated({"text": "مرحبا"}, ANY_SCRIPT, max_text_chars=LIMIT)
    assert request.text == "مرحبا"


def test_ten_megabytes_of_text_are_refused_at_once() -> None:
    """The refusal costs no look at each character, which would stop the service for seconds."""
    text = "汉" * 10_000_000
    began = time.perf_counter()
    with pytest.raises(errors.TextTooLong):
        ask(text=text)
    assert time.perf_counter() - began < 0.2
