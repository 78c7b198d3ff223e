"""
How the model will read a text: its own normaliser, tokenizer and cutting, without the model.

The unmodified `infer_generator` is run on a stand-in that shares the model's text parts, claims to
have every recording encoded already, and stops where speech would begin; so what is previewed and
checked is what will be spoken. Normalising is most of the work and is remembered, so that `infer`
does not do it again.
"""

from __future__ import annotations

import copy
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from indextts_app.engines.base import Segment
from indextts_app.engines.indextts2.variant import Variant

REMEMBERED = 8
"""Texts whose normalised form is kept: those that are being previewed and spoken."""

_SPEECH_BEGINS = 0.15
"""The model's marks: 0.1 at the text, 0.2 and more from the first segment on."""

_BETWEEN_CHINESE = re.compile(
    r"(?<=[\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef.,!?'…-]) (?=[\u2e80-\u9fff\uf900-\ufaff])"
    r"|(?<=[\u2e80-\u9fff\uf900-\ufaff]) (?=[\u2e80-\u9fff\uf900-\ufaff.,!?'…-])"
)
_SPECIAL = re.compile(r"<\|[^|]*\|>")

Glossary = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Reading:
    """How a text will be read."""

    segments: tuple[Segment, ...]
    text: str
    """What is spoken, without the unknown tokens."""
    unknown_tokens: int
    """Those that the model does not know: it is given one number for all of them, and may skip or
    garble them."""
    normalize_seconds: float

    @property
    def tokens(self) -> int:
        """Of all segments."""
        return sum(segment.tokens for segment in self.segments)


class _SpeechBeginsError(Exception):
    """The text is read; the stand-in has no more to do."""


class TextFrontEnd:
    """
    Reads texts for one loaded model; several threads may ask at a time.

    Made before anything else wraps the model's methods, whose calls it does not want to be.
    """

    def __init__(self, tts: Any, variant: Variant) -> None:  # noqa: ANN401
        normalizer = getattr(tts, variant.normalizer)
        self._variant = variant
        self._infer = type(tts).infer_generator
        self._normalizer = _Normalizer(normalizer)
        if hasattr(tts, "ja_text_process"):
            japanese = tts.ja_text_process
            japanese.process_ja_text = _one_at_a_time(japanese.process_ja_text)
        self._stand_in = copy.copy(tts)
        self._stand_in.device = "cpu"
        self._stand_in.gr_progress = _stop_at_speech
        self._stand_in.cache_spk_cond = self._stand_in.cache_emo_cond = ()
        self._stand_in.cache_spk_audio_prompt = self._stand_in.cache_emo_audio_prompt = ""
        self._tokenizer = copy.copy(tts.tokenizer)

    @contextmanager
    def using(self, glossary: Glossary | None) -> Iterator[None]:
        """Texts that this thread has read in the block are read by this glossary; None: by none."""
        with self._normalizer.using(glossary):
            yield

    def read(self, text: str, **how: Any) -> Reading:  # noqa: ANN401
        """
        How a text is read with these arguments of `infer`.

        Raises:
            whatever upstream's own text code raises.
        """
        stand_in = copy.copy(self._stand_in)
        stand_in.tokenizer = copy.copy(self._tokenizer)
        heard = (_Texts if self._variant.by_language else _Tokens)(stand_in)
        before = self._normalizer.seconds
        with suppress(_SpeechBeginsError):
            next(self._infer(stand_in, "", text, None, **how), None)
        return Reading(
            segments=heard.segments(),
            text=heard.text(),
            unknown_tokens=heard.unknown_tokens(),
            normalize_seconds=self._normalizer.seconds - before,
        )


class _Tokens:
    """Listens where IndexTTS-2 cuts a text: lists of pieces of its vocabulary."""

    def __init__(self, stand_in: Any) -> None:  # noqa: ANN401
        self._tokenizer = stand_in.tokenizer
        self._split = self._tokenizer.split_segments
        self._heard: list[list[str]] = []
        self._tokenizer.split_segments = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        self._heard = self._split(*args, **kwargs)
        return self._heard

    def segments(self) -> tuple[Segment, ...]:
        return tuple(Segment(_joined(tokens), len(tokens)) for tokens in self._heard)

    def text(self) -> str:
        return _joined(self._known())

    def unknown_tokens(self) -> int:
        return sum(map(len, self._heard)) - len(self._known())

    def _known(self) -> list[str]:
        unknown = self._tokenizer.unk_token_id
        tokens = [token for segment in self._heard for token in segment]
        ids = self._tokenizer.convert_tokens_to_ids(tokens)
        return [token for token, number in zip(tokens, ids, strict=True) if number != unknown]


class _Texts:
    """Listens where IndexTTS-2.5 cuts a text: strings, of which a tokenizer knows every byte."""

    def __init__(self, stand_in: Any) -> None:  # noqa: ANN401
        self._encode = stand_in.tokenizer.encode
        self._split = stand_in.split_text_by_tokens
        self._heard: list[str] = []
        self._prefix = ""
        stand_in.split_text_by_tokens = self

    def __call__(self, text: str, limit: int, prefix: str) -> Any:  # noqa: ANN401
        self._prefix = prefix
        self._heard = self._split(text, limit, prefix)
        return self._heard

    def segments(self) -> tuple[Segment, ...]:
        return tuple(
            Segment(
                _SPECIAL.sub("", text).strip(),
                len(self._encode(self._prefix + text, allowed_special="all")),
            )
            for text in self._heard
        )

    def text(self) -> str:
        return _SPECIAL.sub("", "".join(self._heard)).strip()

    def unknown_tokens(self) -> int:
        return 0


class _Normalizer:
    """The model's `normalize` from now on: one caller at a time, by the glossary of the caller."""

    def __init__(self, normalizer: Any) -> None:  # noqa: ANN401
        self._own = normalizer
        self._normalize: Callable[[str], str] = normalizer.normalize
        self._found: Glossary = dict(normalizer.term_glossary)
        """What the model's folder brought along."""
        self._lock = threading.Lock()
        self._remembered: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._caller = threading.local()
        normalizer.normalize = self

    @property
    def seconds(self) -> float:
        """The time that this thread has spent on normalising."""
        return getattr(self._caller, "seconds", 0.0)

    @contextmanager
    def using(self, glossary: Glossary | None) -> Iterator[None]:
        self._caller.glossary = {} if glossary is None else {**self._found, **glossary}
        try:
            yield
        finally:
            del self._caller.glossary

    def __call__(self, text: str) -> str:
        glossary = getattr(self._caller, "glossary", self._found)
        key = (text, repr(sorted(glossary.items())))
        with self._lock:
            if key in self._remembered:
                self._remembered.move_to_end(key)
                return self._remembered[key]
            began = time.perf_counter()
            self._own.term_glossary = glossary
            normalized = self._normalize(text)
            self._caller.seconds = self.seconds + time.perf_counter() - began
            self._remembered[key] = normalized
            if len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)
            return normalized


def _stop_at_speech(value: float, desc: str) -> None:
    del desc
    if value > _SPEECH_BEGINS:
        raise _SpeechBeginsError


def _one_at_a_time(function: Callable[[str], str]) -> Callable[[str], str]:
    lock = threading.Lock()

    def locked(text: str) -> str:
        with lock:
            return function(text)

    return locked


def _joined(tokens: list[str]) -> str:
    """Pieces of the vocabulary as text: `▁` begins a word, and each Chinese character is one."""
    words = "".join(tokens).replace("▁", " ").split()
    return _BETWEEN_CHINESE.sub("", " ".join(words))
