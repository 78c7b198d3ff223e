"""Promises of the page's texts."""

from __future__ import annotations

import re
from string import Formatter
from typing import Any, cast

import pytest

from indextts_app import emotions
from indextts_app.engines import features
from indextts_app.engines.base import EMOTION_MODES, EMOTIONS, Features
from indextts_app.pages import labels
from indextts_app.pages.examples import EXAMPLES, examples_for
from indextts_app.pages.texts import LANGUAGES, TEXTS, browser_key, browser_table, say, say_name
from indextts_app.presets import NEVER_KEPT
from indextts_app.synthesis import RECORDINGS, SynthesisForm
from observability.events import PARTS, STAGES, VERDICTS

LANGUAGES_READ = next(
    control.choices
    for control in features("indextts2", {"model_version": "2.5"}).controls
    if control.name == "language"
)
KEPT_FIELDS = (*(set(SynthesisForm.model_fields) - set(NEVER_KEPT)), *RECORDINGS)


def placeholders(sentence: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(sentence) if name}


def test_both_languages_have_the_same_sentences() -> None:
    """The browser's table has the same keys in every language."""
    tables = [browser_table(language) for language in LANGUAGES]
    assert all(set(table) == {browser_key(key) for key in TEXTS} for table in tables)


@pytest.mark.parametrize("key", TEXTS)
def test_a_sentence_is_whole_in_both_languages(key: str) -> None:
    """No sentence is empty, and both languages fill in the same details."""
    translated = TEXTS[key]
    assert translated.en.strip()
    assert translated.zh.strip()
    assert placeholders(translated.en) == placeholders(translated.zh)


@pytest.mark.parametrize("key", TEXTS)
def test_english_is_english(key: str) -> None:
    """No English sentence has Chinese characters left in it."""
    assert not re.search("[\u4e00-\u9fff]", TEXTS[key].en)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("emotion", EMOTIONS),
        ("stage", ("queue", *STAGES)),
        ("mode", EMOTION_MODES),
        ("part", tuple(PARTS)),
        ("language", LANGUAGES_READ),
        ("field", KEPT_FIELDS),
        ("verdict", VERDICTS),
        ("verdict", tuple(f"{verdict}_more" for verdict in VERDICTS)),
    ],
)
def test_every_closed_set_has_its_names(kind: str, names: tuple[str, ...]) -> None:
    """Emotions, stages and verdicts all have a name of their own in both languages."""
    for language in LANGUAGES:
        shown = [say_name(kind, name, language) for name in names]
        assert not set(shown) & set(names)
        assert len(set(shown)) == len(names)


def test_the_eight_emotions_are_named_as_on_the_models_own_page() -> None:
    """IndexTTS-2's users find the emotions under the names that they know."""
    names = [say_name("emotion", emotion, "zh") for emotion in EMOTIONS[1:]]
    assert names == ["喜", "怒", "哀", "惧", "厌恶", "低落", "惊喜", "平静"]


def test_a_name_that_is_not_known_yet_is_shown_as_it_is() -> None:
    """A new stage of a new engine does not break the page."""
    assert say_name("stage", "diffusion", "zh") == "diffusion"


def test_a_language_that_is_not_spoken_becomes_english() -> None:
    """Whoever reads neither language gets English."""
    assert say("cancel", "fr") == "Cancel"


@pytest.mark.parametrize("can", [Features(), features("indextts2", {"model_version": "2"})])
def test_every_example_fits_its_engine(can: Features) -> None:
    """Clicking an example never leads to an error."""
    for example in examples_for(can):
        assert example.name in TEXTS
        assert 0 < len(example.text) <= 200
        request = example.request()
        sent = emotions.AskedEmotion(
            name=str(request["emotion"]),
            mode=example.mode,
            vector=cast("Any", request.get("emotion_vector")),
            text=cast("Any", request.get("emotion_text")),
        )
        assert emotions.resolved(sent, can).mode in can.emotion_modes


def test_examples_that_an_engine_cannot_speak_are_left_out() -> None:
    """Blended and described emotions are for engines that have them."""
    modes = ("speaker", "preset", "reference", "vector")
    assert len(examples_for(Features())) == len(EXAMPLES) - 2
    assert len(examples_for(Features(emotion_modes=modes))) == len(EXAMPLES) - 1


@pytest.mark.parametrize("version", ["2", "2.5"])
def test_the_engines_own_labels_are_in_the_browsers_table(version: str) -> None:
    """Every control and what is said about it is there in both languages."""
    can = features("indextts2", {"model_version": version})
    tables = labels.translations(can).translations_dict
    for locale, language in (("en", "en"), ("zh-CN", "zh"), ("zh-TW", "zh")):
        for control in can.controls:
            said = tables[locale][labels.label(control).key]
            assert said == getattr(control.label, language)
            explained = labels.info(control)
            assert (explained is None) is (control.info is None)
            if explained and control.info:
                assert tables[locale][explained.key] == getattr(control.info, language)
