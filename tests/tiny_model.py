"""
Loads the real IndexTTS2 class from a tiny checkpoint; run and imported by the model's interpreter.
"""

from __future__ import annotations

import contextlib
import importlib.util
import math
import struct
import sys
import wave
from pathlib import Path
from typing import Any

import torch


def load(folder: Path, version: str) -> Any:
    """An instance on the CPU, with its language model for emotions."""
    torch.manual_seed(0)
    # Standard output belongs to what the test prints.
    with contextlib.redirect_stdout(sys.stderr):
        if version == "2":
            from indextts.infer_v2 import IndexTTS2
        else:
            from indextts.infer_v2_5 import IndexTTS2
        return IndexTTS2(
            str(folder / "config.yaml"),
            str(folder),
            device="cpu",
            use_cuda_kernel=False,
            use_qwen_emo=True,
        )


def write_recording(path: Path, *, hertz: float = 220, seconds: float = 1.0) -> Path:
    """A tone as a recording to speak like; short, because reading it takes most of a first call."""
    rate = 24_000
    values = [
        round(8_000 * math.sin(2 * math.pi * hertz * index / rate))
        for index in range(round(rate * seconds))
    ]
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(struct.pack(f"<{len(values)}h", *values))
    return path


def saving_without_codecs() -> None:
    """Stand in for torchaudio's writer of files where the package behind it is missing."""
    if importlib.util.find_spec("torchcodec") is None:
        import soundfile
        import torchaudio

        def save(path: str, samples: Any, rate: int, **_: object) -> None:
            soundfile.write(path, samples.numpy().T, rate, subtype="PCM_16")

        torchaudio.save = save
