"""
Promises of `observability.request_id`.
"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from observability import request_id
from observability.request_id import MalformedRequestId, clean_client_id, new, parse, time_of

ID = "01K8ZQ3V7M1ABCDEFGHJKMNPQR"


def test_new_ids_are_canonical_unique_and_in_order() -> None:
    """A thousand ids made in a row differ, sort as they were made, and parse to themselves."""
    ids = [new() for _ in range(1000)]
    assert sorted(set(ids)) == ids
    assert [parse(made) for made in ids] == ids
    assert {len(made) for made in ids} == {26}


def test_an_id_carries_the_time_it_was_made() -> None:
    """The time of a new id lies between the clock readings before and after it, in UTC."""
    before = datetime.now(UTC)
    made = time_of(new())
    after = datetime.now(UTC)
    assert before.replace(microsecond=before.microsecond // 1000 * 1000) <= made <= after
    assert made.tzinfo is UTC


def test_the_time_of_a_known_id_is_exact_to_the_millisecond() -> None:
    """The example of the ULID specification gives the time that it stands for."""
    assert time_of("01ARYZ6S41TSV4RRFFQ69G5FAV") == datetime(
        2016, 7, 30, 22, 36, 16, 385_000, tzinfo=UTC
    )


@pytest.mark.parametrize(
    "pasted",
    [
        ID,
        ID.lower(),
        f"  {ID}\n",
        f"request_id={ID}",
        f" Request_ID= {ID.lower()} ",
        "O1K8ZQ3V7MIABCDEFGHJKMNPQR",
        "o1k8zq3v7mLabcdefghjkmnpqr",
    ],
)
def test_what_people_do_to_ids_is_forgiven(pasted: str) -> None:
    """White space, lower case, O for 0, I or L for 1 and the tag's prefix lead to the same id."""
    assert parse(pasted) == ID


@pytest.mark.parametrize(
    ("text", "en", "zh"),
    [
        (
            " ",
            "A request id has 26 characters, and none were given.",
            "request_id 应为 26 个字符，但没有收到任何字符。",
        ),
        (
            "01K8ZQ",
            'A request id has 26 characters, but "01K8ZQ" has 6.',
            "request_id 应为 26 个字符，而“01K8ZQ”有 6 个。",
        ),
        (
            "01K8ZQ3V7M1ABCDEFGHJKMNPQU",
            'A request id never holds "U", as "01K8ZQ3V7M1ABCDEFGHJKMNPQU" does at place 26.',
            "request_id 中不会出现“U”，而“01K8ZQ3V7M1ABCDEFGHJKMNPQU”的第 26 个字符就是它。",
        ),
        (
            "81K8ZQ3V7M1ABCDEFGHJKMNPQR",
            f'A request id begins with its time, and that of "8{ID[1:]}" is beyond the year 9999.',
            f"request_id 以时间开头，而“8{ID[1:]}”的时间超过了公元 9999 年。",
        ),
    ],
)
def test_a_malformed_id_is_explained_in_both_languages(text: str, en: str, zh: str) -> None:
    """The error says in one sentence, in English and in Chinese, what is wrong with the id."""
    with pytest.raises(MalformedRequestId) as caught:
        parse(text)
    assert (str(caught.value), caught.value.en, caught.value.zh) == (en, en, zh)


def test_an_error_repeats_little_and_nothing_dangerous() -> None:
    """No more than 64 characters of the input are repeated, and no control character."""
    with pytest.raises(MalformedRequestId) as caught:
        parse("\x1b[31m\ud800" + "x" * 100_000)
    shown = caught.value.en.split('"')[1]
    assert shown == "\ufffd[31m\ufffd" + "x" * 58


@pytest.mark.parametrize("stranger", ["ı", "٣", "４", "é", "-", "\0"])
def test_letters_of_other_alphabets_are_no_misreadings(stranger: str) -> None:
    """A character that only resembles an allowed one, or upper-cases to one, is refused."""
    with pytest.raises(MalformedRequestId):
        parse(stranger + ID[1:])


@settings(database=None, deadline=None)
@given(
    st.text(max_size=40) | st.text("0123456789abcdefghjkmnpqrstvwxyzOIL", min_size=26, max_size=26)
)
def test_any_text_is_an_id_with_a_time_or_malformed(text: str) -> None:
    """Whatever is pasted, the answer is a canonical id with a time or MalformedRequestId."""
    try:
        canonical = parse(text)
    except MalformedRequestId:
        return
    assert parse(canonical) == canonical
    assert time_of(canonical).tzinfo is UTC


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (None, None),
        ("", None),
        ("order-17:a.b_C", "order-17:a.b_C"),
        ("x" * 64, "x" * 64),
        ("x" * 65, None),
        ("a b", None),
        ("a\n", None),
        ("编号", None),
        ('","level":"error', None),
    ],
)
def test_a_clients_id_is_kept_only_if_harmless(value: str | None, kept: str | None) -> None:
    """A client's id is kept as it is or not at all; it is never changed."""
    assert clean_client_id(value) == kept


def test_no_request_is_current_at_first() -> None:
    """Outside of a request the current id is None."""
    assert request_id.current.get() is None
