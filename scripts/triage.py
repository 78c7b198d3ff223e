"""
What is failing now, in the terminal: scripts/triage.py --since 1h --by error_type,stage

With --follow it goes on and prints each new failure as it comes.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from indextts_app import settings
from observability import triage
from observability.events import STATUSES
from observability.log_store.questions import Filter, Line, LogStore, Unanswerable
from observability.reports.month import FIRST_YEAR, LAST_YEAR
from scripts import terminal, which_store

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
TIME_ONLY, DAY_TOO = slice(11, 19), slice(5, 16)
"""Of a timestamp, what tells the moment within a day and within a year."""

OVERLAP = timedelta(seconds=60)
"""A line is written when its probe is done, and reaches Loki some seconds later."""

WORDS = {
    "en": {
        "range": "{since} to {until} UTC: {requests} requests, {failed} failed ({share}), "
        "P50 {p50}, P95 {p95}",
        "quiet": "Nothing failed.",
        "none": "None of these requests.",
        "nobody": "No request finished in this time.",
        "requests": "requests",
        "share": "share",
        "failing": "Failing",
        "latest": "Latest failures",
        "silent": "Silent audio: {total}",
        "slowest": "Slowest",
        "time": "time",
        "took": "took",
        "queue": "queue",
        "characters": "characters",
        "logql": "The same in Loki",
        "following": "Waiting for failures, Ctrl-C ends it.",
        "more": "… and {more} more.",
    },
    "zh": {
        "range": "{since} 至 {until} UTC：{requests} 次请求，{failed} 次失败（{share}），"
        "P50 {p50}，P95 {p95}",
        "quiet": "没有失败。",
        "none": "没有这样的请求。",
        "nobody": "这段时间没有请求结束。",
        "requests": "次数",
        "share": "占比",
        "failing": "正在失败",
        "latest": "最近的失败",
        "silent": "静音音频：{total}",
        "slowest": "最慢",
        "time": "时间",
        "took": "耗时",
        "queue": "排队",
        "characters": "字数",
        "logql": "对应的 LogQL",
        "following": "正在等待新的失败，按 Ctrl-C 结束。",
        "more": "……另有 {more} 个。",
    },
}


def main() -> int:
    """Exit status 0 with an answer, 1 when the source has none, 2 for what cannot be asked."""
    asked = _arguments()
    chinese = asked.language == "zh"
    now = datetime.now(UTC)
    try:
        since = _moment(asked.since, now)
        until = _moment(asked.until, now) if asked.until else now
        if since >= until:
            raise BadTime(asked.since)
        by = triage.fields_named([name for name in asked.by.split(",") if name])
        wanted = Filter(
            since=since,
            until=until,
            status=tuple(asked.status or ()),
            error_type=tuple(asked.error_type or ()),
            speaker=tuple(asked.speaker or ()),
            instance=tuple(asked.instance),
        )
        known = settings.load()
        store = which_store.opened(asked, known)
        if asked.follow:
            return _follow(store, wanted, asked)
        found = triage.triaged(store, wanted, by, limit=asked.limit)
    except settings.SettingsError as error:
        return _complain(str(error), 2)
    except (BadTime, triage.UnknownField) as error:
        return _complain(error.zh if chinese else error.en, 2)
    except Unanswerable as error:
        return _complain(error.zh if chinese else error.en, 1)
    if asked.json:
        print(json.dumps(found.document(), ensure_ascii=False, indent=2, default=str))
    else:
        _show(found, asked.language)
    return 0


class BadTime(ValueError):
    """A time that is none; one sentence in each language."""

    def __init__(self, text: str) -> None:
        shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:40])
        self.en = f'"{shown}" is no time before the end. Write 30m, 6h, 2d or 2026-10-04T08:00.'
        self.zh = f"“{shown}”不是早于结束的时间，请写成 30m、6h、2d 或 2026-10-04T08:00。"
        super().__init__(self.en)


def _moment(text: str, now: datetime) -> datetime:
    """A moment that is so long ago (`30m`, `6h`, `2d`), or that stands there, in UTC."""
    try:
        if match := re.fullmatch(r"(\d{1,6})([smhdw])", text):
            moment = now - timedelta(**{UNITS[match[2]]: int(match[1])})
        else:
            moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        if FIRST_YEAR <= moment.year <= LAST_YEAR:
            return moment
        raise BadTime(text)
    except (ValueError, OverflowError):
        raise BadTime(text) from None


def _show(found: triage.Triage, language: str) -> None:
    words = WORDS[language]
    console = Console(highlight=False)
    total = found.total
    clock = DAY_TOO if found.until - found.since > timedelta(days=1) else TIME_ONLY
    console.print(
        words["range"].format(
            since=f"{found.since:%Y-%m-%d %H:%M}",
            until=f"{found.until:%Y-%m-%d %H:%M}",
            requests=f"{total.requests:,}",
            failed=f"{total.failed:,}",
            share=f"{total.share_failed:.1%}",
            p50=_milliseconds(total.p50_ms),
            p95=_milliseconds(total.p95_ms),
        ),
        soft_wrap=True,
    )
    for note in found.reading.notes:
        told = escape(note.zh if language == "zh" else note.en)
        console.print(f"[yellow]{told}[/]", soft_wrap=True)
    if not total.requests:
        console.print(f"[yellow]{words['nobody']}[/]")
    elif not found.failures.total.requests:
        # Others may have failed where only some were asked for.
        console.print(words["none"] if total.failed else f"[green]{words['quiet']}[/]")
    else:
        console.print(_groups(found, words))
        console.print(_lines(words["latest"], found.latest.lines, words, clock=clock))
    if found.silent.total:
        title = words["silent"].format(total=f"{found.silent.total:,}")
        console.print(_lines(title, found.silent.lines, words, clock=clock))
    if found.slowest:
        console.print(_slowest(found.slowest, words, clock=clock))
    console.print(f"[bold]{words['logql']}[/]")
    for query in (found.logql, found.logql_counts):
        # As one line, to be copied whole.
        console.print(escape(query), soft_wrap=True)


def _groups(found: triage.Triage, words: dict[str, str]) -> Table:
    table = _table(words["failing"])
    for name in found.by:
        table.add_column(name, overflow="fold")
    table.add_column(words["requests"], justify="right")
    table.add_column(words["share"], justify="right")
    whole = found.failures.total.requests
    for group in found.failures.groups[:20]:
        requests = group.figures.requests
        names = (escape(value) if value is not None else "–" for value in group.values)
        table.add_row(*names, f"{requests:,}", f"{requests / whole:.1%}")
    return table


def _table(title: str) -> Table:
    """Without frames, so that an id and what matters beside it fit into 80 columns."""
    return Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0)


def _lines(title: str, lines: Sequence[Line], words: dict[str, str], *, clock: slice) -> Table:
    table = _table(title)
    for name in (words["time"], "request_id"):
        table.add_column(name, no_wrap=True)
    for name in ("status", "error_type", "stage", "speaker"):
        table.add_column(name, overflow="fold")
    for line in lines:
        table.add_row(
            _time(line, clock),
            *(
                escape(str(line.get(name, "–")))
                for name in ("request_id", "status", "error_type", "error_stage", "speaker")
            ),
        )
    return table


def _slowest(lines: Sequence[Line], words: dict[str, str], *, clock: slice) -> Table:
    table = _table(words["slowest"])
    for name in (words["time"], "request_id"):
        table.add_column(name, no_wrap=True)
    table.add_column("speaker", overflow="fold")
    for name in (words["took"], words["queue"], words["characters"]):
        table.add_column(name, justify="right", no_wrap=True)
    for line in lines:
        table.add_row(
            _time(line, clock),
            escape(str(line["request_id"])),
            escape(str(line["speaker"] or "–")),
            _milliseconds(line["duration_ms"]),
            _milliseconds(line["queue_ms"]),
            f"{line['text_len']:,}" if line["text_len"] is not None else "–",
        )
    return table


def _time(line: Line, clock: slice) -> str:
    return str(line.get("timestamp", ""))[clock].replace("T", " ")


def _milliseconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1f} ms" if value < 1_000 else f"{value / 1000:,.2f} s"


def _follow(store: LogStore, asked: Filter, options: argparse.Namespace) -> int:
    """Print failures as they come, until interrupted."""
    console = Console(highlight=False)
    print(WORDS[options.language]["following"], file=sys.stderr)
    seen: set[str] = set()
    before = datetime.now(UTC)
    try:
        while True:
            now = datetime.now(UTC)
            window = replace(asked, since=before - OVERLAP, until=now)
            try:
                lines, more = triage.followed(store, window, seen)
            except Unanswerable as error:
                print(error.zh if options.language == "zh" else error.en, file=sys.stderr)
                time.sleep(options.every)
                continue
            before = now
            for line in lines:
                if options.json:
                    print(json.dumps(dict(line), ensure_ascii=False, default=str), flush=True)
                else:
                    console.print(_told(line), soft_wrap=True)
            if more:
                print(WORDS[options.language]["more"].format(more=more), file=sys.stderr)
            time.sleep(options.every)
    except KeyboardInterrupt:
        return 0


def _told(line: Line) -> str:
    fields = ("request_id", "status", "error_type", "error_stage", "speaker", "error_message")
    told = "  ".join(escape(str(line[name])) for name in fields if line.get(name) is not None)
    return f"[dim]{escape(str(line.get('timestamp', ''))[:19])}[/]  [red]{told}[/]"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--since", default="1h", help="30m, 6h, 2d, or a moment in UTC; 1h")
    parser.add_argument("--until", help="the same; now if absent")
    parser.add_argument(
        "--by",
        default=",".join(triage.BY),
        help="count by error_type, stage, speaker, model_version, emotion, source, instance …",
    )
    parser.add_argument("--status", choices=STATUSES, action="append", help="other than failures")
    parser.add_argument("--error-type", action="append", help="these errors only")
    parser.add_argument("--speaker", action="append", help="these speakers only")
    parser.add_argument("--limit", type=_count, default=10, help="lines of each list, up to 1000")
    parser.add_argument("--follow", action="store_true", help="go on, print what comes")
    parser.add_argument("--every", type=_seconds, default=2.0, help="seconds between two looks")
    which_store.add_instance(parser)
    which_store.add_arguments(parser)
    parser.add_argument("--language", choices=terminal.LANGUAGES, default=terminal.language())
    parser.add_argument("--json", action="store_true", help="for programs; a line each if followed")
    return parser.parse_args()


def _count(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 1000):
        raise argparse.ArgumentTypeError("a whole number from 1 to 1000")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError("seconds from 0.1 to 3600")
    return seconds


def _complain(sentence: str, status: int) -> int:
    print(sentence, file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
