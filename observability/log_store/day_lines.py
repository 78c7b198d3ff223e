"""
Lines of one day's file by their time: a file is in the order of writing, so halving finds a moment.

A day stands in files of the service (`indextts-YYYY-MM-DD.jsonl`, `-2`, `-3` …) or in an archive
of them (`.jsonl.gz`). The archive is a plain gzip file of many members; each member holds whole
lines and tells in its header how long it is and when its first line was written, so that one member
is read without the others, and any gzip program reads them all.
"""

from __future__ import annotations

import json
import mmap
import re
import struct
import zlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final

Bytes = bytes | mmap.mmap

MEMBER_BYTES: Final = 1 << 20
"""Of lines in a member: small enough to be read in a few milliseconds, large enough to compress."""

_TIMESTAMP: Final = re.compile(rb'"timestamp": ?"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?)Z"')
_SEARCHED: Final = 200


class Damaged(Exception):
    """An archive cannot be read on from here."""


@contextmanager
def mapped(path: Path) -> Iterator[Bytes]:
    """The content of a file as it is now, without reading it."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if size == 0:
            yield b""
            return
        with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as content:
            yield content


def as_bytes(moment: datetime) -> bytes:
    """A moment as it stands in a line, without its zone; these compare as the moments do."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f").encode()


def first_at(content: Bytes, moment: bytes) -> int:
    """
    Where the first line of a moment or later begins, in content whose lines are in order.

    Lines without a time belong to the one before them.
    """
    low, high = 0, len(content)
    while low < high:
        middle = (low + high) // 2
        begin, written = _timed_from(content, middle, high)
        if written is None or written >= moment:
            high = middle
        else:
            low = _end_of(content, begin)
    begin, _ = _timed_from(content, low, len(content))
    return begin


