"""
Promises of cutting a text: nothing is lost, and nothing is parted that belongs together.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indextts_app.pieces import pieces

PROSE = (
    "今天天气很好，我们去公园。“真的吗？”她问。Mr. Smith paid $2,000 on Monday! \n\n再见…… 👩‍👩‍👧 é"
)


def texts(text: str, limit: int) -> list[str]:
    return [piece.text for piece in pieces(text, limit)]


@given(st.text(st.sampled_from(PROSE)) | st.text(), st.integers(2, 40))
def test_the_pieces_joined_are_the_text(text: str, limit: int) -> None:
    """Every character is in exactly one piece, and no piece is longer than the limit."""
    found = texts(text, limit)
    assert "".join(found) == text
    assert all(0 < len(piece) <= limit for piece in found)


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("今天很好。我们走吧！好的？", 6, ["今天很好。", "我们走吧！", "好的？"]),
        ("He left. She stayed.", 12, ["He left. ", "She stayed."]),
        ("“走吧。”他说。“好。”", 8, ["“走吧。”他说。", "“好。”"]),
        ('"Go." He left. "No."', 15, ['"Go." He left. ', '"No."']),
        ("Dr. Wu saw Mrs. Li. They spoke.", 22, ["Dr. Wu saw Mrs. Li. ", "They spoke."]),
        ("It costs 3.14 yuan. Cheap.", 20, ["It costs 3.14 yuan. ", "Cheap."]),
        ("价格是3.14元。便宜。", 10, ["价格是3.14元。", "便宜。"]),
        ("See https://a.cn/b.c?d=1 now. Good.", 30, ["See https://a.cn/b.c?d=1 now. ", "Good."]),
        ("第一句，第二句，第三句", 8, ["第一句，第二句，", "第三句"]),
        ("one two three four", 10, ["one two ", "three four"]),
        ("支付了2,000元整", 6, ["支付了", "2,000元", "整"]),
        ("“第一句。第二句。第三句。”", 6, ["“第一句。", "第二句。", "第三句。”"]),
    ],
)
def test_a_text_is_cut_where_a_reader_would_pause(
    text: str, limit: int, expected: list[str]
) -> None:
    """At sentences, then clauses, then spaces; abbreviations, decimals and addresses stay whole."""
    assert texts(text, limit) == expected


def test_an_accent_stays_with_its_letter() -> None:
    """A run without any place to cut is cut between characters, not inside of one."""
    assert texts("e\u0301" * 3, 3) == ["e\u0301"] * 3
    assert texts("👩‍👩‍👧👩‍👩‍👧", 7) == ["👩‍👩‍👧", "👩‍👩‍👧"]


def test_the_pause_follows_what_ends() -> None:
    """A paragraph, a sentence and a clause end with shorter and shorter pauses, a cut with none."""
    found = pieces("一二三四。\n\n一二三四。一二三四，一二三四五六七八", 7)
    assert [piece.pause_seconds for piece in found] == [0.4, 0.2, 0.1, 0.0, 0.0]


def test_a_piece_of_signs_has_nothing_to_say() -> None:
    """An engine that is asked for it would answer with nothing."""
    assert [piece.speakable for piece in pieces("好。\n\n————\n\n好。", 4)] == [True, False, True]
