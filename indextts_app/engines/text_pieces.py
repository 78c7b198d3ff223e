"""Where a text may be cut so that its beginning is heard before its end was looked at."""

from __future__ import annotations

import re

from indextts_app.engines.chinese_text import is_chinese

_SENTENCE = re.compile(r"[^。！？\n]*[。！？\n]+[”’」』）\s]*|[^。！？\n]+")
_CLAUSE = re.compile(r"[^，；、：…]*[，；、：…]+|[^，；、：…]+")


def pieces(text: str, *, at_least: int, at_most: int) -> tuple[str, ...]:
    """
    A Chinese text in pieces of whole sentences, which joined are the text again.

    Each has `at_least` so many characters, Chinese ones among them, so that it is read as the whole
    would be. A sentence of more than `at_most` is cut at its clauses; one without any stays whole.
    """
    found: list[str] = []
    piece = ""
    for sentence in _SENTENCE.findall(text):
        for part in _CLAUSE.findall(sentence) if len(sentence) > at_most else (sentence,):
            piece += part
            if len(piece) >= at_least and is_chinese(piece):
                found.append(piece)
                piece = ""
    if piece and found:
        found[-1] += piece
    elif piece:
        found.append(piece)
    return tuple(found)
