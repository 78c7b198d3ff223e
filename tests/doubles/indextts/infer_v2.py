"""A double of `indextts.infer_v2`."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any
from zlib import crc32

import torch

from indextts.double import KNOWN, PIECES, Double, Glossed, first_of


class Tokenizer:
    """Letters and words as tokens, cut at the ends of sentences."""

    unk_token_id = 2

    def __init__(self, normalizer: Glossed) -> None:
        self.normalizer = normalizer

    def tokenize(self, text: str) -> list[str]:
        """The tokens of a text as it is read."""
        return [f"▁{piece}" for piece in PIECES.findall(self.normalizer.normalize(text).upper())]

    def convert_tokens_to_ids(self, tokens: list[str]) -> list[int]:
        """Their numbers, that of the unknown for most of them."""
        return [
            3 + crc32(token.encode()) % 500 if KNOWN.fullmatch(token[1:2]) else self.unk_token_id
            for token in tokens
        ]

    def split_segments(
        self,
        tokenized: list[str],
        max_text_tokens_per_segment: int = 120,
        quick_streaming_tokens: int = 0,
    ) -> list[list[str]]:
        """Sentences, joined up to the limit, but not within the first tokens."""
        segments: list[list[str]] = []
        sentence: list[str] = []
        total = 0
        for token in tokenized:
            sentence.append(token)
            if re.fullmatch("▁[.!?]", token) or len(sentence) == max_text_tokens_per_segment:
                total = _join(
                    segments, sentence, max_text_tokens_per_segment, total, quick_streaming_tokens
                )
                sentence = []
        if sentence:
            _join(segments, sentence, max_text_tokens_per_segment, total, quick_streaming_tokens)
        return segments


def _join(segments: list[list[str]], new: list[str], limit: int, total: int, quick: int) -> int:
    total += len(new)
    if segments and len(segments[-1]) + len(new) <= limit and total > quick:
        segments[-1] = segments[-1] + new
    else:
        segments.append(new)
    return total


class IndexTTS2(Double):
    """A double of IndexTTS-2."""

    def __init__(
        self,
        cfg_path: str = "checkpoints/config.yaml",
        model_dir: str = "checkpoints",
        use_fp16: bool = False,
        device: str | None = None,
        use_cuda_kernel: bool | None = None,
        use_deepspeed: bool = False,
        use_accel: bool = False,
        use_torch_compile: bool = False,
        use_qwen_emo: bool = True,
        aux_paths: dict[str, str] | None = None,
    ) -> None:
        if aux_paths is None:
            raise ConnectionError("a double has no network either")
        self._build(cfg_path, model_dir, device, use_qwen_emo)
        self.s2mel.models["gpt_layer"] = type(self.campplus_model)(1, 8)
        self.normalizer = Glossed()
        self.tokenizer = Tokenizer(self.normalizer)
        self.model_version = 2.0

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
        use_random: bool = False,
        interval_silence: int = 200,
        verbose: bool = False,
        max_text_tokens_per_segment: int = 120,
        stream_return: bool = False,
        more_segment_before: int = 0,
        **generation_kwargs: Any,
    ) -> Any:
        """One result, or all of them as they are made."""
        results = self.infer_generator(
            spk_audio_prompt,
            text,
            output_path,
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
            **generation_kwargs,
        )
        return results if stream_return else first_of(results)

    def infer_generator(
        self,
        spk_audio_prompt: str,
        text: str,
        output_path: str | None,
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
        segments = self.tokenizer.split_segments(
            self.tokenizer.tokenize(text),
            max_text_tokens_per_segment,
            quick_streaming_tokens=quick_streaming_tokens,
        )
        limit = generation_kwargs.pop("max_mel_tokens", 1_500)

        def say(sentence: list[str]) -> Any:
            tokens = torch.tensor([self.tokenizer.convert_tokens_to_ids(sentence)])
            generation = {**generation_kwargs, "max_generate_length": limit}
            self.gpt(tokens)
            self.s2mel.models["gpt_layer"](tokens)
            return self._segment(tokens, (), 1.0, emo_alpha, vector, generation)

        yield from self._deliver(segments, interval_silence, stream_return, say)
