"""Promises of the door: a request that exists is valid; a refused one hears what would fit."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from indextts_app import errors
from indextts_app.engines.base import Speaker, Translated
from indextts_app.engines.drill import DrillEngine
from indextts_app.engines.indextts2.features import features
from indextts_app.synthesis import AudioFormat, SynthesisRequest, offered, validated

LIMIT = 500

ANY_SCRIPT = DrillEngine().load()
CHINESE_AND_ENGLISH = replace(ANY_SCRIPT, scripts=("CJK", "LATIN", "FULLWIDTH"))
CLONING = replace(
    ANY_SCRIPT,
    engine="indextts2",
    features=features(model_version="2"),
    speakers=tuple(Speaker(id_, Translated(id_, id_)) for id_ in ("sample", "anna")),
)
DEFAULTS = {control.name: control.default for control in CLONING.features.controls}
SAD = [0, 0, 0.8, 0, 0, 0, 0, 0]


def ask(**fields: Any) -> SynthesisRequest:
    return validated({"text": "hello", **fields}, CHINESE_AND_ENGLISH, max_text_chars=LIMIT)


def ask_cloning(*recordings: str, **fields: Any) -> SynthesisRequest:
    asked = {"text": "hello", **fields}
    return validated(asked, CLONING, max_text_chars=LIMIT, recordings=recordings)


def test_what_is_left_out_has_a_default() -> None:
    """A text alone is enough: the first speaker, neutral, ordinary pace, WAV."""
    assert ask() == SynthesisRequest(
        text="hello", speaker="steady", emotion="neutral", speed=1.0, format=AudioFormat.WAV
    )


def test_everything_can_be_chosen() -> None:
    """What was asked for arrives as it was asked for."""
    asked = {"speaker": "slow", "emotion": "happy", "speed": 0.5, "format": "ogg"}
    assert ask(text=" 你好, Welt! ", **asked) == SynthesisRequest(
        text=" 你好, Welt! ", **{**asked, "format": AudioFormat.OGG}, emotion_mode="preset"
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
    for language in ("en", "zh"):
        assert field in raised.value.message(language) or error is errors.UnknownField


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
    began = time.thread_time()
    with pytest.raises(errors.TextTooLong):
        ask(text=text)
    assert time.thread_time() - began < 0.2


class TestCloning:
    """What an engine with everything takes beside what all take."""

    def test_what_is_left_out_has_a_default(self) -> None:
        """The first speaker as it is, every control at its default; the seed is chosen later."""
        assert ask_cloning() == SynthesisRequest(
            text="hello",
            speaker="sample",
            emotion="neutral",
            speed=1.0,
            format=AudioFormat.WAV,
            controls=DEFAULTS,
        )

    def test_everything_can_be_chosen(self) -> None:
        """Each field arrives as it was asked for; null is as good as nothing."""
        request = ask_cloning(
            speaker="anna",
            emotion_vector=SAD,
            emotion_weight=1,
            emotion_random=True,
            emotion_text=None,
            seed=2**32 - 1,
            temperature=1.5,
            top_k=None,
            preset="mine",
            stream=True,
        )
        assert request == SynthesisRequest(
            text="hello",
            speaker="anna",
            emotion="neutral",
            speed=1.0,
            format=AudioFormat.WAV,
            emotion_mode="vector",
            emotion_weight=1.0,
            emotion_vector=tuple(SAD),
            seed=2**32 - 1,
            controls={**DEFAULTS, "emotion_random": True, "temperature": 1.5},
            preset="mine",
            stream=True,
        )

    def test_a_recording_is_the_voice(self) -> None:
        """A request has a stored speaker or brings one; which of two is meant nobody can know."""
        assert ask_cloning("reference").speaker == "reference"
        assert ask_cloning("reference", speaker="reference").speaker == "reference"
        with pytest.raises(errors.InvalidField, match="Send one of the two"):
            ask_cloning("reference", speaker="anna")
        with pytest.raises(errors.UnknownSpeaker):
            ask_cloning(speaker="reference")

    def test_a_second_recording_is_the_emotion(self) -> None:
        """It may come with a stored speaker and with a recorded one."""
        assert ask_cloning("emotion_reference").emotion_mode == "reference"
        assert ask_cloning("reference", "emotion_reference", emotion_weight=0.3) == replace(
            ask_cloning("reference"), emotion_mode="reference", emotion_weight=0.3
        )

    @pytest.mark.parametrize(
        ("field", "value", "says"),
        [
            ("seed", -1, "a whole number from 0 to 4294967295"),
            ("seed", 2**32, "a whole number from 0 to 4294967295"),
            ("seed", 1.0, "a whole number from 0 to 4294967295"),
            ("seed", True, "a whole number from 0 to 4294967295"),
            ("seed", "7", "a whole number from 0 to 4294967295"),
            ("emotion_weight", 1.01, "a number from 0 to 1"),
            ("emotion_weight", -0.1, "a number from 0 to 1"),
            ("emotion_weight", float("nan"), "a number from 0 to 1"),
            ("emotion_weight", "1", "a number from 0 to 1"),
            ("emotion_vector", "1,0,0", "a list of eight numbers"),
            ("emotion_vector", [True] * 8, "a list of eight numbers"),
            ("emotion_vector", [10**400] * 8, "a list of eight numbers"),
            ("emotion_vector", [None] * 8, "a list of eight numbers"),
            ("emotion_vector", [0.1] * 7, "7 values, and eight are needed"),
            ("emotion_vector", [0.375] * 8, "add up to 3"),
            ("emotion_vector", [float("nan")] * 8, "from 0 to 1"),
            ("emotion_text", 7, "Send a string"),
            ("emotion_text", "x" * 201, "at most 200"),
            ("emotion_mode", "fury", "speaker, preset, reference, vector, text"),
            ("stream", "yes", "Send true or false"),
            ("stream", 1, "Send true or false"),
            ("preset", 7, "Send a string"),
            ("temperature", 5, "a number from 0.1 to 2"),
            ("num_beams", 2.5, "a whole number from 1 to 10"),
            ("speed", 1.5, "at the speaker's own pace"),
        ],
        ids=ascii,
    )
    def test_a_value_that_does_not_fit_is_told_what_would(
        self, field: str, value: object, says: str
    ) -> None:
        """Each refusal names its field in both languages."""
        with pytest.raises(errors.InvalidField) as raised:
            ask_cloning(**{field: value})
        assert says in raised.value.message()
        assert field in raised.value.message()
        assert field in raised.value.message("zh")

    @pytest.mark.parametrize("bad", ["a\0b", "\ud800"])
    def test_a_description_is_text(self, bad: str) -> None:
        """What is no text goes no further there either."""
        with pytest.raises(errors.TextUnreadable):
            ask_cloning(emotion_text=bad)

    def test_no_message_repeats_a_description(self) -> None:
        """It is a user's text like any other."""
        for text in ("canary" * 50, "canary \0"):
            with pytest.raises(errors.InvalidField) as raised:
                ask_cloning(emotion_text=text)
            assert "canary" not in raised.value.message() + raised.value.message("zh")

    def test_an_unknown_generation_parameter_is_told_which_exist(self) -> None:
        """The list holds every field, every control and every file."""
        with pytest.raises(errors.UnknownField) as raised:
            ask_cloning(temprature=0.5)
        for name in offered(CLONING):
            assert name in raised.value.message()
        assert "temprature" not in raised.value.message()


