"""Promises of the layers of the result cache: bounded, crash-safe, and never a wrong audio."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from indextts_app.results.disk import Disk
from indextts_app.results.entry import Damaged, Entry
from indextts_app.results.memory import Memory
from observability.audio_check import SignalReport

ID, OTHER_ID = "01K8ZQ3V7M1ABCDEFGHJKMNPQR", "01M7YQJX7PTPC1PAJTN75109G2"
SIGNAL = SignalReport("ok", -18.6, -1.0, 0.0, 0.1, 0.3, 4.2)
ENTRY = Entry(
    request_id=ID,
    made_at=1_000.0,
    audio=b"request_id=" + ID.encode() + b"x" * 1_000,
    sample_rate=22_050,
    signal=SIGNAL,
    seed=7,
    notes={"text_tokens": 12, "length_limited": False},
)


def of(size: int, made_at: float = 1_000.0) -> Entry:
    """An entry of so many bytes of audio."""
    return replace(ENTRY, audio=b"x" * size, made_at=made_at)


class TestEntry:
    """What is kept of a result."""

    def test_comes_back_as_it_was(self) -> None:
        """Every field, and the sound."""
        assert Entry.unpacked(ENTRY.packed()) == ENTRY

    def test_answers_with_the_id_of_who_asks(self) -> None:
        """In the file's own tags."""
        assert ENTRY.audio_for(OTHER_ID) == ENTRY.audio.replace(ID.encode(), OTHER_ID.encode())

    @pytest.mark.parametrize("cut", [0, 3, 10, 60, 300, -1])
    def test_a_part_of_one_is_none(self, cut: int) -> None:
        """Whatever was lost."""
        with pytest.raises(Damaged):
            Entry.unpacked(ENTRY.packed()[:cut])

    @pytest.mark.parametrize("place", [0, 5, 8, 12, 20, 200, 900])
    def test_a_changed_byte_is_noticed(self, place: int) -> None:
        """In the head, in what was measured, in the sound."""
        data = bytearray(ENTRY.packed())
        data[place] ^= 1
        with pytest.raises(Damaged):
            Entry.unpacked(bytes(data))


class TestMemory:
    """The entries of this process."""

    def test_the_least_recently_used_goes_first(self) -> None:
        """Until what is left fits."""
        memory = Memory(250)
        for key in "abc":
            memory.put(key, of(100))
            memory.find("a", made_after=0)
        assert [key for key in "abc" if memory.find(key, made_after=0)] == ["a", "c"]
        assert memory.bytes_used == 200
        memory.put("a", of(50))
        assert memory.bytes_used == 150

    def test_what_is_too_large_or_too_old_is_not_held(self) -> None:
        """An audio larger than all there is would push everything else out."""
        memory = Memory(250)
        memory.put("a", of(100))
        memory.put("b", of(251))
        assert memory.find("b", made_after=0) is None
        assert memory.find("a", made_after=1_001) is None
        assert memory.bytes_used == 0


class TestDisk:
    """The entries that outlive the process."""

    def test_a_restart_finds_them(self, tmp_path: Path) -> None:
        """And nothing else is in the folder."""
        size = Disk(tmp_path / "cache", 10_000).put("a", ENTRY)
        (file,) = (tmp_path / "cache").iterdir()
        assert size == file.stat().st_size
        again = Disk(tmp_path / "cache", 10_000)
        assert again.find("a", made_after=0) == ENTRY
        assert again.find("b", made_after=0) is None
        assert again.bytes_used == size

    def test_the_least_recently_used_goes_first(self, tmp_path: Path) -> None:
        """Also of those that an earlier process left, by their age."""
        size = Disk(tmp_path, 10**6).put("a", ENTRY)
        for age, key in enumerate("dcb"):
            Disk(tmp_path, 10**6).put(key, ENTRY)
            os.utime(tmp_path / f"{key}.result", (100 - age, 100 - age))
        disk = Disk(tmp_path, 4 * size)
        assert disk.find("b", made_after=0)
        disk.put("e", ENTRY)
        assert [key for key in "abcde" if disk.find(key, made_after=0)] == ["a", "b", "d", "e"]
        assert disk.bytes_used == 4 * size

    def test_what_is_too_large_is_not_kept(self, tmp_path: Path) -> None:
        """And pushes nothing out."""
        disk = Disk(tmp_path, 5_000)
        disk.put("a", ENTRY)
        assert disk.put("b", of(6_000)) == 0
        assert disk.find("a", made_after=0)

    @pytest.mark.parametrize("content", [b"", b"ITTS", ENTRY.packed()[:-1]])
    def test_a_damaged_file_is_deleted(self, content: bytes, tmp_path: Path) -> None:
        """It is told once, and made anew."""
        path = tmp_path / "a.result"
        path.write_bytes(content)
        disk = Disk(tmp_path, 5_000)
        with pytest.raises(Damaged):
            disk.find("a", made_after=0)
        assert disk.find("a", made_after=0) is None
        assert not path.exists()

    def test_what_is_too_old_is_deleted(self, tmp_path: Path) -> None:
        """By when it was made, however often it was used."""
        disk = Disk(tmp_path, 5_000)
        disk.put("a", ENTRY)
        assert disk.find("a", made_after=1_000)
        assert disk.find("a", made_after=1_001) is None
        assert list(tmp_path.iterdir()) == []

    def test_a_file_that_a_sweep_took_is_forgotten(self, tmp_path: Path) -> None:
        """With its size."""
        disk = Disk(tmp_path, 5_000)
        disk.put("a", ENTRY)
        (tmp_path / "a.result").unlink()
        assert disk.find("a", made_after=0) is None
        assert disk.bytes_used == 0

    def test_a_folder_that_cannot_be_written_says_so(self, tmp_path: Path) -> None:
        """And leaves nothing half done."""
        (tmp_path / "cache").write_text("a file")
        with pytest.raises(OSError):
            Disk(tmp_path / "cache", 5_000).put("a", ENTRY)
