"""
Promises of `observability.redaction`.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections import Counter, OrderedDict
from enum import Enum, IntEnum, StrEnum

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from observability.redaction import clean, mask_private, redact

ID_CARD = "11010519491231002X"  # the example of GB 11643-1999
BANK_CARD = "6222021234567890128"
PHONE = "13812345678"
EMAIL = "zhang.san+tts@example.com.cn"
FULL_WIDTH = str.maketrans("0123456789@.- ", "０１２３４５６７８９＠．－\u3000")

quick = settings(database=None, deadline=None, max_examples=200)


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (f"身份证{ID_CARD}。", "身份证[id-card]。"),
        (ID_CARD.lower(), "[id-card]"),
        ("110105 19491231 0021", "110105 19491231 0021"),
        ("110105 19491231 002x", "[id-card]"),
        (f"卡号{BANK_CARD}请", "卡号[bank-card]请"),
        ("4111 1111 1111 1111", "[bank-card]"),
        ("4111-1111-1111-1111", "[bank-card]"),
        ("3782 822463 10005", "[bank-card]"),
        ("4111111111111111 138", "[bank-card] 138"),
        ("223 4111 1111 1111 1111 138 1234 5678", "223 [bank-card] [phone]"),
        (f"电话{PHONE}请", "电话[phone]请"),
        ("138 1234 5678", "[phone]"),
        ("请拨打010-88886666转1", "请拨打[phone]转1"),
        ("0755 26888888", "[phone]"),
        ("400-800-1234", "[phone]"),
        ("call +1 415-555-0100 now", "call [phone] now"),
        ("+44 20 7946 0958", "[phone]"),
        ("2026-11-21 09:43:07.123456", "2026-11-21 09:43:07.123456"),
        ("from 100 to 2000 in 0.5 steps", "from 100 to 2000 in 0.5 steps"),
        ("138-1234-5678", "[phone]"),
        ("1381 234 5678", "[phone]"),
        (f"+86{PHONE}", "[phone]"),
        (f"+86 {PHONE}", "[phone]"),
        (f"86-{PHONE}", "[phone]"),
        (f"0086{PHONE}", "[phone]"),
        (f"(+86) {PHONE}", "[phone]"),
        (f"写信给{EMAIL}吧", "写信给[email]吧"),
        ("a@b.cn,c@d.com", "[email],[email]"),
        (f"{PHONE}@qq.com", "[phone]@qq.com"),
        (f"{PHONE}，{ID_CARD}，{BANK_CARD}，{EMAIL}", "[phone]，[id-card]，[bank-card]，[email]"),
    ],
)
def test_personal_data_is_replaced(text: str, redacted: str) -> None:
    """Every supported form becomes its label, whatever its neighbours, and nothing else changes."""
    assert redact(text) == redacted


@pytest.mark.parametrize("number", [ID_CARD, BANK_CARD, PHONE, "138-1234-5678", EMAIL])
def test_full_width_is_no_way_around(number: str) -> None:
    """Full-width digits, signs and spaces are read as their ASCII forms; all else stays."""
    redacted = redact(f"（Ａ①）{number.translate(FULL_WIDTH)}！")
    assert redacted == f"（Ａ①）{redact(number)}！"
    assert redact(number).startswith("[")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "今天天气很好，我们一起去公园散步吧。",
        "０１２３，ＡＢＣ",
        "2025-11-21T07:42:00.123456Z",
        "2025-11-21 2025-11-22",
        "1763710920123",  # a Unix time in milliseconds
        "0" * 32,
        "110105194912310021",  # an ID card but for its check digit
        "110105194902300020",  # the 30th of February
        "4111111111111112",
        "12812345678",
        "138123456789",
        "@property of user@localhost",
        "ｅｍａｉｌ：no＠",
    ],
)
def test_a_text_without_personal_data_is_returned_itself(text: str) -> None:
    """Where nothing is found the very same object comes back."""
    assert redact(text) is text


filler = st.text(
    st.characters(exclude_categories=["Nd", "No"], exclude_characters="@+-"), max_size=20
)


@quick
@given(filler, st.sampled_from([ID_CARD, BANK_CARD, PHONE, EMAIL]), filler)
def test_no_canary_survives(before: str, canary: str, after: str) -> None:
    """Personal data between any characters but digits is gone, from a text and from any value."""
    text = f"{before} {canary} {after}"
    assert canary not in redact(text)
    value = {"message": text, canary: [text, {"deep": (text, text.translate(FULL_WIDTH))}]}
    written = json.dumps(clean(value), ensure_ascii=False)
    assert canary not in written
    assert canary.translate(FULL_WIDTH) not in written


@quick
@given(st.text() | st.text("0123456789 -+@.aX１２＠", max_size=200))
def test_redaction_never_raises_and_settles(text: str) -> None:
    """Any text can be redacted, and redacting twice changes nothing more."""
    once = redact(text)
    assert redact(once) == once


HOSTILE = "1|2 |222 |2222-|86 |(+86) |@|a@|a|a.|@a.@|@aaaa.|４１１１－|110105194912310021 "
NUMBERS = [f"{number} " for number in (ID_CARD, BANK_CARD, PHONE, "4111111111111111 138")]


@pytest.mark.parametrize("unit", [*HOSTILE.split("|"), *NUMBERS])
def test_hostile_texts_take_linear_time(unit: str) -> None:
    """Twenty thousand characters made to confuse the patterns take less than 50 ms."""
    text = (unit * 20_000)[:20_000] + "@"
    assert min(_seconds_of(redact, text) for _ in range(3)) < 0.050


def _seconds_of(function: object, *arguments: object) -> float:
    assert callable(function)
    # Of this thread's own work: a busy machine is no fault of the function.
    began = time.thread_time()
    function(*arguments)
    return time.thread_time() - began


TEXT = "他说：“今天天气很好，我们一起去公园散步吧。”\nIt's a nice day, isn't it? 😀 Go home."


@pytest.mark.parametrize(
    ("line", "masked"),
    [
        (f"cannot say {TEXT}!", "cannot say [text]!"),
        (f"cannot say {TEXT!r}!", 'cannot say "[text]"!'),
        (f"cannot say {json.dumps(TEXT)}!", 'cannot say "[text]"!'),
        (f"cannot say {TEXT.encode()!r}!", 'cannot say b"[text]"!'),
        ("clause '我们一起去公园散步吧' failed", "clause '[text]' failed"),
        ("clause 'a nice day, isn't' failed", "clause '[text]' failed"),
        ("我们一起", "[text]"),
        ("我们一 a nice", "我们一 a nice"),
        ("loading model shards: 100%", "loading model shards: 100%"),
    ],
)  # fmt: skip
def test_quotations_of_a_private_text_are_masked(line: str, masked: str) -> None:
    """The text, a sentence of it and its escaped forms are hidden; shorter words are not."""
    assert mask_private(line, [TEXT]) == masked


@pytest.mark.parametrize(
    ("line", "private", "masked"),
    [
        ("hello, othello: hello", "hello", "[text], othello: [text]"),
        ("说'好'了", " 好 ", "说'[text]'了"),
        ("a b c", "a", "a b c"),
        ("========== done ==========", "==========", "========== done =========="),
        (r"C:\new folder gone", r"C:\new folder", "[text] gone"),
        ("nothing given", "", "nothing given"),
    ],
)
def test_short_and_odd_texts_are_masked_where_they_stand_alone(
    line: str, private: str, masked: str
) -> None:
    """A short text is hidden as a whole only, and letters or rulers hide nothing."""
    assert mask_private(line, [private]) == masked


@quick
@given(st.text(min_size=8, max_size=60), st.text(max_size=20), st.text(max_size=20))
def test_a_whole_text_never_survives(private: str, before: str, after: str) -> None:
    """Whatever stands around it, a text of eight letters or more is nowhere in the result."""
    private = "".join(filter(str.isalnum, private)) + "保密的原文"
    assert private not in mask_private(before + private + after, [private])
    assert repr(private)[1:-1] not in mask_private(f"{before}{private!r}{after}", [private])


def test_masking_a_long_line_is_quick() -> None:
    """A text of 5,000 characters in a line of 10,000, escaped, is masked well within 50 ms."""
    text = "".join(np.random.default_rng(1).choice([*"今天天气很好公园散步abc \n"], 5_000))
    line = json.dumps(text)[:10_000]
    assert min(_seconds_of(mask_private, line, [text]) for _ in range(3)) < 0.050


class Colour(Enum):
    RED = 1


class Level(IntEnum):
    HIGH = 3


class Status(StrEnum):
    FAILED = "failed"


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class LazyProxy:
    @property  # type: ignore[misc]
    def __class__(self) -> type:
        raise RuntimeError("working outside of a context")


def test_every_kind_of_value_becomes_plain_json() -> None:
    """Each value is what JSON can hold: the same where it can, and a stated stand-in where not."""
    circular: list[object] = []
    circular.append(circular)
    assert clean(
        {
            "none": None,
            "flag": True,
            "integer": -7,
            "huge": 1 << 99,
            "float": 1.5,
            "nan": math.nan,
            "infinity": -math.inf,
            "text": "今天",
            "surrogate": "a\ud800b",
            "bytes": b"abc",
            "tuple": (1, {2}, frozenset({3})),
            "ordered": OrderedDict(a=1),
            "counter": Counter("a"),
            "float32": np.float32(0.5),
            "float64_nan": np.float64(np.nan),
            "int64": np.int64(5),
            "bool_": np.bool_(True),
            "zero_dimensions": np.array(2),
            "array": np.arange(3),
            "enum": Colour.RED,
            "int_enum": Level.HIGH,
            "str_enum": Status.FAILED,
            "unprintable": Unprintable(),
            "proxy": LazyProxy(),
            "circular": circular,
            5: "five",
            None: "none",
            (1, 2): "tuple",
        }
    ) == {
        "none": None,
        "flag": True,
        "integer": -7,
        "huge": "<integer of 100 bits>",
        "float": 1.5,
        "nan": None,
        "infinity": None,
        "text": "今天",
        "surrogate": "a\ufffdb",
        "bytes": "<3 bytes>",
        "tuple": [1, [2], [3]],
        "ordered": {"a": 1},
        "counter": {"a": 1},
        "float32": 0.5,
        "float64_nan": None,
        "int64": 5,
        "bool_": True,
        "zero_dimensions": 2,
        "array": "array([0, 1, 2])",
        "enum": "<Colour.RED: 1>",
        "int_enum": 3,
        "str_enum": "failed",
        "unprintable": "<unprintable Unprintable>",
        "proxy": "<unprintable LazyProxy>",
        "circular": [[[[["<list of 1 items>"]]]]],
        "5": "five",
        "None": "none",
        "<tuple of 2 items>": "tuple",
    }


def test_trusted_keys_are_not_redacted_but_still_safe() -> None:
    """Only strings directly under a trusted key of the outermost dict keep their numbers."""
    assert clean(
        {"hash": PHONE, "other": PHONE, "deep": {"hash": PHONE}, "broken": "\ud800"},
        trusted=frozenset({"hash", "broken"}),
    ) == {"hash": PHONE, "other": "[phone]", "deep": {"hash": "[phone]"}, "broken": "\ufffd"}


def test_long_values_are_cut_and_say_by_how_much() -> None:
    """A string keeps 8,192 characters, a container 200 items, and the rest is counted."""
    assert clean("x" * 8_192) == "x" * 8_192
    assert clean("x" * 10_000) == "x" * 8_192 + "…[+1808]"
    assert clean(list(range(300))) == [*range(200), "…[+100]"]
    assert clean({n: n for n in range(201)}) == {str(n): n for n in range(200)} | {"…": "[+1]"}


def test_a_number_cut_in_two_is_not_left_behind() -> None:
    """However a text of nothing but numbers is cut, no digit of them remains."""
    for shift in range(12):
        cut = clean("x" * shift + f"{PHONE}," * 50_000)
        assert isinstance(cut, str)
        assert re.findall("[0-9]+", cut.partition("…")[0]) == []


def test_a_value_that_explodes_is_bounded() -> None:
    """Six levels of 200 times the same list end after 2,000 items, in less than 50 ms."""
    bomb: object = 1
    for _ in range(6):
        bomb = [bomb] * 200
    assert _seconds_of(clean, bomb) < 0.050
    assert str(clean(bomb)).count("1,") <= 2_000


plain_scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary()
    | st.text(st.characters(exclude_categories=()))
)  # fmt: skip
anything = st.recursive(
    plain_scalars,
    lambda inner: st.lists(inner) | st.dictionaries(plain_scalars, inner) | st.tuples(inner, inner),
)


@quick
@given(anything)
def test_a_cleaned_value_can_always_be_written(value: object) -> None:
    """Whatever goes in, one line of strict JSON in UTF-8 comes out."""
    line = json.dumps(clean(value), ensure_ascii=False, allow_nan=False)
    assert b"\n" not in line.encode()
