"""
Promises of reading a table: as Excel writes it, in both languages, and broken rows by their line.
"""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indextts_app import errors
from indextts_app.batches.table import Row, of_objects, read

CSV = "文本,发音人,语速,种子,名称\r\n今天很好。,zhiyan,1.5,7,开场\r\n\r\n再见。,,,,\r\n"
EXPECTED = (
    Row(2, {"text": "今天很好。", "speaker": "zhiyan", "speed": 1.5, "seed": 7}, "开场"),
    Row(4, {"text": "再见。"}),
)


def rows(text: str | bytes, most: int = 100) -> tuple[Row, ...]:
    return read(text.encode() if isinstance(text, str) else text, max_rows=most).rows


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_a_table_is_read_as_excel_writes_it(encoding: str) -> None:
    """Chinese columns mean what the English ones do; empty rows and cells are none."""
    assert rows(CSV.encode(encoding)) == EXPECTED


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "，", "|"])
def test_the_delimiter_is_found_by_the_header(delimiter: str) -> None:
    """Even where the texts hold others."""
    text = delimiter.join(("name", "TEXT", "emotion")) + "\n"
    text += delimiter.join(("a", '"one, two; three"', "happy")) + "\n"
    assert rows(text) == (Row(2, {"text": "one, two; three", "emotion": "happy"}, "a"),)


def test_a_text_may_have_quotes_and_lines() -> None:
    """The line of a row is where it begins."""
    text = 'text,speed\n"first\nsecond ""quoted""",2\nthird,\n'
    assert rows(text) == (
        Row(2, {"text": 'first\nsecond "quoted"', "speed": 2}),
        Row(4, {"text": "third"}),
    )


def test_a_column_alone_needs_no_delimiter() -> None:
    """A list of texts with a header."""
    assert rows("文本\n一，二\n") == (Row(2, {"text": "一，二"}),)


def test_json_lines_hold_the_fields_of_a_request() -> None:
    """Whatever broke is told by its line, and the rest is read."""
    text = (
        '{"text": "one", "seed": 3, "名称": "a"}\n\n{"text": 7}\n{"text": "to\n[1]\n'
        '{"文本": "two", "top_p": 0.5}'
    )
    assert rows(text) == (
        Row(1, {"text": "one", "seed": 3}, "a"),
        Row(3, {"text": 7}),
        Row(4, {}, fault=("it is not JSON.", "不是 JSON。")),
        Row(5, {}, fault=("it is JSON, but not an object.", "是 JSON，但不是对象。")),
        Row(6, {"text": "two", "top_p": 0.5}),
    )


def test_a_row_with_too_many_cells_is_broken_alone() -> None:
    """Most often a text with a comma and without quotes: half of it would be lost."""
    broken, whole = rows("text,speed\none, two, three\nfour,1\n")
    assert broken.line == 2
    assert broken.fault
    assert broken.fault[0].startswith("it has more cells than the header.")
    assert whole == Row(3, {"text": "four", "speed": 1})


def test_a_switch_may_be_as_excel_writes_it() -> None:
    """It makes TRUE of true; a text stays what it is."""
    assert rows("text,cache\nTRUE,TRUE\none,FALSE\ntwo,false\n") == (
        Row(2, {"text": "TRUE", "cache": True}),
        Row(3, {"text": "one", "cache": False}),
        Row(4, {"text": "two", "cache": False}),
    )


def test_a_quote_that_does_not_end_costs_its_own_row() -> None:
    """The rows behind it are read by themselves, each with its own line."""
    text = 'text,speed\none,1\n"two,1\nthree,1\n"four, too",1\n'
    assert rows(text) == (
        Row(2, {"text": "one", "speed": 1}),
        Row(3, {}, fault=("its quotes do not fit.", "引号不成对。")),
        Row(4, {"text": "three", "speed": 1}),
        Row(5, {"text": "four, too", "speed": 1}),
    )


def test_only_an_end_of_line_ends_a_line_of_json() -> None:
    """JSON may hold the separators of Unicode as they are; texts from the web have them."""
    text = '{"text": "a\u2028b"}\n{"text": "c\x85d"}\r\n{"text": "e"}\n'
    assert rows(text) == (
        Row(1, {"text": "a\u2028b"}),
        Row(2, {"text": "c\x85d"}),
        Row(3, {"text": "e"}),
    )


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it is empty."),
        (b"one\ntwo\n", "its first line must name the columns"),
        ("文本,text\n一,二\n".encode(), "two columns have the same meaning."),
        (b"text\n\n \n", "it has no rows."),
        (b"\xff\xff\xff\x80", "its encoding is none of"),
        (b"PK\x03\x04\x14\xff\xff", "it is an Excel workbook, or an archive. Save"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "it is an Excel workbook, or an archive. Save"),
        (b'[\n{"text": "one"}\n]', "it is a JSON list. Put each of its objects on a line"),
    ],
)
def test_what_is_no_table_is_refused_with_what_to_do(data: bytes, said: str) -> None:
    """As a whole: nothing of it is asked for."""
    with pytest.raises(errors.BatchUnreadable, match=said):
        read(data, max_rows=9)


def test_more_rows_than_may_be_are_refused() -> None:
    """Before anything is made of them."""
    with pytest.raises(errors.BatchTooLong, match="more than 2 rows"):
        read(b"text\na\nb\nc\n", max_rows=2)
    with pytest.raises(errors.BatchTooLong):
        of_objects([{}] * 3, max_rows=2)
    with pytest.raises(errors.BatchUnreadable):
        of_objects([], max_rows=2)


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: f"text\n{text}".encode()))
def test_no_file_ends_in_anything_else(data: bytes) -> None:
    """It has rows, or is refused with a reason."""
    with suppress(errors.BatchUnreadable):
        assert read(data, max_rows=1_000).rows
