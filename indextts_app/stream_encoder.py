"""Containers for audio whose end is not known yet: samples in, the next bytes of the file out."""

from __future__ import annotations

import os
import struct
import threading
from typing import Protocol

import numpy as np
import soundfile
import soxr

from indextts_app import audio
from indextts_app.aac import AacEncoder
from indextts_app.engines.base import Samples
from indextts_app.synthesis import AudioFormat

STREAMED = tuple(kind for kind in AudioFormat if kind is not AudioFormat.OGG)
"""Without OGG: libsndfile hands its pages out every 4 kB, which is seconds of speech."""

UNKNOWN_SIZE = 0xFFFFFFFF
"""What stands for a length in a WAV header where nobody knows it; ffmpeg writes the same."""

_SAMPLE_BYTES = 2
_BLOCK = 65_536


class StreamEncoder(Protocol):
    """One file that is being made; `request_id` stands in its tags."""

    def write(self, samples: Samples) -> bytes:
        """The bytes that are ready now; perhaps none, where the codec works in blocks."""

    def close(self) -> bytes:
        """The last bytes."""

    def abandon(self) -> None:
        """
        Let go of what it holds; the file is not needed any more.

        May follow `close`, and may come while a thread is in `write` or `close`.
        """


def stream_encoder(kind: AudioFormat, sample_rate: int, request_id: str) -> StreamEncoder:
    """
    An encoder for one of the formats in `STREAMED`, mono.

    Raises:
        errors.EncoderMissing: AAC, and there is no ffmpeg.
    """
    rate = audio.rate_of(kind, sample_rate)
    encoder: StreamEncoder
    if kind is AudioFormat.WAV:
        encoder = _Wav(rate, request_id)
    elif kind is AudioFormat.PCM:
        encoder = _Pcm()
    elif kind is AudioFormat.AAC:
        encoder = AacEncoder(rate, request_id)
    else:
        encoder = _Compressed(kind, rate, request_id)
    return encoder if rate == sample_rate else _Resampled(encoder, sample_rate, rate)


class _Wav:
    def __init__(self, sample_rate: int, request_id: str) -> None:
        comment = f"request_id={request_id}\0".encode()
        comment += b"\0" * (len(comment) % 2)
        tags = b"INFOICMT" + struct.pack("<I", len(comment)) + comment
        # PCM, mono, 16 bits: https://www.mmsp.ece.mcgill.ca/Documents/AudioFormats/WAVE/WAVE.html
        pcm = struct.pack("<HHIIHH", 1, 1, sample_rate, sample_rate * _SAMPLE_BYTES, 2, 16)
        self._head = b"".join(
            (
                b"RIFF" + struct.pack("<I", UNKNOWN_SIZE) + b"WAVE",
                b"fmt " + struct.pack("<I", len(pcm)) + pcm,
                b"LIST" + struct.pack("<I", len(tags)) + tags,
                b"data" + struct.pack("<I", UNKNOWN_SIZE),
            )
        )

    def write(self, samples: Samples) -> bytes:
        head, self._head = self._head, b""
        return head + samples.astype("<i2", copy=False).tobytes()

    def close(self) -> bytes:
        return self._head

    def abandon(self) -> None:
        pass


class _Pcm:
    def write(self, samples: Samples) -> bytes:
        return samples.astype("<i2", copy=False).tobytes()

    def close(self) -> bytes:
        return b""

    def abandon(self) -> None:
        pass


class _Resampled:
    def __init__(self, encoder: StreamEncoder, given: int, wanted: int) -> None:
        self._encoder = encoder
        self._stream = soxr.ResampleStream(given, wanted, 1, dtype="int16")

    def write(self, samples: Samples) -> bytes:
        return self._encoder.write(self._stream.resample_chunk(samples))

    def close(self) -> bytes:
        rest = self._stream.resample_chunk(np.zeros(0, np.int16), last=True)
        return self._encoder.write(rest) + self._encoder.close()

    def abandon(self) -> None:
        self._encoder.abandon()


class _Compressed:
    def __init__(self, kind: AudioFormat, sample_rate: int, request_id: str) -> None:
        self._sent = _Sent()
        # Nobody can read the length of an MP3 of unknown end but from its constant bit rate. The
        # highest one: Chromium begins to play once it has 32 kB, whatever time they are (measured
        # with 156: 1.6 s of this, 3 s of the default, 5 s of WAV, which it probes for longer).
        steady = {"bitrate_mode": "CONSTANT", "compression_level": 0.0}
        self._file = soundfile.SoundFile(
            self._sent,
            "w",
            samplerate=sample_rate,
            channels=1,
            **audio.written_as(kind),
            **(steady if kind is AudioFormat.MP3 else {}),
        )
        self._file.comment = f"request_id={request_id}"
        self._used = threading.Lock()

    def write(self, samples: Samples) -> bytes:
        with self._used:
            for start in range(0, len(samples), _BLOCK):
                self._file.write(samples[start : start + _BLOCK])
            return self._sent.taken()

    def close(self) -> bytes:
        with self._used:
            self._file.close()
            return self._sent.taken()

    def abandon(self) -> None:
        # What is closed while a thread writes to it ends the process. Whoever leaves waits for no
        # thread: a file that one still writes to is closed with the last reference to it.
        if self._used.acquire(blocking=False):
            try:
                self._file.close()
            finally:
                self._used.release()


class _Sent:
    """
    A file whose bytes are gone once they are taken.

    libsndfile goes back at the end to write what it knows only then (the length, a checksum).
    That is passed over, and the file stays one of unknown length, which every player can play.
    """

    def __init__(self) -> None:
        self._ready = bytearray()
        self._at = 0
        self._size = 0

    def taken(self) -> bytes:
        data = bytes(self._ready)
        self._ready.clear()
        return data

    def write(self, data: bytes) -> int:
        if self._at == self._size:
            self._ready += data
            self._size += len(data)
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_CUR: self._at, os.SEEK_END: self._size}.get(whence, 0)
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, _size: int = -1) -> bytes:
        return b""
