"""Promises of the page's texts."""

from __future__ import annotations

import re
from string import Formatter

import pytest

from indextts_app.engines.base import EMOTIONS
from indextts_app.pages.examples import EXAMPLES
from indextts_app.pages.texts import LANGUAGES, TEXTS, browser_key, browser_table, say, say_name
from observability.events import STAGES, VERDICTS


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


def test_every_example_has_a_name_and_an_emotion_that_exists() -> None:
    """Clicking an example never leads to an error."""
    for example in EXAMPLES:
        assert example.name in TEXTS
        assert example.emotion in EMOTIONS
        assert 0 < len(example.text) <= 200
