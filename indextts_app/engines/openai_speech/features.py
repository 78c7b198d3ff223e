"""What may be asked of a server of the OpenAI speech API, by its dialect."""

from __future__ import annotations

from indextts_app.engines.base import EMOTIONS, Features
from indextts_app.engines.openai_speech.dialects import DIALECTS


def features(*, dialect: str = "openai", **_: object) -> Features:
    """Emotions where the dialect has a field for them, a pace where it heeds it."""
    chosen = DIALECTS[dialect]
    modes = ("speaker", "preset") if chosen.emotion_field else ("speaker",)
    # What stands behind the server, and whether it repeats itself, nobody here knows.
    return Features(emotion_modes=modes, speed=chosen.speed, repeats=False)


def emotions(dialect: str) -> tuple[str, ...]:
    """Those that the dialect can ask for, neutral among them."""
    known = DIALECTS[dialect].emotions
    return tuple(name for name in EMOTIONS if name == "neutral" or name in known)
