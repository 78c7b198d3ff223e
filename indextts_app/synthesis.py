"""What may be asked and what comes back; a `SynthesisRequest` that exists is valid."""

from __future__ import annotations

import difflib
import time
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from indextts_app import controls, emotions, errors
from indextts_app.engines.base import Capabilities, Value
from indextts_app.hints import Hint
from observability.audio_check import SignalReport
from observability.events import Scalar
from observability.observe import Times

MIN_SPEED, MAX_SPEED = 0.5, 2.0
MAX_SEED = 2**32 - 1

MAX_NAME_CHARS = 60
"""So much of an unknown field's name is compared with those that are known."""

DEFAULT_EMOTION = emotions.DEFAULT

REFERENCE = "reference"
EMOTION_REFERENCE = "emotion_reference"
RECORDINGS = (REFERENCE, EMOTION_REFERENCE)
"""The files that may come with a request; a speaker made of one is called `reference` as well."""

TEXT_FIELDS = frozenset(
    {"text", "speaker", "emotion", "emotion_mode", "emotion_text", "format", "preset"}
)
"""The fields whose value is text: a form, which has only strings, sends the others as JSON."""


class AudioFormat(StrEnum):
    """Containers that are made here."""

    WAV = "wav"
    MP3 = "mp3"
    FLAC = "flac"
    OGG = "ogg"
    OPUS = "opus"
    AAC = "aac"
    PCM = "pcm"
    """No container: bare samples, which can bear no request_id."""


class SynthesisForm(BaseModel):
    """The fields of a request as they come in; closed sets are checked against the engine."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    text: str = Field(description="what to say, in Chinese, English or both")
    speaker: str | None = Field(None, description="id from /speakers; the first one if absent")
    emotion: str = Field(DEFAULT_EMOTION, description="id from /speakers")
    speed: float = Field(
        1.0, ge=MIN_SPEED, le=MAX_SPEED, allow_inf_nan=False, description="pace, 0.5 to 2.0"
    )
    format: str = Field(AudioFormat.WAV.value, description="wav, mp3, flac, ogg, opus, aac or pcm")
    emotion_mode: str | None = Field(
        None, description="speaker, preset, reference, vector or text; follows from what is sent"
    )
    emotion_weight: float | None = Field(
        None, ge=0, le=1, description="how much of the emotion to mix in, 0.65 if absent"
    )
    emotion_vector: list[float] | None = Field(
        None, description=f"eight weights from 0 to 1: {', '.join(emotions.WEIGHTS)}"
    )
    emotion_text: str | None = Field(
        None,
        description="a description of the emotion; absent in mode text: read out of the text",
    )
    seed: int | None = Field(
        None, ge=0, le=MAX_SEED, description="the same seed gives the same audio; X-Seed tells it"
    )
    preset: str | None = Field(None, description="id from /presets; its fields are the defaults")
    stream: bool | None = Field(None, description="send the audio while it is made")
    cache: bool | None = Field(
        None,
        description="false: make it anew, and keep it from being served again; true: any earlier "
        "take will do, whatever its seed; absent: served again if it would come out the same",
    )


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and under which id."""

    request_id: str
    source: str
    client_ip: str | None = None
    client_request_id: str | None = None
    user: str | None = None
    """The name of the API key, or of the operator."""
    client: str | None = None
    """Whose requests are counted as one client's; None for those that are not counted."""
    job_id: str | None = None
    """The batch that the request is an item of."""
    cache_control: str | None = None
    """`no-cache` where what was made before is not wanted, `no-store` where this is not to be kept
    either."""
    arrived: float = field(default_factory=time.monotonic, compare=False)
    """When the request came in; its deadline counts from there."""
    traceparent: str | None = None
    """The header of a client that traces, as it came."""

    def fields(self) -> dict[str, Scalar | None]:
        """The identity fields of the event."""
        return {
            "request_id": self.request_id,
            "source": self.source,
            "user": self.user,
            "client_ip": self.client_ip,
            "client_request_id": self.client_request_id,
            "job_id": self.job_id,
            "traceparent": self.traceparent,
        }


