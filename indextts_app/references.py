"""
Reference recordings: an untrusted upload in, a bounded 24 kHz mono WAV of our own out.

The engine sees only what this module made. Whatever ffmpeg is told to open is a regular file,
named by an absolute `file:` path, in one of a few containers, with time and memory limits.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import stat
import subprocess
import wave
from dataclasses import dataclass
from pathlib import Path

import ffmpeg

from indextts_app import errors

SAMPLE_RATE = 24_000
MAX_SECONDS = 15.0
"""IndexTTS-2 cuts references at 15 s; longer ones only cost time."""

MIN_SECONDS = 0.5
DECODE_SECONDS = 10
DECODE_MEMORY_BYTES = 1024**3
CONTAINERS = "wav,flac,mp3,ogg,mov,matroska,aac,w64"


@dataclass(frozen=True, slots=True)
class Reference:
    """A recording that an engine may read."""

    path: Path
    sha256: str
    seconds: float


def accept(upload: Path, folder: Path, *, within: Path, max_bytes: int) -> Reference:
    """
    The bounded copy of an upload, named by the hash of its content.

    Args:
        upload: the file that a client sent.
        folder: where the copy goes.
        within: the upload folder; a path outside it was not sent but guessed.
        max_bytes: largest upload.

    Raises:
        errors.ReferenceRefused: not a recording that can be used; the message says why.
    """
    _check_file(upload, within, max_bytes)
    digest = hashlib.sha256(upload.read_bytes()).hexdigest()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{digest}.wav"
    if path.exists():
        path.touch()  # what is still asked for is not swept away
    else:
        _transcode(upload.resolve(), path)
    with wave.open(str(path)) as recording:
        seconds = recording.getnframes() / SAMPLE_RATE
    if seconds < MIN_SECONDS:
        raise errors.ReferenceRefused(
            reason=f"it has {seconds:.2f} s of sound, at least {MIN_SECONDS} s are needed.",
            reason_zh=f"只有 {seconds:.2f} 秒声音，至少需要 {MIN_SECONDS} 秒。",
        )
    return Reference(path=path, sha256=digest, seconds=seconds)


def _check_file(upload: Path, within: Path, max_bytes: int) -> None:
    try:
        found = upload.lstat()
    except (OSError, ValueError):
        raise _refused("it was not uploaded.", "没有收到上传的文件。") from None
    real = upload.resolve()
    if not stat.S_ISREG(found.st_mode) or not real.is_relative_to(within.resolve()):
        raise _refused("it was not uploaded.", "没有收到上传的文件。")
    if found.st_size == 0:
        raise _refused("the file is empty.", "文件是空的。")
    if found.st_size > max_bytes:
        limit_mb = max_bytes / 1e6
        raise _refused(f"it is larger than {limit_mb:g} MB.", f"文件超过 {limit_mb:g} MB。")


def _transcode(source: Path, target: Path) -> None:
    """Decode at most `MAX_SECONDS`, whatever length or sample rate the file claims."""
    # A name of its own: the same recording may come twice at once.
    part = target.with_suffix(f".{secrets.token_hex(8)}.part")
    # ffmpeg-python orders the arguments; it cannot limit time or memory, so the run is ours.
    command = (
        ffmpeg.input(
            f"file:{source}", protocol_whitelist="file", format_whitelist=CONTAINERS, t=MAX_SECONDS
        )
        .audio.output(
            str(part),
            format="wav",
            acodec="pcm_s16le",
            ac=1,
            ar=SAMPLE_RATE,
            map_metadata=-1,
            t=MAX_SECONDS,
            fflags="+bitexact",
        )
        .global_args("-nostdin", "-v", "error")
        .overwrite_output()
        .compile()
    )
    if not shutil.which("ffmpeg"):
        raise errors.NotReady(reason="ffmpeg is not installed.")
    limits = ["prlimit", f"--as={DECODE_MEMORY_BYTES}", f"--cpu={DECODE_SECONDS}"]
    try:
        done = subprocess.run(
            [*limits, *command], capture_output=True, timeout=DECODE_SECONDS, check=False
        )
        if done.returncode == 0 and part.exists() and part.stat().st_size:
            os.replace(part, target)
            return
    except subprocess.TimeoutExpired:
        pass
    except OSError:
        raise errors.NotReady(reason="prlimit is not installed.") from None
    finally:
        part.unlink(missing_ok=True)
    raise _refused(
        "it cannot be read as audio. Send WAV, FLAC, MP3, OGG or M4A.",
        "无法作为音频读取，请上传 WAV、FLAC、MP3、OGG 或 M4A。",
    )


def _refused(reason: str, reason_zh: str) -> errors.ReferenceRefused:
    return errors.ReferenceRefused(reason=reason, reason_zh=reason_zh)
