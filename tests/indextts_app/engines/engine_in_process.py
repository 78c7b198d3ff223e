"""
The engine on the real package, called directly, so that a test can see what the model is told.

    MODEL_PYTHON engine_in_process.py CHECKPOINT VOICE OTHER_VOICE

Prints one line of JSON: what each of the functions below found, under its name.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from indextts_app.engines.base import FieldUnusable, Task
from indextts_app.engines.indextts2.engine import IndexTTS2Engine

FASTER = {"num_beams": 1}
"""Unless a task says otherwise: half the time of three beams."""
TEXT = "你好世界。Hello world, this is a test! 这是第二句。"


class DirectJob:
    """Keeps what the engine reports."""

    cancelled = False

    def __init__(self, task: Task) -> None:
        self.task = task
        self.pieces: list[Any] = []
        self.stages: dict[str, float] = {}
        self.notes: dict[str, Any] = {}
        self.text = ""

    def check_cancelled(self) -> None:
        """Never cancelled."""

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Timed."""
        began = time.perf_counter()
        yield
        self.spent(name, time.perf_counter() - began)

    def entered(self, name: str) -> None:
        """Not kept."""

    def segment(self, number: int, count: int) -> None:
        """Not kept."""

    def spent(self, name: str, seconds: float) -> None:
        """Kept."""
        self.stages[name] = self.stages.get(name, 0.0) + seconds

    def note(self, **fields: float | str) -> None:
        """Kept."""
        self.notes.update(fields)

    def spoken(self, text: str) -> None:
        """Kept."""
        self.text = text

    def sample_rate(self, hertz: int) -> None:
        """Not kept."""

    def audio(self, samples: Any) -> None:
        """Kept."""
        self.pieces.append(samples)


class Direct:
    """The loaded engine, its model, and what the model was told."""

    def __init__(self, checkpoint: str, voice: str, other_voice: str) -> None:
        self.voice, self.other_voice = voice, other_voice
        self.engine = IndexTTS2Engine(model_dir=checkpoint, device="cpu")
        self.can = self.engine.load()
        self.tts = self.engine._model.tts
        self.told: list[dict[str, Any]] = []
        self._listen(self.tts.gpt, "inference_speech")
        self._listen(self.tts.gpt.inference_model, "generate")

    def task(self, text: str = TEXT, **changes: Any) -> Task:
        """A task with the first voice and the seed 1."""
        fields = {
            "request_id": "1",
            "text": text,
            "speaker": "reference",
            "emotion": "neutral",
            "speed": 1.0,
            "reference": self.voice,
            "seed": 1,
            **changes,
        }
        return Task(**{**fields, "controls": {**FASTER, **fields.get("controls", {})}})

    def speak(self, text: str = TEXT, **changes: Any) -> DirectJob:
        """What came of a task."""
        self.told.clear()
        job = DirectJob(self.task(text, **changes))
        self.engine.synthesize(job)
        return job

    def _listen(self, owner: Any, name: str) -> None:
        function = getattr(owner, name)

        def listened(*args: Any, **kwargs: Any) -> Any:
            self.told.append({"name": name, **kwargs})
            return function(*args, **kwargs)

        setattr(owner, name, listened)


def digest(samples: Any) -> str:
    """The samples, shortly."""
    return hashlib.sha256(np.asarray(samples, "<i2").tobytes()).hexdigest()[:16]


def of_job(job: DirectJob) -> str:
    """The samples of a job, shortly."""
    return digest(np.concatenate(job.pieces))


def streamed_and_whole(direct: Direct) -> dict[str, str]:
    """Our samples, and those that `infer` returns for the same seed and segments."""
    import torch

    job = direct.speak(TEXT * 2, controls={"segment_tokens": 30, "interval_silence_ms": 150})
    torch.manual_seed(1)
    direct.tts.gr_progress = lambda value, desc: value == 0.1 and torch.manual_seed(1)
    rate, samples = direct.tts.infer(
        direct.voice,
        TEXT * 2,
        None,
        max_text_tokens_per_segment=30,
        interval_silence=150,
        **FASTER,
    )
    direct.tts.gr_progress = None
    return {
        "ours": of_job(job),
        "whole": digest(samples[:, 0]),
        "rate": rate,
        "segments": job.notes["segments"],
    }


def alternating_speakers(direct: Direct) -> dict[str, Any]:
    """What is encoded when two voices take turns, and whether a cached voice sounds the same."""
    encoded: list[int] = []
    own = direct.tts.get_emb
    direct.tts.get_emb = lambda *args: encoded.append(1) or own(*args)
    direct.engine.drop_speakers()
    voices = [direct.voice, direct.other_voice] * 2
    made = []
    counts = []
    for voice in voices:
        encoded.clear()
        made.append(of_job(direct.speak(reference=voice)))
        counts.append(len(encoded))
    direct.tts.get_emb = own
    entries = direct.engine._model.cache._entries.values()
    return {
        "encoded": counts,
        "made": made,
        "graphs": [
            str(value.grad_fn)
            for entry in entries
            for value in entry.values.values()
            if value.grad_fn is not None
        ],
    }


