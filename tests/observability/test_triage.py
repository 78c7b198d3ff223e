"""What is failing now: how much of which kind, the lines to look at, and the query for Grafana."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ulid import ULID

from observability import triage
from observability.log_store.files import FileLogStore
from observability.log_store.questions import Filter

NOW = datetime(2026, 10, 4, 12, tzinfo=UTC)
HOUR = Filter(since=NOW - timedelta(hours=1), until=NOW)


def written(folder: Path, *requests: tuple[float, dict[str, Any]]) -> FileLogStore:
    """A store with these requests, each finished so many seconds before now."""
    lines = []
    for ago, fields in sorted(requests, key=lambda item: -item[0]):
        moment = NOW - timedelta(seconds=ago)
        lines.append(
            {
                "timestamp": f"{moment.replace(tzinfo=None).isoformat(timespec='microseconds')}Z",
                "level": "error",
                "event": "synthesis.finished",
                "request_id": _id_of(moment),
                "engine": "drill",
                **fields,
            }
        )
    folder.mkdir(exist_ok=True)
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (folder / f"indextts-{NOW.date()}.jsonl").write_text(text)
    return FileLogStore(folder, clock=lambda: NOW)


def _id_of(moment: datetime) -> str:
    """An id that is the same each time."""
    return str(ULID.from_bytes(int(moment.timestamp() * 1000).to_bytes(6, "big") + bytes(10)))


def failed(error_type: str, stage: str = "acoustic", speaker: str = "zhiyan") -> dict[str, Any]:
    return {
        "status": "failed",
        "error_type": error_type,
        "error_stage": stage,
        "speaker": speaker,
        "duration_ms": 10.0,
    }


def spoken(duration_ms: float, verdict: str = "ok", speaker: str = "zhiyan") -> dict[str, Any]:
    return {
        "status": "success" if verdict == "ok" else "degraded",
        "audio_verdict": verdict,
        "duration_ms": duration_ms,
        "speaker": speaker,
        "text_len": 20,
    }


@pytest.fixture
def store(tmp_path: Path) -> FileLogStore:
    """Ten requests of the last hour, and a failure before it."""
    return written(
        tmp_path,
        (7200, failed("worker_died")),
        *((600 + n, failed("out_of_memory")) for n in range(3)),
        (500, failed("out_of_memory", "vocoder", "zhibei")),
        (400, {**failed("deadline_exceeded"), "status": "timeout"}),
        (300, {"status": "rejected", "error_type": "text_empty"}),
        (200, spoken(9_000.0)),
        (100, spoken(800.0, "silent")),
        *((50 + n, spoken(700.0 + n)) for n in range(2)),
    )


def test_failures_are_grouped(store: FileLogStore) -> None:
    """By error and stage, the most frequent first; what the caller did wrong is no failure."""
    found = triage.triaged(store, HOUR)
    assert [(group.values, group.figures.requests) for group in found.failures.groups] == [
        (("out_of_memory", "acoustic"), 3),
        (("deadline_exceeded", "acoustic"), 1),
        (("out_of_memory", "vocoder"), 1),
    ]
    assert (found.total.requests, found.total.failed) == (10, 5)
    assert found.latest.total == 5
    assert found.latest.lines[0]["error_type"] == "deadline_exceeded"


def test_slow_and_silent_audio_is_shown(store: FileLogStore) -> None:
    """The slowest first, with what explains it; silent audio with its ids."""
    found = triage.triaged(store, HOUR, limit=2)
    assert [line["duration_ms"] for line in found.slowest] == [9_000.0, 800.0]
    assert set(found.slowest[0]) == set(triage.SLOWEST)
    assert found.silent.total == 1
    assert found.silent.lines[0]["audio_verdict"] == "silent"


def test_a_filter_narrows_all_of_it(store: FileLogStore) -> None:
    """One speaker's failures, and the slowest of that speaker."""
    asked = Filter(since=HOUR.since, until=HOUR.until, speaker=("zhibei",))
    found = triage.triaged(store, asked, ["error_stage"])
    assert [group.values for group in found.failures.groups] == [("vocoder",)]
    assert found.slowest == ()
    assert "zhibei" in found.logql


def test_another_status_can_be_asked_for(store: FileLogStore) -> None:
    """Refusals, where somebody wants to know what callers do wrong."""
    asked = Filter(since=HOUR.since, until=HOUR.until, status=("rejected",))
    found = triage.triaged(store, asked, ["error_type"])
    assert [group.values for group in found.failures.groups] == [("text_empty",)]


def test_the_same_question_in_loki(store: FileLogStore) -> None:
    """The query names the statuses and counts by the same fields."""
    found = triage.triaged(store, HOUR)
    assert "synthesis.finished" in found.logql
    assert "failed|timeout|lost" in found.logql
    assert found.logql_counts.startswith("sum by (error_type, error_stage)")
    assert "[1h]" in found.logql_counts


def test_the_document_is_json(store: FileLogStore) -> None:
    """Programs get the same groups, lines and footing."""
    document = json.loads(json.dumps(triage.triaged(store, HOUR).document(), default=str))
    assert document["groups"][0] == {
        "error_type": "out_of_memory",
        "error_stage": "acoustic",
        "requests": 3,
        "share": 0.6,
    }
    assert (document["failed"], document["reading"]["source"]) == (5, "files")


def test_names_that_people_type_are_understood() -> None:
    """`stage` is error_stage; what nothing is counted by is refused in both languages."""
    assert triage.fields_named(["error", "stage", "error_type", "speaker"]) == (
        "error_type",
        "error_stage",
        "speaker",
    )
    with pytest.raises(triage.UnknownField) as refused:
        triage.fields_named(["duration_ms"])
    assert "error_stage" in refused.value.en
    assert "可选" in refused.value.zh


def test_following_tells_each_failure_once(tmp_path: Path) -> None:
    """Oldest first, what comes late included, nothing twice."""
    seen: set[str] = set()

    def told(*requests: tuple[float, dict[str, Any]]) -> list[str]:
        lines, more = triage.followed(written(tmp_path, *requests), HOUR, seen)
        assert more == 0
        return [str(line["error_type"]) for line in lines]

    first = ((30, failed("a")), (20, failed("b")), (15, spoken(1.0)))
    assert told(*first) == ["a", "b"]
    assert told(*first) == []
    assert told(*first, (25, failed("late"))) == ["late"]
    assert len(seen) == 3


def test_what_was_seen_is_forgotten_with_its_window(tmp_path: Path) -> None:
    """Following for a month needs no memory of a month."""
    seen = {"of an earlier window"}
    triage.followed(written(tmp_path, (30, failed("a"))), HOUR, seen)
    assert len(seen) == 1


def test_more_than_can_be_told_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A storm of failures is a number, not a flood."""
    monkeypatch.setattr(triage, "MAX_FOLLOWED", 2)
    store = written(tmp_path, *((10 + n, failed("a")) for n in range(5)))
    lines, more = triage.followed(store, HOUR, set())
    assert (len(lines), more) == (2, 3)
