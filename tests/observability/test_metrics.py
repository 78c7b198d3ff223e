"""
Promises of `observability.metrics`.
"""

from __future__ import annotations

import json
import math
import platform
import random
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.core import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from observability import logs, losses, observe, record, set_sinks, stage
from observability.events import HINTS, STATUSES, VERDICTS, Event
from observability.log_store.questions import TURNED_AWAY
from observability.metrics import CONTENT_TYPE, OUTCOMES, Metrics, text_length_of
from observability.observe import Observation

ID = "01K8ZQ3V7M1ABCDEFGHJKMNPQR"

Sample = tuple[str, frozenset[tuple[str, str]]]

SUCCESS = Event(
    event="synthesis.finished",
    request_id=ID,
    client_request_id="client-7",
    source="api",
    engine="espeak",
    speaker="zh-f1",
    emotion="calm",
    format="wav",
    text_len=12,
    duration_ms=350.0,
    queue_ms=50.0,
    stage_acoustic_ms=200.0,
    stage_post_ms=60.0,
    stage_other_ms=40.0,
    first_audio_ms=90.0,
    audio_seconds=2.5,
    audio_bytes=110_294,
    rtf=0.12,
    audio_verdict="ok",
    probe_ok=True,
    status="success",
    gpu_seconds=0.25,
)