@dataclass(frozen=True, slots=True)
class SynthesisRequest:
    """A request that every engine-independent check has passed."""

    text: str
    speaker: str
    emotion: str
    speed: float
    format: AudioFormat
    emotion_mode: str = "speaker"
    emotion_weight: float | None = None
    emotion_vector: tuple[float, ...] | None = None
    emotion_text: str | None = None
    seed: int | None = None
    controls: Mapping[str, Value] = field(default_factory=dict)
    """A value for each of the engine's controls."""
    preset: str | None = None
    stream: bool = False
    cache: bool | None = None


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
    seed: int | None = None
    """Where the engine has one: with it and the same request, the same audio comes out again."""
    hints: tuple[Hint, ...] = ()
    glossary_hash: str | None = None
    """Of the terms that were read as the glossary says; None where the text has none."""
    text_tokens: int | None = None
    acoustic_tokens: int | None = None
    """Of an engine that counts them."""
    result_cache_hit: bool | None = None
    """Whether it was made before, for another request; None where that was not looked up."""


def offered(can: Capabilities) -> tuple[str, ...]:
    """The fields that the engine in use takes, its controls and recordings among them."""
    return (*_form_fields(can), *(control.name for control in can.features.controls), *_files(can))


def validated(
    fields: Mapping[str, object],
    can: Capabilities,
    *,
    max_text_chars: int,
    recordings: Collection[str] = (),
) -> SynthesisRequest:
    """
    The request that these fields ask for, and the recordings that came with them by name.

    Raises:
        errors.InvalidField: the first field that does not fit, with what would.
    """
    text = fields.get("text")
    if isinstance(text, str):
        # Before pydantic, which has no words for either; the length first, it bounds the work.
        if len(text) > max_text_chars:
            raise errors.TextTooLong(length=len(text), limit=max_text_chars)
        _check_readable(text)
    table = can.features.controls
    names = {control.name for control in table}
    try:
        form = SynthesisForm.model_validate(
            {
                name: value
                for name, value in fields.items()
                # What is null is absent, whatever the field.
                if name not in names and not (value is None and name in SynthesisForm.model_fields)
            }
        )
    except ValidationError as error:
        raise _field_error(error, can) from None
    _check_offered(form, can, recordings)
    _check_text(form.text, can, max_text_chars)
    speaker = _speaker(form.speaker, can, recordings)
    if form.emotion not in can.emotions:
        raise errors.UnknownEmotion("emotion", can.emotions)
    formats = tuple(item.value for item in AudioFormat)
    if form.format not in formats:
        raise errors.UnknownFormat("format", formats)
    if form.speed != 1 and not can.features.speed:
        raise errors.InvalidField(
            field="speed",
            reason=f"the engine '{can.engine}' speaks at the speaker's own pace. Leave it out.",
            reason_zh=f"引擎“{can.engine}”按发音人本来的语速朗读，请去掉该字段。",
        )
    values = controls.chosen(fields, table)
    if form.emotion_text is not None:
        _check_readable(form.emotion_text)
    emotion = emotions.resolved(
        emotions.AskedEmotion(
            name=form.emotion,
            mode=form.emotion_mode,
            weight=form.emotion_weight,
            vector=form.emotion_vector,
            text=form.emotion_text,
            recording=EMOTION_REFERENCE in recordings,
            controls=[
                control.name
                for control in table
                if control.group == "emotion" and values[control.name] != control.default
            ],
        ),
        can.features,
    )
    return SynthesisRequest(
        text=form.text,
        speaker=speaker,
        emotion=emotion.name,
        speed=form.speed,
        format=AudioFormat(form.format),
        emotion_mode=emotion.mode,
        emotion_weight=emotion.weight,
        emotion_vector=emotion.vector,
        emotion_text=emotion.text,
        seed=form.seed,
        controls=values,
        preset=form.preset,
        stream=bool(form.stream),
        cache=form.cache,
    )


