"""
What differs between IndexTTS-2 and 2.5, as a table, so that one adapter serves both.

From index-tts ee40fa7, `infer_v2.py` and `infer_v2_5.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Variant:
    """One version of the model behind the class `IndexTTS2` of its module."""

    module: str
    half_precision: str
    """The constructor's name for 16-bit weights."""
    takes_aux_paths: bool
    """Whether the constructor is told where the auxiliary models lie; 2.5 looks by itself."""
    normalizer: str
    """The attribute that holds the text normaliser."""
    by_language: bool
    """Whether `infer` is told the language, the duration factor and whether to normalise."""
    quick_streaming: bool
    """Whether `more_segment_before` changes anything."""
    scripts: tuple[str, ...]
    """First words of the Unicode names of the letters that the model was trained on."""
    self_test_text: str


VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        "2": Variant(
            module="indextts.infer_v2",
            half_precision="use_fp16",
            takes_aux_paths=True,
            normalizer="normalizer",
            by_language=False,
            quick_streaming=True,
            scripts=("CJK", "LATIN"),
            self_test_text="你好。",
        ),
        "2.5": Variant(
            module="indextts.infer_v2_5",
            half_precision="use_bf16",
            takes_aux_paths=False,
            normalizer="text_process",
            by_language=True,
            quick_streaming=False,
            scripts=("CJK", "LATIN", "HIRAGANA", "KATAKANA", "ARABIC"),
            self_test_text="你好。",
        ),
    }
)
