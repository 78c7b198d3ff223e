"""Promises of the story: what was asked, where the time went, what it means, what to do."""

from __future__ import annotations

from typing import Any

import pytest

from indextts_app import replay, story
from observability.events import STATUSES, VERDICTS
from observability.log_store.questions import Neighbours, Reading

ID = "01K8ZQ3V7M1ABCDEFGHJKMNPQR"
STARTED = {
    "timestamp": "2026-01-02T03:04:05.000006Z",
    "level": "info",
    "event": "synthesis.started",
    "request_id": ID,
    "source": "api",
    "engine": "drill",
    "speaker": "steady",
    "text_len": 5,
}
FINISHED = {
    **STARTED,
    "event": "synthesis.finished",
    "status": "success",
    "duration_ms": 12.5,
    "queue_ms": 0.5,
    "stage_acoustic_ms": 7.0,
    "stage_text_prep_ms": 1.0,
    "stage_other_ms": 4.0,
    "audio_seconds": 1.0,
    "audio_verdict": "ok",
    "worker": "0:42",
}


def told(**changes: Any) -> story.Story:
    return story.told(ID, [STARTED, {**FINISHED, **changes}])


def test_a_story_has_its_parts() -> None:
    """Each field stands in the part where support looks for it, and only known ones do."""
    tale = told()
    assert (tale.request_id, tale.status) == (ID, "success")
    assert tale.asked == {
        "request_id": ID,
        "source": "api",
        "engine": "drill",
        "speaker": "steady",
        "text_len": 5,
    }
    assert tale.came_out == {"audio_seconds": 1.0, "audio_verdict": "ok"}
    assert tale.outcome == {"status": "success"}
    assert tale.machine == {"worker": "0:42"}
    assert len(tale.lines) == 2


def test_the_times_are_in_the_order_of_the_work_and_add_up() -> None:
    """Queue first, total last, and what lies between sums up to it."""
    times = dict(told().stages_ms)
    assert list(times) == ["queue", "text_prep", "acoustic", "other", "total"]
    total = times.pop("total")
    assert sum(times.values()) == pytest.approx(total)


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_has_a_meaning(status: str) -> None:
    """Support reads a sentence in both languages, not a code."""
    tale = told(status=status)
    assert tale.meaning == story.STATUS[status]
    assert tale.meaning.en
    assert tale.meaning.zh


@pytest.mark.parametrize("verdict", [verdict for verdict in VERDICTS if verdict != "ok"])
def test_every_bad_verdict_has_advice(verdict: str) -> None:
    """A degraded request says what can be done about its sound."""
    assert told(status="degraded", audio_verdict=verdict).advice == (story.VERDICTS[verdict],)


@pytest.mark.parametrize("verdict", VERDICTS)
def test_every_verdict_says_what_it_means_for_the_ear(verdict: str) -> None:
    """Sound audio too; without a verdict nothing is claimed."""
    assert told(audio_verdict=verdict).heard == story.HEARD[verdict]
    assert story.told(ID, [STARTED]).heard is None


def test_the_neighbours_are_counted_and_shown() -> None:
    """How many there were, failed, and failed alike, in both languages; only the listed fields."""
    other = {**FINISHED, "request_id": "01K8ZQ3V7M1ABCDEFGHJKMNPQS", "client_ip": "203.0.113.0"}
    found = Neighbours(
        line=FINISHED,
        lines=(other,),
        requests=12,
        failed=4,
        failed_alike=3,
        silent=1,
        reading=Reading(source="files"),
    )
    around = story.told(ID, [STARTED, FINISHED], found, seconds=30).around
    assert around is not None
    assert (around.seconds, around.requests, around.failed_alike) == (30, 12, 3)
    assert around.summary.en == (
        "Other requests within 30 s: 12. "
        "Of these 4 failed, 3 had this one's error; 1 came out silent."
    )
    assert "另有 12 个请求" in around.summary.zh
    assert dict(around.lines[0]) == {
        name: other[name] for name in story.NEIGHBOUR_FIELDS if name in other
    }
    assert told().around is None


def test_a_good_request_needs_no_advice() -> None:
    """Nothing is to be done where nothing went wrong."""
    assert told().advice == ()


def test_an_error_has_the_advice_of_its_code() -> None:
    """An error that is not known is explained as a fault of the service."""
    assert told(status="failed", error_type="worker_died").advice == (story.ADVICE["worker_died"],)
    assert told(status="failed", error_type="KeyError").advice == (story.ADVICE["service_error"],)


def test_a_delivered_request_has_its_hints() -> None:
    """What the user was told stands in the story as well."""
    (advice,) = told(unknown_tokens=2).advice
    assert "2 of the characters" in advice.en
    assert "2 处" in advice.zh
    assert told(unknown_tokens=0, length_limited=False).advice == ()


def test_a_request_can_be_made_again() -> None:
    """Its story ends with a command; one that was refused at the door has none."""
    assert told(format="wav").replay == replay.command({**FINISHED, "format": "wav"})
    assert told().replay is None


def test_a_request_that_runs_is_told_as_far_as_it_is_known() -> None:
    """Without a finished line it is running, and has no times yet."""
    tale = story.told(ID, [STARTED])
    assert tale.status == "running"
    assert tale.asked["speaker"] == "steady"
    assert tale.stages_ms == {}


def test_other_lines_of_the_request_are_kept() -> None:
    """Tracebacks and the engine's own prints are part of the story, in their order."""
    printed = {"event": "worker.output", "request_id": ID, "message": "loading"}
    assert story.told(ID, [STARTED, printed, FINISHED]).lines == (STARTED, printed, FINISHED)


def test_what_was_turned_away_at_the_door_is_not_said_to_run() -> None:
    """A wrong API key leaves a line with an id, and nothing that could ever finish."""
    refused = {"event": "access.refused", "request_id": ID, "level": "warning"}
    tale = story.told(ID, [refused])
    assert (tale.status, tale.asked, tale.causes) == ("not_asked", {}, ())
    assert tale.meaning.en.startswith("Turned away")