class TestOffered:
    """Only what the engine in use can do is taken."""

    @pytest.mark.parametrize(
        ("fields", "recordings", "name"),
        [
            ({"seed": 7}, (), "seed"),
            ({"emotion_vector": SAD}, (), "emotion_vector"),
            ({"emotion_text": "sad"}, (), "emotion_text"),
            ({"emotion": "sad", "emotion_weight": 0.5}, (), "emotion_weight"),
            ({"stream": True}, (), "stream"),
            ({}, ("emotion_reference",), "emotion_reference"),
        ],
    )
    def test_what_it_has_no_use_for_is_refused(
        self, fields: dict[str, Any], recordings: tuple[str, ...], name: str
    ) -> None:
        """The message names the engine, the field, and what it takes."""
        plain = replace(
            CHINESE_AND_ENGLISH, features=replace(CHINESE_AND_ENGLISH.features, streams=False)
        )
        with pytest.raises(errors.FieldNotOffered) as raised:
            validated({"text": "hi", **fields}, plain, max_text_chars=9, recordings=recordings)
        message = raised.value.message()
        assert "drill" in message
        assert f"'{name}'" in message
        assert "text, speaker, emotion" in message

    def test_a_control_of_the_other_version_is_named_as_such(self) -> None:
        """Version 2.5 has a duration factor, version 2 reads a glossary, the drill neither."""
        newer = replace(CLONING, features=features(model_version="2.5"))
        request = validated(
            {"text": "hi", "duration_factor": 2, "speed": 1.5}, newer, max_text_chars=9
        )
        assert (request.controls["duration_factor"], request.speed) == (2.0, 1.5)
        for can, field, other in (
            (CLONING, "duration_factor", "IndexTTS-2.5"),
            (newer, "use_glossary", "IndexTTS-2"),
        ):
            with pytest.raises(errors.FieldOfOtherVersion) as raised:
                validated({"text": "hi", field: True}, can, max_text_chars=9)
            assert f"'{field}' is a control of {other};" in raised.value.message("en")
            assert f"'{field}' 是 {other} 的参数" in raised.value.message("zh")
        with pytest.raises(errors.UnknownField):
            ask(temperature=0.5)

    @pytest.mark.parametrize(
        ("sent", "meant"), [("temprature", "temperature"), ("emotion_wieght", "emotion_weight")]
    )
    def test_a_misspelt_field_is_told_what_was_meant(self, sent: str, meant: str) -> None:
        """The name that is known is said; what was sent is not, it would stand in the log."""
        with pytest.raises(errors.UnknownField) as raised:
            validated({"text": "hi", sent: 1}, CLONING, max_text_chars=9)
        assert f"Did you mean '{meant}'?" in raised.value.message("en")
        assert f"是否想写 '{meant}'？" in raised.value.message("zh")
        assert sent not in str(raised.value)

    def test_saying_no_is_always_possible(self) -> None:
        """A switch that is off asks for nothing."""
        assert ask(stream=False, seed=None, emotion_mode="speaker") == ask()
