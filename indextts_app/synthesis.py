"""What may be asked and what comes back; a `SynthesisRequest` that exists is valid."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from indextts_app import errors
from indextts_app.engines.base import Capabilities
from observability.audio_check import SignalReport
from observability.events import Scalar
from observability.observe import Times

MIN_SPEED, MAX_SPEED = 0.5, 2.0

DEFAULT_EMOTION = "neutral"


class AudioFormat(StrEnum):
    """Containers that are made here."""

    WAV = "wav"
    MP3 = "mp3"
    FLAC = "flac"
    OGG = "ogg"


class SynthesisForm(BaseModel):
    """The fields of a request as they come in; closed sets are checked against the engine."""

    model_config = ConfigDict(extra="forbid", strict=True)

    text: str = Field(description="what to say, in Chinese, English or both")
    speaker: str | None = Field(None, description="id from /speakers; the first one if absent")
    emotion: str = Field(DEFAULT_EMOTION, description="id from /speakers")
    speed: float = Field(
        1.0, ge=MIN_SPEED, le=MAX_SPEED, allow_inf_nan=False, description="pace, 0.5 to 2.0"
    )
    format: str = Field(AudioFormat.WAV.value, description="wav, mp3, flac or ogg")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and under which id."""

    request_id: str
    source: str
    client_ip: str | None = None
    client_request_id: str | None = None

    def fields(self) -> dict[str, Scalar | None]:
        """The identity fields of the event."""
        return {
            "request_id": self.request_id,
            "source": self.source,
            "client_ip": self.client_ip,
            "client_request_id": self.client_request_id,
        }


@dataclass(frozen=True, slots=True)
class SynthesisRequest:
    """A request that every engine-independent check has passed."""

    text: str
    speaker: str
    emotion: str
    speed: float
    format: AudioFormat


@dataclass(frozen=True, slots=True)
class SynthesisResult:
    """A delivered audio and what is known of it when the answer goes out."""

    request_id: str
    request: SynthesisRequest
    audio: bytes
    path: Path
    signal: SignalReport
    verdict: str
    times: Times
    spoken_text: str | None


def validated(
    fields: Mapping[str, object], can: Capabilities, *, max_text_chars: int
) -> SynthesisRequest:
    """
    The request that these fields ask for.

    Raises:
        errors.InvalidField: the first field that does not fit, with what would.
    """
    text = fields.get("text")
    if isinstance(text, str):
        # Before pydantic, which has no words for either; the length first, it bounds the work.
        if len(text) > max_text_chars:
            raise errors.TextTooLong(length=len(text), limit=max_text_chars)
        _check_readable(text)
    try:
        form = SynthesisForm.model_validate(fields)
    except ValidationError as error:
        raise _field_error(error) from None
    _check_text(form.text, can, max_text_chars)
    speakers = tuple(speaker.id for speaker in can.speakers)
    speaker = speakers[0] if form.speaker is None else form.speaker
    if speaker not in speakers:
        raise errors.UnknownSpeaker("speaker", speakers)
    if form.emotion not in can.emotions:
        raise errors.UnknownEmotion("emotion", can.emotions)
    formats = tuple(item.value for item in AudioFormat)
    if form.format not in formats:
        raise errors.UnknownFormat("format", formats)
    return SynthesisRequest(
        text=form.text,
        speaker=speaker,
        emotion=form.emotion,
        speed=form.speed,
        format=AudioFormat(form.format),
    )


def _field_error(error: ValidationError) -> errors.InvalidField:
    """Ours for pydantic's: the name of the field and what would fit, never what was sent."""
    first = error.errors(include_input=False, include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"])[:40] or "request"
    if field == "speed":
        return errors.SpeedOutOfRange(lowest=MIN_SPEED, highest=MAX_SPEED)
    if first["type"] == "extra_forbidden":
        known = ", ".join((*SynthesisForm.model_fields, "reference"))
        return errors.UnknownField(known=f"{known} (a file, in a form)")
    if first["type"] == "missing":
        return errors.InvalidField(
            field=field, reason="it is missing. Send it.", reason_zh="缺少该字段，请补上。"
        )
    return errors.InvalidField(
        field=field, reason="it must be text. Send a string.", reason_zh="应为文本，请发送字符串。"
    )


def _check_readable(text: str) -> None:
    for character in text:
        kind = unicodedata.category(character)
        if kind == "Cs" or (kind == "Cc" and character not in "\t\n\r\v\f\x85"):
            raise errors.TextUnreadable


def _check_text(text: str, can: Capabilities, max_text_chars: int) -> None:
    if not text.strip():
        raise errors.TextEmpty(limit=max_text_chars)
    if not any(character.isalnum() for character in text):
        raise errors.TextNotSpeakable
    if can.scripts:
        unspoken = sorted(_scripts_of(text) - set(can.scripts))
        if unspoken:
            raise errors.ScriptNotSpoken(
                engine=can.engine,
                scripts=", ".join(unspoken[:5]).title(),
                spoken=", ".join(can.scripts).title().replace("Cjk", "Chinese"),
            )


def _scripts_of(text: str) -> set[str]:
    """
    The scripts of a text's letters: the first word of each one's Unicode name.

    Python has no script property; the names' first words (ARABIC, CJK, LATIN …) stand for it.
    Chinese characters outside the basic plane are in no dictionary of an engine, so that they
    count as a script of their own.
    """
    scripts = set()
    for character in unicodedata.normalize("NFKC", text):
        if character.isalpha() and unicodedata.category(character) != "Lm":
            script = unicodedata.name(character, "UNKNOWN").split()[0]
            script = "CJK" if script == "IDEOGRAPHIC" else script
            rare = script == "CJK" and ord(character) > 0xFFFF
            scripts.add("RARE CHINESE" if rare else script)
    return scripts
