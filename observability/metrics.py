"""
Every request metric, fed by the finished event and by nothing else, so that log and metrics agree.

Label values come from closed sets only (the event holds a speaker or an emotion only once it was
validated), so that no client can add a series. Speakers come and go, and their series with them:
what was counted for one that was deleted is in the log.
"""

from __future__ import annotations

import platform
from typing import Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    disable_created_metrics,
)
from prometheus_client.exposition import generate_latest

from observability.audio_probe import PROBE_ERRORS
from observability.events import HINTS, STATUSES, VERDICTS, Event
from observability.log_store.questions import DELIVERED, FAILED, TURNED_AWAY
from observability.resources import LossCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

SECONDS = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 8, 12, 20, 30, 60, 120,
)  # fmt: skip
"""From espeak's 5 ms to IndexTTS-2's 30 s; 2, 3, 5 and 8 s are the thresholds of the alerts."""

STAGE_SECONDS = (0.0005, 0.001, 0.0025, *SECONDS)
FACTORS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10)
NONE = "none"
"""Label value where the event has no such field, of a request refused at the door say."""

TEXT_LENGTHS = ((30, "1-30"), (60, "31-60"), (120, "61-120"), (250, "121-250"))
LONGER_TEXT = "251 and more"
"""Bands of characters, in which it can be seen how latency grows with text."""

Outcome = Literal["available", "unavailable", "excluded"]
OUTCOMES: tuple[Outcome, ...] = ("available", "unavailable", "excluded")


def outcome_of(event: Event) -> Outcome:
    """
    What a finished request says about availability, as the monthly report counts it.

    Unavailable is what the service owed and did not give; excluded, counting neither way, is what
    was refused for a fault of the caller's, or given up by the caller.
    """
    if event.status in FAILED:
        return "unavailable"
    if event.status == "rejected":
        return "unavailable" if event.error_type in TURNED_AWAY else "excluded"
    return "excluded" if event.status == "cancelled" else "available"


def text_length_of(characters: int) -> str:
    """The band of `TEXT_LENGTHS` that so many characters lie in."""
    return next((band for most, band in TEXT_LENGTHS if characters <= most), LONGER_TEXT)


