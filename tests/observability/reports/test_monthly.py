"""A month's figures are those that anybody can count from its lines."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from month_of_lines import NOW, SINCE, UNTIL, Line, drawn, kept, request
from pydantic import TypeAdapter

from observability.reports.figures import Report, Terms
from observability.reports.month import Month, MonthError
from observability.reports.monthly import report

OCTOBER = Month(2026, 10)
DOCS = Path(__file__).parents[3] / "docs"


def finished(lines: Iterable[Line]) -> list[Line]:
    return [line for line in lines if line["event"] == "synthesis.finished"]


def delivered(lines: Iterable[Line]) -> list[Line]:
    return [line for line in finished(lines) if line["status"] in ("success", "degraded")]


def is_unavailable(line: Line) -> bool:
    if line["status"] == "rejected":
        return line["error_type"] in ("queue_full", "not_ready")
    return line["status"] in ("failed", "timeout", "lost")


def is_excluded(line: Line) -> bool:
    rejected = line["status"] == "rejected" and not is_unavailable(line)
    return rejected or line["status"] == "cancelled"


def percentile(lines: Iterable[Line], rank: float) -> float:
    return round(float(np.percentile([line["duration_ms"] for line in lines], rank)), 3)


def total(lines: Iterable[Line], field: str) -> float:
    return math.fsum(line.get(field, 0) for line in lines)


# --- Counted again in plain Python ---------------------------------------------------------------


def test_what_was_asked_and_how_it_ended(month_report: Report, month_lines: list[Line]) -> None:
    """Requests, statuses, sources, verdicts and errors are the lines' own."""
    lines = finished(month_lines)
    assert month_report.requests == len(lines)
    assert {status: count for status, count in month_report.by_status.items() if count} == Counter(
        line["status"] for line in lines
    )
    assert {row.source: row.requests for row in month_report.sources} == Counter(
        line["source"] for line in lines
    )
    assert {verdict: count for verdict, count in month_report.verdicts.items() if count} == Counter(
        line["audio_verdict"] for line in delivered(lines)
    )
    assert month_report.silent_audio == sum(
        line["audio_verdict"] == "silent" for line in delivered(lines)
    )
    assert {(row.error_type, row.status): row.requests for row in month_report.errors} == Counter(
        (line["error_type"], line["status"]) for line in lines if "error_type" in line
    )


def test_speakers_emotions_and_users(month_report: Report, month_lines: list[Line]) -> None:
    """Each row holds its requests, the most frequent first; shares are of all requests."""
    lines = finished(month_lines)
    for rows, field in (
        (month_report.speakers, "speaker"),
        (month_report.emotions, "emotion"),
        (month_report.users, "user"),
    ):
        counts = Counter(line[field] for line in lines if field in line)
        assert [getattr(row, field) for row in rows] == sorted(
            counts, key=lambda name: (-counts[name], name)
        )
        for row in rows:
            assert row.requests == counts[getattr(row, field)]
            assert row.share == round(row.requests / len(lines), 6)
    for speaker in month_report.speakers:
        own = [line for line in lines if line.get("speaker") == speaker.speaker]
        sounding = delivered(own)
        assert speaker.p95_ms == percentile(sounding, 95)
        assert speaker.characters == total(sounding, "text_len")
        assert speaker.audio_seconds == round(total(sounding, "audio_seconds"), 3)
        assert speaker.silent == sum(line["audio_verdict"] == "silent" for line in sounding)
    for user in month_report.users:
        own = [line for line in lines if line.get("user") == user.user]
        assert user.gpu_seconds == round(total(own, "gpu_seconds"), 3)
        assert user.cost == round(total(own, "gpu_seconds") / 3600 * 12.5, 4)
        assert user.failed == sum(line["status"] in ("failed", "timeout", "lost") for line in own)
    assert month_report.users_total == 5
    assert month_report.requests_without_user == sum("user" not in line for line in lines)
    assert month_report.requests_without_speaker == sum("speaker" not in line for line in lines)


def test_latencies_and_audio_of_what_was_delivered(
    month_report: Report, month_lines: list[Line]
) -> None:
    """Percentiles are NumPy's, over success and degraded only."""
    lines = delivered(month_lines)
    assert [
        month_report.latency_ms.p50,
        month_report.latency_ms.p95,
        month_report.latency_ms.p99,
    ] == [percentile(lines, rank) for rank in (50, 95, 99)]
    assert month_report.latency_ms.mean == round(total(lines, "duration_ms") / len(lines), 3)
    fast = sum(line["duration_ms"] < 2000 for line in lines)
    assert month_report.share_under_2s == round(fast / len(lines), 6)
    assert month_report.characters == total(lines, "text_len")
    assert month_report.audio_seconds == round(total(lines, "audio_seconds"), 3)
    work = (total(lines, "duration_ms") - total(lines, "queue_ms")) / 1000
    assert month_report.chars_per_second == round(total(lines, "text_len") / work, 3)


