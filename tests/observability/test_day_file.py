"""
Promises of `observability.day_file`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from observability.day_file import DayFile, day_files, day_of

NOON = datetime(2025, 11, 21, 12, tzinfo=UTC)
TODAY = "indextts-2025-11-21"
PAGE = os.sysconf("SC_PAGE_SIZE")


class Clock:
    """A wall clock that a test sets."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now.timestamp()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def day_file(folder: Path, **options: int) -> DayFile:
    return DayFile(folder, clock=Clock(), **options)


# --- Names ---------------------------------------------------------------------------------------


def test_a_line_goes_to_the_file_of_the_utc_day(tmp_path: Path) -> None:
    """Under its final name from the first line, in a folder that is made for it."""
    folder = tmp_path / "deep" / "logs"
    file = day_file(folder)
    assert file.write(b'{"n": 1}')
    assert file.write(b'{"n": 2}')
    assert contents(folder) == {f"{TODAY}.jsonl": b'{"n": 1}\n{"n": 2}\n'}
    assert file.path == folder / f"{TODAY}.jsonl"


def test_a_new_utc_day_begins_a_new_file(tmp_path: Path) -> None:
    """The last microsecond before midnight and midnight itself are in different files."""
    clock = Clock(datetime(2025, 11, 21, 23, 59, 59, 999_999, tzinfo=UTC))
    file = DayFile(tmp_path, clock=clock)
    file.write(b"old")
    clock.now += timedelta(microseconds=1)
    file.write(b"new")
    assert contents(tmp_path) == {
        "indextts-2025-11-21.jsonl": b"old\n",
        "indextts-2025-11-22.jsonl": b"new\n",
    }


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("indextts-2025-11-21.jsonl", (date(2025, 11, 21), 1)),
        ("indextts-2025-11-21-12.jsonl", (date(2025, 11, 21), 12)),
        ("indextts-2025-13-21.jsonl", None),
        ("indextts-2025-11-21.jsonl.gz", None),
        ("other-2025-11-21.jsonl", None),
    ],
)
def test_a_name_tells_day_and_part(name: str, told: tuple[date, int] | None) -> None:
    """Files that are not ours, or of no real day, tell nothing."""
    assert day_of(Path(name)) == told


