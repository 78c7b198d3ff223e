"""How to ask for the same audio again: the shell command that an event amounts to."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from indextts_app import controls
from indextts_app.synthesis import EMOTION_REFERENCE, REFERENCE

URL = "http://127.0.0.1:7860/tts"


def command(known: Mapping[str, Any]) -> str | None:
    """
    A line for a shell, None where the request never came so far.

    What the service does not store stands in capitals: the text, a description of an emotion, and
    the folder of outputs, where recordings lie until they are swept.
    """
    if "speaker" not in known or "format" not in known:
        return None
    parts = (part for field in _fields(known) for part in ("-F", shlex.quote(field)))
    name = f"{known.get('request_id', 'again')}-again.{known['format']}"
    return " ".join(("curl", URL, *parts, "-o", name))


def _fields(known: Mapping[str, Any]) -> Iterator[str]:
    yield "text=THE_TEXT"
    if known["speaker"] != REFERENCE:
        yield f"speaker={known['speaker']}"
    if _came_with_reference(known):
        yield _file(REFERENCE, known)
    yield from _emotion(known)
    if known.get("speed", 1) != 1:
        yield f"speed={known['speed']:g}"
    yield f"format={known['format']}"
    if "seed" in known:
        yield f"seed={known['seed']}"
    for name, value in controls.read_back(known.get("controls", "")).items():
        yield f"{name}={value}"


def _emotion(known: Mapping[str, Any]) -> Iterator[str]:
    mode = known.get("emotion_mode")
    if mode == "preset":
        yield f"emotion={known.get('emotion')}"
    elif mode == "vector":
        yield f"emotion_vector=[{known.get('emotion_vector', '')}]"
    elif mode == "reference":
        yield _file(EMOTION_REFERENCE, known)
    elif mode == "text":
        yield "emotion_text=THE_EMOTION" if "emotion_text_len" in known else "emotion_mode=text"
    if "emotion_weight" in known:
        yield f"emotion_weight={known['emotion_weight']:g}"


def _came_with_reference(known: Mapping[str, Any]) -> bool:
    """A stored speaker has a recording as well, which must not be sent beside its id."""
    return known["speaker"] == REFERENCE or (
        "reference_truncated" in known
        and "reference_hash" in known
        and "emotion_reference_hash" not in known
    )


def _file(name: str, known: Mapping[str, Any]) -> str:
    return f"{name}=@OUTPUT_DIR/references/{known.get(f'{name}_hash')}.wav"
