"""Promises of the hints: each has its sentences, and only what could be better gives one."""

from __future__ import annotations

import pytest

from indextts_app import hints
from indextts_app.hints import hints_of
from observability.events import HINTS, field_names


def test_every_hint_is_a_field_and_has_its_sentences() -> None:
    """What the event knows, the user can be told, in both languages."""
    assert set(HINTS) == set(hints.SENTENCES)
    assert set(HINTS) <= set(field_names())
    for sentence in hints.SENTENCES.values():
        assert sentence.en
        assert sentence.zh != sentence.en


@pytest.mark.parametrize("nothing", [{}, dict.fromkeys(HINTS, False), dict.fromkeys(HINTS, 0)])
def test_a_good_audio_has_none(nothing: dict[str, object]) -> None:
    """Neither what is not known nor what is zero is worth a word."""
    assert hints_of(nothing) == ()


def test_hints_come_in_one_order_with_their_figures() -> None:
    """Whatever the order of the fields."""
    found = hints_of({"length_limited": True, "segments": 3, "unknown_tokens": 4})
    assert [hint.code for hint in found] == ["unknown_tokens", "length_limited"]
    assert " 4 " in found[0].text.en