def samples(registry: CollectorRegistry, *, buckets: bool = False) -> dict[Sample, float]:
    """Every sample of a request that is not zero; histograms by sum and count."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.value and (buckets or not sample.name.endswith("_bucket"))
        if not sample.name.startswith(("indextts_lines_lost", "indextts_build_info"))
    }


def labels(**values: str) -> frozenset[tuple[str, str]]:
    return frozenset(values.items())


def after(*events: Event, **options: Any) -> dict[Sample, float]:
    sink = Metrics(**options)
    for event in events:
        sink.started(event)
        sink.finished(event)
    return samples(sink.registry)


def named(expected: Mapping[str, float]) -> dict[Sample, float]:
    """The samples that stand in this table as Prometheus writes them."""
    text = "".join(f"{name} {value}\n" for name, value in expected.items())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_success_is_these_samples_and_no_others() -> None:
    """Each figure of the event is found again, in base units."""
    assert after(SUCCESS) == named(
        {
            'indextts_requests_total{engine="espeak",speaker="zh-f1",emotion="calm",'
            'status="success",source="api"}': 1,
            'indextts_outcomes_total{engine="espeak",outcome="available"}': 1,
            'indextts_request_duration_seconds_count{engine="espeak",status="success"}': 1,
            'indextts_request_duration_seconds_sum{engine="espeak",status="success"}': 0.35,
            'indextts_queue_seconds_count{engine="espeak"}': 1,
            'indextts_queue_seconds_sum{engine="espeak"}': 0.05,
            'indextts_stage_duration_seconds_count{engine="espeak",stage="acoustic"}': 1,
            'indextts_stage_duration_seconds_sum{engine="espeak",stage="acoustic"}': 0.2,
            'indextts_stage_duration_seconds_count{engine="espeak",stage="post"}': 1,
            'indextts_stage_duration_seconds_sum{engine="espeak",stage="post"}': 0.06,
            'indextts_stage_duration_seconds_count{engine="espeak",stage="other"}': 1,
            'indextts_stage_duration_seconds_sum{engine="espeak",stage="other"}': 0.04,
            'indextts_first_audio_seconds_count{engine="espeak"}': 1,
            'indextts_first_audio_seconds_sum{engine="espeak"}': 0.09,
            'indextts_realtime_factor_count{engine="espeak"}': 1,
            'indextts_realtime_factor_sum{engine="espeak"}': 0.12,
            'indextts_text_length_duration_seconds_count{engine="espeak",text_length="1-30"}': 1,
            'indextts_text_length_duration_seconds_sum{engine="espeak",text_length="1-30"}': 0.35,
            'indextts_delivered_seconds_total{engine="espeak",speaker="zh-f1",'
            'emotion="calm"}': 0.35,
            'indextts_gpu_seconds_total{engine="espeak"}': 0.25,
            'indextts_audio_seconds_total{engine="espeak",speaker="zh-f1"}': 2.5,
            'indextts_characters_total{engine="espeak",speaker="zh-f1"}': 12,
            'indextts_audio_bytes_total{engine="espeak",format="wav"}': 110_294,
            'indextts_audio_verdicts_total{engine="espeak",verdict="ok"}': 1,
            'indextts_probes_total{result="ok"}': 1,
        }
    )


def test_what_a_cloning_engine_tells_is_counted() -> None:
    """Recordings that were encoded or known, those that were forgotten, and each hint."""
    told = replace(
        SUCCESS,
        engine="indextts2",
        speaker_cache_hit=True,
        emotion_cache_hit=False,
        speaker_cache_evictions=2,
        unknown_tokens=3,
        length_limited=True,
        reference_truncated=False,
    )
    quiet = replace(told, speaker_cache_evictions=0, unknown_tokens=0, length_limited=False)
    added = {
        sample: value
        for sample, value in after(told, quiet).items()
        if sample[0].startswith(("indextts_speaker_cache", "indextts_hints"))
    }
    assert added == named(
        {
            'indextts_speaker_cache_total{engine="indextts2",recording="speaker",result="hit"}': 2,
            'indextts_speaker_cache_total{engine="indextts2",recording="emotion",result="miss"}': 2,
            'indextts_speaker_cache_evictions_total{engine="indextts2"}': 2,
            'indextts_hints_total{engine="indextts2",hint="unknown_tokens"}': 1,
            'indextts_hints_total{engine="indextts2",hint="length_limited"}': 1,
        }
    )


@pytest.mark.parametrize("hint", HINTS)
def test_no_hint_is_given_with_a_failure(hint: str) -> None:
    """Who got no audio was told what went wrong, and nothing besides."""
    failed = replace(SUCCESS, status="failed", error_type="engine_error", **{hint: True})
    assert not [sample for sample in after(failed) if sample[0] == "indextts_hints_total"]


def test_a_refusal_is_these_samples_and_no_others() -> None:
    """What is not known of a request has no sample, or the label `none`, and never a zero."""
    refused = Event(
        event="synthesis.finished",
        request_id=ID,
        duration_ms=1.0,
        text_len=9,
        status="rejected",
        error_type="unknown_speaker",
    )
    assert after(refused) == named(
        {
            'indextts_requests_total{engine="none",speaker="none",emotion="none",'
            'status="rejected",source="none"}': 1,
            'indextts_outcomes_total{engine="none",outcome="excluded"}': 1,
            'indextts_errors_total{engine="none",error_type="unknown_speaker",stage="none"}': 1,
            'indextts_request_duration_seconds_count{engine="none",status="rejected"}': 1,
            'indextts_request_duration_seconds_sum{engine="none",status="rejected"}': 0.001,
        }
    )


def test_a_failure_names_its_stage_and_delivers_nothing() -> None:
    """Text that was never heard is not counted as delivered."""
    lost = Event(
        event="synthesis.finished",
        request_id=ID,
        engine="espeak",
        speaker="zh-f1",
        source="page",
        text_len=9,
        status="lost",
        error_type="process_died",
        error_stage="vocoder",
        probe_error="timeout",
    )
    assert after(lost) == named(
        {
            'indextts_requests_total{engine="espeak",speaker="zh-f1",emotion="none",'
            'status="lost",source="page"}': 1,
            'indextts_outcomes_total{engine="espeak",outcome="unavailable"}': 1,
            'indextts_errors_total{engine="espeak",error_type="process_died",stage="vocoder"}': 1,
            'indextts_probes_total{result="timeout"}': 1,
        }
    )


@pytest.mark.parametrize(
    ("status", "error_type", "outcome"),
    [
        ("success", None, "available"),
        ("degraded", None, "available"),
        ("failed", "engine_error", "unavailable"),
        ("timeout", "deadline_exceeded", "unavailable"),
        ("lost", "process_died", "unavailable"),
        *(("rejected", code, "unavailable") for code in TURNED_AWAY),
        ("rejected", "text_too_long", "excluded"),
        ("cancelled", "client_gone", "excluded"),
    ],
)
def test_availability_is_counted_as_in_the_monthly_report(
    status: Any, error_type: str | None, outcome: str
) -> None:
    """What the service owed and did not give counts against it; a caller's fault counts neither."""
    counted = after(replace(SUCCESS, status=status, error_type=error_type))
    assert counted["indextts_outcomes_total", labels(engine="espeak", outcome=outcome)] == 1
    assert sum(value for (name, _), value in counted.items() if "_outcomes_" in name) == 1


def test_failures_in_a_row_are_told_until_the_next_audio() -> None:
    """Refused, cancelled and lost requests say nothing about the engine, and change nothing."""
    sink = Metrics()
    found = []
    for status in (
        "failed", "timeout", "rejected", "lost", "cancelled", "failed", "degraded", "failed",
    ):  # fmt: skip
        sink.finished(replace(SUCCESS, status=status))
        found.append(
            sink.registry.get_sample_value("indextts_consecutive_failures", {"engine": "espeak"})
        )
    assert found == [1, 2, 2, 2, 2, 3, 0, 1]


