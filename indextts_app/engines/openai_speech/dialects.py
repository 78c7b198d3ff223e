"""
What servers of the OpenAI speech API do differently, each as read in its source.

OpenAI's documentation; EmotiVoice bc2de8c (`openaiapi.py`); vLLM-Omni (docs/serving/speech_api.md);
Kokoro-FastAPI 26eec06; index-tts-vllm 5f9d024 (`api_server.py`, of version 1.5: its server of
version 2 has no such route); speaches 870e1e1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from indextts_app.engines.base import EMOTIONS

PROMPTS = MappingProxyType(
    {
        "happy": "开心",
        "angry": "生气",
        "sad": "悲伤",
        "afraid": "恐惧",
        "disgusted": "厌恶",
        "surprised": "惊讶",
    }
)
"""The emotions of EmotiVoice, in the words of its data; English ones do little."""

INSTRUCTIONS = MappingProxyType(
    {name: f"Speak in a {name} tone of voice." for name in EMOTIONS if name != "neutral"}
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one server wants to be asked; paths are below its base URL."""

    name: str
    model: str
    """Named where none is configured."""
    voices: tuple[str, ...] = ()
    """Those it has, where it cannot be asked and none are configured."""
    voices_path: str | None = "audio/voices"
    health: tuple[str, ...] = ("/health",)
    """Paths below the server's root that are asked whether it is well, in this order."""
    emotion_field: str | None = None
    emotions: Mapping[str, str] = field(default_factory=dict)
    """What to send in that field for each emotion."""
    speed: bool = True
    extra: Mapping[str, object] = field(default_factory=dict)
    """Sent with every request: what keeps it from streaming where that is its default."""


DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        one.name: one
        for one in (
            Dialect(
                "openai",
                "gpt-4o-mini-tts",
                voices=(
                    *("alloy", "ash", "ballad", "coral", "echo", "fable", "nova", "onyx"),
                    *("sage", "shimmer", "verse"),
                ),
                voices_path=None,
                health=(),
                emotion_field="instructions",
                emotions=INSTRUCTIONS,
            ),
            Dialect(
                "emotivoice",
                "emoti-voice",
                voices=("8051",),
                voices_path=None,
                health=(),
                emotion_field="prompt",
                emotions=PROMPTS,
            ),
            Dialect(
                "vllm_omni",
                "default",
                emotion_field="instructions",
                emotions=INSTRUCTIONS,
                extra={"stream": False},
            ),
            Dialect("kokoro", "kokoro", extra={"stream": False}),
            Dialect("index_tts_vllm", "index-tts", speed=False),
            Dialect(
                "speaches",
                "speaches-ai/Kokoro-82M-v1.0-ONNX",
                extra={"stream_format": "audio"},
            ),
        )
    }
)
