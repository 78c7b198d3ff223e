"""Promises of the glossary: terms with readings, checked, bounded, there after a restart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from indextts_app import errors, glossary
from indextts_app.glossary import GlossaryStore

READINGS = {"zh": "接口", "en": "A P I"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the glossary is kept."""
    return tmp_path / "kept" / "glossary.json"


def test_a_term_is_kept(path: Path) -> None:
    """It is there for whoever reads the file anew, may be replaced, and may be forgotten."""
    store = GlossaryStore(path)
    store.put(" API ", READINGS)
    store.put("M.2", {"zh": "M 二"})
    assert GlossaryStore(path).all() == {"API": READINGS, "M.2": {"zh": "M 二"}}
    store.put("API", {"en": "interface", "zh": ""})
    store.remove("M.2")
    assert GlossaryStore(path).all() == store.all() == {"API": {"en": "interface"}}
    with pytest.raises(errors.NotKept):
        store.remove("M.2")


def test_the_whole_can_be_replaced_or_nothing_of_it(path: Path) -> None:
    """One bad term among good ones changes nothing."""
    store = GlossaryStore(path)
    store.replace({"API": READINGS})
    for bad in ({"new": {"zh": "新"}, "": READINGS}, ["API"], {"new": "新"}):
        with pytest.raises(errors.InvalidField):
            store.replace(bad)
    assert store.all() == {"API": READINGS}
    store.replace({})
    assert GlossaryStore(path).all() == {}


@pytest.mark.parametrize(
    ("term", "readings"),
    [
        ("", READINGS),
        ("  ", READINGS),
        ("x" * 101, READINGS),
        ("a\nb", READINGS),
        (7, READINGS),
        ("API", {}),
        ("API", {"zh": "", "en": None}),
        ("API", {"fr": "A P I"}),
        ("API", {"zh": "接口", "fr": "A P I"}),
        ("API", {"zh": 7}),
        ("API", {"zh": "x" * 101}),
        ("API", {"zh": "a\nb"}),
        ("API", {"zh": r"\1"}),
        ("API", "A P I"),
    ],
    ids=ascii,
)
def test_what_is_no_term_is_refused(term: object, readings: object, path: Path) -> None:
    """What would break the engine's search and replace comes no further, nor anything huge."""
    with pytest.raises(errors.InvalidField) as raised:
        GlossaryStore(path).put(term, readings)
    assert "glossary" in raised.value.message()
    assert "glossary" in raised.value.message("zh")
    assert not path.exists()


def test_there_is_a_limit(path: Path) -> None:
    """A thousand terms, whichever way they come; a known one can still be changed."""
    store = GlossaryStore(path)
    store.replace({f"term {number}": READINGS for number in range(glossary.MAX_TERMS)})
    store.put("term 7", {"en": "seven"})
    with pytest.raises(errors.LibraryFull, match="1000 terms"):
        store.put("one more", READINGS)
    with pytest.raises(errors.LibraryFull):
        store.replace({f"term {number}": READINGS for number in range(glossary.MAX_TERMS + 1)})
    assert len(store.all()) == glossary.MAX_TERMS


def test_a_text_gets_the_terms_that_occur_in_it(path: Path) -> None:
    """In upper or lower case, as the engine replaces them."""
    store = GlossaryStore(path)
    store.replace({"API": READINGS, "M.2": {"zh": "M 二"}, "nvme": {"en": "N V M E"}})
    assert set(store.of("这个api接NVMe盘")) == {"API", "nvme"}
    assert store.of("你好") == {}


def test_a_spoilt_file_costs_what_is_spoilt(path: Path) -> None:
    """The service starts; good terms beside a bad one stay, and a broken file counts as empty."""
    path.parent.mkdir()
    path.write_text(json.dumps({"API": READINGS, "bad": 7}), encoding="utf-8")
    assert GlossaryStore(path).all() == {"API": READINGS}
    for content in ("{", "[]", '"x"', "\xff"):
        path.write_text(content, encoding="latin-1")
        assert GlossaryStore(path).all() == {}
