"""The list of voices, in whichever of the shapes a server sends it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

MAX_VOICES = 500
"""Each is a label of the metrics; EmotiVoice has two thousand, of which a service needs a few."""

MAX_VOICE_CHARS = 100

_NAMES = ("id", "voice_id", "name", "filename")
_LISTS = ("voices", "uploaded_voices", "data")


def voices_in(answer: object) -> tuple[str, ...]:
    """
    The voices that a parsed answer names, each once, in its order; none where there are none.

    Known are a list of strings, a list of objects with `id`, `voice_id`, `name` or `filename`,
    either of them below `voices`, `uploaded_voices` or `data`, and an object by voices.
    """
    fit = (name for name in _names(answer) if 0 < len(name) <= MAX_VOICE_CHARS)
    return tuple(dict.fromkeys(name for name in fit if name.isprintable()))[:MAX_VOICES]


def _names(answer: object) -> Iterator[str]:
    if isinstance(answer, list):
        for item in answer:
            if isinstance(item, str):
                yield item
            elif isinstance(item, Mapping):
                yield from (item[key] for key in _NAMES[:1] if isinstance(item.get(key), str))
                if not isinstance(item.get(_NAMES[0]), str):
                    named = (item[key] for key in _NAMES[1:] if isinstance(item.get(key), str))
                    yield from list(named)[:1]
    elif isinstance(answer, Mapping):
        lists = [answer[key] for key in _LISTS if isinstance(answer.get(key), list | Mapping)]
        if lists:
            for one in lists:
                yield from _names(one)
        else:
            yield from (key for key, value in answer.items() if isinstance(value, list | Mapping))
