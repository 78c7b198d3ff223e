"""
Reference recordings: an untrusted upload in, a bounded 24 kHz mono WAV of our own out.

The engine sees only what this module made. Whatever ffmpeg is told to open is a regular file,
named by an absolute `file:` path, in one of a few containers, with time and memory limits.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import stat
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import ffmpeg
import numpy as np

from indextts_app import errors

SAMPLE_RATE = 24_000
SAMPLE_BYTES = 2
MAX_SECONDS = 15.0
"""IndexTTS-2 cuts references at 15 s; longer ones only cost time."""

MIN_SECONDS = 0.5
LONGEST_SECONDS = 600.0
"""A longer recording is not cut but refused: its first seconds are hardly what was meant."""

SILENT_DBFS = -60.0
"""A recording whose peak is below has no voice on it, as `observability.audio_check` judges."""

BEYOND_SECONDS = 0.1
"""So much more is decoded than is used, which tells whether there was more."""

DECODE_SECONDS = 10
DECODE_MEMORY_BYTES = 1024**3
CONTAINERS = "wav,flac,mp3,ogg,mov,matroska,aac,w64"

_WAV_HEAD = struct.Struct("<4sI4s4sIHHIIHH4sI")
_CUT = struct.pack("<4sI", b"cut ", 0)
"""An empty chunk behind the samples of a recording that was longer; readers pass over it."""

_DURATION = re.compile(r"^  Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)", re.MULTILINE)
_PICTURES = re.compile(r"^  Stream #0:\d.*?: Video: (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Upload:
    """A recording that came with a request, and the folder that uploads are kept in."""

    path: Path
    folder: Path


@dataclass(frozen=True, slots=True)
class Reference:
    """A recording that an engine may read; `truncated` if the upload was longer than is used."""

    path: Path
    sha256: str
    seconds: float
    truncated: bool = False


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
        errors.StorageFailed: the copy cannot be written.
    """
    _check_file(upload, within, max_bytes)
    try:
        digest = hashlib.sha256(upload.read_bytes()).hexdigest()
        path = folder / f"{digest}.wav"
        if known := _known(path, digest):
            return known
        samples = _decoded(upload.resolve())
        folder.mkdir(parents=True, exist_ok=True)
        write(path, samples)
        return read(path, digest)
    except OSError as error:
        raise errors.StorageFailed(origin=type(error).__name__) from error


def _known(path: Path, sha256: str) -> Reference | None:
    """A copy that was made before, None where there is none that can be read."""
    try:
        # What is still asked for is not swept away; unlike touch(), this makes no file.
        os.utime(path)
        return read(path, sha256)
    except OSError:
        return None


def read(path: Path, sha256: str) -> Reference:
    """What is known of a copy that was made here; raises OSError where there is none."""
    size = path.stat().st_size - _WAV_HEAD.size
    if size <= 0:
        raise OSError("no recording is in it")
    with path.open("rb") as file:
        file.seek(-len(_CUT), os.SEEK_END)
        truncated = file.read() == _CUT
    seconds = (size - len(_CUT) * truncated) / SAMPLE_BYTES / SAMPLE_RATE
    return Reference(path, sha256, seconds, truncated)


def write(path: Path, samples: bytes) -> None:
    """Put mono 16-bit samples into a WAV file that is there only once it is whole, and bounded."""
    limit = round(MAX_SECONDS * SAMPLE_RATE) * SAMPLE_BYTES
    cut = _CUT if len(samples) > limit else b""
    samples = samples[:limit]
    head = _WAV_HEAD.pack(
        *(b"RIFF", _WAV_HEAD.size - 8 + len(samples) + len(cut), b"WAVE"),
        *(b"fmt ", 16, 1, 1, SAMPLE_RATE, SAMPLE_RATE * SAMPLE_BYTES, SAMPLE_BYTES),
        *(8 * SAMPLE_BYTES, b"data", len(samples)),
    )
    # A name of its own: the same recording may come twice at once.
    part = path.with_suffix(f".{secrets.token_hex(8)}.part")
    try:
        part.write_bytes(head + samples + cut)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


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