def test_what_alerts_watch_begins_at_zero() -> None:
    """Or the first failure of a process were no increase to Prometheus."""
    sink = Metrics()
    sink.build_info(engine="espeak")
    for name, label, values in (
        ("indextts_outcomes_total", "outcome", OUTCOMES),
        ("indextts_audio_verdicts_total", "verdict", VERDICTS),
        ("indextts_request_duration_seconds_count", "status", STATUSES),
    ):
        for value in values:
            found = sink.registry.get_sample_value(name, {"engine": "espeak", label: value})
            assert found == 0
    for code in TURNED_AWAY:
        refused = {"engine": "espeak", "error_type": code, "stage": "none"}
        assert sink.registry.get_sample_value("indextts_errors_total", refused) == 0


@pytest.mark.parametrize(
    ("characters", "band"),
    [(0, "1-30"), (30, "1-30"), (31, "31-60"), (120, "61-120"), (121, "121-250"), (250, "121-250"),
     (251, "251 and more")],
)  # fmt: skip
def test_a_text_lies_in_one_band(characters: int, band: str) -> None:
    """Bands that do not overlap, and a last one without an end."""
    assert text_length_of(characters) == band


def test_a_started_event_counts_nothing() -> None:
    """Only what is finished is a fact."""
    sink = Metrics()
    sink.started(SUCCESS)
    assert samples(sink.registry) == {}


def test_the_thresholds_of_the_alerts_are_edges_of_buckets() -> None:
    """3 s and 5 s can be asked for exactly; a request of 3 s is not above 3 s."""
    sink = Metrics()
    for duration_ms in (2999.0, 3000.0, 3000.001, 5000.0, 9000.0):
        sink.finished(
            Event(event="x.finished", request_id=ID, status="success", duration_ms=duration_ms)
        )
    found = {
        dict(labels)["le"]: value
        for (name, labels), value in samples(sink.registry, buckets=True).items()
        if name == "indextts_request_duration_seconds_bucket"
    }
    assert (found["3.0"], found["5.0"], found["8.0"], found["+Inf"]) == (2, 4, 4, 5)


def test_error_types_outside_the_closed_set_are_one() -> None:
    """However many class names exceptions have, they add one series."""
    events = [
        Event(event="x.finished", request_id=ID, status="failed", error_type=error_type)
        for error_type in ("no_audio", "ValueError", "text of a user", '"}\nforged 1')
    ]
    counted = {
        dict(labels)["error_type"]: value
        for (name, labels), value in after(*events, error_types=frozenset({"no_audio"})).items()
        if name == "indextts_errors_total"
    }
    assert counted == {"no_audio": 1, "unexpected": 3}


def test_what_a_client_may_choose_freely_adds_no_series() -> None:
    """Ids, hashes, messages and addresses of 300 requests are in no label."""
    base = SUCCESS.line() | {"status": "failed", "error_type": "no_audio"}
    del base["event"]
    events = [
        Event.build(
            "synthesis.finished",
            base
            | {
                "request_id": f"{ID[:-3]}{number}",
                "client_request_id": f"client-{number}",
                "client_ip": f"10.0.{number}.x",
                "text_hash": f"{number:032x}",
                "reference_hash": f"{number:064x}",
                "error_message": f"message {number}",
                "error_fingerprint": f"{number:012x}",
                "worker": f"0:{number}",
                "free": f"field {number}",
            },
        )
        for number in range(100, 400)
    ]
    assert after(*events).keys() == after(events[0]).keys()


def test_a_deleted_speaker_leaves_no_series() -> None:
    """Their number is bounded over time and not only at a time; others keep their counts."""
    sink = Metrics()
    for number in range(50):
        line = SUCCESS.line() | {"speaker": f"speaker-{number}"}
        del line["event"]
        sink.finished(Event.build("synthesis.finished", line))
        if number:
            sink.forget_speaker(f"speaker-{number}")
    text = sink.text().decode()
    assert set(re.findall(r'speaker="([^"]*)"', text)) == {"speaker-0"}
    sink.forget_speaker("nobody")
    assert sink.text().decode() == text


def test_a_label_value_with_quotes_and_newlines_stays_one_value() -> None:
    """Text that looks like the exposition's own syntax forges no sample."""
    hostile = 'a"} 1\nindextts_forged 1\n\\'
    sink = Metrics()
    sink.finished(Event(event="x.finished", request_id=ID, status="success", engine=hostile))
    families = {each.name: each for each in text_string_to_metric_families(sink.text().decode())}
    assert "indextts_forged" not in families
    assert [each.labels["engine"] for each in families["indextts_requests"].samples] == [hostile]


