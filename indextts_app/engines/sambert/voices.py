"""
The voices of Sambert-HifiGan, which emotions each has, and how they are asked for: as SSML.

Source: ModelScope's model cards and the documentation of the cloud voices of the same names. The
model's own front-end, which reads the SSML, is closed; what each voice really does with a category
was not tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from xml.sax.saxutils import escape

from indextts_app.engines.base import EMOTIONS, Control, Features, Speaker, Translated

DEFAULT_MODEL = "iic/speech_sambert-hifigan_tts_zh-cn_16k"
DEFAULT_VOICES = ("zhiyan_emo", "zhibei_emo", "zhizhe_emo", "zhitian_emo")
"""Those of the default model, under the names that it has for them."""

SAMPLE_RATE = 16_000

CATEGORIES: Mapping[str, str] = MappingProxyType(
    {
        "neutral": "neutral",
        "happy": "happy",
        "angry": "angry",
        "sad": "sad",
        "afraid": "fear",
        "disgusted": "hate",
        "surprised": "surprise",
    }
)
"""Its word for each of our emotions; for melancholic and calm it has none, and we none for its
`arousal`, which zhiyan has besides."""

EMOTIONAL = "_emo"
"""The model's own names of voices with emotions end so; a service may leave it out."""

INTENSITY = "intensity"

FEATURES = Features(
    repeats=False,
    emotion_modes=("speaker", "preset"),
    speed=False,
    controls=(
        Control(
            name=INTENSITY,
            label=Translated("Intensity of the emotion", "情感强度"),
            kind="number",
            default=1.0,
            lowest=0.01,
            highest=2.0,
            step=0.01,
            group="emotion",
            info=Translated("1 is the voice's own.", "1 为音色本来的强度。"),
        ),
    ),
)

_NAMES = {
    "zhiyan": Translated("Zhiyan", "知燕"),
    "zhibei": Translated("Zhibei", "知贝"),
    "zhizhe": Translated("Zhizhe", "知哲"),
    "zhitian": Translated("Zhitian", "知甜"),
}

_QUOTES = {'"': "&quot;", "'": "&apos;"}


def features(**_: object) -> Features:
    """The same for every option."""
    return FEATURES


def speaker_of(voice: str) -> str:
    """Our id of a voice: its name without the ending that says that it has emotions."""
    return voice.removesuffix(EMOTIONAL)


def has_emotions(voice: str) -> bool:
    """Whether a voice has any: by the ending of its name, or as one that exists with them only."""
    return voice.endswith(EMOTIONAL) or voice in _NAMES


def speakers(voices: tuple[str, ...]) -> tuple[Speaker, ...]:
    """The speakers that these voices are."""
    ids = map(speaker_of, voices)
    return tuple(Speaker(one, _NAMES.get(one, Translated(one, one))) for one in ids)


def emotions(voices: tuple[str, ...]) -> tuple[str, ...]:
    """The emotions that any of these voices has."""
    if any(map(has_emotions, voices)):
        return tuple(name for name in EMOTIONS if name in CATEGORIES)
    return ("neutral",)


def ssml(text: str, emotion: str, intensity: float) -> str:
    """
    The text as its front-end takes it: as it is, or with the emotion around it.

    Neutral text stays as it is unless it could be taken for SSML itself; whatever stands in SSML is
    escaped, so that a text can neither end the emotion nor begin another.
    """
    if emotion == "neutral" and "<" not in text:
        return text
    spoken = escape(text, _QUOTES)
    if emotion == "neutral":
        return f"<speak>{spoken}</speak>"
    asked = f'category="{CATEGORIES[emotion]}" intensity="{intensity:g}"'
    return f"<speak><emotion {asked}>{spoken}</emotion></speak>"
