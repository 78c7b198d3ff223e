"""
Measure the questions to the log beside other ways to ask them: scripts/bench.py logs [OPTIONS]

Everything runs on this machine, in one run, over the same generated months. Each way is a process
of its own, so that its peak of memory is its own; ways whose program is missing are left out and
named. `took` is a median (of three, or of fifteen ids) after a first time that is not counted,
unless that first time took longer than `LONG_SECONDS`: then it is the figure.

Months of many gigabytes are generated beforehand, so that only the measuring needs the machine for
itself: scripts/bench_logs.py prepare FOLDER, then scripts/bench.py logs --folder FOLDER.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import structlog

from observability.archive import Archive
from observability.archive_files import write_archive
from observability.day_file import day_files
from observability.generated_logs import Month, generate, lines
from observability.log_store import day_lines
from observability.log_store.files import FileLogStore
from observability.log_store.questions import FAILED, Filter, LogStore

ROOT = Path(__file__).resolve().parents[1]
LAST = 2026, 9
SINCE, UNTIL = datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)
HOUR = datetime(2026, 9, 30, 10, 30, tzinfo=UTC)
AFTERWARDS = datetime(2026, 11, 2, tzinfo=UTC)
IDS = 15
ROUNDS = 3
LONG_SECONDS = 20
ARCHIVED_LINES = 330_000
BESIDE_BYTES = 4 << 30
"""Of lines that jq and the other programs are given; of a larger month they get its first days."""

AIMS = {
    "look-up": "20 ms",
    "report, Parquet": "1 s for 10,000,000",
    "report, lines": "6 s for 10,000,000",
    "last hour": "50 ms",
    "archive": "twice gzip's time",
}


def store_of(folder: Path) -> LogStore:
    """Our store over a folder, or over Loki where an address stands for it."""
    if str(folder).startswith("http"):
        from observability.log_store.loki import LokiLogStore

        return LokiLogStore(str(folder).replace(":/", "://"), clock=lambda: AFTERWARDS)
    return FileLogStore(folder, clock=lambda: AFTERWARDS)


# --- Ways, each in a process of its own ----------------------------------------------------------


def look_up(folder: Path, ids: Sequence[str]) -> Iterator[Any]:
    """Ours, one id after the other, each for the second time."""
    store = store_of(folder)
    for request_id in ids:
        store.lines_of(request_id)
        yield lambda one=request_id: len(store.lines_of(one))


def look_up_cold(folder: Path, ids: Sequence[str]) -> Iterator[Any]:
    """Ours, each id on a day that is on the disk only, as that of most complaints is."""
    os.sync()
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    store = store_of(folder)
    for request_id in ids:
        yield lambda one=request_id: len(store.lines_of(one))


def look_up_duckdb(folder: Path, ids: Sequence[str]) -> Iterator[Any]:
    """DuckDB without the id's time: every line of every file."""
    import duckdb

    for request_id in ids[:ROUNDS]:
        yield lambda one=request_id: duckdb.execute(
            f"SELECT count(*) FROM read_csv('{folder}/*.jsonl', delim='', quote='', escape='', "
            "header=false, auto_detect=false, columns={'line': 'VARCHAR'}) "
            f"WHERE contains(line, '{one}')"
        ).fetchall()[0][0]


def look_up_rg(folder: Path, ids: Sequence[str]) -> Iterator[Any]:
    """ripgrep over the same files."""
    for request_id in ids[:ROUNDS]:
        yield lambda one=request_id: _counted(["rg", "-c", "--no-filename", one, folder])


def report(folder: Path, _ids: Sequence[str]) -> Iterator[Any]:
    """The monthly report's numbers, ours."""
    from observability.reports.month import Month as ReportMonth
    from observability.reports.monthly import report as made

    store = store_of(folder)
    for _ in range(ROUNDS):
        yield lambda: made(store, ReportMonth.parse("2026-09")).requests


