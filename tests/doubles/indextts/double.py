"""What the doubles of IndexTTS-2 and 2.5 have in common: reading, encoding, and making a tone."""

from __future__ import annotations

import hashlib
import os
import re
import time
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

RATE = 22_050
STOP = 8_193
STEPS = 25
CODES_PER_TOKEN = 4
EMOTIONS = ("happy", "angry", "sad", "afraid", "disgusted", "melancholic", "surprised", "calm")
BIAS = (0.9375, 0.875, 1.0, 1.0, 0.9375, 0.9375, 0.6875, 0.5625)
KNOWN = re.compile(r"[a-zA-Z0-9\u4e00-\u9fff\u3040-\u30ff\u0600-\u06ff.,!?'…<>| -]")
PIECES = re.compile(r"[\u4e00-\u9fff\u3040-\u30ff]|[a-zA-Z0-9\u0600-\u06ff]+|\S")
GENERATION = {
    "do_sample",
    "top_p",
    "top_k",
    "temperature",
    "num_return_sequences",
    "length_penalty",
    "num_beams",
    "repetition_penalty",
    "stopping_criteria",
    "typical_sampling",
    "typical_mass",
}


class Glossed:
    """A double of the text normaliser: glossary, digits, full-width punctuation."""

    def __init__(self) -> None:
        self.term_glossary: dict[str, Any] = {}
        self.enable_glossary = True
        self.char_rep_map = {"，": ",", "。": ".", "！": "!", "？": "?", "、": ",", "\n": " "}
        self.clean_pattern = re.compile("|".join(map(re.escape, self.char_rep_map)))

    def normalize(self, text: str) -> str:
        """As it is to be read."""
        chinese = re.search(r"[\u4e00-\u9fff]", text)
        if self.enable_glossary:
            for term, readings in self.term_glossary.items():
                reading = readings.get("zh" if chinese else "en", term)
                text = re.sub(
                    re.escape(term), lambda _, said=reading: said, text, flags=re.IGNORECASE
                )
        text = self.clean_pattern.sub(lambda found: self.char_rep_map[found.group()], text)
        digits = "零一二三四五六七八九" if chinese else None
        return re.sub(r"\d", lambda d: digits[int(d.group())] if digits else d.group(), text)


