"""Where a request's emotion comes from: one source, nothing sent that would be passed over."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from indextts_app import errors
from indextts_app.engines.base import EMOTIONS, Features

DEFAULT = EMOTIONS[0]
DEFAULT_WEIGHT = 0.65
"""The official page's (index-tts ee40fa7, `webui.py`)."""

WEIGHTS = EMOTIONS[1:]
"""The order of the eight weights of a vector."""

MAX_SUM = 1.5
"""More than this is hardly meant; what is left is scaled to a sum of at most 0.8 by the engine."""

MAX_TEXT_CHARS = 200

_MIXED = frozenset({"reference", "vector", "text"})
"""An engine with one of these modes mixes emotions by weight, its presets as well."""

_SAMPLED = frozenset({"preset", "vector", "text"})
"""The modes that choose among samples of each emotion, which the emotion's controls are about."""

_SOURCES = {
    "preset": "emotion",
    "reference": "emotion_reference",
    "vector": "emotion_vector",
    "text": "emotion_text",
}


@dataclass(frozen=True, slots=True)
class AskedEmotion:
    """The fields of a request that say something of its emotion; None is not sent."""

    name: str = DEFAULT
    mode: str | None = None
    weight: float | None = None
    vector: Sequence[float] | None = None
    text: str | None = None
    recording: bool = False
    controls: Collection[str] = ()
    """The controls of the emotion that are not at their default."""


@dataclass(frozen=True, slots=True)
class Emotion:
    """One source of emotion; what its mode does not need is None, the name `neutral`."""

    mode: str
    name: str = DEFAULT
    weight: float | None = None
    vector: tuple[float, ...] | None = None
    text: str | None = None


def weighs(features: Features) -> bool:
    """Whether an emotion's weight means anything to the engine."""
    return not _MIXED.isdisjoint(features.emotion_modes)


def resolved(asked: AskedEmotion, features: Features) -> Emotion:
    """
    The one emotion that these fields ask for; its mode follows from them where none is named.

    Raises:
        errors.EmotionUnclear: two sources, or a mode and another mode's source.
        errors.InvalidField: a value that does not fit, or that this mode would pass over.
    """
    mode = _mode(asked, features)
    weight = asked.weight
    if mode == "speaker":
        if weight is not None:
            raise errors.InvalidField(
                field="emotion_weight",
                reason="there is no emotion to weigh. Send one, or leave the weight out.",
                reason_zh="没有可加权的情感，请指定情感或去掉权重。",
            )
    elif weighs(features) and weight is None:
        weight = DEFAULT_WEIGHT
    if asked.controls and mode not in _SAMPLED:
        raise errors.InvalidField(
            field=min(asked.controls),
            reason=f"it does nothing in emotion mode '{mode}'. Leave it out.",
            reason_zh=f"在情感模式“{mode}”下不起作用，请去掉。",
        )
    return Emotion(
        mode=mode,
        name=asked.name if mode == "preset" else DEFAULT,
        weight=weight,
        vector=_vector(asked.vector) if mode == "vector" else None,
        text=_text(asked.text) if mode == "text" else None,
    )


def _mode(asked: AskedEmotion, features: Features) -> str:
    given = {
        "preset": asked.name != DEFAULT,
        "reference": asked.recording,
        "vector": asked.vector is not None,
        "text": asked.text is not None,
    }
    modes = [mode for mode, is_given in given.items() if is_given]
    if len(modes) > 1:
        sources = ", ".join(_SOURCES[mode] for mode in modes)
        raise errors.EmotionUnclear(
            reason=f"it is asked for by {sources} at once. Send only one of them.",
            reason_zh=f"同时给出了 {sources}，请只保留其中一个。",
        )
    mode = asked.mode
    if mode is None:
        return modes[0] if modes else "speaker"
    if mode not in features.emotion_modes:
        raise errors.UnknownChoice("emotion_mode", features.emotion_modes)
    if modes and modes[0] != mode:
        source = _SOURCES[modes[0]]
        raise errors.EmotionUnclear(
            reason=f"mode '{mode}' would pass over {source}. Leave {source} out, "
            f"or send mode '{modes[0]}'.",
            reason_zh=f"模式“{mode}”用不到 {source}，请去掉 {source} 或改用模式“{modes[0]}”。",
        )
    # Without words of its own, mode `text` reads the emotion out of the text itself.
    if not modes and mode not in ("speaker", "text"):
        source = _SOURCES[mode]
        raise errors.EmotionUnclear(
            reason=f"mode '{mode}' needs {source}. Send it.",
            reason_zh=f"模式“{mode}”需要 {source}，请补上。",
        )
    return mode


def _vector(values: Sequence[float] | None) -> tuple[float, ...]:
    vector = tuple(values or ())
    if len(vector) != len(WEIGHTS):
        raise _vector_error(
            f"it has {len(vector)} values, and eight are needed: {', '.join(WEIGHTS)}.",
            f"有 {len(vector)} 个值，需要八个，依次为 {', '.join(WEIGHTS)}。",
        )
    # Put this way round, NaN is refused as well.
    if not all(0 <= value <= 1 for value in vector):
        raise _vector_error("each value must be from 0 to 1.", "每个值须在 0 到 1 之间。")
    # Ten times 0.15 is a little more than 1.5.
    if sum(vector) > MAX_SUM + 1e-6:
        raise _vector_error(
            f"its values add up to {sum(vector):.3g}, at most {MAX_SUM:g} is possible. "
            "Lower some of them.",
            f"各值之和为 {sum(vector):.3g}，至多 {MAX_SUM:g}，请调低一些。",
        )
    return vector


def _text(text: str | None) -> str | None:
    if text is None:
        return None
    if len(text) > MAX_TEXT_CHARS:
        raise errors.InvalidField(
            field="emotion_text",
            reason=f"it has {len(text)} characters, at most {MAX_TEXT_CHARS} are possible.",
            reason_zh=f"有 {len(text)} 个字，至多 {MAX_TEXT_CHARS} 个字。",
        )
    if not any(character.isalpha() for character in text):
        raise errors.InvalidField(
            field="emotion_text",
            reason="it has no words. Describe the emotion, or leave the field out and send "
            "emotion_mode 'text' to read it out of the text.",
            reason_zh="没有文字。请描述情感，或去掉该字段并发送 emotion_mode“text”以从正文判断。",
        )
    return text


def _vector_error(reason: str, reason_zh: str) -> errors.InvalidField:
    return errors.InvalidField(field="emotion_vector", reason=reason, reason_zh=reason_zh)
