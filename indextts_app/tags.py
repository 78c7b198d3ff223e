"""
A file under another request_id: its tags are changed in place, its sound is not touched.

Ids are of one length, so that nothing moves. FLAC and ID3 have no checksum of their tags; Ogg has
one of each page (RFC 3533), which is made anew for the pages that the tags stand in.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache

from observability.request_id import PREFIX

HEAD_BYTES = 4_096
"""Tags stand at the beginning, within so many bytes."""

_ID3V1_BYTES = 128
"""And once more at the end of an MP3, cut short."""

_OGG, _OGG_HEAD, _CHECKSUM_AT, _COUNT_AT = b"OggS", 27, 22, 26


def retagged(data: bytes, old: str, new: str) -> bytes:
    """
    The same file with the request_id `new` wherever it had `old`.

    Raises:
        ValueError: the ids have different lengths.
    """
    if len(old) != len(new):
        raise ValueError("an id of another length would move the sound")
    begin = _ogg_pages_end(data, HEAD_BYTES) if data.startswith(_OGG) else HEAD_BYTES
    begin = min(begin, len(data))
    end = max(len(data) - _ID3V1_BYTES, begin)
    head, tail = bytearray(data[:begin]), bytearray(data[end:])
    if _rename(head, old.encode(), new.encode()) and data.startswith(_OGG):
        _seal(head)
    _rename(tail, old.encode(), new.encode())
    # The sound is copied once, and not looked at.
    return b"".join((head, memoryview(data)[begin:end], tail))


def _rename(part: bytearray, old: bytes, new: bytes) -> bool:
    """Whether the id stood in this part, as much of it as there is."""
    prefix = PREFIX.encode()
    found = False
    at = part.find(prefix)
    while at >= 0:
        start = at + len(prefix)
        length = _alike(part[start : start + len(old)], old)
        part[start : start + length] = new[:length]
        found = found or length > 0
        at = part.find(prefix, start)
    return found


def _alike(one: bytearray, other: bytes) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))


def _ogg_pages(data: bytes | bytearray) -> Iterator[tuple[int, int]]:
    """Where each page begins and ends."""
    start = 0
    while data[start : start + 4] == _OGG and len(data) > start + _OGG_HEAD:
        head = start + _OGG_HEAD
        end = head + data[start + _COUNT_AT]
        end += sum(data[head:end])
        yield start, end
        start = end


def _ogg_pages_end(data: bytes, at_least: int) -> int:
    """Where the page ends that holds this place."""
    return next((end for _, end in _ogg_pages(data) if end >= at_least), len(data))


def _seal(data: bytearray) -> None:
    """Make the checksum of each page anew."""
    for start, end in _ogg_pages(data):
        struct.pack_into("<I", data, start + _CHECKSUM_AT, 0)
        struct.pack_into("<I", data, start + _CHECKSUM_AT, _checksum(data[start:end]))


def _checksum(page: bytearray) -> int:
    """CRC-32 of Ogg: polynomial 04c11db7, neither reflected nor inverted."""
    table, value = _table(), 0
    for byte in page:
        value = (value << 8 & 0xFFFFFFFF) ^ table[value >> 24 ^ byte]
    return value


@cache
def _table() -> tuple[int, ...]:
    table = []
    for index in range(256):
        value = index << 24
        for _ in range(8):
            value = value << 1 ^ (0x04C11DB7 if value & 0x80000000 else 0)
        table.append(value & 0xFFFFFFFF)
    return tuple(table)
