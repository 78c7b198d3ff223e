"""Promises of the likely causes: each rule fires on its evidence, and says what to do."""

from __future__ import annotations

import re
from typing import Any

import pytest

from indextts_app.likely_cause import MOST, RULES, causes
from observability.log_store.questions import Neighbours, Reading

SLOW = {"status": "success", "audio_verdict": "ok"}


def around(*workers: str, **counts: int) -> Neighbours:
    """Neighbours of so many kinds, on these workers."""
    known = {"requests": 10, "failed": 0, "failed_alike": 0, "silent": 0, **counts}
    return Neighbours(
        line=None,
        lines=tuple({"worker": worker} for worker in workers),
        reading=Reading(source="files"),
        **known,
    )


def codes(
    known: dict[str, Any], times: dict[str, float] | None = None, others: Neighbours | None = None
) -> list[str]:
    """Which rules spoke, in order."""
    return [cause.code for cause in causes(known, times or {}, others)]


@pytest.mark.parametrize(
    ("known", "counts", "expected"),
    [
        ({"status": "lost", "error_type": "process_died"}, {}, "process_died"),
        ({"status": "failed", "error_type": "worker_died"}, {}, "worker_died"),
        ({"status": "failed", "error_type": "worker_died"}, {"failed_alike": 2}, "workers_die"),
        ({"status": "failed", "error_type": "replica_lost", "node": "a"}, {}, "replica_lost"),
        ({"status": "failed", "error_type": "out_of_memory"}, {}, "device_full"),
        ({"status": "failed", "error_type": "engine_error"}, {"failed_alike": 1}, "this_request"),
        ({"status": "failed", "error_type": "engine_error"}, {"failed_alike": 5}, "engine_fails"),
        ({"status": "failed", "error_type": "no_audio"}, {"requests": 9}, "this_request"),
        ({"status": "failed", "error_type": "no_audio"}, {"requests": 0}, "alone"),
        ({"status": "rejected", "error_type": "not_ready"}, {}, "not_ready"),
        ({"status": "rejected", "error_type": "text_empty"}, {}, "asked_wrong"),
        ({"status": "rejected", "error_type": "queue_full"}, {}, "queue"),
        ({"status": "degraded", "audio_verdict": "silent"}, {}, "only_this_silent"),
        ({"status": "degraded", "audio_verdict": "silent"}, {"silent": 3}, "worker_silent"),
        ({"status": "degraded", "audio_verdict": "truncated"}, {}, "ended_early"),
        (
            {"status": "degraded", "audio_verdict": "truncated", "length_limited": True},
            {},
            "token_limit",
        ),
        ({"status": "degraded", "audio_verdict": "clipped"}, {}, "too_loud"),
        ({"status": "success", "audio_verdict": "ok"}, {}, "nothing_wrong"),
    ],
)
def test_how_it_ended_points_to_a_cause(
    known: dict[str, Any], counts: dict[str, int], expected: str
) -> None:
    """The error and the verdict speak first, and neighbours tell the service's fault from one's."""
    assert codes(known, others=around(**counts))[0] == expected


@pytest.mark.parametrize(
    ("known", "times", "expected"),
    [
        (SLOW, {"queue": 1_500.0, "total": 2_500.0}, ["queue"]),
        (SLOW, {"speaker_enc": 1_500.0, "acoustic": 500.0, "total": 2_500.0}, ["cold_cache"]),
        (
            {**SLOW, "speaker_cache_hit": True},
            {"speaker_enc": 1_500.0, "total": 2_500.0},
            ["long_stage"],
        ),
        (
            {**SLOW, "acoustic_s2mel_ms": 2_000.0},
            {"acoustic": 2_400.0, "total": 2_500.0},
            ["memory_pressure"],
        ),
        (SLOW, {"acoustic": 2_400.0, "total": 2_500.0}, ["long_stage"]),
        (SLOW, {"other": 1_500.0, "total": 2_500.0}, ["machine_busy"]),
        (SLOW, {"queue": 900.0, "total": 1_000.0}, ["nothing_wrong"]),
        (
            {"status": "timeout", "error_type": "deadline_exceeded"},
            {"acoustic": 900.0, "total": 1_000.0},
            ["long_stage"],
        ),
    ],
)
def test_where_the_time_went_points_to_a_cause(
    known: dict[str, Any], times: dict[str, float], expected: list[str]
) -> None:
    """Only where it took long; the better explanation of a stage goes before the plain one."""
    assert codes(known, times) == expected


def test_a_replaced_worker_is_seen_by_its_pid() -> None:
    """Another process in the same slot, and not another slot."""
    known = {**SLOW, "worker": "0:42"}
    assert codes(known, others=around("1:7", "0:42")) == ["nothing_wrong"]
    assert codes(known, others=around("1:7", "0:99")) == ["worker_replaced", "nothing_wrong"]


def test_a_worker_that_died_is_not_told_twice() -> None:
    """That another took over is what its cause says already."""
    known = {"status": "failed", "error_type": "worker_died", "worker": "0:42"}
    assert codes(known, others=around("0:99")) == ["worker_died"]


def test_another_service_has_workers_of_its_own() -> None:
    """The same slot of another instance is no restart, whose requests stand around it as well."""
    known = {**SLOW, "worker": "0:42", "instance": "tts-1:7860"}
    assert codes(known, others=around("0:99")) == ["nothing_wrong"]


def test_growing_memory_is_told() -> None:
    """As the ladder would act on it."""
    assert "memory_grows" in codes({**SLOW, "memory_slope_mb": 9.5})
    assert "memory_grows" not in codes({**SLOW, "memory_slope_mb": 0.5})


def test_there_are_a_few_at_the_most() -> None:
    """A support person reads three."""
    known = {
        "status": "degraded",
        "audio_verdict": "silent",
        "memory_slope_mb": 9.0,
        "worker": "0:1",
    }
    times = {"queue": 3_000.0, "other": 2_000.0, "total": 5_500.0}
    assert len(causes(known, times, around("0:2"))) == MOST


def test_a_running_request_has_no_cause() -> None:
    """Nothing is claimed of what is not over."""
    assert codes({"status": "running"}) == []


def test_every_cause_speaks_both_languages() -> None:
    """A sentence and a next step, Chinese in Chinese."""
    assert len(RULES) == len(set(RULES))
    evidence = [
        ({"status": "lost"}, {}),
        ({"status": "failed", "error_type": "out_of_memory", "gpu_used_peak_mb": 23_000.0}, {}),
        ({**SLOW, "memory_slope_mb": 9.5, "text_len": 400}, {"acoustic": 9.0e3, "total": 1.0e4}),
    ]
    for known, times in evidence:
        for cause in causes(known, times, around()):
            for text in (cause.text, cause.next_step):
                assert text.en.endswith(".")
                assert re.search("[\u4e00-\u9fff]", text.zh)
