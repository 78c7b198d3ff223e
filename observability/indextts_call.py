"""
What may be known of one call of IndexTTS-2's `infer`: what it was asked, and what came out.

Facts only: of a text its length and a keyed hash, of a recording the hash of its content.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import re
import wave
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from observability import logfmt
from observability.audio_check import check_signal
from observability.events import Scalar
from observability.text_facts import facts_of

Samples = NDArray[np.int16]
Asked = Mapping[str, Any]
Known = dict[str, Scalar | None]

SPEAKER: Final = "reference"
"""A recording's name may be a person's, and there is no end of names: its hash tells it apart."""

SAMPLE_RATE: Final = 22_050
"""Of both versions; a stream tells it nowhere."""

CHECKED_SECONDS: Final = 600
"""Of a longer audio this much is looked at, 26 MB."""

FORMATS: Final = frozenset({"wav", "flac", "mp3", "ogg", "opus"})
MAX_REFERENCE_BYTES: Final = 256 * 1024 * 1024

_LANGUAGE: Final = re.compile(r"[a-z]{2,8}")
_NO_CONTROLS: Final = frozenset({"emo_alpha", "use_emo_text", "stream_return", "verbose"})
"""Told by fields of their own, or of no effect on the audio."""

GENERATION_DEFAULTS: Final[Asked] = {
    "do_sample": True,
    "top_p": 0.8,
    "top_k": 30,
    "temperature": 0.8,
    "length_penalty": 0.0,
    "num_beams": 3,
    "repetition_penalty": 10.0,
    "max_mel_tokens": 1500,
}
"""What `infer_generator` takes where it is not told, in both versions (index-tts ee40fa7)."""


@dataclass(frozen=True, slots=True)
class Audio:
    """One channel, int16, shape (n,): at most the first ten minutes of `seconds`."""

    samples: Samples
    sample_rate: int
    seconds: float


def asked_of(signature: inspect.Signature, args: tuple[Any, ...], kwargs: Asked) -> dict[str, Any]:
    """
    The arguments by name without those at their default; generation parameters beside the rest.

    Raises:
        TypeError: more arguments than `infer` has.
    """
    asked = dict(signature.bind_partial(*args, **kwargs).arguments)
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            asked |= asked.pop(name, {})
        elif name in asked and _same(asked[name], parameter.default):
            del asked[name]
    return asked


def text_of(asked: Asked) -> str:
    """The text to be spoken; empty where what was given is none."""
    text = asked.get("text")
    return text if isinstance(text, str) else ""


def private_of(asked: Asked) -> Iterator[str]:
    """What no message may quote: the texts, and the names of the files."""
    for name in ("text", "emo_text"):
        if isinstance(text := asked.get(name), str) and text:
            yield text
    for name in ("spk_audio_prompt", "emo_audio_prompt", "output_path"):
        if (path := _path(asked.get(name))) and path.name:
            yield path.name


def text_fields(asked: Asked, key: bytes) -> Known:
    """Length, script and keyed hash."""
    text = text_of(asked)
    if not text:
        return {"text_len": 0}
    facts = facts_of(text, key)
    return {
        "text_len": facts.text_len,
        "text_script": facts.text_script,
        "text_hash": facts.text_hash,
    }


def speaker_fields(asked: Asked) -> Known:
    """The recording by the hash of its content."""
    return {"speaker": SPEAKER, "reference_hash": _hash_of(asked.get("spk_audio_prompt"))}


def emotion_fields(asked: Asked) -> Known:
    """Where the emotion comes from, by the precedence that `infer` has."""
    text, vector = asked.get("emo_text"), asked.get("emo_vector")
    weight = asked.get("emo_alpha", 1.0)
    known: Known = {"emotion_weight": round(weight, 4) if _is_number(weight) else None}
    if asked.get("use_emo_text"):
        length = len(text) if isinstance(text, str) else None
        return known | {"emotion_mode": "text", "emotion_text_len": length}
    if vector is not None:
        return known | {"emotion_mode": "vector", "emotion_vector": _weights(vector)}
    if (recording := asked.get("emo_audio_prompt")) is not None:
        return known | {
            "emotion_mode": "reference",
            "emotion_reference_hash": _hash_of(recording),
        }
    return {"emotion_mode": "speaker"}


def other_fields(asked: Asked) -> Known:
    """Language, container, and every number or switch that is not at its default, as logfmt."""
    language = str(asked.get("lang", "")).lower()
    path = _path(asked.get("output_path"))
    container = path.suffix.lower().removeprefix(".") if path else ""
    controls = {
        name: value
        for name, value in asked.items()
        if name not in _NO_CONTROLS
        and isinstance(value, bool | int | float)
        and value != GENERATION_DEFAULTS.get(name)
    }
    return {
        "language": language if _LANGUAGE.fullmatch(language) else None,
        "format": container if container in FORMATS else None,
        "streamed": True if asked.get("stream_return") else None,
        "controls": logfmt.line(controls) or None,
    }


def audio_of(result: Any) -> Audio:  # noqa: ANN401
    """
    The audio that `infer` returned: `(rate, samples)`, or the path of the file that it wrote.

    Raises:
        OSError: the file cannot be read.
        ValueError, TypeError: it is neither of both.
    """
    if path := _path(result):
        return _read(path)
    rate, samples = result
    whole = np.asarray(samples, np.int16).reshape(len(samples), -1)[:, 0]
    return Audio(whole[: CHECKED_SECONDS * rate], rate, whole.size / rate)


def piece_of(streamed: Any) -> Samples | None:  # noqa: ANN401
    """The samples of one piece of a stream; None where it holds something else."""
    if isinstance(streamed, list):
        return None  # instead of no silence, `infer` sends all it has so far
    values = np.asarray(streamed.numpy() if hasattr(streamed, "numpy") else streamed)
    samples: Samples = np.clip(values, -32_768, 32_767).astype(np.int16).reshape(-1)
    return samples


def audio_fields(audio: Audio, asked: Asked, length_limited: bool) -> Known:
    """What the samples are, and the verdict on them; `length_limited` as the model says."""
    factor = asked.get("duration_factor", 1.0)
    whole = audio.samples.size >= int(audio.seconds * audio.sample_rate)
    signal = check_signal(
        audio.samples,
        audio.sample_rate,
        text=text_of(asked) if whole else "",
        speed=1 / factor if _is_number(factor) and factor > 0 else 1.0,
        length_limited=length_limited,
    )
    return {
        "audio_seconds": round(audio.seconds, 3),
        "sample_rate": audio.sample_rate,
        "channels": 1,
        "audio_verdict": signal.audio_verdict,
        "rms_dbfs": round(signal.rms_dbfs, 2),
        "peak_dbfs": round(signal.peak_dbfs, 2),
        "clipped_ratio": round(signal.clipped_ratio, 6),
        "silence_ratio": round(signal.silence_ratio, 4),
        "longest_silence_seconds": round(signal.longest_silence_seconds, 3),
    }


def file_fields(result: Any) -> Known:  # noqa: ANN401
    """The size of the file that was written, where one was."""
    path = _path(result)
    return {"audio_bytes": path.stat().st_size} if path else {}


def _read(path: Path) -> Audio:
    try:
        with wave.open(str(path)) as file:
            rate, count = file.getframerate(), file.getnframes()
            if file.getsampwidth() != 2:
                raise wave.Error("not 16 bits")
            frames = file.readframes(CHECKED_SECONDS * rate)
            samples = np.frombuffer(frames, "<i2").reshape(-1, file.getnchannels())
    except wave.Error:
        import soundfile  # librosa brings it, so an interpreter with IndexTTS-2 has it

        with soundfile.SoundFile(path) as file:
            rate, count = file.samplerate, file.frames
            samples = file.read(CHECKED_SECONDS * rate, dtype="int16", always_2d=True)
    return Audio(samples[:, 0].astype(np.int16), rate, count / rate)


def _path(value: object) -> Path | None:
    return Path(value) if isinstance(value, str | os.PathLike) and str(value) else None


def _hash_of(recording: object) -> str | None:
    if not (path := _path(recording)):
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    if not path.is_file() or found.st_size > MAX_REFERENCE_BYTES:
        return None
    return _content_hash(str(path), found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=256)
def _content_hash(path: str, _changed_ns: int, _size: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _weights(vector: Any) -> str | None:  # noqa: ANN401
    weights = [float(weight) for weight in vector][:8]
    return ",".join(f"{weight:.4g}" for weight in weights) or None


def _same(value: object, default: object) -> bool:
    # Arrays compare element by element, and are no default.
    return type(value) is type(default) and bool(value == default)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
