"""What the visitor asks, made of the fields as the browser sent them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from indextts_app import emotions, errors
from indextts_app.engines.base import Features
from indextts_app.presets import NEVER_KEPT
from indextts_app.synthesis import EMOTION_REFERENCE, REFERENCE, AudioFormat

SIMPLE_MODES = frozenset({"speaker", "preset"})
"""An engine with no other modes has one row of emotions and needs no choice of a mode."""

SAMPLED_MODES = frozenset({"preset", "vector", "text"})
"""The modes that the engine's own controls of the emotion are about."""


SEGMENT_LIMIT = "segment_tokens"
"""The control that says how long a segment may be, where the engine has one."""


MAX_SEED_CHARS = 20


def has_modes(features: Features) -> bool:
    """Whether there is more than a list of emotions to choose from."""
    return not set(features.emotion_modes) <= SIMPLE_MODES


def weight_field(emotion: str) -> str:
    """The name of an emotion's slider."""
    return f"weight_{emotion}"


def control_field(name: str) -> str:
    """The name of the field of an engine's control."""
    return f"control_{name}"


def asked(
    features: Features, sent: Mapping[str, object]
) -> dict[str, object] | errors.ServiceError:
    """
    The request that these fields make: only what the engine has, and the chosen mode needs.

    Nothing is judged here but that the recordings that it needs are there at all: the synthesizer
    does the rest, and gets this error as well, so that every refusal has its event.
    """
    if _own_voice(features, sent) and not sent.get(REFERENCE):
        return errors.ReferenceRefused(
            reason="there is none yet. Upload or record one, or choose a stored speaker.",
            reason_zh="还没有音频。请上传或录制，或选择已保存的发音人。",
        )
    if sent.get("emotion_mode") == "reference" and not sent.get(EMOTION_REFERENCE):
        return errors.EmotionReferenceRefused(
            reason="there is none yet. Upload or record one, or take the emotion from elsewhere.",
            reason_zh="还没有音频。请上传或录制，或选择其他情感来源。",
        )
    names = ["text", "format"]
    if features.speed:
        names.append("speed")
    if not _own_voice(features, sent):
        names.append("speaker")
    found = {name: sent[name] for name in names if name in sent}
    mode = sent.get("emotion_mode")
    if has_modes(features):
        found |= _emotion(mode, sent)
    elif "emotion" in sent:
        found["emotion"] = sent["emotion"]
    if _is_filled(sent.get("seed")):
        found["seed"] = _whole(sent["seed"])
    if _is_filled(sent.get("preset")):
        found["preset"] = sent["preset"]
    return found | {
        control.name: sent[control_field(control.name)]
        for control in features.controls
        if control_field(control.name) in sent
        and (control.group != "emotion" or mode in tuple(SAMPLED_MODES))
    }


def recordings(features: Features, sent: Mapping[str, object]) -> dict[str, object]:
    """The recordings that the request needs, as the browser described them."""
    found = {}
    if sent.get(REFERENCE) and (features.reference != "voice" or _own_voice(features, sent)):
        found[REFERENCE] = sent[REFERENCE]
    if sent.get("emotion_mode") == "reference" and sent.get(EMOTION_REFERENCE):
        found[EMOTION_REFERENCE] = sent[EMOTION_REFERENCE]
    return found


def _own_voice(features: Features, sent: Mapping[str, object]) -> bool:
    return features.reference == "voice" and sent.get("voice") == "recording"


def _emotion(mode: object, sent: Mapping[str, object]) -> dict[str, object]:
    found = {"emotion_mode": mode}
    if mode == "speaker":
        return found
    found["emotion_weight"] = sent.get("emotion_weight")
    if mode == "preset":
        found["emotion"] = sent.get("emotion")
    elif mode == "vector":
        found["emotion_vector"] = [sent.get(weight_field(name)) for name in emotions.WEIGHTS]
    elif mode == "text" and _is_filled(sent.get("emotion_text")):
        found["emotion_text"] = sent["emotion_text"]
    return found


def _whole(value: object) -> object:
    """The number that was typed; what is none is left for the synthesizer to refuse."""
    # Python reads only so many digits.
    if isinstance(value, str) and len(value) <= MAX_SEED_CHARS and value.strip().isdecimal():
        return int(value)
    return value


def _is_filled(value: object) -> bool:
    return value is not None and value != ""


def cut(features: Features, sent: Mapping[str, object]) -> dict[str, object]:
    """The part of the request that decides how its text is cut into segments."""
    names = [control.name for control in features.controls if control.group == "delivery"]
    return {
        "text": sent.get("text"),
        **{name: sent[control_field(name)] for name in names if control_field(name) in sent},
    }


def kept(features: Features, sent: Mapping[str, object]) -> dict[str, object]:
    """What a preset keeps of these fields: the request that they make, without its text."""
    request = asked(features, sent)
    if isinstance(request, errors.ServiceError):
        raise request
    return {name: value for name, value in request.items() if name not in NEVER_KEPT}


def filled(
    features: Features, request: Mapping[str, object], files: Collection[str] = ()
) -> dict[str, object]:
    """
    The reverse of `asked`: what the fields hold so that they make this request.

    Fields that the request does not name get their default, but the text and the recordings.
    """
    fields: dict[str, object] = {
        "voice": "recording" if REFERENCE in files else "stored",
        "speed": request.get("speed", 1.0),
        "format": request.get("format", AudioFormat.WAV.value),
        "seed": str(request["seed"]) if "seed" in request else "",
        **{
            control_field(control.name): request.get(control.name, control.default)
            for control in features.controls
        },
    }
    if "speaker" in request:
        fields["speaker"] = request["speaker"]
    if has_modes(features):
        return fields | filled_emotion(request, files)
    return fields | {"emotion": request.get("emotion", emotions.DEFAULT)}


def filled_emotion(request: Mapping[str, object], files: Collection[str] = ()) -> dict[str, object]:
    """The fields of the emotion alone; where no mode is named, it follows from the rest."""
    name, vector = request.get("emotion"), request.get("emotion_vector")
    named = name not in (None, emotions.DEFAULT)
    weights = list(vector) if isinstance(vector, Sequence) else [0] * len(emotions.WEIGHTS)
    given = {
        "preset": named,
        "vector": vector is not None,
        "text": bool(request.get("emotion_text")),
        "reference": EMOTION_REFERENCE in files,
        "speaker": True,
    }
    inferred = next(mode for mode, is_given in given.items() if is_given)
    return {
        "emotion_mode": request.get("emotion_mode") or inferred,
        "emotion": name if named else emotions.WEIGHTS[0],
        "emotion_text": request.get("emotion_text") or "",
        "emotion_weight": request.get("emotion_weight", emotions.DEFAULT_WEIGHT),
        **dict(zip(map(weight_field, emotions.WEIGHTS), weights, strict=False)),
    }


def unfit(features: Features, request: Mapping[str, object]) -> list[str]:
    """The fields of a request that this page has no place for: it was made for another engine."""
    places = {"text", "speaker", "emotion", "format", *(item.name for item in features.controls)}
    if features.speed:
        places.add("speed")
    if features.seed:
        places.add("seed")
    if has_modes(features):
        places |= {"emotion_mode", "emotion_weight", "emotion_vector", "emotion_text"}
    return sorted(name for name in request if name not in places)
