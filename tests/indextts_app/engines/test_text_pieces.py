"""Promises of cutting a text so that its beginning can be spoken first."""

from __future__ import annotations

import pytest

from indextts_app.engines.text_pieces import pieces

SHORT = "今天天气很好。"


def cut(text: str) -> tuple[str, ...]:
    return pieces(text, at_least=10, at_most=20)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        SHORT,
        SHORT * 9,
        "好！？\n\n好。" * 9,
        "“你好。”他说。" * 9,
        "a. b。" * 40,
        "，。" * 30,
    ],
)
def test_no_character_is_lost(text: str) -> None:
    """Joined, the pieces are the text."""
    assert "".join(cut(text)) == text


def test_pieces_are_whole_sentences_of_some_length() -> None:
    """The last one takes what would be too short."""
    assert cut(SHORT * 5) == (SHORT * 2, SHORT * 3)
    assert cut("“今天天气很好。”他说。") == ("“今天天气很好。”他说。",)


def test_a_long_sentence_is_cut_at_its_clauses() -> None:
    """And one without any stays whole."""
    assert cut("今天天气很好，" * 4 + "好。") == (
        "今天天气很好，" * 2,
        "今天天气很好，" * 2 + "好。",
    )
    assert cut("好" * 100) == ("好" * 100,)


def test_every_piece_is_chinese() -> None:
    """Numbers among English words are read as the text around them is."""
    assert cut(f"Chapter 12, page 34。{SHORT}") == (f"Chapter 12, page 34。{SHORT}",)