class _Encoder(torch.nn.Module):
    """Gives one number of its input's bytes as a tensor of `shape`."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self._shape = shape

    def forward(self, value: Any, *_: Any, **__: Any) -> Any:
        """A tensor full of it."""
        number = int.from_bytes(hashlib.sha256(np.asarray(value).tobytes()).digest()[:4]) / 2**32
        return torch.tensor(np.full(self._shape, number, np.float32))


class _Regulator(_Encoder):
    """The length regulator returns a tuple."""

    def forward(self, value: Any, *_: Any, **__: Any) -> Any:
        """The tensor first."""
        return (super().forward(value), None)


class _Estimator(torch.nn.Module):
    """One step of the flow."""

    def forward(self, value: Any) -> Any:
        """As it came."""
        return value


class _Flow(torch.nn.Module):
    """Calls its estimator as often as the real one does."""

    def __init__(self) -> None:
        super().__init__()
        self.estimator = _Estimator()

    def inference(self, value: Any, *_: Any, **__: Any) -> Any:
        """After all steps."""
        for _step in range(STEPS):
            value = self.estimator(value)
        return value


class _Vocoder(torch.nn.Module):
    """Turns a plan (pitch, seconds, tremor) into a tone."""

    def forward(self, plan: dict[str, float]) -> Any:
        """Samples from -1 to 1."""
        fault = os.environ.get("DOUBLE_FAULT")
        if fault == "device_lost":
            raise RuntimeError("CUDA error: device-side assert triggered")
        if fault == "out_of_memory":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        count = round(plan["seconds"] * RATE)
        t = np.arange(count) / RATE
        tremor = 1 + 0.3 * np.sin(2 * np.pi * (2 + 8 * plan["tremor"]) * t)
        noise = torch.randn(count).numpy() * 0.02
        edge = np.minimum(1, np.minimum(t, t[::-1]) / 0.01) if count else t
        tone = 0.3 * np.sin(2 * np.pi * plan["pitch"] * t) * tremor * edge + noise
        if fault == "not_finite":
            tone[:] = np.nan
        return torch.tensor(tone[None].astype(np.float32))


class _Gpt(torch.nn.Module):
    """The token loop."""

    def __init__(self) -> None:
        super().__init__()
        self.text_pos_embedding = SimpleNamespace(emb=SimpleNamespace(num_embeddings=602))
        self.accel_engine = None

    def merge_emovec(self, speaker: Any, emotion: Any, *_: Any, alpha: float) -> Any:
        """Between the two."""
        return speaker + alpha * (emotion - speaker)

    def inference_speech(
        self,
        *inputs: Any,
        max_generate_length: int,
        **given: Any,
    ) -> tuple[Any, Any]:
        """A code for every step, at most `max_generate_length`, the stop code last if it fits."""
        own = {"cond_lengths", "emo_cond_lengths", "emo_vec", "campplus_embedding", "wav"}
        if unused := set(given) - own - GENERATION:
            raise ValueError(f"The following `model_kwargs` are not used by the model: {unused}")
        tokens = inputs[1]
        wanted = CODES_PER_TOKEN * tokens.size(-1)
        codes = [8_000 + n % 100 for n in range(wanted)] + [STOP]
        codes = codes[:max_generate_length]
        made: list[int] = []
        if os.environ.get("DOUBLE_FAULT") == "no_token":
            raise RuntimeError("probability tensor contains either `inf`, `nan` or element < 0")
        pause = float(os.environ.get("DOUBLE_TOKEN_SECONDS", "0"))
        for code in codes:
            made.append(code)
            if pause:
                time.sleep(pause)
            if given.get("stopping_criteria"):
                given["stopping_criteria"](torch.tensor([made]), None)
        return torch.tensor([made]), inputs[0]

    def forward(self, *_: Any, **__: Any) -> Any:
        """The latent."""
        return torch.zeros(1, 8)


class _LanguageModel:
    """Makes the same number of tokens each time."""

    def generate(self, *, max_new_tokens: int, stopping_criteria: Any = None) -> Any:
        """One after the other."""
        pause = float(os.environ.get("DOUBLE_TOKEN_SECONDS", "0"))
        for _token in range(max_new_tokens):
            if pause:
                time.sleep(pause)
            if stopping_criteria:
                stopping_criteria(torch.tensor([[0]]), None)


class _Qwen:
    """Reads an emotion out of words: the one that is named, else calm."""

    def __init__(self) -> None:
        self.model = _LanguageModel()

    def inference(self, text_input: str) -> dict[str, float]:
        """Eight scores."""
        self.model.generate(max_new_tokens=200)
        found = {name: float(name in text_input.lower()) for name in EMOTIONS}
        return found if any(found.values()) else {**found, "calm": 1.0}


class Codec:
    """A double of the semantic codec."""

    def __init__(self) -> None:
        self.quantizer = SimpleNamespace(vq2emb=lambda codes: codes)

    def quantize(self, value: Any) -> tuple[Any, Any]:
        """The codes and their embedding."""
        return value, value

    def decode(self, codes: Any) -> Any:
        """The embedding of codes."""
        return codes


class Double:
    """The part of both models that neither language nor tokens decide."""

    code_seconds = 0.02

    def _build(self, cfg_path: str, model_dir: str, device: str | None, qwen: bool) -> None:
        for path in (cfg_path,):
            if not Path(path).is_file():
                raise FileNotFoundError(path)
        if os.environ.get("DOUBLE_LOAD_FAULT") == "out_of_memory":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        self.device = device or "cpu"
        self.model_dir = model_dir
        self.dtype = None
        self.use_cuda_kernel = False
        self.stop_mel_token = STOP
        self.cfg = SimpleNamespace(
            gpt=SimpleNamespace(max_mel_tokens=1_815, max_text_tokens=600, stop_mel_token=STOP)
        )
        self.gpt = _Gpt()
        self.semantic_codec = Codec()
        self.campplus_model = _Encoder(1, 192)
        self.mel_fn = _Encoder(1, 80, 100)
        self._features = _Encoder(1, 50, 1_024)
        self.s2mel = SimpleNamespace(
            models={"length_regulator": _Regulator(1, 100, 64), "cfm": _Flow()}
        )
        self.bigvgan = _Vocoder()
        self.qwen_emo = _Qwen() if qwen else None
        self.cache_spk_cond: Any = None
        self.cache_s2mel_style: Any = None
        self.cache_s2mel_prompt: Any = None
        self.cache_spk_audio_prompt: Any = None
        self.cache_emo_cond: Any = None
        self.cache_emo_audio_prompt: Any = None
        self.cache_mel: Any = None
        self.gr_progress: Any = None
        print(">> double of IndexTTS-2 ready: it makes tones, not speech")

    def _set_gr_progress(self, value: float, desc: str) -> None:
        if self.gr_progress is not None:
            self.gr_progress(value, desc=desc)

    def _load_and_cut_audio(
        self, audio_path: str, longest: float, verbose: bool = False, sr: int | None = None
    ) -> tuple[Any, int]:
        with wave.open(audio_path) as file:
            rate = file.getframerate()
            frames = file.readframes(int(longest * rate))
        return torch.tensor(np.frombuffer(frames, "<i2")[None].astype(np.float32)), sr or rate

    def get_emb(self, input_features: Any, attention_mask: Any) -> Any:
        """The speaker encoder."""
        del attention_mask
        return self._features(input_features)

    def normalize_emo_vec(self, emo_vector: Any, apply_bias: bool = True) -> list[float]:
        """Biased, and at most 0.8 in all."""
        biased = [w * b if apply_bias else w for w, b in zip(emo_vector, BIAS, strict=True)]
        return [w * min(1.0, 0.8 / (sum(biased) or 1.0)) for w in biased]

    def _encode(self, speaker: str, emotion: str) -> None:
        if self.cache_spk_cond is None or self.cache_spk_audio_prompt != speaker:
            audio, _ = self._load_and_cut_audio(speaker, 15)
            self.cache_spk_cond = self.get_emb(audio, None)
            _, reference = self.semantic_codec.quantize(self.cache_spk_cond)
            self.cache_mel = self.mel_fn(audio)
            self.cache_s2mel_style = self.campplus_model(audio)
            self.cache_s2mel_prompt = self.s2mel.models["length_regulator"](reference)[0]
            self.cache_spk_audio_prompt = speaker
        if self.cache_emo_cond is None or self.cache_emo_audio_prompt != emotion:
            audio, _ = self._load_and_cut_audio(emotion, 15, sr=16_000)
            self.cache_emo_cond = self.get_emb(audio, None)
            self.cache_emo_audio_prompt = emotion

    def _emotion(
        self,
        vector: Any,
        by_text: bool,
        text: str,
        alpha: float,
        draw: Callable[[], float] | None,
    ) -> list[float] | None:
        if by_text:
            if self.qwen_emo is None:
                raise RuntimeError("use_emo_text=True requires QwenEmotion")
            vector = list(self.qwen_emo.inference(text).values())
        if vector is None:
            return None
        assert len(vector) == len(EMOTIONS)
        scaled = [max(0.0, min(1.0, alpha)) * weight for weight in vector]
        return [draw() * weight for weight in scaled] if draw else scaled

    def _segment(
        self,
        tokens: Any,
        language: tuple[Any, ...],
        factor: float,
        alpha: float,
        vector: list[float] | None,
        generation: dict[str, Any],
    ) -> Any:
        emovec = self.gpt.merge_emovec(self.cache_spk_cond, self.cache_emo_cond, alpha=alpha)
        codes, _ = self.gpt.inference_speech(
            self.cache_spk_cond,
            tokens,
            *language,
            self.cache_emo_cond,
            emo_vec=emovec,
            num_return_sequences=1,
            **{**generation, "do_sample": True},
        )
        made = int((codes.numpy() != STOP).sum())
        self.s2mel.models["length_regulator"](codes)
        mood = sum(n * w for n, w in enumerate(vector, 1)) if vector else float(emovec.flat[0])
        plan = {
            "pitch": 110 + 220 * float(self.cache_spk_cond.flat[0]),
            "seconds": made * self.code_seconds * factor,
            "tremor": mood,
        }
        plan = self.s2mel.models["cfm"].inference(plan)
        wav = torch.tensor(np.clip(32_767 * self.bigvgan(plan).numpy(), -32_767, 32_767))
        print(wav.shape)
        return wav

    def _deliver(
        self,
        segments: list[Any],
        silence_ms: int,
        stream: bool,
        say: Any,
    ) -> Iterator[Any]:
        made = []
        silence = torch.zeros(1, int(RATE * silence_ms / 1000))
        for number, tokens in enumerate(segments):
            self._set_gr_progress(
                0.2 + 0.7 * number / len(segments),
                f"speech synthesis {number + 1}/{len(segments)}...",
            )
            if os.environ.get("DOUBLE_FAULT") == "nothing":
                continue
            wav = say(tokens)
            made += [silence, wav] if made and silence_ms > 0 else [wav]
            if stream:
                yield wav
                # The real one hands over a list here where there is no silence.
                yield silence if silence_ms > 0 else [wav]
        self._set_gr_progress(0.9, "saving audio...")
        if made and not stream:
            yield RATE, torch.cat(made, 1).numpy().astype(np.int16).T


def first_of(results: Iterator[Any]) -> Any:
    """The only result, or None where there is none."""
    return next(iter(list(results)), None)
