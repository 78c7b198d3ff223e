"""
Write a month of lines as the service would: scripts/generate_logs.py --month 2026-09 --out FOLDER

The same seed gives the same bytes. Nothing that is there is overwritten.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from observability.generated_logs import Month, generate

EARLIEST, LATEST = 1970 * 12, 9998 * 12 + 11
"""Months since the year 0: a request_id tells no time before, a date none after."""


def main() -> int:
    """Exit status 0 with the files written, 1 if there are some already, 2 for a wrong question."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--month", required=True, help="YYYY-MM")
    parser.add_argument("--months", type=int, default=1, help="so many months, ending with it")
    parser.add_argument("--requests", type=int, default=10_000, help="in each month")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="folder for the day files")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    match = re.fullmatch(r"(\d{4})-(0[1-9]|1[0-2])", asked.month)
    last = int(match[1]) * 12 + int(match[2]) - 1 if match else 0
    if asked.requests < 0 or asked.seed < 0 or asked.months < 1 or asked.processes < 1:
        parser.error("--requests and --seed are 0 or more, --months and --processes 1 or more")
    if not (last - asked.months + 1 >= EARLIEST and last <= LATEST):
        parser.error("--month is YYYY-MM, and all --months lie from 1970-01 to 9998-12")
    began = time.perf_counter()
    files = size = 0
    try:
        asked.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        print(f"{asked.out} cannot be made a folder ({error.strerror}).", file=sys.stderr)
        print(f"无法将 {asked.out} 用作目录（{error.strerror}）。", file=sys.stderr)
        return 2
    try:
        for number in range(last - asked.months + 1, last + 1):
            month = Month(number // 12, number % 12 + 1, asked.requests, asked.seed)
            for path in generate(month, asked.out, processes=asked.processes):
                files, size = files + 1, size + path.stat().st_size
    except FileExistsError as error:
        name = Path(error.args[0]).name
        print(f"{name} is in {asked.out} already; choose another folder.", file=sys.stderr)
        print(f"{asked.out} 中已有 {name}，请换一个目录。", file=sys.stderr)
        return 1
    seconds = time.perf_counter() - began
    print(f"{files} files, {size / 1e6:,.1f} MB in {seconds:.1f} s: {asked.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
