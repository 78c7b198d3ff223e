"""
Promises of `observability.generated_logs`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from observability import request_id
from observability.day_file import day_files
from observability.events import STATUSES, VERDICTS, field_names
from observability.generated_logs import SPEAKERS, Month, _choice, _draw, generate, lines
from observability.logs import LineFormatter

MONTH = Month(2026, 9, 3000, seed=1)
OUTER = {"timestamp", "level", "event", "logger", "service", "version"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generated month."""
    place = tmp_path_factory.mktemp("generated")
    generate(MONTH, place)
    return place


@pytest.fixture(scope="module")
def written(folder: Path) -> list[Mapping[str, Any]]:
    """Its lines, in the order of files and lines."""
    return [
        json.loads(line)
        for _, path in day_files(folder)
        for line in path.read_text("utf-8").splitlines()
    ]


def test_the_same_seed_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    """In one process or in several; another seed gives others."""
    generate(MONTH, tmp_path / "again", processes=2)
    generate(Month(2026, 9, 3000, seed=2), tmp_path / "other")

    def content(place: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in place.iterdir()}

    assert content(tmp_path / "again") == content(folder)
    assert content(tmp_path / "other") != content(folder)


def test_every_line_is_the_one_that_the_service_would_write() -> None:
    """Byte for byte what the log's own formatter makes of it, redaction included."""
    day = date(2026, 9, 3)
    month = Month(2026, 9, 20_000, seed=5)
    static = {"service": "indextts", "version": "1.0.0", "instance": "tts-1:7860"}
    assert list(lines(month, day)) == list(lines(month, day, LineFormatter(static)))


def test_a_month_has_as_many_requests_as_asked_for(written: list[Mapping[str, Any]]) -> None:
    """Each with one started and one finished line, lost ones included; ids are never repeated."""
    started = [line["request_id"] for line in written if line["event"] == "synthesis.started"]
    finished = [line["request_id"] for line in written if line["event"] == "synthesis.finished"]
    assert len(started) == len(set(started)) == 3000
    assert sorted(started) == sorted(finished)


@pytest.mark.parametrize("requests", [0, 1, 31])
def test_small_months_are_exact_too(tmp_path: Path, requests: int) -> None:
    """Fewer requests than days."""
    generate(Month(2026, 2, requests), tmp_path)
    text = "".join(path.read_text("utf-8") for path in tmp_path.iterdir())
    assert text.count('"synthesis.started"') == text.count('"synthesis.finished"') == requests


def test_lines_stand_in_the_order_of_writing_in_the_file_of_their_day(folder: Path) -> None:
    """As the service writes them."""
    for day, path in day_files(folder):
        times = [json.loads(line)["timestamp"] for line in path.read_text("utf-8").splitlines()]
        assert times == sorted(times)
        assert {time[:10] for time in times} <= {str(day)}


def test_an_id_carries_the_moment_of_its_first_line(written: list[Mapping[str, Any]]) -> None:
    """To the millisecond."""
    for line in written:
        if line["event"] == "synthesis.started":
            moment = request_id.time_of(line["request_id"])
            told = moment.isoformat(timespec="milliseconds").removesuffix("+00:00")
            assert told == line["timestamp"][:23]


def test_lines_hold_fields_of_the_schema_only(written: list[Mapping[str, Any]]) -> None:
    """Statuses and verdicts too; every one of them occurs in a month."""
    requests = [line for line in written if line["event"].startswith("synthesis.")]
    assert {key for line in requests for key in line} <= OUTER | set(field_names())
    finished = [line for line in requests if line["event"] == "synthesis.finished"]
    assert {line["status"] for line in finished} == set(STATUSES)
    assert {line["audio_verdict"] for line in finished if "audio_verdict" in line} <= set(VERDICTS)


def test_times_add_up(written: list[Mapping[str, Any]]) -> None:
    """The duration is the queue and all stages, to the microsecond."""
    for line in written:
        if "duration_ms" in line:
            parts = [line.get("queue_ms", 0)] + [
                spent
                for name, spent in line.items()
                if name.startswith("stage_") and name.endswith("_ms")
            ]
            assert round(sum(parts), 3) == line["duration_ms"]


def test_things_go_wrong_as_they_do(written: list[Mapping[str, Any]]) -> None:
    """A crash loses as many as there are workers, and the next start settles them and says so."""
    kinds = Counter(line.get("error_type") for line in written)
    assert kinds["process_died"] >= 4
    settled = [line["requests_lost"] for line in written if line["event"] == "log.reconciled"]
    assert settled == [0, kinds["process_died"]]
    silent = Counter(
        (line["timestamp"][:10], line["speaker"])
        for line in written
        if line.get("audio_verdict") == "silent"
    )
    ((_, most), *_) = silent.most_common(1)
    assert most > sum(silent.values()) / 2


def test_requests_may_end_on_the_next_day(tmp_path: Path) -> None:
    """Where a day has enough of them, some do; none ends in the next month."""
    generate(Month(2026, 9, 20_000, seed=3), tmp_path)
    days: dict[str, set[str]] = {}
    for day, path in day_files(tmp_path):
        for line in map(json.loads, path.read_text("utf-8").splitlines()):
            if line["event"].startswith("synthesis."):
                days.setdefault(line["request_id"], set()).add(str(day))
    assert max(map(len, days.values())) == 2
    assert max(max(each) for each in days.values()) == "2026-09-30"


def test_nothing_that_is_there_is_overwritten(folder: Path) -> None:
    """A second month of the same name is refused before a byte is written."""
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    with pytest.raises(FileExistsError):
        generate(MONTH, folder)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_large_day_goes_on_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the service's own files do, at the same size."""
    monkeypatch.setattr("observability.generated_logs.MAX_BYTES", 50_000)
    paths = generate(MONTH, tmp_path)
    first = [path.name for path in paths if "2026-09-03" in path.name]
    assert first[:3] == [f"indextts-2026-09-03{part}.jsonl" for part in ("", "-2", "-3")]
    assert all(path.stat().st_size <= 50_000 for path in paths)


class NearlyOne(np.random.Generator):
    """Draws what is 1 when rounded, as happens once in two million times."""

    def random(self, size: Any = None, *_: Any, **__: Any) -> Any:
        """All but 1."""
        return np.full(size, 0.9999999)


def test_no_chance_is_rounded_up_to_one() -> None:
    """A choice by a chance just below 1 is the last one, not one beyond it."""
    draws = _draw(NearlyOne(np.random.PCG64(1)), np.zeros(1, np.int64))
    assert _choice(SPEAKERS, max(draws.uniform[0])) == SPEAKERS[-1]
