"""What to tell a user whose audio was delivered, but not quite as it could have been."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from indextts_app.engines.base import Translated
from observability.events import HINTS


@dataclass(frozen=True, slots=True)
class Hint:
    """One of `observability.events.HINTS`, and a sentence that says what to do."""

    code: str
    text: Translated


SENTENCES: Mapping[str, Translated] = MappingProxyType(
    {
        "unknown_tokens": Translated(
            "The model does not know {value} of the characters or words and may have skipped or "
            "garbled them. Compare with what you hear, and write them another way.",
            "模型不认识其中 {value} 处文字，可能漏读或读错。请对照所听内容，换一种写法。",
        ),
        "reference_truncated": Translated(
            "The recording is longer than 15 seconds; only its beginning was used. Cut it to the "
            "part that sounds best.",
            "录音超过 15 秒，只用了开头部分。请截取音质最好的一段。",
        ),
        "length_limited": Translated(
            "A part of the text hit the limit of acoustic tokens, so its end is missing. Raise "
            "max_mel_tokens, or lower segment_tokens.",
            "有一段触及声学 Token 上限，结尾被截断。请调大 max_mel_tokens 或调小 segment_tokens。",
        ),
    }
)


def hints_of(known: Mapping[str, object]) -> tuple[Hint, ...]:
    """The hints that these fields of the event give rise to, in the order of `HINTS`."""
    return tuple(
        Hint(
            code,
            Translated(
                SENTENCES[code].en.format(value=known[code]),
                SENTENCES[code].zh.format(value=known[code]),
            ),
        )
        for code in HINTS
        if known.get(code)
    )
