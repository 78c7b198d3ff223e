"""
AAC through ffmpeg, which is a program of its own: no encoder of it comes with a Python package.

What comes out is ADTS with an ID3 tag in front, as HTTP Live Streaming has it; ADTS itself has no
place for tags.
"""

from __future__ import annotations

import subprocess
import threading

import ffmpeg

from indextts_app import errors
from indextts_app.engines.base import Samples

BITS_PER_SECOND = 64_000
"""Of one voice; beyond it nothing more is heard."""

STOP_SECONDS = 10.0

_BLOCK_BYTES = 65_536


class AacEncoder:
    """One file that is being made; `request_id` stands in its tags."""

    def __init__(self, sample_rate: int, request_id: str) -> None:
        """
        Raises:
            errors.EncoderMissing: there is no ffmpeg.
        """
        command = (
            ffmpeg.input("pipe:0", format="s16le", ac=1, ar=sample_rate)
            .output(
                "pipe:1",
                format="adts",
                acodec="aac",
                audio_bitrate=BITS_PER_SECOND,
                write_id3v2=1,
                metadata=f"comment=request_id={request_id}",
                flush_packets=1,
            )
            .global_args("-hide_banner", "-nostats", "-v", "error")
            .compile()
        )
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
            )
        except OSError as error:
            raise errors.EncoderMissing from error
        self._ready = bytearray()
        self._lock = threading.Lock()
        # Beside the writing: with both pipes full, each side would wait for the other.
        self._reader = threading.Thread(target=self._read, name="aac", daemon=True)
        self._reader.start()

    def write(self, samples: Samples) -> bytes:
        """
        The bytes that are ready now; those of these samples may come with a later call.

        Raises:
            errors.EncodingFailed: ffmpeg has ended.
        """
        data = memoryview(samples.astype("<i2", copy=False).tobytes())
        if stdin := self._process.stdin:
            try:
                while data:
                    data = data[stdin.write(data) :]
            except OSError as error:
                self.abandon()
                raise errors.EncodingFailed(origin="write@aac.py") from error
        return self._taken()

    def close(self) -> bytes:
        """
        The last bytes.

        Raises:
            errors.EncodingFailed: ffmpeg did not come to its end.
        """
        try:
            if self._process.stdin:
                self._process.stdin.close()
            status = self._process.wait(STOP_SECONDS)
        except (OSError, subprocess.TimeoutExpired):
            status = None
        self.abandon()
        if status != 0:
            raise errors.EncodingFailed(origin=f"{status}@aac.py")
        return self._taken()

    def abandon(self) -> None:
        """End ffmpeg, if it has not ended."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()

    def _read(self) -> None:
        stdout = self._process.stdout
        while stdout and (data := stdout.read(_BLOCK_BYTES)):
            with self._lock:
                self._ready += data

    def _taken(self) -> bytes:
        with self._lock:
            data = bytes(self._ready)
            self._ready.clear()
        return data
