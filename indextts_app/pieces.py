"""Where a long text may be cut: at the ends of its sentences, and inside one only where it must."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

import sentencex

_CLOSING = r"[”’」』》）)\"'\]]*"
_SENTENCE_END = re.compile(
    rf"[。！？；…]+{_CLOSING}\s*|[!?;]+{_CLOSING}(?:\s+|\Z|(?![\x00-\x7f]))|\n+\s*"
)
_CLAUSE_END = re.compile(rf"[，、：—]+{_CLOSING}\s*|[,:]{_CLOSING}(?:\s+|\Z|(?![\x00-\x7f]))")
"""A mark of ASCII ends something only before a space or a character that is none: not in 2,000."""
_GAP = re.compile(r"\s+")

_PARAGRAPH = re.compile(r"\n\s*\n\s*\Z")
_AT_SENTENCE = re.compile(r"[.。！？!?；;…\n][”’」』》）)\"'\]\s]*\Z")
_AT_CLAUSE = re.compile(r"[，、：,:—][”’」』》）)\"'\s]*\Z")

PARAGRAPH_SECONDS, SENTENCE_SECONDS, CLAUSE_SECONDS, INSIDE_SECONDS = 0.4, 0.2, 0.1, 0.0
"""Pauses after a piece; that of a sentence is IndexTTS-2's own between its segments."""

_JOINERS = "\u200d\u200c"
"""Between two characters that are read as one; selectors and accents are found by their kind."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text, and how long to pause after it."""

    text: str
    pause_seconds: float

    @property
    def speakable(self) -> bool:
        """Whether there is anything to say; a row of dashes is a pause only."""
        return any(character.isalnum() for character in self.text)


def pieces(text: str, limit: int) -> tuple[Piece, ...]:
    """
    The text in pieces of at most `limit` characters, which joined are the text again.

    A piece holds as many whole sentences as fit: `sentencex` knows abbreviations, decimals,
    addresses and quotations. A sentence that does not fit is cut at the ends of sentences within
    it (of a quotation, say), then at clauses, then at spaces, and only a run without any of them
    between two characters. Every sentence and clause keeps its closing quotes and its spaces.
    """
    found: list[str] = []
    piece = ""
    for part in _parts(text, limit):
        if piece and len(piece) + len(part) > limit:
            found.append(piece)
            piece = ""
        piece += part
    if piece:
        found.append(piece)
    return tuple(Piece(one, _pause_after(one)) for one in found)


def _parts(text: str, limit: int) -> Iterator[str]:
    for sentence in sentencex.segment("en", text):
        yield from _cut(sentence, limit, (_SENTENCE_END, _CLAUSE_END, _GAP))


def _cut(text: str, limit: int, ends: tuple[re.Pattern[str], ...]) -> Iterator[str]:
    """What fits as it is, else cut at the first kind of end, and each part at the next."""
    if len(text) <= limit:
        if text:
            yield text
    elif ends:
        start = 0
        for found in ends[0].finditer(text):
            yield from _cut(text[start : found.end()], limit, ends[1:])
            start = found.end()
        yield from _cut(text[start:], limit, ends[1:])
    else:
        while text:
            end = _between_characters(text, limit)
            yield text[:end]
            text = text[end:]


def _between_characters(text: str, limit: int) -> int:
    """The last place up to `limit` that parts neither a word or number nor one character."""
    if len(text) <= limit:
        return len(text)
    whole = [end for end in range(limit, 0, -1) if not _is_one_character(text[end - 1 : end + 1])]
    words = (end for end in whole if not (text[end - 1].isascii() and text[end].isascii()))
    return next(words, next(iter(whole), limit))


def _is_one_character(pair: str) -> bool:
    return unicodedata.category(pair[1]).startswith("M") or bool(set(pair) & set(_JOINERS))


def _pause_after(piece: str) -> float:
    for pattern, seconds in (
        (_PARAGRAPH, PARAGRAPH_SECONDS),
        (_AT_SENTENCE, SENTENCE_SECONDS),
        (_AT_CLAUSE, CLAUSE_SECONDS),
    ):
        if pattern.search(piece):
            return seconds
    return INSIDE_SECONDS
