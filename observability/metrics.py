"""
Every request metric, fed by the finished event and by nothing else, so that log and metrics agree.

Label values come from closed sets only (the event holds a speaker or an emotion only once it was
validated), so that no client can add a series. Speakers come and go, and their series with them:
what was counted for one that was deleted is in the log.
"""

from __future__ import annotations

import platform

from prometheus_client import CollectorRegistry, Counter, Histogram, Info, disable_created_metrics
from prometheus_client.exposition import generate_latest

from observability.events import HINTS, Event
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

DELIVERED = ("success", "degraded")


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
        self._audio_seconds.labels(engine, speaker).inc(event.audio_seconds or 0)
        self._characters.labels(engine, speaker).inc(event.text_len or 0)
        self._audio_bytes.labels(engine, event.format or NONE).inc(event.audio_bytes or 0)

        for hint in HINTS:
            if getattr(event, hint):
                self._hints.labels(engine, hint).inc()

    def _cached(self, event: Event, engine: str) -> None:
        for recording, hit in (
            ("speaker", event.speaker_cache_hit),
            ("emotion", event.emotion_cache_hit),
        ):
            if hit is not None:
                self._cache.labels(engine, recording, "hit" if hit else "miss").inc()
        if event.speaker_cache_evictions:
            self._evictions.labels(engine).inc(event.speaker_cache_evictions)

    def forget_speaker(self, speaker: str) -> None:
        """Drop every series of a speaker that was deleted; one that is still counted comes back."""
        for metric in (self._requests, self._audio_seconds, self._characters):
            metric.remove_by_labels({"speaker": speaker})

    def build_info(self, **versions: str) -> None:
        """Say what is running: version, engine, engine_version, model_version."""
        # Made here: before the versions are known there is nothing to say.
        if self._build is None:
            self._build = Info("indextts_build", "What is running.", registry=self.registry)
        self._build.info({**versions, "python": platform.python_version()})

    def text(self) -> bytes:
        """The exposition for a scrape, as `CONTENT_TYPE`."""
        return generate_latest(self.registry)

    def _closed(self, error_type: str) -> str:
        if self._error_types is None or error_type in self._error_types:
            return error_type
        return "unexpected"
