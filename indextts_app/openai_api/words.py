"""
A request in OpenAI's words, said in ours: which model, which voice, and how the audio goes out.

What OpenAI has no word for keeps its own name: `emotion`, `seed`, `preset`, every control of the
engine in use. Nothing that was sent is passed over; what has no use here is refused by its name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from indextts_app import errors
from indextts_app.engines.base import Capabilities
from indextts_app.error_body import OPENAI_NAMES
from indextts_app.stream_encoder import STREAMED
from indextts_app.synthesis import TEXT_FIELDS, AudioFormat, offered

TEXT: Final = frozenset(
    {*TEXT_FIELDS, "model", "input", "voice", "response_format", "stream_format", "instructions"}
)
"""The fields of a form that stay text."""

VOICES: Final = (
    "alloy", "ash", "ballad", "cedar", "coral", "echo", "fable", "marin", "nova", "onyx", "sage",
    "shimmer", "verse",
)  # fmt: skip
MODELS: Final = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")
"""OpenAI's own names, which many clients send whatever they are told: here, the engine in use."""

DEFAULT_FORMAT: Final = AudioFormat.MP3
STREAM_FORMATS: Final = ("audio", "sse")


@dataclass(frozen=True, slots=True)
class Speech:
    """What `Synthesizer.synthesize` is asked, and whether the answer is a stream of events."""

    asked: Mapping[str, object] | errors.ServiceError
    events: bool = False

    @property
    def streams(self) -> bool:
        """Whether the audio goes out while it is made."""
        return not isinstance(self.asked, errors.ServiceError) and self.asked.get("stream") is True


def speech(
    sent: Mapping[str, object] | errors.ServiceError,
    engine: str,
    can: Capabilities | None,
    voices: Mapping[str, str],
) -> Speech:
    """
    The request that these fields ask for; one that cannot be read is the error that says why.

    Args:
        sent: the fields as they came in, or why there are none.
        engine: the name of the one in use.
        can: what it can do; None before it was ready, which the synthesizer will say.
        voices: the operator's names for speakers.
    """
    if isinstance(sent, errors.ServiceError):
        return Speech(sent)
    try:
        told = {name: value for name, value in sent.items() if value is not None}
        return _speech(told, engine, can, voices)
    except errors.ServiceError as error:
        return Speech(error)


def _speech(
    sent: dict[str, object],
    engine: str,
    can: Capabilities | None,
    voices: Mapping[str, str],
) -> Speech:
    ours = next((name for name in OPENAI_NAMES if name in sent), None)
    if ours:
        raise errors.UnknownField(known=_known(can), meant=OPENAI_NAMES[ours])
    check_model(sent.pop("model", "") or engine, engine)
    stream_format = sent.pop("stream_format", None)
    if stream_format not in (None, *STREAM_FORMATS):
        raise errors.UnknownFormat("stream_format", STREAM_FORMATS)
    asked: dict[str, object] = {"format": sent.pop("response_format", DEFAULT_FORMAT.value)}
    if "input" in sent:
        asked["text"] = sent.pop("input")
    if (voice := _voice(sent.pop("voice", None), can, voices)) is not None:
        asked["speaker"] = voice
    if instructions := sent.pop("instructions", ""):
        asked["emotion_text"] = _described(instructions, sent, can)
    if stream_format and can and can.features.streams and asked["format"] in STREAMED:
        asked["stream"] = True
    return Speech({**sent, **asked}, events=stream_format == "sse")


def check_model(model: object, engine: str) -> None:
    """
    Let pass a name of the engine in use: its own, or one of OpenAI's.

    Raises:
        errors.UnknownModel: it is neither.
    """
    if model != engine and model not in MODELS and not str(model).startswith(f"{MODELS[-1]}-"):
        raise errors.UnknownModel(models=", ".join((engine, *MODELS)))


def _voice(sent: object, can: Capabilities | None, voices: Mapping[str, str]) -> object:
    """
    The speaker of a voice: itself, whom the operator gave its name to, or the first one.

    OpenAI's own names mean the first speaker only as long as the operator gave none of them.
    """
    # A voice of one's own is an object there: {"id": "voice_1234"}.
    voice = sent["id"] if isinstance(sent, Mapping) and "id" in sent else sent
    if not isinstance(voice, str):
        return voice
    if voice in voices:
        return voices[voice]
    is_ours = can is not None and voice in {speaker.id for speaker in can.speakers}
    return None if voice in VOICES and not voices and not is_ours else voice


def _described(instructions: object, sent: Collection[str], can: Capabilities | None) -> object:
    if "emotion_text" in sent:
        raise errors.EmotionUnclear(
            field="instructions",
            reason="'instructions' and 'emotion_text' are the same. Send one of the two.",
            reason_zh="'instructions' 与 'emotion_text' 含义相同，请二选一。",
        )
    if can and "text" not in can.features.emotion_modes:
        raise errors.FieldNotOffered(field="instructions", engine=can.engine, known=_known(can))
    return instructions


def _known(can: Capabilities | None) -> str:
    if can is None:
        return ", ".join(("model", *OPENAI_NAMES.values()))
    names = dict.fromkeys(OPENAI_NAMES.get(name, name) for name in offered(can))
    return ", ".join(("model", *names))