def _speaker(asked: str | None, can: Capabilities, recordings: Collection[str]) -> str:
    if can.reference == "voice" and REFERENCE in recordings:
        if asked not in (None, REFERENCE):
            raise errors.InvalidField(
                field="speaker",
                reason="a reference recording was sent as well, and is the voice. "
                "Send one of the two.",
                reason_zh="同时上传了参考音频，而它就是音色，请二选一。",
            )
        return REFERENCE
    speakers = tuple(speaker.id for speaker in can.speakers)
    speaker = speakers[0] if asked is None else asked
    if speaker not in speakers:
        raise errors.UnknownSpeaker("speaker", speakers)
    return speaker


def _form_fields(can: Capabilities) -> tuple[str, ...]:
    features = can.features
    unfit = {
        "emotion_weight": not emotions.weighs(features),
        "emotion_vector": "vector" not in features.emotion_modes,
        "emotion_text": "text" not in features.emotion_modes,
        "seed": not features.seed,
        "stream": not features.streams,
    }
    return tuple(name for name in SynthesisForm.model_fields if not unfit.get(name))


def _files(can: Capabilities) -> tuple[str, ...]:
    has_use = {
        REFERENCE: can.reference != "none",
        EMOTION_REFERENCE: "reference" in can.features.emotion_modes,
    }
    return tuple(name for name in RECORDINGS if has_use[name])


def _check_offered(form: SynthesisForm, can: Capabilities, recordings: Collection[str]) -> None:
    if REFERENCE in recordings and can.reference == "none":
        raise errors.ReferenceRefused(
            reason=f"the engine '{can.engine}' has no use for one. Leave it out.",
            reason_zh=f"引擎“{can.engine}”不使用参考音频，请移除。",
        )
    takes = offered(can)
    sent = [name for name in form.model_fields_set if getattr(form, name) is not None]
    for name in (*sorted(sent), *recordings):
        if name not in takes and not (name == "stream" and not form.stream):
            raise errors.FieldNotOffered(field=name, engine=can.engine, known=", ".join(takes))


_EXPECTED = {
    "emotion_weight": ("it must be a number from 0 to 1.", "应为 0 到 1 之间的数。"),
    "emotion_vector": (
        "it must be a list of eight numbers from 0 to 1, as [0, 0, 0.8, 0, 0, 0, 0, 0].",
        "应为八个 0 到 1 之间的数组成的列表，例如 [0, 0, 0.8, 0, 0, 0, 0, 0]。",
    ),
    "seed": (
        f"it must be a whole number from 0 to {MAX_SEED}.",
        f"应为 0 到 {MAX_SEED} 之间的整数。",
    ),
    "stream": ("it is a switch. Send true or false.", "这是开关，请发送 true 或 false。"),
    "cache": ("it is a switch. Send true or false.", "这是开关，请发送 true 或 false。"),
}


def _field_error(error: ValidationError, can: Capabilities) -> errors.InvalidField:
    """Ours for pydantic's: the name of the field and what would fit, never what was sent."""
    first = error.errors(include_input=False, include_url=False)[0]
    # Half a character is no name that pydantic could point at.
    name = str(first["loc"][0]) if first["loc"] else ""
    if not name or first["type"] == "extra_forbidden":
        return _unknown(name, can)
    if name == "speed":
        return errors.SpeedOutOfRange(lowest=MIN_SPEED, highest=MAX_SPEED)
    if first["type"] == "missing":
        return errors.InvalidField(
            field=name, reason="it is missing. Send it.", reason_zh="缺少该字段，请补上。"
        )
    reason, reason_zh = _EXPECTED.get(
        name, ("it must be text. Send a string.", "应为文本，请发送字符串。")
    )
    return errors.InvalidField(field=name, reason=reason, reason_zh=reason_zh)


def _unknown(name: str, can: Capabilities) -> errors.InvalidField:
    """For a name that may be anything: only names that are known are said, and logged."""
    if other := can.features.elsewhere.get(name):
        return errors.FieldOfOtherVersion(field=name, other=other, version=can.model_version)
    files = _files(can)
    takes = (*_form_fields(can), *(item.name for item in can.features.controls))
    meant = difflib.get_close_matches(name[:MAX_NAME_CHARS], (*takes, *files), n=1)
    known = ", ".join(takes)
    return errors.UnknownField(
        known=f"{known}, {' and '.join(files)} (a file, in a form)" if files else known,
        meant=meant[0] if meant else None,
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
