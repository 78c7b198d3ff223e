"""
Containers and tags: samples in, the bytes of one audio file out, its request_id inside.

Opus knows five rates only, and whoever is sent bare PCM by an OpenAI-compatible server takes it for
24 kHz, so these two are resampled; all other formats have the engine's own rate.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import soundfile
import soxr

from indextts_app.aac import AacEncoder
from indextts_app.engines.base import Samples
from indextts_app.synthesis import AudioFormat

CODECS = {
    AudioFormat.WAV: "pcm_s16le",
    AudioFormat.MP3: "mp3",
    AudioFormat.FLAC: "flac",
    AudioFormat.OGG: "vorbis",
    AudioFormat.OPUS: "opus",
    AudioFormat.AAC: "aac",
    AudioFormat.PCM: "pcm_s16le",
}
"""What ffprobe calls the codec of each format."""

MEDIA_TYPES = {
    AudioFormat.WAV: "audio/wav",
    AudioFormat.MP3: "audio/mpeg",
    AudioFormat.FLAC: "audio/flac",
    AudioFormat.OGG: "audio/ogg",
    AudioFormat.OPUS: "audio/opus",
    AudioFormat.AAC: "audio/aac",
    AudioFormat.PCM: "audio/pcm",
}

FIXED_RATE = 24_000
"""Of Opus and PCM, whatever the engine's rate."""

_BLOCK = 65_536


def rate_of(kind: AudioFormat, sample_rate: int) -> int:
    """The rate of a file of this kind, made of samples at `sample_rate`."""
    return FIXED_RATE if kind in (AudioFormat.OPUS, AudioFormat.PCM) else sample_rate


def encoded(samples: Samples, sample_rate: int, kind: AudioFormat, request_id: str) -> bytes:
    """
    A mono file of these samples, with `comment` = `request_id=<id>` in its tags.

    The comment is the one tag that ffprobe reads back from every one of the formats; PCM, which is
    16-bit little-endian, has none.

    Raises:
        errors.EncoderMissing: AAC, and there is no ffmpeg.
    """
    rate = rate_of(kind, sample_rate)
    if rate != sample_rate:
        samples = soxr.resample(samples, sample_rate, rate)
    if kind is AudioFormat.PCM:
        return samples.astype("<i2", copy=False).tobytes()
    if kind is AudioFormat.AAC:
        encoder = AacEncoder(rate, request_id)
        return encoder.write(samples) + encoder.close()
    buffer = io.BytesIO()
    with soundfile.SoundFile(buffer, "w", samplerate=rate, channels=1, **written_as(kind)) as file:
        file.comment = f"request_id={request_id}"
        # libsndfile's Vorbis encoder overflows its stack on one write of many seconds.
        for start in range(0, len(samples), _BLOCK):
            file.write(samples[start : start + _BLOCK])
    return buffer.getvalue()


def written_as(kind: AudioFormat) -> dict[str, str]:
    """What libsndfile has to be told to write this kind."""
    if kind is AudioFormat.OPUS:
        return {"format": "OGG", "subtype": "OPUS"}
    return {"format": kind.value.upper()}


def stored(data: bytes, path: Path) -> None:
    """
    Put a file under its final name only once it is whole.

    Not synced to the disk: a killed service leaves no half file, and a power cut may cost the
    last audio, which its user then has to ask for again.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data)
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