def emotion_vectors(direct: Direct) -> dict[str, str]:
    """The emotion that the token loop is given, in each mode, shortly."""
    calm = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    asked: dict[str, dict[str, Any]] = {
        "speaker": {},
        "preset": {"emotion_mode": "preset", "emotion": "calm", "emotion_weight": 0.65},
        "vector": {"emotion_mode": "vector", "emotion_vector": calm, "emotion_weight": 0.65},
        "lighter": {"emotion_mode": "vector", "emotion_vector": calm, "emotion_weight": 0.2},
        "reference": {
            "emotion_mode": "reference",
            "emotion_reference": direct.other_voice,
            "emotion_weight": 0.65,
        },
        "text": {"emotion_mode": "text", "emotion_text": "happy", "emotion_weight": 0.65},
        "random": {
            "emotion_mode": "vector",
            "emotion_vector": calm,
            "emotion_weight": 0.65,
            "controls": {"emotion_random": True},
        },
    }
    found = {}
    for mode, what in asked.items():
        direct.speak("你好。", **what)
        (given,) = [told for told in direct.told if told["name"] == "inference_speech"]
        found[mode] = hashlib.sha256(given["emo_vec"].numpy().tobytes()).hexdigest()[:16]
    return found


def generation_parameters(direct: Direct) -> dict[str, Any]:
    """What the token loop is told, and what it makes of the ends of every control's range."""
    told = {}
    for name, controls in {
        "default": {},
        "greedy": {"do_sample": False},
        "no_limit": {"top_k": 0},
    }.items():
        direct.speak("你好。", controls=controls)
        (given,) = [told for told in direct.told if told["name"] == "generate"]
        told[name] = {
            key: given.get(key)
            for key in ("do_sample", "temperature", "top_p", "top_k", "num_beams")
        }
    tight = {"top_k": 1, "top_p": 0.0, "temperature": 0.1}
    loose = {"top_k": 100, "top_p": 1.0, "temperature": 2.0}
    tokens = []
    for controls in (
        {**tight, "num_beams": 10, "repetition_penalty": 20.0, "length_penalty": 2.0},
        {**tight, "num_beams": 1, "repetition_penalty": 0.1, "length_penalty": -2.0},
        {**loose, "num_beams": 10, "repetition_penalty": 0.1, "length_penalty": -2.0},
        {**loose, "num_beams": 1, "repetition_penalty": 20.0, "max_mel_tokens": 1_815},
    ):
        try:
            tokens.append(direct.speak("你好。", controls=controls).notes["acoustic_tokens"])
        except FieldUnusable as error:
            tokens.append(error.field)
    short = direct.speak("你好。", controls={"max_mel_tokens": 20})
    return {"told": told, "tokens": tokens, "limited": short.notes["length_limited"]}


def emotion_stopping(direct: Direct) -> list[Any]:
    """What the language model of emotions is asked to heed in a request, and outside of one."""
    model = direct.tts.qwen_emo.model
    own, heeded = model.generate, []

    def listened(**given: Any) -> Any:
        criteria = given.get("stopping_criteria")
        heeded.append(criteria and [type(one).__name__ for one in criteria])
        return own(**given)

    model.generate = listened
    direct.speak("你好。", emotion_mode="text", emotion_text="happy")
    direct.tts.qwen_emo.inference("happy")
    model.generate = own
    return heeded


def texts(direct: Direct) -> dict[str, Any]:
    """How texts are read, previewed and refused, and what is printed meanwhile."""
    printed = io.StringIO()
    glossary = {"NASA": {"en": "nah sah", "zh": "美国航天局"}}
    with contextlib.redirect_stdout(printed):
        task = direct.task(
            "NASA 有 12 个。" * 4, glossary=glossary, controls={"segment_tokens": 20}
        )
        segments = direct.engine.preview(task)
        job = DirectJob(task)
        direct.engine.synthesize(job)
        unread = []
        for text in ("😀😀", " "):
            try:
                direct.speak(text)
            except FieldUnusable as error:
                unread.append(error.field)
    return {
        "previewed": [segment.tokens for segment in segments],
        "first": segments[0].text,
        "spoken": job.text,
        "segments": job.notes["segments"],
        "tokens": job.notes["text_tokens"],
        "unread": unread,
        "printed": printed.getvalue(),
        "after": direct.engine.preview(direct.task("NASA 有 12 个。"))[0].text,
    }


def times(direct: Direct) -> list[float]:
    """What share of the time of a request no stage holds: one with a new voice, one without."""
    shares = []
    direct.engine.drop_speakers()
    for _ in range(2):
        began = time.perf_counter()
        job = direct.speak()
        total = time.perf_counter() - began
        shares.append((total - sum(job.stages.values())) / total)
    return shares


def main() -> None:
    """Everything on one loaded model."""
    with contextlib.redirect_stdout(sys.stderr):
        direct = Direct(*sys.argv[1:])
        found = {
            "audio": of_job(direct.speak()),
            **{
                part.__name__: part(direct)
                for part in (
                    streamed_and_whole,
                    alternating_speakers,
                    emotion_vectors,
                    emotion_stopping,
                    generation_parameters,
                    texts,
                    times,
                )
            },
        }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