class Metrics:
    """A sink that turns finished events into Prometheus series of its own registry."""

    def __init__(self, *, error_types: frozenset[str] | None = None) -> None:
        """
        Args:
            error_types: the closed set of error codes; others are counted as `unexpected`.
        """
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._error_types = error_types
        registry = self.registry
        self._requests = Counter(
            "indextts_requests",
            "Finished requests.",
            ("engine", "speaker", "emotion", "status", "source"),
            registry=registry,
        )
        self._outcomes = Counter(
            "indextts_outcomes",
            "Finished requests by what they say about availability.",
            ("engine", "outcome"),
            registry=registry,
        )
        self._failures_in_a_row = Gauge(
            "indextts_consecutive_failures",
            "Requests that failed or timed out since the last one that got audio.",
            ("engine",),
            registry=registry,
        )
        self._errors = Counter(
            "indextts_errors",
            "Requests that ended with an error, by its code and the stage it happened in.",
            ("engine", "error_type", "stage"),
            registry=registry,
        )
        self._duration = Histogram(
            "indextts_request_duration_seconds",
            "From the door to the answer.",
            ("engine", "status"),
            buckets=SECONDS,
            registry=registry,
        )
        self._queue = Histogram(
            "indextts_queue_seconds",
            "Waited for a worker.",
            ("engine",),
            buckets=STAGE_SECONDS,
            registry=registry,
        )
        self._stage = Histogram(
            "indextts_stage_duration_seconds",
            "Time of each stage; other is what no stage holds.",
            ("engine", "stage"),
            buckets=STAGE_SECONDS,
            registry=registry,
        )
        self._first_audio = Histogram(
            "indextts_first_audio_seconds",
            "From the door to the engine's first sound.",
            ("engine",),
            buckets=STAGE_SECONDS,
            registry=registry,
        )
        self._factor = Histogram(
            "indextts_realtime_factor",
            "Seconds of work for a second of audio.",
            ("engine",),
            buckets=FACTORS,
            registry=registry,
        )
        self._by_text_length = Histogram(
            "indextts_text_length_duration_seconds",
            "From the door to the answer with audio, by the characters of the text.",
            ("engine", "text_length"),
            buckets=SECONDS,
            registry=registry,
        )
        self._delivered_seconds = Counter(
            "indextts_delivered_seconds",
            "From the door to the answer with audio, summed up.",
            ("engine", "speaker", "emotion"),
            registry=registry,
        )
        self._gpu_seconds = Counter(
            "indextts_gpu_seconds", "Time on the GPU.", ("engine",), registry=registry
        )
        self._audio_seconds = Counter(
            "indextts_audio_seconds", "Audio delivered.", ("engine", "speaker"), registry=registry
        )
        self._characters = Counter(
            "indextts_characters",
            "Characters of text delivered as audio.",
            ("engine", "speaker"),
            registry=registry,
        )
        self._audio_bytes = Counter(
            "indextts_audio_bytes",
            "Bytes of audio files delivered.",
            ("engine", "format"),
            registry=registry,
        )
        self._verdicts = Counter(
            "indextts_audio_verdicts",
            "Judgement of each audio that came out.",
            ("engine", "verdict"),
            registry=registry,
        )
        self._probes = Counter(
            "indextts_probes",
            "ffprobe runs by result; anything but ok means that the file was not probed or bad.",
            ("result",),
            registry=registry,
        )
        self._hints = Counter(
            "indextts_hints",
            "Delivered audios that could have been better, by what the user was told.",
            ("engine", "hint"),
            registry=registry,
        )
        self._cache = Counter(
            "indextts_speaker_cache",
            "Recordings that an engine needed encoded, by whose they were and whether they were.",
            ("engine", "recording", "result"),
            registry=registry,
        )
        self._results = Counter(
            "indextts_result_cache",
            "Requests whose audio might have been made before, by whether it was.",
            ("engine", "result"),
            registry=registry,
        )
        self.result_cache_failures = Counter(
            "indextts_result_cache_failures",
            "Times that a layer of the result cache failed, and the audio was made.",
            ("layer",),
            registry=registry,
        )
        self._evictions = Counter(
            "indextts_speaker_cache_evictions",
            "Encoded recordings that were forgotten to make room for others.",
            ("engine",),
            registry=registry,
        )
        self.worker_restarts = Counter(
            "indextts_worker_restarts",
            "Workers that were replaced, by reason.",
            ("reason",),
            registry=registry,
        )
        self.files_swept = Counter(
            "indextts_files_swept",
            "Files deleted from the output folder: old, or surplus where there was too much.",
            ("reason",),
            registry=registry,
        )
        self._build: Info | None = None
        registry.register(LossCollector())

    def started(self, event: Event) -> None:
        """Nothing: what counts is how a request ended."""

    def finished(self, event: Event) -> None:
        """Count one finished request."""
        engine = event.engine or NONE
        speaker = event.speaker or NONE
        status = event.status or NONE
        self._requests.labels(
            engine, speaker, event.emotion or NONE, status, event.source or NONE
        ).inc()
        self._outcomes.labels(engine, outcome_of(event)).inc()
        self._counted_in_a_row(status, engine)
        if event.error_type:
            self._errors.labels(
                engine, self._closed(event.error_type), event.error_stage or NONE
            ).inc()
        if event.duration_ms is not None:
            self._duration.labels(engine, status).observe(event.duration_ms / 1000)
        if event.queue_ms is not None:
            self._queue.labels(engine).observe(event.queue_ms / 1000)
        for stage, spent_ms in event.stages_ms().items():
            self._stage.labels(engine, stage).observe(spent_ms / 1000)
        if event.first_audio_ms is not None:
            self._first_audio.labels(engine).observe(event.first_audio_ms / 1000)
        if event.gpu_seconds is not None:
            self._gpu_seconds.labels(engine).inc(event.gpu_seconds)
        self._cached(event, engine)
        if event.probe_ok is not None or event.probe_error:
            self._probes.labels("ok" if event.probe_ok else event.probe_error or NONE).inc()
        if event.audio_verdict:
            self._verdicts.labels(engine, event.audio_verdict).inc()
        if status in DELIVERED:
            self._delivered(event, engine, speaker)

    def _delivered(self, event: Event, engine: str, speaker: str) -> None:
        if event.rtf is not None:
            self._factor.labels(engine).observe(event.rtf)
        if event.duration_ms is not None:
            seconds = event.duration_ms / 1000
            self._delivered_seconds.labels(engine, speaker, event.emotion or NONE).inc(seconds)
            if event.text_len is not None:
                band = text_length_of(event.text_len)
                self._by_text_length.labels(engine, band).observe(seconds)
        self._audio_seconds.labels(engine, speaker).inc(event.audio_seconds or 0)
        self._characters.labels(engine, speaker).inc(event.text_len or 0)
        self._audio_bytes.labels(engine, event.format or NONE).inc(event.audio_bytes or 0)

        for hint in HINTS:
            if getattr(event, hint):
                self._hints.labels(engine, hint).inc()

    def _counted_in_a_row(self, status: str, engine: str) -> None:
        if status in DELIVERED:
            self._failures_in_a_row.labels(engine).set(0)
        elif status in ("failed", "timeout"):
            self._failures_in_a_row.labels(engine).inc()

    def _cached(self, event: Event, engine: str) -> None:
        for recording, hit in (
            ("speaker", event.speaker_cache_hit),
            ("emotion", event.emotion_cache_hit),
        ):
            if hit is not None:
                self._cache.labels(engine, recording, "hit" if hit else "miss").inc()
        if event.result_cache_hit is not None:
            self._results.labels(engine, "hit" if event.result_cache_hit else "miss").inc()
        if event.speaker_cache_evictions:
            self._evictions.labels(engine).inc(event.speaker_cache_evictions)

    def forget_speaker(self, speaker: str) -> None:
        """Drop every series of a speaker that was deleted; one that is still counted comes back."""
        for metric in (
            self._requests,
            self._delivered_seconds,
            self._audio_seconds,
            self._characters,
        ):
            metric.remove_by_labels({"speaker": speaker})

    def build_info(self, **versions: str) -> None:
        """Say what is running: version, engine, engine_version, model_version, device."""
        # Made here: before the versions are known there is nothing to say.
        if self._build is None:
            self._build = Info("indextts_build", "What is running.", registry=self.registry)
        self._build.info({**versions, "python": platform.python_version()})
        if "engine" in versions:
            self._begin_at_zero(versions["engine"])

    def _begin_at_zero(self, engine: str) -> None:
        """What alerts watch stands at 0 first: an increase from nothing to 1 is none to PromQL."""
        self._failures_in_a_row.labels(engine)
        for outcome in OUTCOMES:
            self._outcomes.labels(engine, outcome)
        for code in TURNED_AWAY:
            self._errors.labels(engine, code, NONE)
        for result in ("ok", *PROBE_ERRORS):
            self._probes.labels(result)
        for verdict in VERDICTS:
            self._verdicts.labels(engine, verdict)
        for status in STATUSES:
            self._duration.labels(engine, status)

    def text(self) -> bytes:
        """The exposition for a scrape, as `CONTENT_TYPE`."""
        return generate_latest(self.registry)

    def _closed(self, error_type: str) -> str:
        if self._error_types is None or error_type in self._error_types:
            return error_type
        return "unexpected"
