"""A double of `indextts.infer_v2_5`."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch

from indextts.double import Double, Glossed, first_of

# The real module does this, and the adapter has to contain it.
os.environ["HF_HUB_CACHE"] = "./checkpoints/hf_cache"

LANGUAGES = ("zh", "zhen", "en", "ja", "es", "ar")


class Tokenizer:
    """A byte is a token, a special token is one."""

    def encode(self, text: str, allowed_special: str = "") -> list[int]:
        """The numbers of a text's tokens."""
        del allowed_special
        return list(re.sub(r"<\|[^|]+\|>", "\0", text).encode())


class IndexTTS2(Double):
    """A double of IndexTTS-2.5."""

    code_seconds = 0.04

    def __init__(
        self,
        cfg_path: str = "checkpoints/config.yaml",
        model_dir: str = "checkpoints",
        use_bf16: bool = False,
        device: str | None = None,
        use_cuda_kernel: bool | None = None,
        use_deepspeed: bool = False,
        use_accel: bool = False,
        use_torch_compile: bool = False,
        use_qwen_emo: bool = False,
    ) -> None:
        self._build(cfg_path, model_dir, device, use_qwen_emo)
        self.low_vram = False
        self.tokenizer = Tokenizer()
        self.text_process = Glossed()
        self.ja_text_process = SimpleNamespace(process_ja_text=lambda text: text)
        self.model_version = 2.5

    def split_text_by_tokens(self, text: str, max_tokens: int, lang_prefix: str = "") -> list[str]:
        """Sentences, joined up to the limit."""
        segments = [""]
        room = max(1, max_tokens - len(self.tokenizer.encode(lang_prefix)))
        for sentence in re.findall(r"[^.!?]+[.!?]*|[.!?]+", text):
            joined = segments[-1] + sentence
            if segments[-1] and len(self.tokenizer.encode(joined)) > room:
                segments.append(sentence)
            else:
                segments[-1] = joined
        return segments

    def infer(
        self,
        spk_audio_prompt: str,
        text: str,
        output_path: str | None,
        lang: str,
        emo_audio_prompt: str | None = None,
        emo_alpha: float = 1.0,
        emo_vector: list[float] | None = None,
        use_emo_text: bool = False,
        emo_text: str | None = None,
        use_random: bool = False,
        interval_silence: int = 200,
        verbose: bool = False,
        max_text_tokens_per_segment: int = 120,
        stream_return: bool = False,
        more_segment_before: int = 0,
        duration_factor: float = 1.0,
        text_normalization: bool = True,
        **generation_kwargs: Any,
    ) -> Any:
        """One result, or all of them as they are made."""
        results = self.infer_generator(
            spk_audio_prompt,
            text,
            output_path,
            lang,
            emo_audio_prompt,
            emo_alpha,
            emo_vector,
            use_emo_text,
            emo_text,
            use_random,
            interval_silence,
            verbose,
            max_text_tokens_per_segment,
            stream_return,
            more_segment_before,
            duration_factor=duration_factor,
            text_normalization=text_normalization,
            **generation_kwargs,
        )
        return results if stream_return else first_of(results)

    def infer_generator(
        self,
        spk_audio_prompt: str,
        text: str,
        output_path: str | None,
        lang: str,
        emo_audio_prompt: str | None = None,
        emo_alpha: float = 1.0,
        emo_vector: list[float] | None = None,
        use_emo_text: bool = False,
        emo_text: str | None = None,
        use_random: bool = False,
        interval_silence: int = 200,
        verbose: bool = False,
        max_text_tokens_per_segment: int = 120,
        stream_return: bool = False,
        quick_streaming_tokens: int = 0,
        duration_factor: float = 1.0,
        text_normalization: bool = True,
        **generation_kwargs: Any,
    ) -> Iterator[Any]:
        """The marks in their order, a tone for each segment."""
        print(">> starting inference...")
        self._set_gr_progress(0, "starting inference...")
        draw = (lambda: random.random()) if use_random else None
        vector = self._emotion(emo_vector, use_emo_text, emo_text or text, emo_alpha, draw)
        if vector is not None or emo_audio_prompt is None:
            emo_audio_prompt, emo_alpha = spk_audio_prompt, 1.0
        self._encode(spk_audio_prompt, emo_audio_prompt)
        self._set_gr_progress(0.1, "text processing...")
        prefix = f"<|{lang.lower()}|> "
        if text_normalization and lang in ("zh", "zhen", "en"):
            text = self.text_process.normalize(text)
            print(f"text after normalization: {text}")
        text = re.sub(r"<([^|>\n]+)\|([^>\n]+)>", r"<|S|>\2<|S|>", text.lower())
        if lang == "ja":
            text = self.ja_text_process.process_ja_text(text)
        segments = self.split_text_by_tokens(text, max_text_tokens_per_segment, prefix)
        limit = generation_kwargs.pop("max_mel_tokens", 1_500)
        language = torch.tensor([LANGUAGES.index(lang.lower())])

        def say(sentence: str) -> Any:
            tokens = torch.tensor([[*self.tokenizer.encode(prefix + sentence), 1]])
            generation = {**generation_kwargs, "max_generate_length": limit}
            return self._segment(
                tokens, (language,), duration_factor, emo_alpha, vector, generation
            )

        yield from self._deliver(segments, interval_silence, stream_return, say)