def test_stages_of_the_whole_and_of_each_week(
    month_report: Report, month_lines: list[Line]
) -> None:
    """Means over delivered audio: queue and stages add up to the mean of the whole."""
    lines = delivered(month_lines)
    assert month_report.stages_ms == {
        stage: round(total(lines, f"stage_{stage}_ms") / len(lines), 3)
        for stage in ("text_prep", "acoustic", "vocoder", "other")
    }
    assert [row.first_day[-2:] for row in month_report.weeks] == ["01", "08", "15", "22", "29"]
    for week in month_report.weeks:
        own = [
            line
            for line in lines
            if week.first_day <= line["timestamp"].date().isoformat() <= week.last_day
        ]
        assert week.delivered == len(own)
        assert (week.p50_ms, week.p95_ms) == (percentile(own, 50), percentile(own, 95))
        assert week.stages_ms["acoustic"] == round(total(own, "stage_acoustic_ms") / len(own), 3)
        assert week.queue_ms is not None
        assert week.queue_ms + sum(week.stages_ms.values()) == pytest.approx(week.mean_ms, abs=0.01)


def test_days_hours_and_busy_minutes(month_report: Report, month_lines: list[Line]) -> None:
    """Every day has its row, every weekday and hour its count, in UTC."""
    lines = finished(month_lines)
    days = Counter(line["timestamp"].date().isoformat() for line in lines)
    assert {row.day: row.requests for row in month_report.days} == {
        f"2026-10-{day:02}": days[f"2026-10-{day:02}"] for day in range(1, 32)
    }
    hours = Counter((line["timestamp"].weekday(), line["timestamp"].hour) for line in lines)
    assert month_report.weekday_hours == tuple(
        tuple(hours[weekday, hour] for hour in range(24)) for weekday in range(7)
    )
    assert month_report.hours[9] == sum(hours[weekday, 9] for weekday in range(7))
    assert month_report.weekdays[6] == sum(hours[6, hour] for hour in range(24))
    for row in month_report.days:
        own = [line for line in lines if line["timestamp"].date().isoformat() == row.day]
        assert row.unavailable == sum(map(is_unavailable, own))
        assert row.excluded == sum(map(is_excluded, own))
        assert row.characters == total(delivered(own), "text_len")


def test_availability_and_its_budget(month_report: Report, month_lines: list[Line]) -> None:
    """Faults of callers count neither way, turning people away counts against the service."""
    lines = finished(month_lines)
    counted = len(lines) - sum(map(is_excluded, lines))
    unavailable = sum(map(is_unavailable, lines))
    assert month_report.availability == round(1 - unavailable / counted, 6)
    slo = month_report.slo
    assert (slo.counted, slo.unavailable, slo.met) == (counted, unavailable, False)
    assert slo.allowed == round(counted * 0.01, 3)
    assert slo.budget_left == round(1 - unavailable / (counted * (1 - 0.99)), 6)


def test_cost_caches_and_versions(month_report: Report, month_lines: list[Line]) -> None:
    """GPU time of every request costs, of those that delivered nothing as well."""
    lines = finished(month_lines)
    hours = total(lines, "gpu_seconds") / 3600
    assert month_report.gpu_hours == round(hours, 6)
    cost = month_report.cost
    assert (cost.currency, cost.total) == ("EUR", round(hours * 12.5, 4))
    assert cost.per_synthesis == round(hours * 12.5 / len(delivered(lines)), 6)
    minutes = total(delivered(lines), "audio_seconds") / 60
    assert cost.per_audio_minute == round(hours * 12.5 / minutes, 6)
    assert cost.per_user == round(hours * 12.5 / 5, 4)
    paid = total((line for line in lines if line not in delivered(lines)), "gpu_seconds")
    assert cost.wasted_gpu_hours == round(paid / 3600, 6)

    (cache,) = month_report.caches
    told = [line["speaker_cache_hit"] for line in lines if "speaker_cache_hit" in line]
    assert (cache.cache, cache.lookups, cache.hits) == ("speaker", len(told), sum(told))

    by_version: dict[tuple[Any, ...], list[Line]] = defaultdict(list)
    for line in lines:
        by_version[line["version"], line["engine"], line["model_version"]].append(line)
    assert [(row.version, row.engine, row.model_version) for row in month_report.versions] == list(
        by_version
    )
    for version, own in zip(month_report.versions, by_version.values(), strict=True):
        assert (version.requests, version.p95_ms) == (len(own), percentile(delivered(own), 95))
        assert version.first_day == own[0]["timestamp"].date().isoformat()
        assert version.last_day == own[-1]["timestamp"].date().isoformat()