def test_files_are_listed_in_the_order_of_writing(tmp_path: Path) -> None:
    """Day by day, and within a day by the number of the part: 10 comes after 2."""
    names = [
        "indextts-2025-11-20-2.jsonl",
        f"{TODAY}.jsonl",
        f"{TODAY}-2.jsonl",
        f"{TODAY}-10.jsonl",
    ]
    for name in (*reversed(names), "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for _, path in day_files(tmp_path)] == names


def test_a_missing_folder_has_no_files(tmp_path: Path) -> None:
    """Nobody has logged yet; that is no error."""
    assert day_files(tmp_path / "never") == []


# --- Size ----------------------------------------------------------------------------------------


def test_a_day_that_grows_too_large_goes_on_in_numbered_parts(tmp_path: Path) -> None:
    """Each part stays within the limit, no line is split, and earlier parts stay as they are."""
    file = day_file(tmp_path, max_bytes=10)
    for line in (b"aaaa", b"bbbb", b"cccc", b"dddd", b"eeee"):
        assert file.write(line)
    assert contents(tmp_path) == {
        f"{TODAY}.jsonl": b"aaaa\nbbbb\n",
        f"{TODAY}-2.jsonl": b"cccc\ndddd\n",
        f"{TODAY}-3.jsonl": b"eeee\n",
    }


def test_a_line_above_the_limit_is_written_all_the_same(tmp_path: Path) -> None:
    """It has a part to itself and starts no empty ones."""
    file = day_file(tmp_path, max_bytes=4)
    assert file.write(b"longer than that")
    assert file.write(b"x")
    assert contents(tmp_path) == {
        f"{TODAY}.jsonl": b"longer than that\n",
        f"{TODAY}-2.jsonl": b"x\n",
    }


def test_a_restart_goes_on_in_the_highest_part(tmp_path: Path) -> None:
    """A new process appends where the last one stopped, so that the order of lines holds."""
    (tmp_path / f"{TODAY}.jsonl").write_bytes(b"one\n")
    (tmp_path / f"{TODAY}-2.jsonl").write_bytes(b"two\n")
    assert day_file(tmp_path).write(b"three")
    assert contents(tmp_path) == {f"{TODAY}.jsonl": b"one\n", f"{TODAY}-2.jsonl": b"two\nthree\n"}


def test_a_new_day_begins_with_its_first_part_again(tmp_path: Path) -> None:
    """Yesterday's parts say nothing about today's."""
    clock = Clock()
    file = DayFile(tmp_path, clock=clock, max_bytes=1)
    file.write(b"one")
    file.write(b"two")
    clock.now += timedelta(days=1)
    file.write(b"three")
    assert sorted(contents(tmp_path)) == [
        f"{TODAY}-2.jsonl",
        f"{TODAY}.jsonl",
        "indextts-2025-11-22.jsonl",
    ]


def test_a_file_is_never_renamed_or_truncated(tmp_path: Path) -> None:
    """Through splits, days and restarts, each file keeps its inode and its beginning."""
    clock = Clock()
    seen: dict[str, tuple[int, bytes]] = {}
    for number in range(40):
        if number % 5 == 0:
            file = DayFile(tmp_path, clock=clock, max_bytes=30)
        assert file.write(f"line {number}".encode())
        clock.now += timedelta(hours=4)
        for path in tmp_path.iterdir():
            inode, beginning = seen.get(path.name, (path.stat().st_ino, b""))
            now = path.read_bytes()
            assert (path.stat().st_ino, now[: len(beginning)]) == (inode, beginning)
            seen[path.name] = (inode, now)
    written = b"".join(now for _, now in seen.values()).decode().splitlines()
    assert sorted(written) == sorted(f"line {number}" for number in range(40))


# --- Trouble -------------------------------------------------------------------------------------


def test_a_removed_file_is_made_anew(tmp_path: Path) -> None:
    """After an `rm` of the live file the next line is in a file that can be seen."""
    file = day_file(tmp_path)
    file.write(b"one")
    file.path.unlink()
    assert file.write(b"two")
    assert contents(tmp_path) == {f"{TODAY}.jsonl": b"two\n"}


def test_a_removed_folder_is_made_anew(tmp_path: Path) -> None:
    """After an `rm -r` of the folder the next line is there again."""
    folder = tmp_path / "logs"
    file = day_file(folder)
    file.write(b"one")
    file.path.unlink()
    folder.rmdir()
    assert file.write(b"two")
    assert contents(folder) == {f"{TODAY}.jsonl": b"two\n"}


def test_a_folder_that_cannot_be_written_refuses_lines_until_it_can(tmp_path: Path) -> None:
    """The writer is told each time, nothing is raised, and it recovers without a restart."""
    folder = tmp_path / "logs"
    folder.write_text("a file in its place")
    file = day_file(folder)
    assert not file.write(b"one")
    assert not file.write(b"two")
    folder.unlink()
    assert file.write(b"three")
    assert contents(folder) == {f"{TODAY}.jsonl": b"three\n"}


def test_a_folder_that_comes_back_is_continued_in_its_highest_part(tmp_path: Path) -> None:
    """A folder that was not mounted at the first line is still read for its parts."""
    folder, elsewhere = tmp_path / "logs", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / f"{TODAY}-3.jsonl").write_bytes(b"one\n")
    folder.write_text("not mounted")
    file = day_file(folder)
    assert not file.write(b"two")
    folder.unlink()
    elsewhere.rename(folder)
    assert file.write(b"three")
    assert contents(folder) == {f"{TODAY}-3.jsonl": b"one\nthree\n"}


