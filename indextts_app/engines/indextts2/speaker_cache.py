"""
Encoded recordings of many speakers, within a budget of bytes.

IndexTTS-2 keeps one speaker and one emotion recording on the instance, each under the path that it
came from (`cache_*`; index-tts ee40fa7, `infer_v2.py`), so that alternating between two speakers
encodes again every time. This cache puts the wanted entries there before a synthesis and takes the
new ones away after it. Paths must be named by their content: the same path is the same voice.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_SPEAKER = ("cache_spk_cond", "cache_s2mel_style", "cache_s2mel_prompt", "cache_mel")
_EMOTION = ("cache_emo_cond",)


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a recording is encoded as: the attribute of its path, and those of the result."""

    path: str
    values: tuple[str, ...]


_KINDS = {
    "speaker": _Kind("cache_spk_audio_prompt", _SPEAKER),
    "emotion": _Kind("cache_emo_audio_prompt", _EMOTION),
}


@dataclass(frozen=True, slots=True)
class _Entry:
    values: Mapping[str, Any]
    size: int


@dataclass(frozen=True, slots=True)
class Hits:
    """Whether a request's two recordings were encoded already."""

    speaker: bool
    emotion: bool


class SpeakerCache:
    """The least recently used recordings go first; those of the running request always stay."""

    def __init__(self, tts: Any, budget_bytes: float) -> None:  # noqa: ANN401
        self._tts = tts
        self._budget = budget_bytes
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()

    @property
    def size(self) -> int:
        """Bytes held."""
        return sum(entry.size for entry in self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def install(self, speaker: str, emotion: str) -> Hits:
        """Put both recordings, by path, where the model looks for them; or nothing, if unknown."""
        return Hits(self._install("speaker", speaker), self._install("emotion", emotion))

    def collect(self) -> int:
        """
        Take over what the model has encoded since `install`; returns how many entries had to go.

        A recording whose encoding was broken off is not there, and is not taken.
        """
        wanted = []
        for name, kind in _KINDS.items():
            values = {attribute: getattr(self._tts, attribute) for attribute in kind.values}
            path = getattr(self._tts, kind.path)
            if path is None or any(value is None for value in values.values()):
                continue
            wanted.append((name, path))
            self._entries[name, path] = _Entry(values, stored_bytes(values.values()))
            self._entries.move_to_end((name, path))
        return self._evict(keeping=len(wanted))

    def clear(self) -> None:
        """Forget all, on the model as well."""
        self._entries.clear()
        for kind in _KINDS.values():
            self._set(kind, None, dict.fromkeys(kind.values))

    def _install(self, name: str, path: str) -> bool:
        kind, entry = _KINDS[name], self._entries.get((name, path))
        if entry is None:
            # With its entry None the model encodes, and does not empty the device's cache first,
            # which would cost every new speaker the memory that the next segment needs again.
            self._set(kind, None, dict.fromkeys(kind.values))
            return False
        self._set(kind, path, entry.values)
        return True

    def _set(self, kind: _Kind, path: str | None, values: Mapping[str, Any]) -> None:
        setattr(self._tts, kind.path, path)
        for attribute, value in values.items():
            setattr(self._tts, attribute, value)

    def _evict(self, *, keeping: int) -> int:
        evicted = 0
        size = self.size
        while size > self._budget and len(self._entries) > keeping:
            _, entry = self._entries.popitem(last=False)
            size -= entry.size
            evicted += 1
        return evicted


def stored_bytes(tensors: Iterable[Any]) -> int:
    """The memory behind these tensors; what several of them share counts once."""
    storages = (tensor.untyped_storage() for tensor in tensors)
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
