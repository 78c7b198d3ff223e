"""Whether an answer is audio: by its content, because status and content type may say anything."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass

import numpy as np

from indextts_app.engines.base import RemoteFailed, Samples, Translated

HIGHEST_RATE = 192_000

_UNKNOWN_SIZE = 0x7FFF0000
"""From here on (0x7FFFxxxx, 0xFFFFFFFF) a WAV's size means "as long as it goes on": it is sent
while it is made. So does zero, in a file that has samples."""

_HEAD_BYTES = 16_384
"""Within which an MP3's own count of its frames stands, behind its tags."""

_LACKING_SECONDS = 0.1
"""An MP3 decoder may differ from the count by a frame or two."""

_MAX_SECONDS, _MAX_SECONDS_EACH = 10.0, 3.0
"""Longer than 10 s and 3 s a character nobody speaks, at the slowest pace here: it is noise."""


@dataclass(frozen=True, slots=True)
class Heard:
    """Mono samples and their rate."""

    samples: Samples
    sample_rate: int


def decoded(data: bytes, *, pcm_rate: int | None = None) -> Heard:
    """
    The audio in an answer: WAV of any kind, FLAC, OGG or MP3, several channels mixed to one.

    Args:
        data: the whole body.
        pcm_rate: what is no file is 16-bit little-endian mono of this rate; None: it is a fault.

    Raises:
        RemoteFailed: `remote_bad_audio`, with the reason.
    """
    if not data:
        raise _bad("it sent nothing at all.", "返回内容为空。")
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return _wav(data)
    if data[:4] in (b"fLaC", b"OggS") or data[:3] == b"ID3" or _is_mpeg(data):
        return _decoded_file(data)
    if pcm_rate is not None and not _is_text(data):
        return _pcm(data, pcm_rate)
    if _is_text(data):
        raise _bad(
            "it answered with text (an error, perhaps) and called that a success.",
            "返回的是文本（可能是错误信息），却标为成功。",
        )
    raise _bad(
        "its answer is no audio file. If it sends samples without a header, set the format to pcm "
        "and their rate.",
        "返回内容不是音频文件。若服务器返回无文件头的采样，请将格式设为 pcm 并设置采样率。",
    )


def check_length(heard: Heard, text: str, speed: float) -> None:
    """
    Raise `RemoteFailed` for audio that is far too long for its text.

    One that is too short is judged with every other audio, as `truncated`.
    """
    seconds = len(heard.samples) / heard.sample_rate
    if seconds > (_MAX_SECONDS + _MAX_SECONDS_EACH * len(text)) / speed:
        raise _bad(
            f"{seconds:.0f} s of audio cannot be {len(text)} characters. Its rate may be wrong.",
            f"{seconds:.0f} 秒的音频与 {len(text)} 个字不符，采样率可能有误。",
        )


def _wav(data: bytes) -> Heard:
    """Chunk by chunk, because a reader would take what is there for all there should be."""
    position, form = 12, b""
    while position + 8 <= len(data):
        name, size = data[position : position + 4], _size(data, position + 4)
        body = position + 8
        if name == b"fmt ":
            form = data[body : body + size]
        elif name == b"data":
            there = len(data) - body
            is_open = size >= _UNKNOWN_SIZE or (size == 0 and there > 0)
            if not is_open and size > there:
                raise _cut_short("WAV", there / size)
            return _samples_of(data, form, data[body:] if is_open else data[body : body + size])
        position = body + size + size % 2
    raise _bad("its WAV has no samples.", "WAV 中没有采样数据。")


def _samples_of(data: bytes, form: bytes, samples: bytes) -> Heard:
    if len(form) < 16:
        raise _bad("its WAV does not say what its samples are.", "WAV 缺少格式信息。")
    kind, channels, rate, _, _, bits = struct.unpack("<HHIIHH", form[:16])
    if kind != 1 or bits != 16 or channels not in (1, 2):
        return _decoded_file(data)
    whole = len(samples) - len(samples) % (2 * channels)
    heard = np.frombuffer(samples[:whole], dtype="<i2").reshape(-1, channels)
    if channels > 1:
        return _checked(np.rint(heard.mean(axis=1)).astype(np.int16), rate)
    return _checked(heard[:, 0].astype(np.int16, copy=False), rate)


def _pcm(data: bytes, rate: int) -> Heard:
    if len(data) % 2:
        raise _bad(
            "16-bit samples cannot have an odd number of bytes.", "16 位采样的字节数不能为奇数。"
        )
    return _checked(np.frombuffer(data, dtype="<i2").astype(np.int16, copy=False), rate)


def _decoded_file(data: bytes) -> Heard:
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            promised, rate = file.frames, file.samplerate
            values = file.read(dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, ValueError, MemoryError):
        # The latter two where a FLAC does not say how long it is, or says too much.
        raise _bad("its audio cannot be decoded.", "音频无法解码。") from None
    if _counts_frames(data) and promised - len(values) > _LACKING_SECONDS * rate:
        raise _cut_short("MP3", len(values) / promised)
    if data[:4] == b"OggS" and not _ends_ogg(data):
        raise _bad("its Ogg was cut short: the last page is missing.", "Ogg 不完整：缺少末页。")
    if not np.isfinite(values).all():
        raise _bad("some of its samples are no numbers.", "部分采样不是数值。")
    scaled = np.rint(values.mean(axis=1) * 32_768.0)
    return _checked(scaled.clip(-32_768, 32_767).astype(np.int16), rate)


def _counts_frames(data: bytes) -> bool:
    """Whether an MP3 says how many frames it has: in a first one of its own, if it does."""
    tag = max(data.find(b"Xing", 0, _HEAD_BYTES), data.find(b"Info", 0, _HEAD_BYTES))
    flags, count = (int.from_bytes(data[tag + at : tag + at + 4], "big") for at in (4, 8))
    return tag >= 0 and bool(flags & 1 and count)


def _ends_ogg(data: bytes) -> bool:
    """Whether the last page is there as a whole, and says that it is the last (RFC 3533)."""
    page = data[data.rfind(b"OggS") :]
    lengths = page[27 : 27 + page[26]] if len(page) > 26 else b""
    return bool(lengths) and bool(page[5] & 4) and len(page) >= 27 + len(lengths) + sum(lengths)


def _checked(samples: Samples, rate: int) -> Heard:
    if not len(samples):
        raise _bad("its audio has no samples.", "音频中没有采样数据。")
    if not 0 < rate <= HIGHEST_RATE:
        raise _bad(f"a sample rate of {rate} Hz cannot be.", f"采样率 {rate} Hz 不合理。")
    return Heard(samples, int(rate))


def _size(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _is_mpeg(data: bytes) -> bool:
    """An MPEG audio frame: eleven bits set, a layer that exists."""
    return len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0 and bool(data[1] & 0x06)


def _is_text(data: bytes) -> bool:
    """JSON, HTML, a sentence: UTF-8 without control characters, which samples hardly are."""
    try:
        text = data[:200].decode()
    except UnicodeDecodeError as error:
        if error.start < min(len(data), 200) - 3:
            return False
        text = data[: error.start].decode()
    return bool(text) and all(char.isprintable() or char in "\r\n\t" for char in text)


def _cut_short(kind: str, share: float) -> RemoteFailed:
    return _bad(
        f"its {kind} was cut short: {share:.0%} of the samples are there.",
        f"{kind} 不完整：只有 {share:.0%} 的采样。",
    )


def _bad(en: str, zh: str) -> RemoteFailed:
    return RemoteFailed("remote_bad_audio", Translated(en, zh))
