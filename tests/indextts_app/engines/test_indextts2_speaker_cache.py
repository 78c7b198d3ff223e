"""Encoded recordings: found again, within a budget, the least recently used gone first."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from indextts_app.engines.indextts2.speaker_cache import Hits, SpeakerCache, stored_bytes

ATTRIBUTES = ("cache_spk_cond", "cache_s2mel_style", "cache_s2mel_prompt", "cache_mel")


class Stored:
    """A tensor of 100 bytes, as far as its memory goes."""

    def __init__(self, name: str, address: int = 0, size: int = 100) -> None:
        self.name = name
        self._storage = SimpleNamespace(data_ptr=lambda: address or id(self), nbytes=lambda: size)

    def untyped_storage(self) -> Any:
        """The memory behind it."""
        return self._storage


class Model:
    """Encodes like the real one: only what is not there under the same path."""

    def __init__(self) -> None:
        for name in (*ATTRIBUTES, "cache_spk_audio_prompt", "cache_emo_cond"):
            setattr(self, name, None)
        self.cache_emo_audio_prompt: str | None = None
        self.encoded: list[str] = []

    def infer(self, speaker: str, emotion: str) -> None:
        """One call."""
        if self.cache_spk_cond is None or self.cache_spk_audio_prompt != speaker:  # type: ignore[attr-defined]
            self.encoded.append(speaker)
            for name in ATTRIBUTES:
                setattr(self, name, Stored(f"{name} of {speaker}"))
            self.cache_spk_audio_prompt = speaker
        if self.cache_emo_cond is None or self.cache_emo_audio_prompt != emotion:  # type: ignore[attr-defined]
            self.encoded.append(f"emotion of {emotion}")
            self.cache_emo_cond = Stored(f"emotion of {emotion}")
            self.cache_emo_audio_prompt = emotion


@pytest.fixture
def model() -> Model:
    """A model without anything encoded."""
    return Model()


def spoken(model: Model, cache: SpeakerCache, speaker: str, emotion: str) -> tuple[Hits, int]:
    hits = cache.install(speaker, emotion)
    model.infer(speaker, emotion)
    return hits, cache.collect()


def test_two_speakers_who_take_turns_are_encoded_once(model: Model) -> None:
    """And the model finds what it made of each."""
    cache = SpeakerCache(model, 10_000)
    told = [spoken(model, cache, name, name)[0] for name in ("a", "b", "a", "b")]
    assert model.encoded == ["a", "emotion of a", "b", "emotion of b"]
    assert told == [Hits(False, False)] * 2 + [Hits(True, True)] * 2
    assert model.cache_mel.name == "cache_mel of b"  # type: ignore[attr-defined]
    assert cache.size == 1_000


def test_a_recording_may_be_voice_and_emotion_and_counts_as_both(model: Model) -> None:
    """They are encoded in two ways."""
    cache = SpeakerCache(model, 10_000)
    spoken(model, cache, "a", "b")
    assert spoken(model, cache, "b", "b")[0] == Hits(speaker=False, emotion=True)


def test_the_least_recently_used_go_first(model: Model) -> None:
    """Asking for one again keeps it."""
    cache = SpeakerCache(model, 1_000)
    for name in ("a", "b", "a"):
        spoken(model, cache, name, name)
    assert spoken(model, cache, "c", "c") == (Hits(False, False), 2)
    assert cache.size == 1_000
    assert spoken(model, cache, "a", "a")[0] == Hits(True, True)
    assert spoken(model, cache, "b", "b")[0] == Hits(False, False)


def test_what_is_in_use_stays_without_any_budget(model: Model) -> None:
    """As upstream keeps it: the same voice again is not encoded again."""
    cache = SpeakerCache(model, 0)
    assert spoken(model, cache, "a", "a")[1] == 0
    assert spoken(model, cache, "a", "a") == (Hits(True, True), 0)
    assert spoken(model, cache, "b", "b")[1] == 2
    assert len(cache) == 2


def test_what_was_not_encoded_to_the_end_is_not_kept(model: Model) -> None:
    """A request that was given up leaves the rest as it was."""
    cache = SpeakerCache(model, 10_000)
    spoken(model, cache, "a", "a")
    cache.install("b", "a")
    assert cache.collect() == 0
    assert len(cache) == 2
    assert cache.install("b", "a") == Hits(speaker=False, emotion=True)


def test_nothing_is_left_when_it_is_cleared(model: Model) -> None:
    """On the model neither."""
    cache = SpeakerCache(model, 10_000)
    spoken(model, cache, "a", "a")
    cache.clear()
    assert (len(cache), cache.size) == (0, 0)
    assert model.cache_spk_audio_prompt is None
    assert model.cache_mel is None  # type: ignore[attr-defined]


def test_memory_that_two_share_counts_once() -> None:
    """A view holds the whole storage, and once."""
    shared = [Stored("a", address=7, size=400), Stored("b", address=7, size=400)]
    assert stored_bytes([*shared, Stored("c", address=8)]) == 500
