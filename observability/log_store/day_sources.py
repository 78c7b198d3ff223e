"""
Where the lines of each day are: in the service's files, in an archive of them, in a Parquet copy.

    indextts-2026-10-04.jsonl, -2.jsonl …        the service's own, in the log folder
    archive/indextts-2026-10-04.jsonl.gz         all of a closed day, whoever wrote it
    archive/indextts-2026-10-04.parquet          its finished requests, sorted by request_id
    archive/indextts-2026-10-04.other.parquet    its other lines, as they were written
    archive/indextts-2026-10-04.sums.parquet     its sums, and .latencies.parquet: see sums.py

An archive that somebody fetched back may lie in the log folder as well.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from observability.day_file import day_files

ARCHIVE: Final = "archive"

_NAME: Final = re.compile(r"indextts-(\d{4}-\d{2}-\d{2})(\.jsonl\.gz|\.parquet|\.other\.parquet)")


@dataclass(frozen=True, slots=True, kw_only=True)
class DaySource:
    """The files of one day, all there is; `finished` and `other` are the Parquet copy."""

    day: date
    parts: tuple[Path, ...] = ()
    archive: Path | None = None
    finished: Path | None = None
    other: Path | None = None

    @property
    def has_all_parts(self) -> bool:
        """Whether the service's files are there from the first on; they are dropped in order."""
        return bool(self.parts) and self.parts[0].name == f"indextts-{self.day}.jsonl"


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


def _files_of(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_file())
    except OSError:
        return []
