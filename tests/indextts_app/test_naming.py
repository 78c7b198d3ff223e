"""Promises of names and ids: people's names stay theirs, ids fit labels, logs and file names."""

from __future__ import annotations

import pytest

from indextts_app import errors, naming


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("My Voice", "my-voice"),
        ("  Zoë 2 ", "zoe-2"),
        ("a_b.c/d", "a-b-c-d"),
        ("旁白", "voice-1234"),
        ("旁白 A", "voice-1234"),
        ("Анна", "voice-1234"),
        ("!!!", "voice-1234"),
        ("../../etc/passwd", "etc-passwd"),
        ("x" * 60, "x" * 40),
    ],
)
def test_an_id_is_made_of_the_name(name: str, expected: str) -> None:
    """Latin letters and digits where the name has only such, else what stands in for it."""
    made = naming.new_id(name, "voice-1234", ())
    assert made == expected
    assert naming.is_id(made)


def test_an_id_that_is_taken_gets_a_number() -> None:
    """Two names may make the same id."""
    assert naming.new_id("My voice", "-", {"my-voice", "my-voice-2"}) == "my-voice-3"


@pytest.mark.parametrize("text", ["", "..", "a/b", "A", "旁白", "-a", "a-", "a" * 60, "a.json"])
def test_what_no_id_can_be_is_none(text: str) -> None:
    """A file in the folder with another name is not ours."""
    assert not naming.is_id(text)


@pytest.mark.parametrize("name", ["旁白 2", "A", "é" * 60, "O'Neil <b>"])
def test_a_name_is_shown_as_it_was_given(name: str) -> None:
    """Any script, any punctuation, without white space around it."""
    assert naming.cleaned(f" {name} ") == name


@pytest.mark.parametrize("name", ["", "  ", "x" * 61, "a\nb", "a\0b", "\u202eabc", None, 7, ["a"]])
def test_what_is_no_name_is_refused(name: object) -> None:
    """Nothing invisible, nothing over a line; the message says what would fit."""
    with pytest.raises(errors.InvalidField, match="1 to 60 characters"):
        naming.cleaned(name)


def test_a_description_may_have_lines() -> None:
    """It may be left out; control characters and novels are refused."""
    assert naming.described(None) == ""
    assert naming.described(" a\r\nb ") == "a\nb"
    for bad in ("x" * 501, "a\0b", 7):
        with pytest.raises(errors.InvalidField, match="at most 500 characters"):
            naming.described(bad)
