"""Promises of the operations page's sentences."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest

from indextts_app.pages.operations import texts
from indextts_app.pages.operations.handlers import BY, WINDOWS
from observability.events import STATUSES, field_names

SOURCE = Path(texts.__file__).parent


def placeholders(text: str) -> set[str]:
    """The names of what is filled in."""
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("key", texts.TEXTS)
def test_a_sentence_says_the_same_in_both_languages(key: str) -> None:
    """Both exist and need the same details."""
    sentence = texts.TEXTS[key]
    assert sentence.en
    assert sentence.zh
    assert placeholders(sentence.en) == placeholders(sentence.zh)


def test_every_sentence_is_used_and_every_used_one_exists() -> None:
    """Names that are put together from parts count by their beginning."""
    code = "".join(
        path.read_text("utf-8") for path in SOURCE.glob("*.py") if path.name != "texts.py"
    )
    quoted = set(re.findall(r"""["']([a-z0-9_]+)["']""", code))
    built = ("window_", "by_", "status_", "column_", "field_", "source_")
    unused = [key for key in texts.TEXTS if key not in quoted and not key.startswith(built)]
    assert unused == []
    said = set(re.findall(r"""\b(?:say|label)\(\s*["']([a-z0-9_]+)["']""", code))
    assert said - set(texts.TEXTS) == set()


def test_closed_sets_have_their_names() -> None:
    """Statuses, windows and groups; a field's own name is one that exists."""
    names = [f"status_{status}" for status in (*STATUSES, "running", "not_asked")]
    names += [f"window_{key}" for key in WINDOWS] + [f"by_{key}" for key in BY]
    assert set(names) <= set(texts.TEXTS)
    fields = {key.removeprefix("field_") for key in texts.TEXTS if key.startswith("field_")}
    assert fields <= set(field_names())


def test_chinese_is_chosen_for_chinese_only() -> None:
    """Anybody else reads English."""
    assert texts.say("failed", "zh") == "失败"
    assert texts.say("failed", "fr") == texts.say("failed", "en") == "Failed"
    assert texts.say_name("status", "unheard-of", "en") == "unheard-of"
