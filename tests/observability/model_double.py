"""
A double of `IndexTTS2`: its marks, methods and results, and a clock that each of them moves.

It stands for `indextts.infer_v2`, and with `version="2.5"` for `indextts.infer_v2_5`, as far as the
probe and `attach` see of them. What it says is a tone.
"""

from __future__ import annotations

import wave
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np

RATE = 22_050
STOP = 65
UNKNOWN = 2
WORDS = {"HELLO": 10, "WORLD": 11, ".": 12}


class Clock:
    """Time that passes only when somebody says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += seconds


class Module:
    """As a module of torch: a call goes to `forward`."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock, self._seconds = clock, seconds
        self.breaks: Exception | None = None

    def forward(self, *_: Any) -> None:
        self._clock.passes(self._seconds)
        if self.breaks:
            raise self.breaks

    def __call__(self, *args: Any) -> None:
        self.forward(*args)


class Gpt(Module):
    """Makes 39 tokens and the stop token, or as many as it may."""

    def merge_emovec(self) -> None:
        self._clock.passes(1)

    def inference_speech(
        self, _speaker: Any, _text: Any, *, max_mel_tokens: int = 1500, **_: Any
    ) -> tuple[Any, None]:
        self._clock.passes(30)
        return np.array([([7] * 39 + [STOP])[:max_mel_tokens]]), None


class Normalizer:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def normalize(self, text: str) -> str:
        self._clock.passes(3)
        return text.upper()


class Tokenizer:
    unk_token_id = UNKNOWN

    def __init__(self, normalizer: Normalizer) -> None:
        self.normalizer = normalizer

    def tokenize(self, text: str) -> list[str]:
        return self.normalizer.normalize(text).split()

    def convert_tokens_to_ids(self, tokens: list[str]) -> list[int]:
        return [WORDS.get(token, UNKNOWN) for token in tokens]


