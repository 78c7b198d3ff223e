"""
The judgement of an output by its file: what ffprobe reads in it, and the request_id in its tags.

ffprobe is a process of about 55 ms, so this runs beside the answer and not before it.
"""

from __future__ import annotations

import atexit
import os
import re
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal, TypeVar, get_args

import ffmpeg

from observability import request_id

FileVerdict = Literal["ok", "wrong_format", "truncated"]
ProbeError = Literal["not_a_file", "unavailable", "timeout", "unreadable"]

BACKLOG = "backlog"
"""Why there is no report where more files came than could be probed."""

PROBE_ERRORS = (*get_args(ProbeError), BACKLOG)

_WRAPPER: Final = Path(__file__).with_name("ffprobe.sh")
# 40 minutes of MP3 at 24 kHz, and some seven megabytes of JSON.
_COUNTED_PACKETS: Final = 100_000

_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """
    What ffprobe found, or with `probe_ok` False, why it found nothing; None is for not known.

    `codec` and `container` are ffprobe's names (pcm_s16le, mp3, flac, vorbis, opus; wav, ogg, …).
    `duration_seconds` is where the last packet ends if that is before what the header claims: the
    headers of a broken-off MP3 or FLAC still tell the full length. `tags` has lower-case keys, from
    the file and from its audio stream.
    """

    probe_ok: bool
    probe_error: ProbeError | None
    probe_ms: float
    audio_bytes: int | None = None
    codec: str | None = None
    container: str | None = None
    sample_rate: int | None = None
    channels: int | None = None
    duration_seconds: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)


def probe(path: Path, *, timeout_seconds: float = 5.0, pcm_rate: int | None = None) -> ProbeReport:
    """
    Return what ffprobe finds in the first audio stream of a file; whatever happens, a report.

    With `pcm_rate` the file is taken for bare mono 16-bit little-endian samples at this rate, so
    that nothing but its length is found out.

    Only regular files are opened, only as audio containers, only from this machine; playlists,
    links and pipes are not followed. Errors: not_a_file; unavailable, where ffprobe or timeout(1)
    is missing; timeout; unreadable, where it is no audio. Blocks for about 55 ms, and at most one
    second longer than the timeout.
    """
    began = time.perf_counter()

    def failed(error: ProbeError, audio_bytes: int | None = None) -> ProbeReport:
        return ProbeReport(False, error, _ms_since(began), audio_bytes)

    try:
        status, absolute = path.lstat(), path.absolute()
    except (OSError, ValueError):
        return failed("not_a_file")
    if not stat.S_ISREG(status.st_mode):
        return failed("not_a_file")
    try:
        # ffmpeg.probe has no timeout, and hands an unknown keyword on as an option: the wrapper
        # brings the one and takes the other.
        found = ffmpeg.probe(
            f"file:{absolute}",
            cmd=_executable_wrapper(),
            select_streams="a:0",
            show_entries="packet=pts_time,duration_time",
            read_intervals=f"%+#{_COUNTED_PACKETS}",
            timeout_seconds=f"{max(timeout_seconds, 0.001):.3f}",
            **({} if pcm_rate is None else {"f": "s16le", "sample_rate": pcm_rate}),
        )
    except ffmpeg.Error as error:
        return failed(_reason(error.stderr), status.st_size)
    except OSError:
        return failed("unavailable", status.st_size)
    except ValueError:
        return failed("unreadable", status.st_size)
    if not found.get("streams"):
        return failed("unreadable", status.st_size)
    stream, container = found["streams"][0], found["format"]
    tags = {**container.get("tags", {}), **stream.get("tags", {})}
    return ProbeReport(
        probe_ok=True,
        probe_error=None,
        probe_ms=_ms_since(began),
        audio_bytes=status.st_size,
        codec=stream.get("codec_name"),
        container=container.get("format_name"),
        sample_rate=_number(int, stream.get("sample_rate")),
        channels=_number(int, stream.get("channels")),
        duration_seconds=_duration(found),
        tags={key.lower(): str(value) for key, value in tags.items()},
    )


def judge_file(
    report: ProbeReport, *, codec: str, sample_rate: int, channels: int, seconds: float
) -> FileVerdict:
    """
    Return whether the file is what was meant: ok, wrong_format, or truncated.

    wrong_format: no audio at all, or another codec, rate or number of channels; Opus is always
    decoded at 48 kHz (RFC 7845), so its rate is not compared. truncated: shorter than `seconds`,
    what the encoder was given, by more than 0.15 s and more than 2 %: encoders pad and trim some
    frames at the ends. Where ffprobe itself could not do its work (unavailable, timeout) nothing is
    known against the file and it is ok.
    """
    if report.probe_error in ("unavailable", "timeout"):
        return "ok"
    same_rate = report.codec == "opus" or report.sample_rate == sample_rate
    if report.codec != codec or not same_rate or report.channels != channels:
        return "wrong_format"
    if seconds - (report.duration_seconds or 0.0) > max(0.15, 0.02 * seconds):
        return "truncated"
    return "ok"


def request_id_of(path: Path) -> str | None:
    """
    Return the canonical request id that the service wrote into an audio file's comment, if any.
    """
    comment = probe(path).tags.get("comment", "")
    match = re.search(f"{request_id.PREFIX}([0-9A-Za-z]+)", comment, re.IGNORECASE)
    try:
        return request_id.parse(match[1]) if match else None
    except request_id.MalformedRequestId:
        return None


@cache
def _executable_wrapper() -> str:
    """
    Return a path of the wrapper that can be run.

    An archive or a file system may have lost the run bit, and ffmpeg-python takes one executable,
    not `sh` and a script; then a copy that lives as long as the process serves.
    """
    if os.access(_WRAPPER, os.X_OK):
        return str(_WRAPPER)
    folder = TemporaryDirectory(prefix="ffprobe-")
    atexit.register(folder.cleanup)
    copy = Path(folder.name, _WRAPPER.name)
    copy.write_bytes(_WRAPPER.read_bytes())
    copy.chmod(0o700)
    return str(copy)


def _reason(stderr: bytes) -> ProbeError:
    last = stderr.split()[-1:]
    if last == [b"timeout"]:
        return "timeout"
    return "unavailable" if last == [b"unavailable"] else "unreadable"


def _duration(found: Mapping[str, Any]) -> float | None:
    header = _number(float, found["streams"][0].get("duration", found["format"].get("duration")))
    packets = found.get("packets", [])
    if len(packets) >= _COUNTED_PACKETS:
        return header
    ends = [
        float(packet["pts_time"]) + float(packet.get("duration_time", 0))
        for packet in packets
        if "pts_time" in packet
    ]
    end = max(ends, default=0.0)
    return end if header is None else min(header, end)


def _number(kind: Callable[[Any], _Number], value: object) -> _Number | None:
    try:
        return kind(value)
    except (TypeError, ValueError):
        return None


def _ms_since(began: float) -> float:
    return (time.perf_counter() - began) * 1000
