"""
Measure the questions to the log beside other ways to ask them: scripts/bench.py logs [OPTIONS]

Everything runs on this machine, in one run, over the same generated months. Each way is a process
of its own, so that its peak of memory is its own; ways whose program is missing are left out and
named. `took` is a median (of three, or of fifteen ids) after a first time that is not counted.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import structlog

from observability.archive import Archive
from observability.archive_files import write_archive
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
ARCHIVED_LINES = 330_000

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
    """Ours, one id after the other."""
    store = store_of(folder)
    for request_id in ids:
        yield lambda one=request_id: len(store.lines_of(one))


def look_up_duckdb(folder: Path, ids: Sequence[str]) -> Iterator[Any]:
    """DuckDB without the id's time: every line of every file."""
    import duckdb

    for request_id in ids[:ROUNDS]:
        yield lambda one=request_id: duckdb.sql(
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
        found = duckdb.sql(
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
        found = duckdb.sql(
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
    for _ in range(ROUNDS):
        yield (
            lambda: (
                write_archive(day_lines.blocks_of([day]), target, threads=os.cpu_count() or 1)
                and target.stat().st_size
            )
        )


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
    for _ in range(ROUNDS):
        yield (
            lambda: (
                copy_day(connect(), [day], *targets, files=1, raw_bytes=0, torn=False)
                and sum(path.stat().st_size for path in targets)
            )
        )


WAYS: dict[str, Callable[[Path, Sequence[str]], Iterator[Any]]] = {
    way.__name__: way
    for way in (
        look_up,
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
    took, answers = [], []
    asks = list(WAYS[name](folder, ids))
    if len(asks) > 1:
        asks[0]()
    for ask in asks:
        began = time.perf_counter()
        answers.append(ask())
        took.append(time.perf_counter() - began)
    told = {"took": statistics.median(took), "worst": max(took), "answer": answers[0]}
    print(json.dumps({**told, "peak_mb": _peak_mb()}))


def _peak_mb() -> float:
    """Of this process since it began, or of a program that it ran."""
    (line,) = (
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmHWM:")
    )
    programs = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return max(int(line.split()[1]), programs) / 1024


# --- The table -----------------------------------------------------------------------------------


def logs(folder: Path, requests: int, months: int, *, with_loki: bool = True) -> Iterator[str]:
    """The table of all questions, over so many requests in each of so many months."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    yield "## Questions to the log\n"
    began = time.perf_counter()
    place = folder / "logs"
    last = LAST[0] * 12 + LAST[1] - 1
    for number in range(last - months + 1, last + 1):
        month = Month(number // 12, number % 12 + 1, requests)
        generate(month, place, processes=os.cpu_count() or 1)
    size = sum(path.stat().st_size for path in place.iterdir())
    yield (
        f"{months} months of {requests:,} requests each, {size / 1e9:.2f} GB of lines, "
        f"generated in {time.perf_counter() - began:.0f} s.\n"
    )
    one = folder / "one"
    one.mkdir()
    for path in place.glob("indextts-2026-09-*"):
        os.link(path, one / path.name)
    copied = folder / "copied"
    began = time.perf_counter()
    shutil.copytree(one, copied, copy_function=os.link)
    Archive(copied, clock=lambda: AFTERWARDS).run()
    for path in copied.glob("*.jsonl"):
        path.unlink()
    seconds = time.perf_counter() - began
    yield f"Archives and Parquet copies of a month: {seconds:.0f} s.\n"
    packed = folder / "packed"
    packed.mkdir()
    for path in (copied / "archive").glob("*.jsonl.gz"):
        os.link(path, packed / path.name)
    day = _day(folder)
    ids, some = _ids(place), _ids(one)
    yield "| question | way | took | slowest | memory | answer | at most |"
    yield "|---|---|---|---|---|---|---|"
    with ExitStack() as stack:
        table: list[tuple[str, str, str, Path, Sequence[str]]] = [
            ("look-up", f"ours, {months} months of lines", "look_up", place, ids),
            ("look-up", "ours, 1 month of lines", "look_up", one, some),
            ("look-up", "ours, 1 month of archives", "look_up", packed, some),
            ("look-up", "ours, 1 month of Parquet", "look_up", _only_parquet(copied), some),
            ("look-up", f"ripgrep, {months} months", "look_up_rg", place, ids),
            (
                "look-up",
                f"DuckDB without the id's time, {months} months",
                "look_up_duckdb",
                place,
                ids,
            ),
            ("report, Parquet", "ours", "report", copied, ()),
            ("report, lines", "ours", "report", one, ()),
            ("report, lines", "jq, counts and sums only", "report_jq", one, ()),
            ("report, lines", "polars, inferred types, one grouping", "report_polars", one, ()),
            ("report, lines", "DuckDB, inferred types, one grouping", "report_duckdb", one, ()),
            ("last hour", "ours, lines", "last_hour", one, ()),
            ("last hour", "ours, Parquet", "last_hour", copied, ()),
            ("last hour", "jq", "last_hour_jq", one, ()),
            ("last hour", "DuckDB, inferred types", "last_hour_duckdb", one, ()),
            ("archive", f"ours, {ARCHIVED_LINES:,} lines, read back", "archive", day, ()),
            ("archive", "gzip -6", "archive_gzip", day, ()),
            ("archive", "ours, the Parquet copy", "parquet", day, ()),
        ]
        if with_loki and shutil.which("loki"):
            url = Path(_loki(stack, one, folder))
            table += [
                ("look-up", "ours, Loki", "look_up", url, some),
                ("report, lines", "ours, Loki", "report", url, ()),
                ("last hour", "ours, Loki", "last_hour", url, ()),
            ]
        else:
            yield "| | Loki is not on PATH, or was not asked for | | | | | |"
        for question, label, way, where, chosen in table:
            program = NEEDS.get(way)
            if program and not shutil.which(program):
                yield f"| {question} | {label}: {program} is not installed | | | | | |"
                continue
            yield _row(question, label, way, where, chosen)
    yield ""


def _row(question: str, label: str, way: str, where: Path, ids: Sequence[str]) -> str:
    run = subprocess.run(
        [sys.executable, __file__, "--way", way, "--folder", str(where), *ids],
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


def _only_parquet(copied: Path) -> Path:
    """The same copies without their archives, so that look-ups go to Parquet."""
    place = copied.parent / "parquet"
    place.mkdir()
    for path in (copied / "archive").glob("*.parquet"):
        os.link(path, place / path.name)
    return place


def _day(folder: Path) -> Path:
    """A day of so many lines, in a folder of its own."""
    place = folder / "day"
    place.mkdir()
    month = Month(*LAST, requests=ARCHIVED_LINES * 15)
    written = 0
    with (place / "indextts-2026-09-08.jsonl").open("w", encoding="utf-8") as file:
        for line in lines(month, month.days[7]):
            file.write(f"{line}\n")
            written += 1
            if written == ARCHIVED_LINES:
                break
    return place


def _loki(stack: ExitStack, folder: Path, scratch: Path) -> str:
    """A Loki that holds the month."""
    sys.path.insert(0, str(ROOT / "tests" / "observability" / "log_store"))
    from loki_process import push, running_loki

    place = scratch / "loki"
    place.mkdir()
    url: str = stack.enter_context(running_loki(place))
    for path in sorted(folder.glob("*.jsonl")):
        with path.open("rb") as file:
            push(url, file, fallback=SINCE)
    return url


def main() -> None:
    """Run one way, for `logs` above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--way", choices=sorted(WAYS), required=True)
    parser.add_argument("--folder", required=True, type=Path)
    parser.add_argument("ids", nargs="*")
    asked = parser.parse_args()
    run_way(asked.way, asked.folder, asked.ids)


if __name__ == "__main__":
    main()
