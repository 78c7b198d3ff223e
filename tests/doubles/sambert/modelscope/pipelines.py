"""
Contract double – the model itself was never run.

What `pipeline(task="text-to-speech")` gives for Sambert-HifiGan, in the shapes of modelscope 1.40.2
(`pipelines/audio/text_to_speech_pipeline.py`, `models/audio/tts/sambert_hifi.py` and `voice.py`):
which attributes there are, what calls what, what comes out, and what is raised. Weights load at the
first request of a voice; each stage takes a known time; the sound is a tone.
"""

from __future__ import annotations

import io
import time
import wave
from threading import Lock
from typing import Any

import numpy as np

FRONT_END_SECONDS, ACOUSTIC_SECONDS, VOCODER_SECONDS, LOAD_SECONDS = 0.001, 0.004, 0.002, 0.01
FRAME = 200
"""Samples of a frame of the spectrogram, 12.5 ms at 16 kHz."""


class TtsVoiceNotExistsException(Exception):
    """As modelscope.utils.audio.tts_exceptions has it."""


class FrontEnd:
    """An object of C in the original: its attributes cannot be set."""

    __slots__ = ()

    def gen_tacotron_symbols(self, text: str) -> str:
        """One line a sentence: number, tab, symbols."""
        time.sleep(FRONT_END_SECONDS)
        sentences = [one for one in text.split("。") if any(char >= "一" for char in one)]
        return "\n".join(f"{number}\t{one}" for number, one in enumerate(sentences))


class Voice:
    """One voice; the weights come with its first request."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.model_loaded = False

    def load_am(self) -> None:
        """The acoustic model."""
        time.sleep(LOAD_SECONDS)

    def load_vocoder(self) -> None:
        """The vocoder."""
        time.sleep(LOAD_SECONDS)

    def am_forward(self, symbols: str) -> Any:
        """Frames of a spectrogram, 80 wide."""
        with self.lock:
            time.sleep(ACOUSTIC_SECONDS)
            return np.zeros((len(symbols) * 16, 80))

    def vocoder_forward(self, frames: Any) -> Any:
        """Samples from -1 to 1."""
        time.sleep(VOCODER_SECONDS)
        return 0.3 * np.sin(np.arange(len(frames) * FRAME) * 2 * np.pi * 220 / 16_000)

    def forward(self, symbols: str) -> Any:
        """What the model calls for each sentence."""
        with self.lock:
            if not self.model_loaded:
                self.load_am()
                self.load_vocoder()
                self.model_loaded = True
        return self.vocoder_forward(self.am_forward(symbols))


class SambertHifigan:
    """The model of the pipeline."""

    def __init__(self) -> None:
        self.sample_rate = 16_000
        names = ("zhiyan_emo", "zhibei_emo", "zhizhe_emo", "zhitian_emo", "zhida")
        self.voices = {name: Voice() for name in names}
        self.frontend: Any = FrontEnd()

    def forward(self, text: str, voice_name: str | None = None) -> bytes:
        """Sentence by sentence; a text without any is a file without samples."""
        lines = [line for line in self.frontend.gen_tacotron_symbols(text).splitlines() if line]
        whole = np.empty(0, dtype="int16")
        for line in lines:
            if voice_name not in self.voices:
                raise TtsVoiceNotExistsException(f"modelscope error: Voice {voice_name} not exists")
            audio = 32768.0 * self.voices[voice_name].forward(line.strip().split("\t")[1])
            whole = np.append(whole, audio.astype("int16"), axis=0)
        buffer = io.BytesIO()
        with wave.open(buffer, "wb") as file:
            file.setparams((1, 2, self.sample_rate, 0, "NONE", ""))
            file.writeframes(whole.tobytes())
        return buffer.getvalue()


class Pipeline:
    """What `pipeline` makes."""

    def __init__(self) -> None:
        self.model = SambertHifigan()

    def __call__(self, text: str, **parameters: Any) -> dict[str, bytes]:
        """`voice` is the only parameter that counts."""
        return {"output_wav": self.model.forward(text, parameters.get("voice"))}


def pipeline(*, task: str, model: str) -> Pipeline:
    """A loaded pipeline."""
    if task != "text-to-speech" or "sambert-hifigan" not in model:
        raise KeyError(f"{task} with {model} is not what this stands for")
    return Pipeline()
