"""
What requests a month come to: bytes of lines, archives, Parquet and Loki; GPUs; money.

Arithmetic on figures that are measured (`Sizes`) or put in; docs/growth.md walks through it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from observability.archive import Archive
from observability.capacity.queueing import Demand, servers_for
from observability.day_file import KEEP_DAYS
from observability.log_store import day_lines
from observability.log_store.day_sources import day_sources
from observability.log_store.questions import Unanswerable

DAYS: Final = 30
MONTH_SECONDS: Final = DAYS * 86_400.0
MONTH_HOURS: Final = DAYS * 24.0

MOST_REQUESTS: Final = 10**12

MONOLITHIC_GB_A_DAY: Final = 20.0
"""Up to which Grafana's documentation recommends Loki in one process ("Deployment modes")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """
    Bytes of a request, wherever they are kept.

    Args:
        lines: of its lines in the day's file.
        archive: of them in the gzip archive.
        parquet: of its rows in the Parquet copies.
        loki: of its chunks and index in Loki.
    """

    lines: float
    archive: float
    parquet: float
    loki: float


MEASURED: Final = Sizes(lines=2029, archive=238, parquet=224, loki=648)
"""
Of IndexTTS-2's lines with every field, a generated month of 1,000,000 requests: by
`scripts/growth.py --measure`, Loki (snappy, index included) by `scripts/bench.py loki`.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Days that each copy is kept; the defaults are those of the settings and of loki.yaml."""

    lines: float = KEEP_DAYS
    archive: float = 90
    parquet: float = 90
    loki: float = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What the reader pays; nothing here is a price of anybody's."""

    gpu_hour: float
    gb_month_disk: float
    gb_month_bucket: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """What a month of so many requests comes to; bytes are GB of 10⁹."""

    requests: int
    lines_gb: float
    lines_gb_a_day: float
    lines_kept_gb: float
    archive_kept_gb: float
    parquet_kept_gb: float
    loki_kept_gb: float
    mean_rate: float
    peak_rate: float
    peak_mb_a_second: float
    erlangs: float
    gpus: int

    @property
    def fits_one_loki(self) -> bool:
        """Whether one Loki in one process takes it."""
        return self.lines_gb_a_day <= MONOLITHIC_GB_A_DAY

    def cost(self, prices: Prices, *, gpu_hours: float | None = None) -> float:
        """
        A month's money: GPU hours, disks (lines, Parquet), buckets (archives, Loki).

        Args:
            gpu_hours: what was simulated with autoscaling; all GPUs for the whole month if not.
        """
        hours = self.gpus * MONTH_HOURS if gpu_hours is None else gpu_hours
        return (
            hours * prices.gpu_hour
            + (self.lines_kept_gb + self.parquet_kept_gb) * prices.gb_month_disk
            + (self.archive_kept_gb + self.loki_kept_gb) * prices.gb_month_bucket
        )


def growth(
    requests: int,
    *,
    work_seconds: float,
    work_cv: float,
    peak_factor: float,
    wait_seconds: float,
    share: float,
    sizes: Sizes = MEASURED,
    kept: Kept = Kept(),
) -> Growth:
    """
    The arithmetic for one number of requests a month.

    GPUs are for the busiest hour, one request at a time on each, so that `share` of the requests
    waits `wait_seconds` at most (`queueing.servers_for`); one at least.
    """
    if not (0 <= requests <= MOST_REQUESTS and peak_factor >= 1):
        raise ValueError(
            f"requests are 0 or more, up to {MOST_REQUESTS:,}; the peak factor is 1 or more"
        )

    def gb(size: float, days: float) -> float:
        return requests * size * days / DAYS / 1e9

    rate = requests / MONTH_SECONDS
    demand = Demand(rate=rate * peak_factor, work_seconds=work_seconds, work_cv=work_cv)
    return Growth(
        requests=requests,
        lines_gb=gb(sizes.lines, DAYS),
        lines_gb_a_day=gb(sizes.lines, 1),
        lines_kept_gb=gb(sizes.lines, kept.lines),
        archive_kept_gb=gb(sizes.archive, kept.archive),
        parquet_kept_gb=gb(sizes.parquet, kept.parquet),
        loki_kept_gb=gb(sizes.loki, kept.loki),
        mean_rate=rate,
        peak_rate=demand.rate,
        peak_mb_a_second=demand.rate * sizes.lines / 1e6,
        erlangs=demand.offered,
        gpus=servers_for(demand, wait_seconds=wait_seconds, share=share),
    )


@dataclass(frozen=True, slots=True)
class MeasuredLog:
    """What a log folder holds, and what archive and Parquet make of it."""

    requests: int
    lines: int
    lines_bytes: int
    archive_bytes: int
    parquet_bytes: int


def measure(folder: Path) -> MeasuredLog:
    """
    Put a copy of a log folder's days away and look at the sizes; the folder stays as it is.

    The day under way counts as closed. Takes as much temporary disk as the lines do.

    Raises:
        Unanswerable: there is no finished request in it.
    """
    sources = [source for source in day_sources(folder) if source.parts]
    with tempfile.TemporaryDirectory(prefix="indextts-growth-") as name:
        copy = Path(name)
        lines = requests = size = 0
        for source in sources:
            for part in source.parts:
                _linked(part, copy / part.name)
                size += part.stat().st_size
            for block in day_lines.blocks_of(source.parts):
                lines += block.count(b"\n")
                requests += block.count(b'"event": "synthesis.finished"')
        if not requests:
            raise Unanswerable(
                en=f"No finished request stands in {folder}.",
                zh=f"{folder} 中没有已完成的请求。",
            )
        Archive(copy, clock=lambda: datetime.now(UTC) + timedelta(days=2)).run()
        stored = list((copy / "archive").iterdir())
        return MeasuredLog(
            requests=requests,
            lines=lines,
            lines_bytes=size,
            archive_bytes=_bytes(stored, ".gz", ".sha256"),
            parquet_bytes=_bytes(stored, ".parquet"),
        )


def _bytes(paths: list[Path], *suffixes: str) -> int:
    return sum(path.stat().st_size for path in paths if path.suffix in suffixes)


def _linked(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