def report_jq(folder: Path, _ids: Sequence[str]) -> Iterator[Any]:
    """jq: requests by speaker and status, with the sum of audio; no percentiles."""
    program = (
        'reduce (inputs | select(.event == "synthesis.finished")) as $l ({}; '
        '.[$l.speaker + " " + $l.status] |= [(.[0] // 0) + 1, (.[1] // 0) + ($l.audio_seconds // 0)'
        "]) | [.[][0]] | add"
    )
    yield lambda: int(
        subprocess.run(
            ["jq", "-n", program, *sorted(folder.glob("*.jsonl"))],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
    )


def report_polars(folder: Path, _ids: Sequence[str]) -> Iterator[Any]:
    """polars with inferred types: by speaker and status, audio, three percentiles."""
    import polars as pl

    def asked() -> int:
        frame = pl.scan_ndjson(sorted(folder.glob("*.jsonl")), infer_schema_length=2000)
        found = (
            frame.filter(pl.col("event") == "synthesis.finished")
            .group_by("speaker", "status")
            .agg(
                pl.len(),
                pl.col("audio_seconds").sum(),
                *(pl.col("duration_ms").quantile(q).alias(str(q)) for q in (0.5, 0.95, 0.99)),
            )
            .collect(engine="streaming")
        )
        return int(found["len"].sum())

    for _ in range(ROUNDS):
        yield asked


def report_duckdb(folder: Path, _ids: Sequence[str]) -> Iterator[Any]:
    """DuckDB with inferred types: by speaker and status, audio, three percentiles."""
    import duckdb

    def asked() -> int:
        found = duckdb.execute(
            "SELECT speaker, status, count(*), sum(audio_seconds), "
            "quantile_cont(duration_ms, [0.5, 0.95, 0.99]) "
            f"FROM read_json('{folder}/*.jsonl', format='newline_delimited', union_by_name=true) "
            "WHERE event = 'synthesis.finished' GROUP BY ALL"
        ).fetchall()
        return sum(row[2] for row in found)

    for _ in range(ROUNDS):
        yield asked


def last_hour(folder: Path, _ids: Sequence[str]) -> Iterator[Any]:
    """Failures of an hour by type and stage, ours."""
    store = store_of(folder)
    asked = Filter(since=HOUR, until=HOUR + timedelta(hours=1), status=FAILED)
    for _ in range(ROUNDS):
        yield lambda: store.counts(asked, ("error_type", "error_stage")).total.requests


def last_hour_jq(folder: Path, _ids: Sequence[str]) -> Iterator[Any]:
    """jq over the day's file."""
    begin, end = (f"{at:%Y-%m-%dT%H:%M}" for at in (HOUR, HOUR + timedelta(hours=1)))
    program = (
        f'reduce (inputs | select(.event == "synthesis.finished" and .timestamp >= "{begin}" and '
        f'.timestamp < "{end}" and (.status | IN("failed", "timeout", "lost")))) as $l (0; . + 1)'
    )
    for _ in range(ROUNDS):
        yield lambda: int(
            subprocess.run(
                ["jq", "-n", program, *sorted(folder.glob(f"*{HOUR:%Y-%m-%d}*.jsonl"))],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )


def last_hour_duckdb(folder: Path, _ids: Sequence[str]) -> Iterator[Any]:
    """DuckDB with inferred types over the day's file."""
    import duckdb

    begin, end = (f"{at:%Y-%m-%dT%H:%M:%S}" for at in (HOUR, HOUR + timedelta(hours=1)))

    def asked() -> int:
        found = duckdb.execute(
            "SELECT error_type, error_stage, count(*) "
            f"FROM read_json('{folder}/*{HOUR:%Y-%m-%d}*.jsonl', format='newline_delimited') "
            f"WHERE event = 'synthesis.finished' AND timestamp >= '{begin}' "
            f"AND timestamp < '{end}' "
            "AND status IN ('failed', 'timeout', 'lost') GROUP BY ALL"
        ).fetchall()
        return sum(row[2] for row in found)

    for _ in range(ROUNDS):
        yield asked


def archive(folder: Path, _ids: Sequence[str]) -> Iterator[Any]:
    """A day's archive, written and read back, ours."""
    (day,) = folder.glob("*.jsonl")
    target = folder / "day.jsonl.gz"

    def written() -> int:
        write_archive(day_lines.blocks_of([day]), target, threads=os.cpu_count() or 1)
        return target.stat().st_size

    for _ in range(ROUNDS):
        yield written


def archive_gzip(folder: Path, _ids: Sequence[str]) -> Iterator[Any]:
    """gzip -6, which does not read back."""
    (day,) = folder.glob("*.jsonl")

    def packed() -> int:
        with (folder / "gzip.gz").open("wb") as file:
            subprocess.run(["gzip", "-6", "-c", day], check=True, stdout=file)
        return (folder / "gzip.gz").stat().st_size

    for _ in range(ROUNDS):
        yield packed


def parquet(folder: Path, _ids: Sequence[str]) -> Iterator[Any]:
    """A day's Parquet copy, ours."""
    from observability.log_store.duck import connect
    from observability.log_store.parquet import copy_day

    (day,) = folder.glob("*.jsonl")
    targets = folder / "a.parquet", folder / "b.parquet"

    def copied() -> int:
        copy_day(connect(), [day], *targets, files=1, raw_bytes=0, torn=False)
        return sum(path.stat().st_size for path in targets)

    for _ in range(ROUNDS):
        yield copied


WAYS: dict[str, Callable[[Path, Sequence[str]], Iterator[Any]]] = {
    way.__name__: way
    for way in (
        look_up,
        look_up_cold,
        look_up_duckdb,
        look_up_rg,
        report,
        report_jq,
        report_polars,
        report_duckdb,
        last_hour,
        last_hour_jq,
        last_hour_duckdb,
        archive,
        archive_gzip,
        parquet,
    )
}

NEEDS = {"look_up_rg": "rg", "report_jq": "jq", "last_hour_jq": "jq", "archive_gzip": "gzip"}


def run_way(name: str, folder: Path, ids: Sequence[str]) -> None:
    """Run one way, once unmeasured and then measured, and print what it took."""
    asks = list(WAYS[name](folder, ids))
    first, answer = _timed(asks[0])
    is_once = len(asks) == 1 or first > LONG_SECONDS
    took = [first] if is_once else [_timed(ask)[0] for ask in asks]
    told = {"took": statistics.median(took), "worst": max(took), "answer": answer}
    print(json.dumps({**told, "peak_mb": _peak_mb()}))


def _timed(ask: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    answer = ask()
    return time.perf_counter() - began, answer


def _peak_mb() -> float:
    """Of this process since it began, or of a program that it ran."""
    (line,) = (
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM:")
    )
    programs = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return max(int(line.split()[1]), programs) / 1024


# --- Lines to ask ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Prepared:
    """A folder of generated months and what was made of them; sizes in bytes."""

    place: Path
    requests: int
    months: int
    line_bytes: int
    month_bytes: int
    archived: bool
    beside_days: int
    days: int

    @property
    def span(self) -> str:
        """Its months in words."""
        return f"{self.months} month{'s' if self.months > 1 else ''}"

    def folder(self, name: str) -> Path:
        """
        One of its folders.

        `lines`: all months; `month`: the last one; `beside`: of it, what other programs are given;
        `copies`: Parquet copies of the last two months; `kept`: these beside the lines of the last;
        `archives`: its archives; `parquet`: its copies alone; `day`: a day of `ARCHIVED_LINES`.
        """
        return self.place / name

    @classmethod
    def known(cls, place: Path) -> Prepared:
        """What an earlier `prepare` left in a folder."""
        return cls(place=place, **json.loads((place / "prepared.json").read_text()))


def prepare(place: Path, requests: int, months: int, *, archives: bool = True) -> Prepared:
    """
    Generate months of lines and what the questions need; files are linked, not copied.

    Months that are in `lines` already are taken as they are. Without `archives` only the Parquet
    copies are made: compressing 20 GB takes many minutes.
    """
    processes = os.cpu_count() or 1
    whole = place / "lines"
    last = LAST[0] * 12 + LAST[1] - 1
    for number in range(last - months + 1, last + 1):
        month = Month(number // 12, number % 12 + 1, requests)
        if not any(whole.glob(f"indextts-{month.days[0]}*")):
            generate(month, whole, processes=processes)
    newest = _linked(whole.glob("indextts-2026-09-*"), place / "month")
    two = [path for name in ("08", "09") for path in whole.glob(f"indextts-2026-{name}-*")]
    copies = Archive(_linked(two, place / "copies"), clock=lambda: AFTERWARDS)
    done = copies.run() if archives else copies.rebuild_parquet()
    if done.failures:
        raise SystemExit(done.failures[0].en)
    for path in (place / "copies").glob("*.jsonl"):
        path.unlink()
    stored = place / "copies" / "archive"
    _linked(stored.glob("indextts-2026-09-*.jsonl.gz"), place / "archives")
    _linked(stored.glob("indextts-2026-09-*.parquet"), place / "parquet")
    _linked(newest.iterdir(), place / "kept")
    _linked(stored.glob("*.parquet"), place / "kept" / "archive")
    days = _by_day(newest)
    given = _first_days(days)
    _linked((path for paths in days[:given] for path in paths), place / "beside")
    _day(place / "day")
    made = Prepared(
        place=place,
        requests=requests,
        months=months,
        line_bytes=_size(whole),
        month_bytes=_size(newest),
        archived=archives,
        beside_days=given,
        days=len(days),
    )
    told = {name: value for name, value in asdict(made).items() if name != "place"}
    (place / "prepared.json").write_text(json.dumps(told))
    return made


def _linked(paths: Iterable[Path], folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        if path.is_file():
            os.link(path, folder / path.name)
    return folder


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _by_day(folder: Path) -> list[list[Path]]:
    days: dict[date, list[Path]] = {}
    for day, path in day_files(folder):
        days.setdefault(day, []).append(path)
    return [days[day] for day in sorted(days)]


def _first_days(days: Sequence[Sequence[Path]]) -> int:
    """How many of the first days stay within `BESIDE_BYTES`, at least one."""
    sizes = accumulate(sum(path.stat().st_size for path in paths) for paths in days)
    return max(1, sum(size <= BESIDE_BYTES for size in sizes))


def _day(place: Path) -> None:
    """A day of so many lines, in a folder of its own."""
    place.mkdir()
    month = Month(*LAST, requests=ARCHIVED_LINES * 15)
    written = islice(lines(month, month.days[7]), ARCHIVED_LINES)
    with (place / "indextts-2026-09-08.jsonl").open("w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in written)


# --- The table -----------------------------------------------------------------------------------

Rows = list[tuple[str, str, str, Path, Sequence[str]]]
"""Question, label, way, folder or address, ids."""


def measured(known: Prepared, *, with_loki: bool = True) -> Iterator[str]:
    """The table of all questions over lines that were prepared."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield "## Questions to the log\n"
    yield (
        f"{known.span} of {known.requests:,} requests, "
        f"{known.line_bytes / 1e9:.2f} GB of lines, {known.month_bytes / 1e9:.2f} GB a month.\n"
    )
    yield "| question | way | took | slowest | memory | answer | at most |"
    yield "|---|---|---|---|---|---|---|"
    for row in _rows(known):
        yield _row(*row)
    if not with_loki or not shutil.which("loki"):
        yield "| | Loki is not on PATH, or was not asked for | | | | | |"
    else:
        with ExitStack() as stack:
            address, some = Path(_loki(stack, known)), _ids(known.folder("month"))
            yield _row("look-up", "ours, Loki, 1 month", "look_up", address, some)
            yield _row("report, lines", "ours, Loki", "report", address, ())
            yield _row("last hour", "ours, Loki", "last_hour", address, ())
    yield ""


def _rows(known: Prepared) -> Rows:
    months, place = known.months, known.folder
    month, copies, beside, day = map(place, ("month", "copies", "beside", "day"))
    ids, some = _ids(place("lines")), _ids(month)
    span = known.span
    share = "" if known.beside_days == known.days else f"{known.beside_days} of its days: "
    rows: Rows = [
        ("look-up", f"ours, {span} of lines", "look_up", place("lines"), ids),
        ("look-up", "ours, 1 month of lines", "look_up", month, some),
        ("look-up", f"ours, {span} of lines, from disk", "look_up_cold", place("lines"), ids),
        ("look-up", "ours, 1 month of archives", "look_up", place("archives"), some),
        ("look-up", "ours, 1 month of Parquet", "look_up", place("parquet"), some),
        ("look-up", f"ripgrep, {span}", "look_up_rg", place("lines"), ids),
        (
            "look-up",
            f"DuckDB without the id's time, {span}",
            "look_up_duckdb",
            place("lines"),
            ids,
        ),
        ("report, Parquet", "ours", "report", copies, ()),
        (
            "report, lines",
            "ours, the days were put away by the nightly timer",
            "report",
            place("kept"),
            (),
        ),
        ("report, lines", "ours, of nothing but the lines", "report", month, ()),
        ("report, lines", f"jq, {share}counts and sums only", "report_jq", beside, ()),
        (
            "report, lines",
            f"polars, {share}inferred types, one grouping",
            "report_polars",
            beside,
            (),
        ),
        (
            "report, lines",
            f"DuckDB, {share}inferred types, one grouping",
            "report_duckdb",
            beside,
            (),
        ),
        ("last hour", "ours, lines", "last_hour", month, ()),
        ("last hour", "ours, Parquet", "last_hour", copies, ()),
        ("last hour", "jq", "last_hour_jq", month, ()),
        ("last hour", "DuckDB, inferred types", "last_hour_duckdb", month, ()),
        ("archive", f"ours, {ARCHIVED_LINES:,} lines, read back", "archive", day, ()),
        ("archive", "gzip -6", "archive_gzip", day, ()),
        ("archive", "ours, the Parquet copy", "parquet", day, ()),
    ]
    if not known.archived:
        rows = [row for row in rows if row[3] != place("archives")]
    return rows[1:] if months == 1 else rows


def _row(question: str, label: str, way: str, where: Path, ids: Sequence[str]) -> str:
    program = NEEDS.get(way)
    if program and not shutil.which(program):
        return f"| {question} | {label}: {program} is not installed | | | | | |"
    run = subprocess.run(
        [sys.executable, __file__, "way", way, str(where), *ids],
        check=False,
        stdout=subprocess.PIPE,
    )
    if run.returncode:
        return f"| {question} | {label} | failed | | | | |"
    told = json.loads(run.stdout.splitlines()[-1])
    return (
        f"| {question} | {label} | {_time(told['took'])} | {_time(told['worst'])} "
        f"| {told['peak_mb']:,.0f} MB | {told['answer']:,} | {AIMS[question]} |"
    )


def _time(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms" if seconds < 1 else f"{seconds:,.2f} s"


def _counted(command: Sequence[str | Path]) -> int:
    run = subprocess.run(command, check=False, capture_output=True, text=True)
    return sum(int(line) for line in run.stdout.split())


def _ids(folder: Path) -> list[str]:
    """Ids spread over all days, the same ones at every run."""
    chance = random.Random(1)  # noqa: S311  # a sample, no secret
    ids = []
    for path in chance.sample(sorted(folder.glob("*.jsonl")), IDS):
        with day_lines.mapped(path) as content:
            middle = chance.randrange(len(content))
            found = content.find(b'"request_id": "', middle) % len(content)
            if found == len(content) - 1:
                found = content.find(b'"request_id": "')
            ids.append(bytes(content[found + 15 : found + 41]).decode())
    return ids


def _loki(stack: ExitStack, known: Prepared) -> str:
    """A Loki that holds the month; filled the first time, which no figure counts."""
    from tests.observability.log_store.loki_process import push, running_loki

    place = known.folder("loki")
    is_new = not place.exists()
    place.mkdir(exist_ok=True)
    url: str = stack.enter_context(running_loki(place))
    if is_new:
        for path in sorted(known.folder("month").glob("*.jsonl")):
            with path.open("rb") as file:
                push(url, file, fallback=SINCE)
    return url


def main() -> None:
    """Prepare lines, or run one way for the table above."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("prepare", help="generate lines for bench.py logs --folder")
    making.add_argument("folder", type=Path)
    making.add_argument("--requests", type=int, default=1_000_000, help="in each month")
    making.add_argument("--months", type=int, default=12)
    making.add_argument("--without-archives", action="store_true", help="Parquet copies only")
    making.add_argument("--loki", action="store_true", help="fill a Loki with the last month")
    way = commands.add_parser("way", help="one way, for the table")
    way.add_argument("name", choices=sorted(WAYS))
    way.add_argument("folder", type=Path)
    way.add_argument("ids", nargs="*")
    asked = parser.parse_args()
    if asked.command == "way":
        run_way(asked.name, asked.folder, asked.ids)
        return
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    known = prepare(asked.folder, asked.requests, asked.months, archives=not asked.without_archives)
    if asked.loki:
        with ExitStack() as stack:
            _loki(stack, known)


if __name__ == "__main__":
    main()
