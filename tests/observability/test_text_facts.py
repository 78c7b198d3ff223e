"""
Promises of `observability.text_facts`.
"""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from observability.text_facts import TextFacts, facts_of, hash_key

KEY = bytes(range(32))


def test_the_facts_of_a_text_are_stable() -> None:
    """The same text and key give the same facts on any machine and in any version."""
    assert facts_of("今天天气很好。", KEY) == TextFacts(
        text_len=7, text_script="zh", text_hash="27a8c22ca5c24f6f060bd453af0d7674"
    )


def test_the_hash_needs_the_key() -> None:
    """Under another key the same text has another hash, so guessing texts leads nowhere."""
    assert facts_of("好", KEY).text_hash != facts_of("好", bytes(32)).text_hash


def test_texts_that_unicode_holds_equal_hash_equal() -> None:
    """A composed and a decomposed spelling of one text have one hash, but their own length."""
    composed, decomposed = facts_of("caf\u00e9", KEY), facts_of("cafe\u0301", KEY)
    assert composed.text_hash == decomposed.text_hash
    assert (composed.text_len, decomposed.text_len) == (4, 5)


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("今天天气很好。", "zh"),
        ("今天是2025年11月21日 😀", "zh"),
        ("It is a nice day.", "en"),
        ("Ｆｕｌｌ　ｗｉｄｔｈ", "en"),
        ("我们用Gradio。", "mixed"),
        ("123 😀 !!", "other"),
        ("", "other"),
        ("こんにちは", "other"),
        ("Привет, A", "other"),
    ],
)
def test_the_script_is_that_of_most_letters(text: str, script: str) -> None:
    """Digits, signs and emoji do not count; where other scripts prevail it is other."""
    assert facts_of(text, KEY).text_script == script


def test_a_lone_surrogate_has_facts_too() -> None:
    """A text that cannot be encoded as UTF-8 is measured like any other."""
    facts = facts_of("\ud800好", KEY)
    assert (facts.text_len, facts.text_script, len(facts.text_hash)) == (2, "zh", 32)


def test_the_key_is_made_once_and_kept_private(tmp_path: Path) -> None:
    """The first call makes a key that only its owner can read; later calls return that key."""
    path = tmp_path / "made" / "text_hash.key"
    key = hash_key(path)
    assert len(key) == 32
    assert hash_key(path) == path.read_bytes() == key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_race_for_the_key_has_one_winner(tmp_path: Path) -> None:
    """Many first calls at once all return the same key and leave one file."""
    starters = 16
    barrier = Barrier(starters)

    def race(_: int) -> bytes:
        barrier.wait()
        return hash_key(tmp_path / "key")

    with ThreadPoolExecutor(starters) as pool:
        keys = set(pool.map(race, range(starters)))
    assert keys == {(tmp_path / "key").read_bytes()}
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_damaged_key_is_refused(tmp_path: Path) -> None:
    """A file that holds no 32 bytes is named in the error and left alone."""
    path = tmp_path / "key"
    path.write_bytes(b"short")
    with pytest.raises(ValueError, match="holds 5 bytes where a key has 32"):
        hash_key(path)
    assert path.read_bytes() == b"short"
