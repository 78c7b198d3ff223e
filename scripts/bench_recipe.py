"""
The textbook recipe that tutorials for speech services teach, as a fair baseline for bench.py.

One FastAPI handler that does everything in line: the engine under a lock, the file, ffprobe as a
subprocess, psutil, prometheus_client, and one JSON line through synchronous logging. Engine, text,
sample format and HTTP server are the same as ours; it has no queue, no worker process, no redaction
and no signal check, so it does less.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
import uuid
import wave
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import ffmpeg
import numpy as np
import psutil
import uvicorn
from fastapi import FastAPI, Response
from prometheus_client import Counter, Histogram
from pydantic import BaseModel

from scripts.bench_engine import BareEngine

REQUESTS = Counter("tts_requests", "requests", ("status", "emotion"))
SECONDS = Histogram("tts_seconds", "seconds", ("emotion",))


class Speech(BaseModel):
    """The body of a request."""

    text: str
    emotion: str = "neutral"


def app(folder: Path) -> FastAPI:
    """The service of the recipe, writing to `folder`."""
    logger = logging.getLogger("tts")
    logger.setLevel(logging.INFO)
    logger.addHandler(logging.FileHandler(folder / "tts.log"))
    engine, lock = BareEngine(), threading.Lock()
    service = FastAPI()

    @service.post("/tts")
    def tts(speech: Speech) -> Response:
        request_id = str(uuid.uuid4())[:8]
        began = time.time()
        with lock:
            samples = engine.speak(speech.text, speech.emotion)
        path = folder / f"{request_id}.wav"
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, engine.sample_rate, 0, "NONE", ""))
            file.writeframes(samples.astype("<i2").tobytes())
        stream = ffmpeg.probe(str(path))["streams"][0]
        seconds = time.time() - began
        REQUESTS.labels("success", speech.emotion).inc()
        SECONDS.labels(speech.emotion).observe(seconds)
        logger.info(
            json.dumps(
                {
                    "request_id": request_id,
                    "text_length": len(speech.text),
                    "emotion": speech.emotion,
                    "duration_ms": seconds * 1000,
                    "sample_rate": stream["sample_rate"],
                    "channels": stream["channels"],
                    "audio_kb": path.stat().st_size / 1024,
                    "cpu_percent": psutil.cpu_percent(),
                    "memory_percent": psutil.virtual_memory().percent,
                    "rms": float(np.sqrt(np.mean(samples.astype(np.float64) ** 2))),
                },
                ensure_ascii=False,
            )
        )
        return Response(path.read_bytes(), media_type="audio/wav")

    return service


if __name__ == "__main__":
    uvicorn.run(app(Path(sys.argv[2])), port=int(sys.argv[1]), log_level="warning")