def test_growth_is_beside_the_month_before(month_report: Report) -> None:
    """September's requests and the change since; none where there was no September."""
    assert month_report.growth is not None
    assert (month_report.growth.month, month_report.growth.requests) == ("2026-09", 300)
    assert month_report.growth.change == 4.0


def test_minutes_with_more_than_ten_requests(tmp_path: Path) -> None:
    """Ten in a minute are not busy, eleven are; the busiest minute is named."""
    lines: list[Line] = []
    for minute, count in ((5, 10), (7, 11), (9, 12)):
        for second in range(count):
            lines += request(SINCE + timedelta(minutes=minute, seconds=second), status="success")
    busy = report(kept(tmp_path, lines), OCTOBER, now=NOW).busy_minutes
    assert (busy.above, busy.minutes, busy.most_requests) == (10, 2, 12)
    assert busy.busiest == "2026-10-01T00:09Z"
    assert busy.share_of_requests == round(23 / 33, 6)


# --- Whether it can be trusted -------------------------------------------------------------------


def test_a_whole_month_balances(month_report: Report, month_lines: list[Line]) -> None:
    """Started and finished are equal, and everything that was read is told."""
    known = month_report.reconciliation
    assert known.balanced
    assert known.started == known.finished == month_report.requests == len(month_lines) / 2
    assert known.lost == month_report.by_status["lost"]
    assert (known.source, known.files, known.lines_read) == ("files", 31, len(month_lines))
    assert (known.lines_unreadable, known.duplicates, known.days_missing) == (0, 0, ())


def test_what_crosses_an_edge_is_carried(tmp_path: Path) -> None:
    """Begun in September or ended in November is neither lost nor without a beginning."""
    long = {"status": "success", "duration_ms": 60_000.0}
    lines = [
        *request(SINCE + timedelta(seconds=20), **long),
        *request(SINCE + timedelta(days=3), **long),
        *request(UNTIL + timedelta(seconds=20), **long),
    ]
    known = report(kept(tmp_path, lines), OCTOBER, now=NOW).reconciliation
    assert (known.started, known.carried_in) == (2, 1)
    assert (known.finished, known.carried_out) == (2, 1)
    assert known.balanced


def test_a_missing_half_is_told(tmp_path: Path) -> None:
    """An end without a beginning, a beginning without an end; the sum still adds up."""
    lines = drawn(5, 50)
    torn = [line for line in lines if line not in (lines[10], lines[21], lines[31])]
    found = report(kept(tmp_path, torn), OCTOBER, now=NOW)
    known = found.reconciliation
    assert (known.started, known.finished) == (49, 48)
    assert (known.unsettled, known.finished_without_start) == (2, 1)
    assert not known.balanced
    assert known.started + known.finished_without_start == known.finished + known.unsettled
    assert found.advice[0].code == "incomplete_log"
    assert found.advice[0].kind == "act"


def test_lines_that_stand_twice_count_once(tmp_path: Path) -> None:
    """A shipper that sent a day again doubles nothing."""
    lines = drawn(6, 40)
    twice = report(kept(tmp_path / "twice", [*lines, *lines[-4:]]), OCTOBER, now=NOW)
    once = report(kept(tmp_path / "once", lines), OCTOBER, now=NOW)
    assert twice.reconciliation.duplicates == 2
    assert (twice.requests, twice.latency_ms) == (once.requests, once.latency_ms)
    assert twice.reconciliation.balanced


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    """A torn line, another program's line and a day without a file are in the figures' footing."""
    store = kept(tmp_path, drawn(7, 300))
    with (tmp_path / "indextts-2026-10-05.jsonl").open("a") as file:
        file.write('{"other": "program"}\n{"timestamp": "2026-10-05T23:59:')
    (tmp_path / "indextts-2026-10-09.jsonl").unlink()
    found = report(store, OCTOBER, now=NOW)
    assert found.reconciliation.lines_unreadable == 1
    assert found.reconciliation.lines_foreign == 1
    assert found.reconciliation.days_missing == ("2026-10-09",)
    assert {note.code for note in found.notes} >= {"torn_line"}


# --- Months that say little ----------------------------------------------------------------------


