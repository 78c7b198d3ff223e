"""Containers and tags: samples in, the bytes of one audio file out, its request_id inside."""

from __future__ import annotations

import io
import os
from pathlib import Path

import soundfile

from indextts_app.engines.base import Samples
from indextts_app.synthesis import AudioFormat

CODECS = {
    AudioFormat.WAV: "pcm_s16le",
    AudioFormat.MP3: "mp3",
    AudioFormat.FLAC: "flac",
    AudioFormat.OGG: "vorbis",
}
"""What ffprobe calls the codec of each format."""

MEDIA_TYPES = {
    AudioFormat.WAV: "audio/wav",
    AudioFormat.MP3: "audio/mpeg",
    AudioFormat.FLAC: "audio/flac",
    AudioFormat.OGG: "audio/ogg",
}

_BLOCK = 65_536


def encoded(samples: Samples, sample_rate: int, kind: AudioFormat, request_id: str) -> bytes:
    """
    A mono file of these samples, with `comment` = `request_id=<id>` in its tags.

    The comment is the one tag that ffprobe reads back from every one of the formats.
    """
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer, "w", samplerate=sample_rate, channels=1, format=kind.value.upper()
    ) as file:
        file.comment = f"request_id={request_id}"
        # libsndfile's Vorbis encoder overflows its stack on one write of many seconds.
        for start in range(0, len(samples), _BLOCK):
            file.write(samples[start : start + _BLOCK])
    return buffer.getvalue()


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
