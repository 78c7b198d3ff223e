"""Make the built-in speaker's recording anew with the embedded engine: scripts/sample_voice.py."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from indextts_app import references
from indextts_app.engines.base import Task
from indextts_app.engines.espeak import EspeakEngine
from indextts_app.speakers import SAMPLE_VOICE
from scripts.bench_engine import BareJob

TEXT = "Good morning, this is a synthetic voice. It can say whatever you write down here."
SPEAKER = "espeak-f2"


def main() -> int:
    """Write the FLAC file; its samples depend on nothing but the engine's version."""
    engine = EspeakEngine()
    can = engine.load()
    task = Task(request_id="sample-voice", text=TEXT, speaker=SPEAKER, emotion="neutral", speed=1.0)
    job = BareJob(task)
    engine.synthesize(job)
    samples = np.concatenate(job.pieces).astype(np.float64)
    length = round(len(samples) * references.SAMPLE_RATE / can.sample_rate)
    # Speech begins and ends in silence, so that a resampling of the whole spectrum has no edges.
    resampled = np.fft.irfft(np.fft.rfft(samples), length) * (length / len(samples))
    resampled = np.clip(np.round(resampled), -32768, 32767)
    soundfile.write(SAMPLE_VOICE, resampled.astype(np.int16), references.SAMPLE_RATE)
    print(f"{SAMPLE_VOICE}: {length / references.SAMPLE_RATE:.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
