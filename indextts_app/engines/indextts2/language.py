"""The language of a text by its letters, for IndexTTS-2.5, which must be told."""

from __future__ import annotations

import re

AUTO = "auto"

_READING = re.compile(r"<([^|>\n]+)\|[^>\n]+>")
"""A written pronunciation: its letters say nothing of the language."""
_KANA = re.compile(r"[\u3040-\u30ff\uff66-\uff9f]")
_ARABIC = re.compile(r"[\u0600-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufeff]")
_CHINESE = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
_LATIN = re.compile(r"[A-Za-z]")


def language_of(text: str) -> str:
    """
    ja, ar, zh, zhen (Chinese with Latin words) or en, in the codes of index-tts ee40fa7.

    Spanish and English share their letters, so Spanish has to be named by whoever asks.
    """
    text = _READING.sub(r"\1", text)
    if _KANA.search(text):
        return "ja"
    if _ARABIC.search(text):
        return "ar"
    if _CHINESE.search(text):
        return "zhen" if _LATIN.search(text) else "zh"
    return "en"
