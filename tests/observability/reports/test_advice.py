"""Advice comes from stated rules, carries its figures, and is three to five pieces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from month_of_lines import NOW, SINCE, UNTIL, Line, drawn, kept

from observability.reports import advice
from observability.reports.figures import (
    Advice,
    BusyMinutes,
    CacheRow,
    ErrorRow,
    Growth,
    Report,
    SpeakerRow,
    VersionRow,
    WeekRow,
)
from observability.reports.month import Month
from observability.reports.monthly import report

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A month in which nothing went wrong."""
    lines = [
        {**line, "status": "success", "audio_verdict": "ok", "duration_ms": 900.0, "queue_ms": 10.0}
        for line in sound(drawn(3, 900, SINCE, UNTIL))
    ]
    for line in lines:
        line |= {"version": "0.1.0", "model_version": "2", "speaker_cache_hit": True}
        line |= {"stage_acoustic_ms": 700.0, "stage_vocoder_ms": 100.0, "stage_text_prep_ms": 80.0}
    return report(kept(tmp_path_factory.mktemp("calm"), lines), Month(2026, 10), now=NOW)


def sound(lines: list[Line]) -> list[Line]:
    bad = {line["request_id"] for line in lines if "error_type" in line}
    return [line for line in lines if line["request_id"] not in bad]


def codes(pieces: tuple[Advice, ...], kind: str) -> list[str]:
    return [piece.code for piece in pieces if piece.kind == kind]


def speaker(name: str, p95_ms: float) -> SpeakerRow:
    return SpeakerRow(
        speaker=name, requests=400, share=0.4, delivered=400, failed=0, silent=0,
        characters=1, audio_seconds=1.0, p95_ms=p95_ms,
    )  # fmt: skip


def version(name: str, p95_ms: float, share_failed: float = 0.0) -> VersionRow:
    return VersionRow(
        version=name, engine="indextts2", model_version="2", first_day="2026-10-01",
        last_day="2026-10-31", requests=500, share=0.5, delivered=400, failed=0,
        share_failed=share_failed, p50_ms=1.0, p95_ms=p95_ms,
    )  # fmt: skip


def week(acoustic_ms: float) -> WeekRow:
    return WeekRow(
        first_day="2026-10-01", last_day="2026-10-07", delivered=200, mean_ms=acoustic_ms + 10,
        p50_ms=1.0, p95_ms=1.0, queue_ms=1.0, stages_ms={"acoustic": acoustic_ms, "post": 5.0},
    )  # fmt: skip


CASES: dict[str, Callable[[Report], Report]] = {
    "incomplete_log": lambda calm: replace(
        calm, reconciliation=replace(calm.reconciliation, unsettled=1)
    ),
    "availability": lambda calm: replace(
        calm, availability=0.98, slo=replace(calm.slo, met=False, unavailable=18, days_below=2)
    ),
    "silent_audio": lambda calm: replace(calm, silent_audio=20),
    "one_error": lambda calm: replace(
        calm,
        by_status={**calm.by_status, "failed": 30},
        errors=(ErrorRow(error_type="out_of_memory", status="failed", requests=30, share=0.03),),
    ),
    "worse_version": lambda calm: replace(
        calm, versions=(version("0.1.0", 900.0), version("0.2.0", 1_100.0))
    ),
    "slow_speaker": lambda calm: replace(
        calm, speakers=(speaker("zhiyan", 1_500.0), speaker("zhibei", 800.0))
    ),
    "latency": lambda calm: replace(calm, latency_ms=replace(calm.latency_ms, p95=4_200.0)),
    "capacity": lambda calm: replace(
        calm,
        queue_ms=300.0,
        busy_minutes=BusyMinutes(
            above=10, minutes=7, share_of_requests=0.1, most_requests=40, busiest=None
        ),
    ),
    "stage_trend": lambda calm: replace(calm, weeks=(week(700.0), week(950.0))),
    "speaker_cache": lambda calm: replace(
        calm, caches=(CacheRow(cache="speaker", lookups=900, hits=300, share=0.333),)
    ),
    "wasted_gpu": lambda calm: replace(
        calm, gpu_hours=10.0, cost=replace(calm.cost, wasted_gpu_hours=1.0)
    ),
    "throughput": lambda calm: replace(calm, chars_per_second=5.0),
    "growth": lambda calm: replace(
        calm,
        growth=Growth(month="2026-09", requests=500, change=0.8, p95_ms=1.0, share_failed=0.0),
    ),
}


def test_a_calm_month_says_what_is_fine(calm: Report) -> None:
    """Where nothing calls for an act, three findings say what was looked at."""
    assert codes(calm.advice, "act") == []
    assert len(calm.advice) == advice.FEWEST
    assert calm.advice[0].code == "incomplete_log"


@pytest.mark.parametrize("code", CASES)
def test_each_rule_fires_by_its_own_figure(code: str, calm: Report) -> None:
    """The one figure that is wrong is named, with what to do, in both languages."""
    pieces = advice.advised(CASES[code](calm))
    assert codes(pieces, "act") == [code]
    assert len(pieces) == advice.FEWEST
    piece = pieces[0]
    assert piece.figures
    assert piece.en.endswith(".")
    assert piece.zh.endswith("。")


def test_every_rule_has_its_case() -> None:
    """No rule is without a month in which it fires."""
    assert len(CASES) == len(advice.RULES)


def test_the_gravest_five_come_first(calm: Report) -> None:
    """However much is wrong, five pieces are read, in the order of the rules."""
    wrong = calm
    for change in CASES.values():
        wrong = change(wrong)
    pieces = advice.advised(wrong)
    assert codes(pieces, "act") == list(CASES)[: advice.MOST]
    assert len(pieces) == advice.MOST


def test_a_few_requests_make_no_advice(calm: Report) -> None:
    """A speaker of ten requests that is slow is an accident."""
    few = replace(speaker("rare", 9_000.0), delivered=10)
    pieces = advice.advised(replace(calm, speakers=(speaker("zhibei", 800.0), few)))
    assert codes(pieces, "act") == []


def test_the_worst_speaker_is_named(calm: Report) -> None:
    """The advice of a slow speaker says whose, how slow, and beside what."""
    (piece, *_) = advice.advised(CASES["slow_speaker"](calm))
    assert piece.figures["speaker"] == "zhiyan"
    assert "zhiyan" in piece.en
    assert "1.50 s" in piece.zh


@pytest.mark.parametrize("name", ["report.md", "report.zh.md"])
def test_every_rule_is_documented(name: str) -> None:
    """Each code stands in the table of rules, in the order of their weight."""
    text = (DOCS / name).read_text("utf-8")
    places = [text.index(f"| `{code}` |", text.index("| code |")) for code in ("empty", *CASES)]
    assert places == sorted(places)