def test_an_empty_month_says_so(tmp_path: Path) -> None:
    """Zeros where things are counted, nothing where there is nothing to divide by."""
    found = report(kept(tmp_path, drawn(8, 5, UNTIL, NOW)), OCTOBER, now=NOW)
    assert found.requests == found.gpu_hours == 0
    assert found.notes[0].code == "empty"
    assert found.availability is found.latency_ms.p50 is found.share_under_2s is None
    assert found.cost.per_synthesis is found.slo.met is found.growth is None
    assert [piece.code for piece in found.advice] == ["empty"]
    assert len(found.days) == 31


def test_an_unfinished_month_says_so(tmp_path: Path) -> None:
    """Its figures are those until now."""
    now = datetime(2026, 10, 11, 12, tzinfo=UTC)
    found = report(kept(tmp_path, drawn(9, 40, SINCE, now)), OCTOBER, now=now)
    assert (found.complete, found.requests) == (False, 40)
    assert found.notes[0].code == "unfinished"
    assert "2026-10-11 12:00" in found.notes[0].zh


def test_a_month_in_the_future_says_so(tmp_path: Path) -> None:
    """It is not taken for one in which nobody asked."""
    found = report(kept(tmp_path, []), Month(2027, 3), now=NOW)
    assert found.notes[0].code == "future"
    assert not found.complete


def test_without_gpu_or_price_no_cost_is_made_up(tmp_path: Path) -> None:
    """espeak's month has no GPU hours; without a price there is no cost."""
    lines = request(SINCE + timedelta(hours=1), status="success", duration_ms=5.0)
    free = report(kept(tmp_path, lines), OCTOBER, terms=Terms(gpu_hour_price=9.0), now=NOW)
    assert (free.gpu_hours, free.cost.total, free.cost.per_synthesis) == (0, 0, 0)
    assert report(kept(tmp_path, lines), OCTOBER, now=NOW).cost.total is None


def test_a_month_is_read_strictly() -> None:
    """What is no month is refused in both languages, and never echoed raw."""
    assert Month.parse("2026-10") == OCTOBER
    assert (Month(2026, 12).until.isoformat(), Month(2026, 1).before) == (
        "2027-01-01T00:00:00+00:00",
        Month(2025, 12),
    )
    for text in (
        "2026",
        "2026-13",
        "26-10",
        "2026-10-01",
        "2026-1",
        "octo\x1b[2J",
        "２０２６-10",
        "0001-01",
        "9999-12",
    ):
        with pytest.raises(MonthError) as refused:
            Month.parse(text)
        assert "2026-10" in refused.value.en
        assert "\x1b" not in refused.value.zh


# --- The contract --------------------------------------------------------------------------------


def test_the_document_is_the_contract(month_report: Report, tmp_path: Path) -> None:
    """It validates against the dataclass's own schema, as JSON, for a full and an empty month."""
    schema = TypeAdapter(Report)
    empty = report(kept(tmp_path, []), OCTOBER, now=NOW)
    for made in (month_report, empty):
        text = json.dumps(made.document(), ensure_ascii=False, allow_nan=False)
        assert json.loads(schema.dump_json(schema.validate_json(text))) == json.loads(text)


def test_the_promised_names_are_there(month_report: Report) -> None:
    """Programs that were written against the contract find what it promises."""
    document = month_report.document()
    assert set(document) >= {
        "month", "requests", "by_status", "speakers", "emotions", "users", "characters",
        "audio_seconds", "silent_audio", "share_under_2s", "latency_ms", "gpu_hours", "cost",
        "availability", "versions", "advice", "reconciliation",
    }  # fmt: skip
    assert set(document["speakers"][0]) >= {"speaker", "requests", "share"}
    assert set(document["latency_ms"]) >= {"p50", "p95", "p99"}
    assert set(document["reconciliation"]) >= {
        "started", "finished", "lost", "files", "lines_read", "lines_unreadable",
    }  # fmt: skip
    assert document["month"] == "2026-10"


@pytest.mark.parametrize("name", ["report.md", "report.zh.md"])
def test_every_name_is_documented(name: str, month_report: Report) -> None:
    """No key of the JSON is missing in either language's description."""
    text = (DOCS / name).read_text("utf-8")
    missing = {key for key in keys(month_report.document()) if f"`{key}`" not in text}
    assert not missing


def keys(value: object) -> set[str]:
    """The names of all objects' fields; not those whose names are data."""
    if isinstance(value, Mapping):
        names = {str(key) for key in value}
        data = {"by_status", "verdicts", "stages_ms", "figures"}
        return names.union(*(keys(item) for key, item in value.items() if key not in data))
    if isinstance(value, list | tuple):
        return set[str]().union(*map(keys, value))
    return set()