def _decoded(source: Path) -> bytes:
    """Mono samples, a little more than is used, whatever length or sample rate the file claims."""
    # ffmpeg-python orders the arguments; it cannot limit time or memory, so the run is ours.
    enough = MAX_SECONDS + BEYOND_SECONDS
    command = (
        ffmpeg.input(
            f"file:{source}", protocol_whitelist="file", format_whitelist=CONTAINERS, t=enough
        )
        .audio.output("pipe:1", format="s16le", acodec="pcm_s16le", ac=1, ar=SAMPLE_RATE, t=enough)
        # At this level it tells what is in the file, so that no second process has to look.
        .global_args("-nostdin", "-hide_banner", "-nostats", "-v", "info")
        .compile()
    )
    if not shutil.which("ffmpeg"):
        raise _not_installed("ffmpeg")
    limits = ["prlimit", f"--as={DECODE_MEMORY_BYTES}", f"--cpu={DECODE_SECONDS}"]
    try:
        done = subprocess.run(
            [*limits, *command], capture_output=True, timeout=DECODE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise _unreadable() from None
    except OSError:
        raise _not_installed("prlimit") from None
    _check_content(done.stderr.decode(errors="replace").partition("Stream mapping:")[0])
    if done.returncode != 0 or not done.stdout:
        raise _unreadable()
    seconds = len(done.stdout) / SAMPLE_BYTES / SAMPLE_RATE
    if seconds < MIN_SECONDS:
        raise _refused(
            f"it has {seconds:.2f} s of sound, at least {MIN_SECONDS} s are needed.",
            f"只有 {seconds:.2f} 秒声音，至少需要 {MIN_SECONDS} 秒。",
        )
    _check_sound(done.stdout)
    return done.stdout


def _check_sound(samples: bytes) -> None:
    """Refuse what nobody is heard on: an engine would make some voice of its noise."""
    heard = np.frombuffer(samples, "<i2")
    peak = max(int(heard.max()), -int(heard.min()))
    if peak < 32_768 * 10 ** (SILENT_DBFS / 20):
        raise _refused(
            f"it is silent: its loudest sample is below {SILENT_DBFS:g} dBFS. Check the "
            "microphone and record again, or send another file.",
            f"录音没有声音：最响处低于 {SILENT_DBFS:g} dBFS。请检查麦克风后重录，或换一个文件。",
        )


def _check_content(told: str) -> None:
    """Refuse what ffmpeg found to be a video, or far too long; cover art is no video."""
    if any("(attached pic)" not in picture for picture in _PICTURES.findall(told)):
        raise _refused(
            "it is a video. Send the sound only, as WAV, FLAC, MP3, OGG or M4A.",
            "这是视频，请只上传声音（WAV、FLAC、MP3、OGG 或 M4A）。",
        )
    if duration := _DURATION.search(told):
        hours, minutes, seconds = map(float, duration.groups())
        total = hours * 3600 + minutes * 60 + seconds
        if total > LONGEST_SECONDS:
            raise _refused(
                f"it is {total / 60:.0f} minutes long. Send 3 to 15 seconds of one person "
                "speaking clearly.",
                f"时长约 {total / 60:.0f} 分钟，请上传 3 到 15 秒单人清晰语音。",
            )


def _unreadable() -> errors.ReferenceRefused:
    return _refused(
        "it cannot be read as audio. Send WAV, FLAC, MP3, OGG or M4A.",
        "无法作为音频读取，请上传 WAV、FLAC、MP3、OGG 或 M4A。",
    )


def _not_installed(program: str) -> errors.NotFit:
    return errors.NotFit(reason=f"{program} is not installed.", reason_zh=f"未安装 {program}。")


def _refused(reason: str, reason_zh: str) -> errors.ReferenceRefused:
    return errors.ReferenceRefused(reason=reason, reason_zh=reason_zh)