def is_in_order(content: Bytes, *, samples: int = 128) -> bool:
    """
    Whether the times of lines spread evenly over the content never go back.

    A clock that was put back, and that has caught up before the next sample, is not seen.
    """
    before = b""
    for number in range(samples):
        _, written = _timed_from(content, len(content) * number // samples, len(content))
        if written is None:
            break
        # A tenth of a second is the longest that two threads pass each other by.
        if written[:21] < before[:21]:
            return False
        before = written
    return True


def lines_with(
    content: Bytes, needle: bytes, begin: int = 0, end: int | None = None
) -> list[bytes]:
    """The whole lines between two places that hold the needle, in their order."""
    end = len(content) if end is None else end
    found = []
    position = content.find(needle, begin, end)
    while position != -1:
        line_begin = content.rfind(b"\n", 0, position) + 1
        line_end = _end_of(content, position)
        found.append(bytes(content[line_begin:line_end]).rstrip(b"\n"))
        position = content.find(needle, line_end, end)
    return found


def last_time(content: Bytes) -> bytes | None:
    """When the last line that has a time was written."""
    end = len(content)
    while end > 0:
        begin = content.rfind(b"\n", 0, end - 1) + 1
        if written := _time_in(content, begin):
            return written
        end = begin
    return None


def is_torn(content: Bytes) -> bool:
    """Whether the content ends in the middle of a line."""
    begin = content.rfind(b"\n") + 1
    if begin == len(content):
        return False
    try:
        json.loads(content[begin:])
    except ValueError:
        return True
    return False


def whole_size(path: Path) -> int:
    """Of a file's lines in an archive: a last line without its newline gets one there."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if size == 0:
            return 0
        file.seek(-1, 2)
        return size + (file.read(1) != b"\n")


def is_made_of(made: Path, size: int, parts: Sequence[Path]) -> bool:
    """
    Whether something that was made of so many bytes of lines is of these files as they are now.

    They hold as much, and none was changed after it was made; a copy of them that does not keep
    their times counts as changed, because that only costs making it anew.
    """
    moment = made.stat().st_mtime_ns
    return size == sum(map(whole_size, parts)) and all(
        part.stat().st_mtime_ns <= moment for part in parts
    )


def archived_size(path: Path) -> int:
    """
    Of the lines in an archive that `compress` wrote, told by its headers; 0 for another gzip file.

    Raises:
        Damaged: it is cut short.
    """
    with mapped(path) as content:
        return sum(member.raw_bytes for member in members(content))


def _timed_from(content: Bytes, at: int, end: int) -> tuple[int, bytes | None]:
    """The first line with a time that begins at a place or after it (`end`, None without one)."""
    begin = at if at == 0 else _end_of(content, at - 1)
    while begin < end:
        if written := _time_in(content, begin):
            return begin, written
        begin = _end_of(content, begin)
    return len(content), None


def _time_in(content: Bytes, begin: int) -> bytes | None:
    head = content[begin : begin + _SEARCHED].partition(b"\n")[0]
    match = _TIMESTAMP.search(head)
    return match[1] if match else None


def _end_of(content: Bytes, at: int) -> int:
    """Where the line after the one at a place begins."""
    end = content.find(b"\n", at)
    return len(content) if end == -1 else end + 1


# --- Archives ------------------------------------------------------------------------------------

# RFC 1952: magic, deflate, a flag for the extra field, no time, best or none, unknown system.
_FIXED: Final = b"\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff"
_EXTRA: Final = struct.Struct("<2sHI26s")
"""Subfield `IT`: its length, the whole member's length, the time of its first line."""
_HEADER_BYTES: Final = len(_FIXED) + 2 + _EXTRA.size
_TRAILER: Final = struct.Struct("<II")


@dataclass(frozen=True, slots=True)
class Member:
    """A part of an archive: where it is, how many bytes of lines it holds, when they begin."""

    begin: int
    end: int
    raw_bytes: int
    first_time: bytes


def compress(
    blocks: Iterable[bytes], target: IO[bytes], *, level: int = 6, threads: int = 2
) -> None:
    """Write blocks of whole lines as one archive, each a member. Memory: a few blocks a thread."""
    waiting: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for block in blocks:
            waiting.append(pool.submit(_member, block, level))
            if len(waiting) > 2 * threads:
                target.write(waiting.popleft().result())
        for each in waiting:
            target.write(each.result())
    if target.tell() == 0:
        target.write(_member(b"", level))


def blocks_of(paths: Iterable[Path]) -> Iterator[bytes]:
    """
    The lines of files, plain or gzip, one file after the other, about a member's worth at a time.

    Each file's last line gets the newline that a crash left out.

    Raises:
        Damaged: an archive cannot be read on.
    """
    for path in paths:
        yield from whole_lines(expanded(path) if path.suffix == ".gz" else _content(path))


def members(content: Bytes) -> list[Member]:
    """
    The members of an archive that `compress` wrote; empty for any other gzip file.

    Raises:
        Damaged: it begins as ours does and does not go on so.
    """
    found: list[Member] = []
    at = 0
    while at < len(content):
        header = bytes(content[at : at + _HEADER_BYTES])
        if len(header) < _HEADER_BYTES or not header.startswith(_FIXED):
            if not found:
                return []
            raise Damaged(f"no member at byte {at}")
        name, _, size, first_time = _EXTRA.unpack_from(header, len(_FIXED) + 2)
        if name != b"IT":
            return []
        end = at + size
        if size < _HEADER_BYTES + _TRAILER.size or end > len(content):
            raise Damaged(f"cut short at byte {at}")
        _, raw_bytes = _TRAILER.unpack_from(content, end - _TRAILER.size)
        found.append(Member(at, end, raw_bytes, first_time.rstrip(b"\0")))
        at = end
    return found


def expand(content: Bytes, member: Member) -> bytes:
    """
    The lines of a member.

    Raises:
        Damaged: they are not what was written.
    """
    packed = content[member.begin + _HEADER_BYTES : member.end - _TRAILER.size]
    checksum, raw_bytes = _TRAILER.unpack_from(content, member.end - _TRAILER.size)
    try:
        raw = zlib.decompress(packed, wbits=-15, bufsize=max(raw_bytes, 1))
    except zlib.error as error:
        raise Damaged(str(error)) from error
    if zlib.crc32(raw) != checksum or len(raw) != raw_bytes:
        raise Damaged("checksum")
    return raw


def expanded(path: Path) -> Iterator[bytes]:
    """
    The content of any gzip file, in blocks of up to `MEMBER_BYTES`.

    Raises:
        Damaged: it cannot be read on; what was before has been given.
        OSError: it cannot be opened.
    """
    with path.open("rb") as file:
        machine = zlib.decompressobj(wbits=31)
        begun = True  # even an archive of nothing has a member
        while packed := file.read(1 << 18):
            while packed:
                begun = True
                try:
                    raw = machine.decompress(packed, MEMBER_BYTES)
                except zlib.error as error:
                    raise Damaged(str(error)) from error
                if raw:
                    yield raw
                packed = machine.unused_data or machine.unconsumed_tail
                if machine.eof:
                    machine, begun = zlib.decompressobj(wbits=31), False
        if begun:
            raise Damaged("cut short")


def whole_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The same content, cut after newlines only; the last line gets the newline it lacks."""
    rest = b""
    for block in blocks:
        whole, newline, tail = block.rpartition(b"\n")
        if newline:
            yield rest + whole + newline
            rest = tail
        else:
            rest += block
    if rest:
        yield rest + b"\n"


def _content(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(MEMBER_BYTES):
            yield block


def _member(raw: bytes, level: int) -> bytes:
    machine = zlib.compressobj(level, zlib.DEFLATED, -15, 9)
    packed = machine.compress(raw) + machine.flush()
    _, first_time = _timed_from(raw, 0, len(raw))
    size = _HEADER_BYTES + len(packed) + _TRAILER.size
    extra = _EXTRA.pack(b"IT", _EXTRA.size - 4, size, first_time or b"")
    length = struct.pack("<H", len(extra))
    return b"".join(
        (_FIXED, length, extra, packed, _TRAILER.pack(zlib.crc32(raw), len(raw) & 0xFFFFFFFF))
    )
