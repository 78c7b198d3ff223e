"""
Where the lines of each day are: in the service's files, in an archive of them, in a Parquet copy.

    indextts-2026-10-04.jsonl, -2.jsonl …        the service's own, in the log folder
    archive/indextts-2026-10-04.jsonl.gz         all of a closed day, whoever wrote it
    archive/indextts-2026-10-04.parquet          its finished requests, sorted by request_id
    archive/indextts-2026-10-04.other.parquet    its other lines, as they were written
    archive/indextts-2026-10-04.sums.parquet     its sums, and .latencies.parquet: see sums.py

An archive that somebody fetched back may lie in the log folder as well. Several services have a
folder each; where these lie in one folder, that one stands for all of them.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final

from observability.day_file import day_files

ARCHIVE: Final = "archive"

_OF_A_DAY: Final = re.compile(r"indextts-\d{4}-\d\d-\d\d[.-]")
_NAME: Final = re.compile(r"indextts-(\d{4}-\d{2}-\d{2})(\.jsonl\.gz|\.parquet|\.other\.parquet)")


@dataclass(frozen=True, slots=True, kw_only=True)
class DaySource:
    """The files of one day, all in a folder; `finished` and `other` are the Parquet copy."""

    day: date
    folder: Path
    parts: tuple[Path, ...] = ()
    archive: Path | None = None
    finished: Path | None = None
    other: Path | None = None

    @property
    def has_all_parts(self) -> bool:
        """Whether the service's files are there from the first on; they are dropped in order."""
        return bool(self.parts) and self.parts[0].name == f"indextts-{self.day}.jsonl"


def log_folders(named: Sequence[Path]) -> tuple[Path, ...]:
    """The log folders that are meant, each once: those named, and the log folders in them."""
    found: dict[Path, Path] = {}
    for folder in named:
        inner = _folders_in(folder)
        for each in inner if inner and not _holds_lines(folder) else (folder, *inner):
            found.setdefault(each.resolve(), each)
    return tuple(found.values())


def archive_name(day: date) -> str:
    """What a day's archive is called."""
    return f"indextts-{day}.jsonl.gz"


def parquet_names(day: date) -> tuple[str, str]:
    """What the Parquet copy of a day is called: its finished requests, its other lines."""
    return f"indextts-{day}.parquet", f"indextts-{day}.other.parquet"


def day_sources(
    folder: Path, first: date | None = None, last: date | None = None
) -> list[DaySource]:
    """The days that have files, oldest first, from `first` to `last` (both inside) if given."""
    parts: dict[date, list[Path]] = defaultdict(list)
    for day, path in day_files(folder):
        parts[day].append(path)
    others: dict[date, dict[str, Path]] = defaultdict(dict)
    for place in (folder, folder / ARCHIVE):
        for path in _files_of(place):
            if match := _NAME.fullmatch(path.name):
                try:
                    others[date.fromisoformat(match[1])][match[2]] = path
                except ValueError:
                    continue
    return [
        DaySource(
            day=day,
            folder=folder,
            parts=tuple(parts.get(day, ())),
            archive=(kinds := others.get(day, {})).get(".jsonl.gz"),
            finished=kinds.get(".parquet") if ".other.parquet" in kinds else None,
            other=kinds.get(".other.parquet"),
        )
        for day in sorted({*parts, *others})
        if (first is None or day >= first) and (last is None or day <= last)
    ]


def day_source(folder: Path, day: date) -> DaySource:
    """
    The files of one day, found by their names alone, however many other days there are.

    Parts after one that is missing are not found; `day_sources` finds them all.
    """
    parts = list(_present(folder / f"indextts-{day}.jsonl"))
    while parts and (more := list(_present(folder / f"indextts-{day}-{len(parts) + 1}.jsonl"))):
        parts += more
    finished, other = (_kept(folder, name) for name in parquet_names(day))
    return DaySource(
        day=day,
        folder=folder,
        parts=tuple(parts),
        archive=_kept(folder, archive_name(day)),
        finished=finished if other is not None else None,
        other=other,
    )


def days_between(first: date, last: date) -> list[date]:
    """Every day from the first to the last, both inside."""
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def _kept(folder: Path, name: str) -> Path | None:
    for place in (folder / ARCHIVE, folder):
        for path in _present(place / name):
            return path
    return None


def _present(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path


def _holds_lines(folder: Path) -> bool:
    """Whether a day's file is there, or an archive of such; looks no further than the first."""
    try:
        with os.scandir(folder) as entries:
            return any(entry.name == ARCHIVE or _OF_A_DAY.match(entry.name) for entry in entries)
    except OSError:
        return False


def _folders_in(folder: Path) -> tuple[Path, ...]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir())
    except OSError:
        return ()
    return tuple(folder / name for name in names if name != ARCHIVE and _holds_lines(folder / name))


def _files_of(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_file())
    except OSError:
        return []


def spans(days: Sequence[date], to: str) -> str:
    """Days as a list, runs of them as their first and last."""
    runs: list[list[date]] = [[days[0], days[0]]]
    for before, day in pairwise(days):
        if day - before == timedelta(days=1):
            runs[-1][1] = day
        else:
            runs.append([day, day])
    return ", ".join(f"{first}" if first == last else f"{first}{to}{last}" for first, last in runs)
