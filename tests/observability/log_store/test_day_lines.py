"""
Promises of `observability.log_store.day_lines`.
"""

from __future__ import annotations

import gzip
import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.log_store import day_lines

START = datetime(2026, 9, 3, tzinfo=UTC)


def line_at(seconds: float, **fields: object) -> bytes:
    moment = (START + timedelta(seconds=seconds)).isoformat(timespec="microseconds")
    written = {"timestamp": moment.replace("+00:00", "Z"), "event": "x.finished", **fields}
    return json.dumps(written).encode() + b"\n"


def archived(tmp_path: Path, content: bytes, *, block: int = 1 << 20) -> Path:
    path = tmp_path / "indextts-2026-09-03.jsonl.gz"
    blocks = [content[at : at + block] for at in range(0, len(content), block)]
    with path.open("wb") as file:
        day_lines.compress(day_lines.whole_lines(blocks), file)
    return path


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(-1, 51))
def test_a_moment_is_found_by_halving(seconds: list[int], wanted: int) -> None:
    """The first line of that moment or later, as reading them all would find it."""
    lines = [line_at(each) for each in sorted(seconds)]
    content = b"".join(lines)
    before = sum(len(line) for line, at in zip(lines, sorted(seconds), strict=True) if at < wanted)
    moment = day_lines.as_bytes(START + timedelta(seconds=wanted))
    assert day_lines.first_at(content, moment) == before


def test_lines_without_a_time_do_not_lead_astray() -> None:
    """Text of other programs, at the beginning, between and at the end."""
    noise = b"Traceback (most recent call last):\n  somewhere\n"
    content = noise + line_at(1) + noise * 50 + line_at(5) + noise + line_at(9) + noise
    found = day_lines.first_at(content, day_lines.as_bytes(START + timedelta(seconds=5)))
    assert content[found:].startswith(line_at(5))
    late = day_lines.as_bytes(START + timedelta(seconds=10))
    assert day_lines.first_at(content, late) == len(content)


def test_a_clock_that_went_back_is_seen() -> None:
    """An hour back, in the middle of a file."""
    forward = [line_at(60 * minute) for minute in range(600)]
    back = [line_at(60 * minute) for minute in range(540, 900)]
    assert day_lines.is_in_order(b"".join(forward))
    assert not day_lines.is_in_order(b"".join(forward + back))


@pytest.mark.parametrize(
    ("content", "torn"),
    [
        (b"", False),
        (b'{"a": 1}\n', False),
        (b'{"a": 1}\n{"a": 2}', False),
        (b'{"a": 1}\n{"a": 2, "b', True),
        (b'{"a', True),
    ],
)
def test_a_torn_end_is_told_from_a_missing_newline(content: bytes, torn: bool) -> None:
    """Half a line is torn; a whole one without its newline is not."""
    assert day_lines.is_torn(content) is torn


# --- Archives ------------------------------------------------------------------------------------


def test_any_gzip_program_reads_an_archive(tmp_path: Path) -> None:
    """All members, one after the other."""
    content = b"".join(line_at(number, number=number) for number in range(2000))
    path = archived(tmp_path, content, block=10_000)
    assert gzip.decompress(path.read_bytes()) == content
    run = subprocess.run(["gzip", "-dc", path], capture_output=True, check=True)
    assert run.stdout == content
    assert b"".join(day_lines.expanded(path)) == content


def test_each_member_tells_when_it_begins_and_is_read_alone(tmp_path: Path) -> None:
    """Whole lines only; the headers give size and time of each."""
    content = b"".join(line_at(number) for number in range(500))
    path = archived(tmp_path, content, block=8_000)
    with day_lines.mapped(path) as packed:
        members = day_lines.members(packed)
        parts = [day_lines.expand(packed, member) for member in members]
    assert len(members) > 3
    assert b"".join(parts) == content
    assert [len(part) for part in parts] == [member.raw_bytes for member in members]
    for part, member in zip(parts, members, strict=True):
        assert json.loads(part.splitlines()[0])["timestamp"] == member.first_time.decode() + "Z"
    assert day_lines.archived_size(path) == len(content)


def test_a_last_line_gets_the_newline_that_it_lacks(tmp_path: Path) -> None:
    """So that the next file's first line does not run into it."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(line_at(1)[:-1])
    two.write_bytes(line_at(2))
    assert b"".join(day_lines.blocks_of([one, two])) == line_at(1) + line_at(2)
    assert day_lines.whole_size(one) == len(line_at(1))


def test_an_archive_of_nothing_is_an_archive(tmp_path: Path) -> None:
    """A day's file may be empty."""
    path = archived(tmp_path, b"")
    assert gzip.decompress(path.read_bytes()) == b""
    assert day_lines.archived_size(path) == 0


def test_another_programs_gzip_file_has_no_members(tmp_path: Path) -> None:
    """It is read from its beginning, then."""
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(line_at(1)) + gzip.compress(line_at(2)))
    with day_lines.mapped(path) as packed:
        assert day_lines.members(packed) == []
    assert b"".join(day_lines.expanded(path)) == line_at(1) + line_at(2)


@pytest.mark.parametrize("lost", [1, 9, 200])
def test_an_archive_cut_short_is_damaged(tmp_path: Path, lost: int) -> None:
    """Whether its headers are read or its content, of which the beginning is given first."""
    content = b"".join(line_at(number, text=str(number) * 50) for number in range(2000))
    path = archived(tmp_path, content, block=20_000)
    path.write_bytes(path.read_bytes()[:-lost])
    with day_lines.mapped(path) as packed, pytest.raises(day_lines.Damaged):
        day_lines.members(packed)
    blocks = day_lines.expanded(path)
    got = next(blocks)
    assert content.startswith(got)
    with pytest.raises(day_lines.Damaged):
        list(blocks)


def test_a_flipped_byte_is_noticed(tmp_path: Path) -> None:
    """The checksum of its member does not fit."""
    content = b"".join(line_at(number) for number in range(500))
    path = archived(tmp_path, content)
    packed = bytearray(path.read_bytes())
    packed[len(packed) // 2] ^= 0x10
    with pytest.raises(day_lines.Damaged):
        day_lines.expand(bytes(packed), day_lines.members(bytes(packed))[0])
