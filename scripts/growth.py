"""
What requests a month come to: bytes, GPUs, money. scripts/growth.py, in tables for docs/growth.md

    scripts/growth.py                                           10 thousand to 100 million
    scripts/growth.py --requests 3000000 --audio-seconds 12 --rtf 0.4
    scripts/growth.py --gpu-hour 12 --disk 0.7 --bucket 0.12    your prices, in your currency
    scripts/growth.py --measure logs                            bytes of a request of your own log
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import structlog

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from observability.archive import ArchiveFailed
from observability.capacity.growth import MEASURED, Growth, Prices, Sizes, growth, measure
from observability.capacity.load import Length, week
from observability.log_store.questions import Unanswerable
from observability.log_store.sources import open_store

REQUESTS = (10_000, 1_000_000, 10_000_000, 100_000_000)


def main() -> int:
    """Exit status 0 with an answer, 2 for a question that has none."""
    parser = _parser()
    asked = parser.parse_args()
    try:
        if asked.measure:
            print(*_measured(asked.measure), sep="\n")
            return 0
        print(*_told(asked), sep="\n")
    except (Unanswerable, ArchiveFailed) as error:
        print(error.en, error.zh, sep="\n", file=sys.stderr)
        return 2
    except ValueError as error:
        parser.error(str(error))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measure", type=Path, metavar="FOLDER", help="only look at this log")
    parser.add_argument("--requests", type=int, nargs="+", default=REQUESTS, help="a month")
    parser.add_argument("--audio-seconds", type=float, default=8.0, help="of a request, mean (8)")
    parser.add_argument(
        "--audio-cv", type=float, default=0.8, help="standard deviation / mean (0.8)"
    )
    parser.add_argument("--rtf", type=float, default=0.5, help="seconds of work a second of audio")
    parser.add_argument("--rtf-cv", type=float, default=0.2, help="standard deviation / mean (0.2)")
    parser.add_argument("--fixed-seconds", type=float, default=0.0, help="work of any request")
    parser.add_argument("--peak-factor", type=float, help="busiest hour over the mean (2.5)")
    parser.add_argument("--aim-wait", type=float, default=2.0, help="seconds of waiting at most")
    parser.add_argument(
        "--aim-percent", type=float, default=95.0, help="for this share of requests"
    )
    for name in ("lines", "archive", "parquet", "loki"):
        usual = getattr(MEASURED, name)
        parser.add_argument(
            f"--{name}-bytes", type=_amount, default=usual, help=f"a request ({usual})"
        )
    parser.add_argument("--gpu-hour", type=_amount, help="price of an hour of a GPU")
    parser.add_argument("--disk", type=_amount, help="price of a GB of disk for a month")
    parser.add_argument("--bucket", type=_amount, help="the same of object storage")
    parser.add_argument(
        "--gpu-hours", type=_amount, help="what scripts/simulate.py --autoscale counted"
    )
    return parser


def _amount(text: str) -> float:
    amount = float(text)
    if not 0 <= amount < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not 0 or more")
    return amount


def _measured(folder: Path) -> Iterator[str]:
    open_store("files", folder)
    before = structlog.get_config()
    # What the archive tells of each day is not the answer.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    try:
        found = measure(folder)
    finally:
        structlog.configure(**before)
    yield (
        f"{found.requests:,} finished requests in {found.lines:,} lines, "
        f"{found.lines_bytes / 1e6:,.1f} MB.\n"
    )
    yield "| of a request | bytes | share of its lines |"
    yield "|---|---|---|"
    for name, size in (
        ("lines (started, finished, and what else the service said)", found.lines_bytes),
        ("archive (gzip)", found.archive_bytes),
        ("Parquet copies", found.parquet_bytes),
    ):
        share = size / found.lines_bytes
        yield f"| {name} | {size / found.requests:,.0f} | {share:.0%} |"


def _told(asked: argparse.Namespace) -> Iterator[str]:
    length = Length(
        audio_seconds=asked.audio_seconds,
        audio_cv=asked.audio_cv,
        rtf=asked.rtf,
        rtf_cv=asked.rtf_cv,
        fixed_seconds=asked.fixed_seconds,
    )
    if not 0 < asked.aim_percent < 100:
        raise ValueError("--aim-percent lies between 0 and 100")
    prices = (asked.gpu_hour, asked.disk, asked.bucket)
    if len({price is None for price in prices}) == 2:
        raise ValueError("--gpu-hour, --disk and --bucket go together")
    peak = float(week(asked.peak_factor).max())
    sizes = Sizes(
        lines=asked.lines_bytes,
        archive=asked.archive_bytes,
        parquet=asked.parquet_bytes,
        loki=asked.loki_bytes,
    )
    found = [
        growth(
            requests,
            work_seconds=length.mean,
            work_cv=length.cv,
            peak_factor=peak,
            wait_seconds=asked.aim_wait,
            share=asked.aim_percent / 100,
            sizes=sizes,
        )
        for requests in asked.requests
    ]
    yield (
        "| requests a month | lines | a day | archive, 90 days | Parquet, 90 days "
        "| Loki, 7 days | lines in the busiest hour |"
    )
    yield "|---|---|---|---|---|---|---|"
    yield from map(_bytes_row, found)
    yield ""
    yield "| requests a month | a second | in the busiest hour | busy GPUs then | GPUs |"
    yield "|---|---|---|---|---|"
    yield from map(_gpu_row, found)
    yield (
        f"\nWork of a request: {length.mean:.2f} s (coefficient of variation {length.cv:.2f}); "
        f"busiest hour {peak:.1f} times the mean; {asked.aim_percent:g} % wait "
        f"{asked.aim_wait:g} s at most."
    )
    if asked.gpu_hour is not None:
        paid = Prices(
            gpu_hour=asked.gpu_hour, gb_month_disk=asked.disk, gb_month_bucket=asked.bucket
        )
        yield ""
        yield "| requests a month | cost a month | of which storage | of 1,000 requests |"
        yield "|---|---|---|---|"
        for one in found:
            yield _cost_row(one, paid, asked.gpu_hours)


def _bytes_row(one: Growth) -> str:
    return (
        f"| {one.requests:,} | {_gb(one.lines_gb)} | {_gb(one.lines_gb_a_day)} "
        f"| {_gb(one.archive_kept_gb)} | {_gb(one.parquet_kept_gb)} | {_gb(one.loki_kept_gb)} "
        f"| {1000 * one.peak_mb_a_second:,.2f} kB/s |"
    )


def _gpu_row(one: Growth) -> str:
    return (
        f"| {one.requests:,} | {one.mean_rate:.3f} | {one.peak_rate:.3f} | {one.erlangs:.2f} "
        f"| {one.gpus:,} |"
    )


def _cost_row(one: Growth, prices: Prices, gpu_hours: float | None) -> str:
    cost = one.cost(prices, gpu_hours=gpu_hours)
    storage = one.cost(replace(prices, gpu_hour=0))
    each = cost / one.requests * 1000 if one.requests else 0
    return f"| {one.requests:,} | {cost:,.2f} | {storage:,.2f} | {each:,.2f} |"


def _gb(size: float) -> str:
    return f"{size:,.1f} GB" if size >= 1 else f"{size * 1000:,.0f} MB"


if __name__ == "__main__":
    sys.exit(main())