def test_a_descriptor_closed_by_somebody_else_costs_one_line(tmp_path: Path) -> None:
    """A library that closes all descriptors makes no caller fail."""
    file = day_file(tmp_path)
    file.write(b"one")
    (descriptor,) = (
        int(link.name)
        for link in Path("/proc/self/fd").iterdir()
        if link.is_symlink() and os.path.realpath(link) == str(file.path)
    )
    os.close(descriptor)
    assert not file.write(b"two")
    assert file.write(b"three")
    assert contents(tmp_path) == {f"{TODAY}.jsonl": b"one\nthree\n"}


def test_what_a_killed_process_left_torn_is_ended_first(tmp_path: Path) -> None:
    """The first line of the next process is whole, on a line of its own."""
    (tmp_path / f"{TODAY}.jsonl").write_bytes(b'whole\n{"torn": "li')
    assert day_file(tmp_path).write(b"next")
    assert contents(tmp_path) == {f"{TODAY}.jsonl": b'whole\n{"torn": "li\nnext\n'}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four pages."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk to fill")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={4 * PAGE}", "tmpfs", disk],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"no small disk to fill: {mounted.stderr.partition(chr(10))[0]}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def test_a_full_disk_tears_one_line_and_the_next_one_is_whole(small_disk: Path) -> None:
    """Lines are refused while there is no space; the torn one is ended before the next."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(2 * PAGE))
    line = b"x" * (PAGE * 3 // 4)
    file = day_file(small_disk)
    assert [file.write(line) for _ in range(5)] == [True, True, False, False, False]
    torn = file.path.read_bytes()
    assert torn == (line + b"\n") * 2 + line[: 2 * PAGE - 2 * len(line) - 2]
    ballast.unlink()
    assert file.write(b"after")
    assert file.write(b"again")
    assert file.path.read_bytes() == torn + b"\nafter\nagain\n"


def test_a_torn_line_of_yesterday_costs_today_no_empty_line(small_disk: Path) -> None:
    """A file that begins a day begins with a line."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(3 * PAGE))
    clock = Clock()
    file = DayFile(small_disk, clock=clock)
    assert not file.write(b"x" * (2 * PAGE))
    ballast.unlink()
    clock.now += timedelta(days=1)
    assert file.write(b"new day")
    assert file.path.read_bytes() == b"new day\n"


# --- Retention -----------------------------------------------------------------------------------


def aged(folder: Path, *days: int) -> None:
    for age in days:
        (folder / f"indextts-{NOON.date() - timedelta(days=age)}.jsonl").touch()


def test_files_are_kept_for_the_days_asked_for(tmp_path: Path) -> None:
    """The first line of a day deletes log files beyond that age, every part, and nothing else."""
    aged(tmp_path, 30, 31, 400)
    (tmp_path / "indextts-2025-10-01-2.jsonl").touch()
    (tmp_path / "indextts-2020-01-01.parquet").touch()
    day_file(tmp_path, keep_days=30).write(b"today")
    assert sorted(contents(tmp_path)) == [
        "indextts-2020-01-01.parquet",
        "indextts-2025-10-22.jsonl",
        f"{TODAY}.jsonl",
    ]


def test_seven_days_are_kept_whatever_is_asked(tmp_path: Path) -> None:
    """A shipper that is behind by a week still finds every file."""
    aged(tmp_path, 1, 7, 8)
    day_file(tmp_path, keep_days=0).write(b"today")
    assert sorted(contents(tmp_path)) == [
        "indextts-2025-11-14.jsonl",
        "indextts-2025-11-20.jsonl",
        f"{TODAY}.jsonl",
    ]


def test_an_old_file_that_cannot_be_deleted_costs_no_line(tmp_path: Path) -> None:
    """Deleting is tried, and the line is written in any case."""
    (tmp_path / "indextts-2020-01-01.jsonl").mkdir()
    file = day_file(tmp_path)
    assert file.write(b"today")
    assert file.path.read_bytes() == b"today\n"
