"""Promises of the controls: what the table says is taken, anything else is told what would fit."""

from __future__ import annotations

import math
from typing import Any

import pytest

from indextts_app import controls, errors
from indextts_app.engines.base import Control, Translated
from observability import logfmt

LABEL = Translated("label", "标签")
TABLE = (
    Control("temperature", LABEL, "number", 0.8, lowest=0.1, highest=2.0),
    Control("num_beams", LABEL, "integer", 3, lowest=1, highest=10),
    Control("do_sample", LABEL, "switch", default=True),
    Control("language", LABEL, "choice", "auto", choices=("auto", "zh", "en")),
)
DEFAULTS = {"temperature": 0.8, "num_beams": 3, "do_sample": True, "language": "auto"}


def test_what_is_not_sent_is_at_its_default() -> None:
    """Each control has a value, in the table's order; null is as good as nothing."""
    assert controls.chosen({"text": "hello", "num_beams": None}, TABLE) == DEFAULTS
    assert list(controls.chosen({"language": "zh"}, TABLE)) == list(DEFAULTS)


@pytest.mark.parametrize(
    ("name", "value", "taken"),
    [
        ("temperature", 0.1, 0.1),
        ("temperature", 2, 2.0),
        ("num_beams", 10, 10),
        ("do_sample", False, False),
        ("language", "zh", "zh"),
    ],
)
def test_what_fits_is_taken(name: str, value: Any, taken: Any) -> None:
    """The ends of a range are in it, and a whole number is a number."""
    chosen = controls.chosen({name: value}, TABLE)
    assert chosen == {**DEFAULTS, name: taken}
    assert type(chosen[name]) is type(taken)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("temperature", 0.09, "a number from 0.1 to 2"),
        ("temperature", 2.01, "a number from 0.1 to 2"),
        ("temperature", math.nan, "a number from 0.1 to 2"),
        ("temperature", math.inf, "a number from 0.1 to 2"),
        ("temperature", 10**400, "a number from 0.1 to 2"),
        ("temperature", "0.8", "a number from 0.1 to 2"),
        ("temperature", True, "a number from 0.1 to 2"),
        ("temperature", [0.8], "a number from 0.1 to 2"),
        ("num_beams", 0, "a whole number from 1 to 10"),
        ("num_beams", 3.0, "a whole number from 1 to 10"),
        ("num_beams", True, "a whole number from 1 to 10"),
        ("do_sample", 1, "Send true or false"),
        ("do_sample", "true", "Send true or false"),
        ("language", "fr", "Choose one of: auto, zh, en"),
        ("language", ["zh"], "Choose one of: auto, zh, en"),
    ],
    ids=ascii,
)
def test_what_does_not_fit_is_told_what_would(name: str, value: Any, says: str) -> None:
    """The message names the control and its range, in both languages."""
    with pytest.raises(errors.InvalidField) as raised:
        controls.chosen({name: value}, TABLE)
    assert says in raised.value.message()
    assert name in raised.value.message("zh")


def test_only_what_was_changed_is_logged_and_can_be_read_back() -> None:
    """The event's field is empty for a plain request, and otherwise enough to ask again."""
    assert controls.changed(DEFAULTS, TABLE) is None
    values = {"temperature": 1.25, "num_beams": 3, "do_sample": False, "language": "en"}
    told = controls.changed(values, TABLE)
    assert told == "temperature=1.25 do_sample=false language=en"
    assert logfmt.pairs(told) == {
        "temperature": "1.25",
        "do_sample": "false",
        "language": "en",
    }
    assert logfmt.pairs("") == {}