def test_log_and_metrics_agree(tmp_path: Path) -> None:
    """The sums over the lines of 300 varied requests are the samples, to the last figure."""
    logs.set_up(tmp_path, stdout=False, capture=False)
    sink = Metrics()
    set_sinks([logs.EventLog(), sink])
    chance = random.Random(7)  # noqa: S311  # varied, not secret

    @observe("synthesis")
    def synthesis() -> None:
        record(
            engine=chance.choice(["espeak", "drill"]),
            speaker=chance.choice(["a", "b", "c", None]),
            emotion=chance.choice(["calm", "happy"]),
            source=chance.choice(["page", "api"]),
            audio_verdict=chance.choice(VERDICTS),
            audio_seconds=round(chance.uniform(0.1, 9), 3),
            text_len=chance.randrange(500),
        )
        with stage("acoustic"):
            if chance.random() < 0.2:
                error = RuntimeError("no")
                error.status, error.code = chance.choice(STATUSES), "no_audio"  # type: ignore[attr-defined]
                raise error

    for _ in range(300):
        try:
            synthesis()
        except RuntimeError:
            continue
    lines = [
        json.loads(text)
        for path in tmp_path.iterdir()
        for text in path.read_text("utf-8").splitlines()
    ]
    finished = [line for line in lines if line["event"] == "synthesis.finished"]
    counted = samples(sink.registry)

    def sums(name: str, *labels: str) -> dict[tuple[str, ...], float]:
        return {
            tuple(dict(found)[label] for label in labels): value
            for (sample, found), value in counted.items()
            if sample == name
        }

    requests = Counter(
        tuple(line.get(key, "none") for key in ("engine", "speaker", "status", "source", "emotion"))
        for line in finished
    )
    assert sums("indextts_requests_total", "engine", "speaker", "status", "source", "emotion") == (
        requests
    )
    durations: Counter[tuple[str, str]] = Counter()
    for line in finished:
        durations[line["engine"], line["status"]] += line["duration_ms"] / 1000
    assert sums("indextts_request_duration_seconds_sum", "engine", "status") == pytest.approx(
        durations, rel=1e-12
    )
    delivered = [line for line in finished if line["status"] in ("success", "degraded")]
    assert sum(sums("indextts_characters_total", "engine", "speaker").values()) == sum(
        line["text_len"] for line in delivered
    )
    assert math.isclose(
        sum(sums("indextts_audio_seconds_total", "engine", "speaker").values()),
        sum(line["audio_seconds"] for line in delivered),
    )
    assert len(finished) == 300


def test_what_was_lost_is_a_series_before_anything_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every sink of ours stands at its count from the start, so that an increase can be seen."""
    monkeypatch.setattr(losses, "_lost", Counter({"stdout": 3, "another": 1}))
    registry = Metrics().registry
    assert {
        sample.labels["sink"]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "indextts_lines_lost_total"
    } == {
        "file": 0,
        "stdout": 3,
        "format": 0,
        "eventlog": 0,
        "metrics": 0,
        "deferred": 0,
        "fields": 0,
        "probe": 0,
        "attach": 0,
        "listener": 0,
        "spans": 0,
        "another": 1,
    }


def test_what_runs_is_told_with_its_versions() -> None:
    """One sample of value 1 whose labels are the versions."""
    sink = Metrics()
    sink.build_info(version="1.0", engine="espeak", engine_version="1.52", model_version="x")
    versions = {
        "version": "1.0",
        "engine": "espeak",
        "engine_version": "1.52",
        "model_version": "x",
        "python": platform.python_version(),
    }
    assert sink.registry.get_sample_value("indextts_build_info", versions) == 1


def test_the_text_is_the_format_that_every_prometheus_reads() -> None:
    """Version 0.0.4, UTF-8, and none of the `_created` series of another format."""
    sink = Metrics()
    sink.finished(SUCCESS)
    text = sink.text().decode()
    assert CONTENT_TYPE == "text/plain; version=0.0.4; charset=utf-8"
    assert "# TYPE indextts_requests_total counter\n" in text
    assert "_created" not in text
    assert "# EOF" not in text


def test_prometheus_own_check_has_nothing_to_say() -> None:
    """Names, units and help of every metric pass `promtool check metrics`."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian package prometheus)")
    sink = Metrics()
    sink.finished(SUCCESS)
    with Observation("synthesis", {}):
        sink.worker_restarts.labels("crash").inc()
    check = subprocess.run(
        [promtool, "check", "metrics"], input=sink.text(), capture_output=True, check=False
    )
    assert (check.returncode, check.stdout, check.stderr) == (0, b"", b"")
