"""
The name of one request: a ULID, 26 characters that sort by time and carry their millisecond.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Final

from ulid import ULID

current: ContextVar[str | None] = ContextVar("request_id", default=None)
"""
The id of the request that this task or thread works for, or None outside of any request.
"""

PREFIX: Final = "request_id="
"""
What stands before the id in an audio file's comment tag.
"""

_ALPHABET: Final = frozenset("0123456789ABCDEFGHJKMNPQRSTVWXYZ")
_LENGTH: Final = 26
# Crockford's base 32 leaves out O, I and L because eyes and fonts confuse them with digits. A table
# and not upper(), which turns other alphabets' letters (a dotless i) into ours.
_READINGS: Final = str.maketrans("abcdefghijklmnopqrstuvwxyzOIL", "ABCDEFGH1JK1MN0PQRSTUVWXYZ011")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# A ULID can count to the year 10889; datetime, and any date a reader believes, ends with 9999.
_LAST_MILLISECOND: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
_CLIENT_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_ECHOED: Final = 64


class MalformedRequestId(ValueError):
    """
    Raised when a text cannot be a request id; `en` and `zh` say in one sentence why.

    No more than 64 characters of the text are repeated, and none that a terminal would obey.
    """

    def __init__(self, *, en: str, zh: str) -> None:
        super().__init__(en)
        self.en = en
        self.zh = zh


def new() -> str:
    """
    Return an id that no other request has: 26 upper-case characters, later ids sort later.
    """
    return str(ULID())


def parse(text: str) -> str:
    """
    Return the canonical id that a person typed or pasted, forgiving what people do to ids.

    Surrounding white space, lower case, O for 0, I or L for 1, and the `request_id=` of an audio
    file's tag are accepted.

    Raises:
        MalformedRequestId: the length is not 26, a character is one that ids never hold, or the
            time it begins with lies beyond the year 9999.
    """
    typed = text.strip()
    if typed[: len(PREFIX)].lower() == PREFIX:
        typed = typed[len(PREFIX) :].strip()
    if not typed:
        raise MalformedRequestId(
            en="A request id has 26 characters, and none were given.",
            zh="request_id 应为 26 个字符，但没有收到任何字符。",
        )
    shown = _echo(typed)
    if len(typed) != _LENGTH:
        raise MalformedRequestId(
            en=f'A request id has 26 characters, but "{shown}" has {len(typed)}.',
            zh=f"request_id 应为 26 个字符，而“{shown}”有 {len(typed)} 个。",
        )
    canonical = typed.translate(_READINGS)
    for place, character in enumerate(canonical, start=1):
        if character not in _ALPHABET:
            wrong = _echo(character)
            raise MalformedRequestId(
                en=f'A request id never holds "{wrong}", as "{shown}" does at place {place}.',
                zh=f"request_id 中不会出现“{wrong}”，而“{shown}”的第 {place} 个字符就是它。",
            )
    if canonical[0] > "7" or ULID.from_str(canonical).milliseconds > _LAST_MILLISECOND:
        raise MalformedRequestId(
            en=f'A request id begins with its time, and that of "{shown}" is beyond the year 9999.',
            zh=f"request_id 以时间开头，而“{shown}”的时间超过了公元 9999 年。",
        )
    return canonical


def time_of(request_id: str) -> datetime:
    """
    Return when the id was made, in UTC, exact to the millisecond.

    Raises:
        MalformedRequestId: it is no request id.
    """
    return _EPOCH + timedelta(milliseconds=ULID.from_str(parse(request_id)).milliseconds)


def clean_client_id(value: str | None) -> str | None:
    """
    Return a client's own id if it is harmless to log: 1 to 64 of `A-Z a-z 0-9 _ . : -`; else None.
    """
    return value if value is not None and _CLIENT_ID.fullmatch(value) else None


def _echo(typed: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in typed[:_ECHOED])