class IndexTTS2Double:
    """A double of IndexTTS2. Sentences are segments, and a segment is half a second of a tone."""

    def __init__(self, clock: Clock | None = None, *, version: str = "2") -> None:
        self.clock = clock = clock or Clock()
        self.version = version
        self.device = "cpu"
        self.model_version = float(version)
        self.stop_mel_token = STOP
        self.gr_progress: Callable[..., Any] | None = None
        self.amplitude = 8_000
        self.returns_none = False
        self.normalizer = Normalizer(clock)
        self.tokenizer: Any = Tokenizer(self.normalizer)
        self.gpt = Gpt(clock, 4)
        self.semantic_codec = SimpleNamespace()
        self.campplus_model = Module(clock, 5)
        self.bigvgan = Module(clock, 7)
        self.s2mel = SimpleNamespace(
            models={
                "gpt_layer": Module(clock, 0.25),
                "length_regulator": Module(clock, 0.5),
                "cfm": SimpleNamespace(inference=lambda: clock.passes(20)),
            }
        )
        self.qwen_emo = SimpleNamespace(inference=lambda _text: clock.passes(11))
        self._cached: dict[str, str] = {}
        if version == "2.5":
            self.tokenizer = SimpleNamespace(encode=str.split)
            self.text_process = self.normalizer
            self.semantic_codec.decode = lambda _codes: clock.passes(0.125)
            del self.normalizer, self.s2mel.models["gpt_layer"]
            self.infer = self.infer_25

    def infer(
        self,
        spk_audio_prompt: str,
        text: str,
        output_path: str | None,
        emo_audio_prompt: str | None = None,
        emo_alpha: float = 1.0,
        emo_vector: list[float] | None = None,
        use_emo_text: bool = False,
        emo_text: str | None = None,
        interval_silence: int = 200,
        stream_return: bool = False,
        **generation_kwargs: Any,
    ) -> Any:
        pieces = self.infer_generator(
            spk_audio_prompt,
            text,
            output_path,
            emo_audio_prompt,
            use_emo_text,
            emo_text,
            stream_return,
            **generation_kwargs,
        )
        if stream_return:
            return pieces
        try:
            results = list(pieces)
            return results[0]
        except IndexError:
            return None

    def infer_25(
        self,
        spk_audio_prompt: str,
        text: str,
        output_path: str | None,
        lang: str,
        duration_factor: float = 1.0,
        stream_return: bool = False,
        low_vram: bool = False,
    ) -> Any:
        asked = spk_audio_prompt, text, output_path, None, False, None, stream_return
        if low_vram:
            return [list(self.infer_generator(*asked)) for _ in range(2)][-1][0]
        if stream_return:
            return self.infer_generator(*asked)
        (result,) = self.infer_generator(*asked)
        return result

    def infer_generator(
        self,
        speaker: str,
        text: str,
        output_path: str | None,
        emotion: str | None,
        use_emo_text: bool,
        emo_text: str | None,
        stream_return: bool,
        **generation_kwargs: Any,
    ) -> Iterator[Any]:
        self.clock.passes(0.0625)
        self._set_gr_progress(0, "starting inference...")
        if use_emo_text:
            self.qwen_emo.inference(emo_text or text)
        self._read(speaker, emotion or speaker)
        self._set_gr_progress(0.1, "text processing...")
        segments = self._tokens(text)
        wavs = []
        for index, segment in enumerate(segments):
            self._set_gr_progress(
                0.2 + 0.7 * index / len(segments),
                f"speech synthesis {index + 1}/{len(segments)}...",
            )
            wavs.append(self._say(segment, **generation_kwargs))
            if stream_return:
                yield wavs[-1]
        self._set_gr_progress(0.9, "saving audio...")
        self.clock.passes(2)
        if self.returns_none:
            raise IndexError
        samples = np.concatenate(wavs, axis=1).astype(np.int16)
        if stream_return:
            return
        if output_path:
            with wave.open(output_path, "wb") as file:
                file.setparams((1, 2, RATE, 0, "NONE", ""))
                file.writeframes(samples.tobytes())
        yield output_path or (RATE, samples.T)

    def _set_gr_progress(self, value: float, desc: str) -> None:
        if self.gr_progress is not None:
            self.gr_progress(value, desc=desc)

    def _load_and_cut_audio(
        self, path: str, seconds: float, verbose: bool = False, sr: int | None = None
    ) -> None:
        self.clock.passes(1)

    def get_emb(self) -> None:
        self.clock.passes(10)

    def _read(self, speaker: str, emotion: str) -> None:
        if self._cached.get("speaker") != speaker:
            self._load_and_cut_audio(speaker, 15, False)
            self.get_emb()
            self.campplus_model()
            self.s2mel.models["length_regulator"]()
            self._cached["speaker"] = speaker
        if self._cached.get("emotion") != emotion:
            self._load_and_cut_audio(emotion, 15, False, sr=16_000)
            self.get_emb()
            self._cached["emotion"] = emotion

    def _tokens(self, text: str) -> list[Any]:
        self.clock.passes(1)
        sentences = [f"{part.strip()} ." for part in text.split(".") if part.strip()]
        if self.version == "2.5":
            self.text_process.normalize(text)
            # With the language before it and the end of the text after it.
            return [np.zeros((1, len(sentence.split()) + 2)) for sentence in sentences]
        tokens = self.tokenizer.tokenize(" ".join(sentences))
        self.tokenizer.convert_tokens_to_ids(tokens)
        return [np.zeros((1, len(sentence.split()))) for sentence in sentences]

    def _say(self, tokens: Any, **generation_kwargs: Any) -> Any:
        if self.version == "2":
            self.tokenizer.convert_tokens_to_ids(["HELLO", "."])
        self.gpt.merge_emovec()
        codes, _ = self.gpt.inference_speech(None, tokens, **generation_kwargs)
        if self.version == "2":
            self.gpt()
            self.s2mel.models["gpt_layer"]()
        else:
            self.semantic_codec.decode(codes)
        self.s2mel.models["length_regulator"]()
        self.s2mel.models["cfm"].inference()
        self.bigvgan()
        self.clock.passes(0.03125)
        seconds = np.arange(RATE // 2) / RATE
        return self.amplitude * np.sin(2 * np.pi * 220 * seconds)[None, :]
