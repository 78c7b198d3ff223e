"""
Nothing private reaches a log: pure functions that every logged value passes through.

`clean` makes any value safe to write as one JSON line, `redact` replaces what looks like a person's
numbers and addresses, and `mask_private` replaces what is known to be a user's own text.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Iterator
from datetime import date
from itertools import islice
from string import ascii_letters, digits
from typing import Final, TypeVar

Span = tuple[int, int]


def redact(text: str) -> str:
    """
    Return the text with ID cards, bank cards, phone numbers and e-mail addresses replaced.

    They become `[id-card]`, `[bank-card]`, `[phone]` and `[email]`, full-width and grouped digits
    included; every other character stays as it is, and a text without any is returned itself.
    Chance costs: one in ten numbers of 13 to 19 digits passes for a bank card (Luhn), and every
    number of 11 digits that begins with 13 to 19 for a mobile number. Time is linear in the length.
    """
    if text.isascii():
        if "@" not in text and not _ELEVEN_ASCII.search(text):
            return text
        folded = text
    else:
        if not _ELEVEN.search(text) and not _AT_SIGNS.search(text):
            return text
        folded = text.translate(_FOLD)
    found: list[tuple[Span, str]] = []
    for label, find in (
        ("[id-card]", _id_cards),
        ("[bank-card]", _bank_cards),
        ("[phone]", _phones),
        ("[email]", _emails),
    ):
        spans = list(find(folded))
        found += ((span, label) for span in spans)
        # What one kind has claimed must not be read again as a part of another.
        folded = _replaced(folded, [(span, "\0" * (span[1] - span[0])) for span in spans])
    return _replaced(text, sorted(found))


def mask_private(text: str, private: Iterable[str]) -> str:
    """
    Return the text with whatever it quotes of the private texts replaced by `[text]`.

    A quotation is a private text as a whole, or a run of at least 8 of its characters (4 where they
    are Chinese, Japanese or Korean), as it is or with the escapes of `repr`, JSON or `bytes`. It is
    for lines and messages of code that knows nothing of privacy. Time is linear in the lengths.
    """
    private = list(private)
    hidden = bytearray(len(text))
    for start, end in _quotations(text, private):
        hidden[start:end] = b"\1" * (end - start)
    if "\\" in text:
        plain, edges = _unescaped(text)
        for start, end in _quotations(plain, private):
            hidden[edges[start] : edges[end]] = b"\1" * (edges[end] - edges[start])
    return _replaced(text, [(run.span(), "[text]") for run in re.finditer(b"\1+", hidden)])


def clean(value: object, *, trusted: frozenset[str] = frozenset()) -> object:
    """
    Return the value as JSON can hold it, free of personal data and bounded; this never raises.

    Strings: lone surrogates become U+FFFD, `redact` applies, and what is beyond 8,192 characters is
    counted as `…[+N]`. NaN and infinities become None, bytes `<N bytes>`, NumPy scalars plain
    numbers, integers beyond 64 bits and unknown objects a string. Containers: six levels, 200 items
    each, 2,000 in all; keys become strings. Strings under the `trusted` keys of the outermost dict
    are not redacted: ids and hashes that the service made itself can look like numbers by chance.
    """
    return _clean(value, trusted, 0, _Budget(MAX_TOTAL_ITEMS))


# --- Personal data -------------------------------------------------------------------------------


def _look_alikes() -> dict[int, str]:
    """
    Return each character that NFKC reads as one ASCII character, and each dash, with that reading.

    One for one, so that what is found in the folded text lies at the same place in the original.
    """
    blocks = ((0xA0, 0x24FF), (0x3000, 0x3000), (0xFE50, 0xFFEF), (0x1D400, 0x1D7FF))
    table = {
        code: folded
        for first, last in blocks
        for code in range(first, last + 1)
        if len(folded := unicodedata.normalize("NFKC", chr(code))) == 1 and folded.isascii()
    }
    return table | dict.fromkeys((*range(0x2010, 0x2016), 0x2212), "-")


_FOLD: Final = _look_alikes()


def _written(characters: str) -> str:
    """
    Return the inside of a pattern's class for the characters and their look-alikes.

    Without those beyond U+FFFF, which make a class slow; of the digits among them, `\\d` knows.
    """
    alike = [chr(code) for code, as_ascii in _FOLD.items() if as_ascii in characters]
    return re.escape(characters + "".join(filter("\uffff".__gt__, alike)))


# Nearly every text ends here: each number sought has eleven digits or more, each address an "@".
# ASCII has a pattern of its own, and '@' no part in either, because a class of few characters at
# the start of a pattern is searched for several times faster.
_ELEVEN_ASCII: Final = re.compile(r"[0-9][0-9 \-]{10}")
_ELEVEN: Final = re.compile(rf"[\d{_written(digits)}][\d{_written(digits + ' -')}]{{10}}")
_AT_SIGNS: Final = re.compile(f"[{_written('@')}]")

# Lookarounds on digits and never \b: a Chinese neighbour is a word character and would hide them.
# Numbers are matched in a lookahead, so that one that fails its check hides no other inside it.
_ID_CARD: Final = re.compile(
    r"(?<![0-9])(?=([1-9][0-9]{5}[ -]?(?:18|19|20)[0-9]{6}[ -]?[0-9]{3}[0-9Xx])(?![0-9]))"
)
# ISO/IEC 7812: 0 and 1 are no banks, which also spares Unix times in ms. 861… is a phone number.
# Printed in groups of three and more, but for the last: dates and lists of numbers are not cards.
_BANK_CARD: Final = re.compile(
    r"(?<![0-9])(?!861[3-9][0-9]{9}(?![0-9]))"
    r"(?=([2-9][0-9]{2,18}(?:[ -][0-9]{3,16}){0,5}(?:[ -][0-9]{1,2})?)(?![0-9]))"
)
_PHONE: Final = re.compile(
    r"(?<![0-9])(?:"
    r"(?:\(?(?:\+|00)?86\)?[ -]?)?"
    r"1[3-9][0-9](?:[ -]?[0-9]{4}[ -]?|[0-9][ -][0-9]{3}[ -])[0-9]{4}"
    # A landline with its area code, a service number, one with a country code; only as written
    # by people, with separators or a plus, because other numbers have as many digits.
    r"|0[1-9][0-9]{1,2}[ -][1-9][0-9]{6,7}"
    r"|[48]00[ -][0-9]{3}[ -]?[0-9]{4}"
    r"|\+[1-9][0-9]{0,2}[ -]?(?:[0-9][ -]?){6,11}[0-9]"
    r")(?![0-9])"
)
# The name before the '@' is taken by rstrip: a pattern for it would be quadratic on hostile text.
_EMAIL_DOMAIN: Final = re.compile(r"@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}")
_EMAIL_NAME: Final = ascii_letters + digits + "._%+-"
_EMAIL_NAME_LENGTH: Final = 64  # RFC 5321, 4.5.3.1.1

_SEPARATOR: Final = re.compile("[ -]")
_ID_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_ID_CHECKS: Final = "10X98765432"
_DOUBLED: Final = bytes.maketrans(b"0123456789", b"0246813579")


def _id_cards(folded: str) -> Iterator[Span]:
    for match in _ID_CARD.finditer(folded):
        if _is_id_card(_SEPARATOR.sub("", match[1])):
            yield match.span(1)


def _is_id_card(number: str) -> bool:
    """
    Tell whether check digit and birth date are right (GB 11643-1999).
    """
    total = sum(weight * int(digit) for weight, digit in zip(_ID_WEIGHTS, number, strict=False))
    if number[17].upper() != _ID_CHECKS[total % 11]:
        return False
    try:
        date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return False
    return True


def _bank_cards(folded: str) -> Iterator[Span]:
    claimed = 0
    for match in _BANK_CARD.finditer(folded):
        start = match.start()
        if start < claimed:
            continue
        # A card may be followed by another number, so every choice of first groups is tried.
        number, stop = "", start - 1
        for group in _SEPARATOR.split(match[1]):
            number += group
            stop += 1 + len(group)
            if 13 <= len(number) <= 19 and _passes_luhn(number):
                claimed = stop
        if start < claimed:
            yield start, claimed


def _passes_luhn(number: str) -> bool:
    code = number.encode()
    total = sum(code[-1::-2]) + sum(code[-2::-2].translate(_DOUBLED))
    return (total - ord("0") * len(code)) % 10 == 0


def _phones(folded: str) -> Iterator[Span]:
    return (match.span() for match in _PHONE.finditer(folded))


def _emails(folded: str) -> Iterator[Span]:
    claimed = 0
    for match in _EMAIL_DOMAIN.finditer(folded):
        at = match.start()
        before = folded[max(claimed, at - _EMAIL_NAME_LENGTH) : at]
        name_length = len(before) - len(before.rstrip(_EMAIL_NAME))
        if name_length:
            claimed = match.end()
            yield at - name_length, claimed


def _replaced(text: str, found: list[tuple[Span, str]]) -> str:
    if not found:
        return text
    pieces: list[str] = []
    at = 0
    for (start, end), label in found:
        pieces += text[at:start], label
        at = end
    return "".join((*pieces, text[at:]))


# --- A user's own text ---------------------------------------------------------------------------

_RUN: Final = 8
_CJK_RUN: Final = 4
# Their punctuation too: a quoted sentence does not end at a comma.
_CJK: Final = re.compile(
    "[\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff00-\uffef"
    "\U00020000-\U0003ffff]+"
)
# In the order of: bytes, JSON and repr, repr of rare characters, single letters.
_ESCAPES: Final = re.compile(
    r"(?:\\x[0-9A-Fa-f]{2})+|(?:\\u[0-9A-Fa-f]{4})+|\\U000[0-9A-Fa-f]{5}|\\([nrtbf'\"\\/])"
)
_ESCAPED_LETTERS: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


def _quotations(text: str, private: list[str]) -> Iterator[Span]:
    for secret in private:
        yield from _short_quotations(text, secret.strip())
        yield from _shared_runs(text, [secret], _RUN)
        yield from _shared_runs(text, _CJK.findall(secret), _CJK_RUN)


def _short_quotations(text: str, secret: str) -> Iterator[Span]:
    """
    Yield where a text too short for `_shared_runs` stands on its own; single letters are nothing.
    """
    if len(secret) >= _RUN or not (len(secret) > 1 or _CJK.match(secret)):
        return
    before = r"(?<![A-Za-z0-9])" if secret[0].isascii() else ""
    after = r"(?![A-Za-z0-9])" if secret[-1].isascii() else ""
    for match in re.finditer(before + re.escape(secret) + after, text):
        yield match.span()


def _shared_runs(text: str, secrets: list[str], size: int) -> Iterator[Span]:
    """
    Yield every window of `size` characters that the text shares with a secret.
    """
    windows = {secret[at : at + size] for secret in secrets for at in range(len(secret) - size + 1)}
    if not windows:
        return
    for at in range(len(text) - size + 1):
        window = text[at : at + size]
        # A ruler of dashes is nobody's text.
        if window in windows and any(map(str.isalnum, window)):
            yield at, at + size


def _unescaped(text: str) -> tuple[str, list[int]]:
    """
    Return the text with its escapes resolved, and where each of its characters began (and the end).
    """
    plain: list[str] = []
    edges: list[int] = []
    at = 0
    for match in _ESCAPES.finditer(text):
        start, end = match.span()
        plain.append(text[at:start])
        edges += range(at, start)
        if letter := match[1]:
            plain.append(_ESCAPED_LETTERS.get(letter, letter))
            edges.append(start)
        else:
            for character, width in _resolved(match[0]):
                plain.append(character)
                edges.append(start)
                start += width
        at = end
    plain.append(text[at:])
    edges += range(at, len(text) + 1)
    return "".join(plain), edges


def _resolved(escapes: str) -> Iterator[tuple[str, int]]:
    """
    Yield each character that a run of `\\x..`, `\\u....` or one `\\U........` means, and its width.
    """
    if escapes[1] == "x":
        raw = bytes.fromhex(escapes.replace("\\x", ""))
        for character in raw.decode("utf-8", "surrogateescape"):
            yield character, 4 * len(character.encode("utf-8", "surrogateescape"))
    elif escapes[1] == "u":
        # JSON writes a rare character as two halves.
        raw = bytes.fromhex(escapes.replace("\\u", ""))
        for character in raw.decode("utf-16-be", "surrogatepass"):
            yield character, 3 * len(character.encode("utf-16-be", "surrogatepass"))
    else:
        code = int(escapes.removeprefix("\\U"), base=16)
        yield chr(code) if code <= 0x10FFFF else escapes, len(escapes)


# --- Any value -----------------------------------------------------------------------------------

MAX_CHARACTERS: Final = 8_192
MAX_DEPTH: Final = 6
MAX_ITEMS: Final = 200
MAX_TOTAL_ITEMS: Final = 2_000
# Longer than any single piece of personal data, so that the cut of an endless string hides, with
# its last characters, the piece that it may have cut in two.
_CUT_MARGIN: Final = 768
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_LONGEST_INTEGER_BITS: Final = 64
_SCALARS: Final = frozenset({type(None), bool, int, float, str})
_NO_KEYS: Final[frozenset[str]] = frozenset()

_Item = TypeVar("_Item")


class _Budget:
    """
    How many more items one call may visit: six levels of 200 items would be 64 million million.
    """

    __slots__ = ("left",)

    def __init__(self, left: int) -> None:
        self.left = left

    def take(self, wanted: int) -> int:
        taken = min(wanted, self.left, MAX_ITEMS)
        self.left -= taken
        return taken


def _clean(value: object, trusted: frozenset[str], depth: int, budget: _Budget) -> object:
    if value is None or type(value) is bool:
        return value
    if type(value) is str:
        return _text(value)
    if type(value) is int:
        size = value.bit_length()
        return value if size <= _LONGEST_INTEGER_BITS else f"<integer of {size} bits>"
    if type(value) is float:
        return value if math.isfinite(value) else None
    if type(value) is dict:
        return _clean_dict(value, trusted, depth, budget)
    if type(value) is list or type(value) is tuple or type(value) is set:
        return _clean_sequence(value, depth, budget)
    return _clean(_plain(value), trusted, depth, budget)


def _clean_dict(
    value: dict[object, object], trusted: frozenset[str], depth: int, budget: _Budget
) -> object:
    if depth >= MAX_DEPTH:
        return f"<dict of {len(value)} items>"
    taken = _first(value.items(), budget.take(len(value)))
    cleaned: dict[str, object] = {}
    for key, item in taken:
        name = _text(key) if type(key) is str else str(_clean(key, _NO_KEYS, MAX_DEPTH, budget))
        if type(item) is str:
            cleaned[name] = _text(item, private=name not in trusted)
        else:
            cleaned[name] = _clean(item, _NO_KEYS, depth + 1, budget)
    if len(taken) < len(value):
        cleaned["…"] = f"[+{len(value) - len(taken)}]"
    return cleaned


def _clean_sequence(
    value: list[object] | tuple[object, ...] | set[object], depth: int, budget: _Budget
) -> object:
    if depth >= MAX_DEPTH:
        return f"<{type(value).__name__} of {len(value)} items>"
    taken = _first(value, budget.take(len(value)))
    cleaned = [_clean(item, _NO_KEYS, depth + 1, budget) for item in taken]
    if len(taken) < len(value):
        cleaned.append(f"…[+{len(value) - len(taken)}]")
    return cleaned


def _first(items: Iterable[_Item], count: int) -> list[_Item]:
    try:
        return list(islice(items, count))
    except RuntimeError:
        # Another thread is changing the dict or set; then all of it is counted as left out.
        return []


def _text(text: str, *, private: bool = True) -> str:
    cut = text[: MAX_CHARACTERS + _CUT_MARGIN]
    left_out = len(text) - len(cut)
    if not cut.isascii():
        cut = _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", cut)
    if private:
        cut = redact(cut)
    kept = cut[: -_CUT_MARGIN if left_out else None][:MAX_CHARACTERS]
    left_out += len(cut) - len(kept)
    return f"{kept}…[+{left_out}]" if left_out else kept


def _plain(value: object) -> object:
    """
    Return the built-in value that an unfamiliar object stands for, else its `repr`.
    """
    try:
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, int):
            return int(value)
        if isinstance(value, float):
            return float(value)
        if isinstance(value, bytes | bytearray):
            return f"<{len(value)} bytes>"
        if isinstance(value, dict):
            return dict(value)
        if isinstance(value, list | tuple | set | frozenset):
            return list(value)
        # NumPy's scalars, and a tensor of one number, without importing either library.
        if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
            item = value.item()
            if type(item) in _SCALARS:
                return item
        return str.__str__(repr(value))
    except Exception:  # noqa: BLE001 - foreign code runs here: __repr__, __class__, __iter__, …
        return f"<unprintable {type(value).__name__}>"
