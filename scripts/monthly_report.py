"""
The report of a month, from the log alone: scripts/monthly_report.py 2026-10

Without a month it is the last one that is over. docs/report.md describes what it says.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from indextts_app import settings
from observability.log_store.questions import Unanswerable
from observability.reports.figures import Report, Terms
from observability.reports.html_page import html_page
from observability.reports.month import Month, MonthError
from observability.reports.monthly import report
from observability.reports.tables import TABLES, csv_tables
from scripts import terminal, which_store

FORMATS = ("html", "json", "csv", "all")
STDOUT = Path("-")


def main() -> int:
    """Exit status 0 with a report, 1 when the source cannot answer, 2 for what cannot be asked."""
    asked = _arguments()
    chinese = asked.language == "zh"
    try:
        known = settings.load()
        month = Month.parse(asked.month) if asked.month else Month.before_now(datetime.now(UTC))
        _check(asked)
        store = which_store.opened(asked, known)
        made = report(store, month, terms=_terms(asked, known), instances=asked.instance)
    except settings.SettingsError as error:
        return _complain(str(error), 2)
    except (MonthError, Refused) as error:
        return _complain(error.zh if chinese else error.en, 2)
    except Unanswerable as error:
        return _complain(error.zh if chinese else error.en, 1)
    for note in made.notes:
        print(note.zh if chinese else note.en, file=sys.stderr)
    try:
        _hand_over(_files(made, asked), asked.output)
    except OSError as error:
        return _complain(
            f"无法写入 {asked.output}（{error.strerror}）。"
            if chinese
            else f"Cannot write to {asked.output} ({error.strerror}).",
            2,
        )
    return 0


class Refused(ValueError):
    """What was asked for cannot be done so; one sentence in each language."""

    def __init__(self, *, en: str, zh: str) -> None:
        super().__init__(en)
        self.en = en
        self.zh = zh


def _check(asked: argparse.Namespace) -> None:
    if asked.output == STDOUT and asked.format == "all":
        raise Refused(
            en="Several files do not fit into one output. Name a folder with --output.",
            zh="多个文件无法输出到标准输出，请用 --output 指定目录。",
        )
    if asked.output == STDOUT and asked.format == "csv" and not asked.table:
        raise Refused(
            en=f"CSV is one file a table. Choose one with --table ({', '.join(TABLES)}), or name a "
            "folder with --output.",
            zh=f"CSV 每张表一个文件，请用 --table 选择（{'、'.join(TABLES)}），"
            "或用 --output 指定目录。",
        )


def _terms(asked: argparse.Namespace, known: settings.Settings) -> Terms:
    price = asked.gpu_hour_price
    return Terms(
        slo=round((asked.slo_percent or known.slo_percent) / 100, 9),
        gpu_hour_price=known.gpu_hour_price if price is None else price,
        currency=asked.currency or known.currency,
    )


def _files(made: Report, asked: argparse.Namespace) -> Mapping[str, str]:
    """What is asked for, by the names that it has in a folder."""
    stem = f"indextts-{made.month}"
    files = {}
    if asked.format in ("html", "all"):
        files[f"{stem}.{asked.language}.html"] = html_page(made, asked.language)
    if asked.format in ("json", "all"):
        files[f"{stem}.json"] = (
            json.dumps(made.document(), ensure_ascii=False, indent=2, allow_nan=False) + "\n"
        )
    if asked.format in ("csv", "all"):
        tables = csv_tables(made)
        chosen = [asked.table] if asked.table else list(tables)
        files |= {f"{stem}-{name}.csv": tables[name] for name in chosen}
    return files


def _hand_over(files: Mapping[str, str], output: Path) -> None:
    if output == STDOUT:
        sys.stdout.buffer.write("".join(files.values()).encode())
        sys.stdout.buffer.flush()
        return
    output.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        partial = output / f".{name}.partial"
        partial.write_bytes(text.encode())
        os.replace(partial, output / name)
        print(output / name)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("month", nargs="?", help="YYYY-MM in UTC; the last whole month if absent")
    parser.add_argument("--format", choices=FORMATS, default="html")
    parser.add_argument(
        "--output", type=Path, default=Path("reports"), help="folder, or - for standard output"
    )
    parser.add_argument("--table", choices=TABLES, help="of CSV one table only")
    which_store.add_instance(parser)
    which_store.add_arguments(parser)
    parser.add_argument("--language", choices=terminal.LANGUAGES, default=terminal.language())
    parser.add_argument("--gpu-hour-price", type=_price, help="INDEXTTS_GPU_HOUR_PRICE")
    parser.add_argument("--currency", help="of that price (INDEXTTS_CURRENCY)")
    parser.add_argument("--slo-percent", type=_percent, help="INDEXTTS_SLO_PERCENT")
    return parser.parse_args()


def _price(text: str) -> float:
    price = _number(text)
    if not 0 <= price < 1e9:
        raise argparse.ArgumentTypeError("a price is a number, 0 or more")
    return price


def _percent(text: str) -> float:
    percent = _number(text)
    if not 0 < percent < 100:
        raise argparse.ArgumentTypeError("a target lies between 0 and 100, such as 99.5")
    return percent


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _complain(sentence: str, status: int) -> int:
    print(sentence, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
