"""The one path that every request takes, from the page and from the API alike."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from indextts_app import audio, errors, references
from indextts_app.engines.base import Capabilities, Samples, Task
from indextts_app.settings import Settings
from indextts_app.synthesis import (
    Caller,
    SynthesisRequest,
    SynthesisResult,
    validated,
)
from indextts_app.workers.pool import WorkerPool
from indextts_app.workers.worker import Delivery
from observability.audio_check import SignalReport, check_signal
from observability.audio_probe import judge_file, probe
from observability.events import Scalar
from observability.observe import Known, Observation, current, observe, record, stage
from observability.text_facts import facts_of

log = structlog.get_logger("indextts_app.synthesizer")

MAX_STORING = 16
"""Files being written beside their answers; with more, an answer waits for its own file."""


class Watcher(Protocol):
    """Somebody who follows a request while it runs."""

    def waiting(self, ahead: int) -> None:
        """In the queue, with so many requests ahead."""

    def stage(self, name: str) -> None:
        """The request entered a stage."""

    def segment(self, number: int, count: int) -> None:
        """The engine is at segment `number` (from 1) of `count`."""

    def audio(self, samples: Samples, sample_rate: int) -> None:
        """The engine's next samples, as soon as they are made."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A recording that came with a request, and the folder that uploads are kept in."""

    path: Path
    folder: Path


class Synthesizer:
    """Turns what a caller sent into a checked audio file, and tells its story in one event."""

    def __init__(self, pool: WorkerPool, settings: Settings, hash_key: bytes) -> None:
        self.pool = pool
        self._settings = settings
        self._hash_key = hash_key
        self._in_flight = 0
        self._storage = ThreadPoolExecutor(2, "storage")
        self._room = threading.Semaphore(MAX_STORING)

    @property
    def in_flight(self) -> int:
        """Requests between door and answer."""
        return self._in_flight

    @property
    def capabilities(self) -> Capabilities:
        """
        What the engine in use can do.

        Raises:
            errors.NotReady: no worker has been ready yet.
        """
        if self.pool.capabilities is None:
            raise errors.NotReady(reason=self.pool.unavailable or "the engine is still loading.")
        return self.pool.capabilities

    @observe(
        "synthesis", fields=lambda _self, _asked, caller, **_: caller.fields(), late_start=True
    )
    async def synthesize(
        self,
        asked: Mapping[str, object] | errors.ServiceError,
        caller: Caller,  # noqa: ARG002  # the decorator stamps it on the event
        *,
        reference: Upload | None = None,
        watcher: Watcher | None = None,
        needs_file: bool = False,
    ) -> SynthesisResult:
        """
        The audio that `asked` describes, its signal checked.

        A request that could not even be read comes in as the error that says why, so that it has
        its event as well. The task may be cancelled at any time; its worker then stops. The audio
        is stored beside the answer, or before it for a caller that `needs_file`.

        Raises:
            errors.ServiceError: why there is no audio.
        """
        self._in_flight += 1
        try:
            async with asyncio.timeout(self._settings.timeout_seconds):
                return await self._synthesize(asked, reference, watcher, needs_file)
        except TimeoutError:
            raise errors.DeadlineExceeded(seconds=self._settings.timeout_seconds) from None
        finally:
            self._in_flight -= 1

    async def _synthesize(
        self,
        asked: Mapping[str, object] | errors.ServiceError,
        reference: Upload | None,
        watcher: Watcher | None,
        needs_file: bool,
    ) -> SynthesisResult:
        observation = current()
        assert observation is not None  # noqa: S101  # only called by the observed method
        if isinstance(asked, errors.ServiceError):
            raise asked
        self._record_text(observation, asked.get("text"))
        record(engine=self._settings.engine)
        can = self.capabilities
        record(
            engine_version=can.engine_version, model_version=can.model_version, device=can.device
        )
        request = validated(asked, can, max_text_chars=self._settings.max_text_chars)
        record(
            speaker=request.speaker,
            emotion=request.emotion,
            emotion_mode="speaker" if request.emotion == "neutral" else "preset",
            speed=request.speed,
            format=request.format.value,
        )
        recording = await self._accept(reference, can) if reference else None
        observation.started()
        task = Task(
            request_id=observation.request_id,
            text=request.text,
            speaker=request.speaker,
            emotion=request.emotion,
            speed=request.speed,
            reference=str(recording.path) if recording else None,
        )
        follower = _Follower(observation, watcher)
        try:
            delivery = await self.pool.run(task, follower)
        finally:
            follower.done()
        observation.current_stage = None
        if not len(delivery.samples):
            raise errors.NoAudio
        if watcher:
            watcher.stage("post")
        verdict = "wrong_format" if delivery.sample_rate != can.sample_rate else None
        return await self._deliver(observation, request, delivery, verdict, needs_file)

    def _record_text(self, observation: Observation, text: object) -> None:
        """What may be known of a text is known even of a refused one, within bounds."""
        if isinstance(text, str):
            observation.private.append(text[: self._settings.max_text_chars])
            if len(text) <= self._settings.max_text_chars:
                facts = facts_of(text, self._hash_key)
                record(text_script=facts.text_script, text_hash=facts.text_hash)
            record(text_len=len(text))

    async def _accept(self, upload: Upload, can: Capabilities) -> references.Reference:
        if can.reference == "none":
            raise errors.ReferenceRefused(
                reason=f"the engine '{can.engine}' has no use for one. Leave it out.",
                reason_zh=f"引擎“{can.engine}”不使用参考音频，请移除。",
            )
        with stage("speaker_enc"):
            recording = await asyncio.to_thread(
                references.accept,
                upload.path,
                self._settings.output_dir / "references",
                within=upload.folder,
                max_bytes=int(self._settings.max_upload_mb * 1e6),
            )
        record(reference_hash=recording.sha256, reference_seconds=round(recording.seconds, 3))
        return recording

    async def _deliver(
        self,
        observation: Observation,
        request: SynthesisRequest,
        delivery: Delivery,
        verdict: str | None,
        needs_file: bool,
    ) -> SynthesisResult:
        request_id, rate = observation.request_id, delivery.sample_rate
        path = self._settings.output_dir / f"{request_id}.{request.format.value}"
        with observation.stage("post"):
            data, signal = await asyncio.to_thread(_checked, request, delivery, request_id)
            storing = await self._store(data, path, needs_file)
        verdict = verdict or signal.audio_verdict
        record(
            audio_seconds=round(signal.audio_seconds, 3),
            audio_bytes=len(data),
            sample_rate=rate,
            channels=1,
            codec=audio.CODECS[request.format],
            audio_verdict=verdict,
            rms_dbfs=round(signal.rms_dbfs, 2),
            peak_dbfs=round(signal.peak_dbfs, 2),
            clipped_ratio=round(signal.clipped_ratio, 6),
            silence_ratio=round(signal.silence_ratio, 4),
            longest_silence_seconds=round(signal.longest_silence_seconds, 3),
        )
        # Only figures go along: the samples of a whole backlog would fill the memory.
        wanted = _Wanted(path, audio.CODECS[request.format], rate, signal.audio_seconds, verdict)
        observation.after(lambda: _probed(storing, wanted), otherwise={"probe_error": "backlog"})
        return SynthesisResult(
            request_id=request_id,
            request=request,
            audio=data,
            path=path,
            signal=signal,
            verdict=verdict,
            times=observation.times(),
            spoken_text=delivery.spoken_text,
        )

    async def _store(self, data: bytes, path: Path, needs_file: bool) -> Future[None]:
        has_room = self._room.acquire(blocking=False)
        storing = self._storage.submit(_stored, data, path)
        if has_room:
            storing.add_done_callback(lambda _: self._room.release())
        if needs_file or not has_room:
            # Shielded: the file is written even if the caller leaves now.
            done, _ = await asyncio.shield(asyncio.wait({asyncio.wrap_future(storing)}))
            error = done.pop().exception()
            if needs_file and error is not None:
                raise errors.StorageFailed(origin=type(error).__name__) from error
        return storing


class _Follower:
    """Listens to the pool: what it hears goes to the event and to whoever watches."""

    def __init__(self, observation: Observation, watcher: Watcher | None) -> None:
        self._observation = observation
        self._watcher = watcher
        self._asked_ms = observation.since_start_ms()
        self._waited_ms: float | None = None
        self._measured = False
        self._heard = False
        self._seen: list[tuple[str, float]] = []

    def waiting(self, ahead: int) -> None:
        if self._watcher:
            self._watcher.waiting(ahead)

    def taken(self, worker: str) -> None:
        self._waited_ms = self._observation.since_start_ms() - self._asked_ms
        self._observation.record(worker=worker)

    def stage(self, name: str) -> None:
        self._observation.current_stage = name
        self._seen.append((name, self._observation.since_start_ms()))
        if self._watcher:
            self._watcher.stage(name)

    def segment(self, number: int, count: int) -> None:
        if self._watcher:
            self._watcher.segment(number, count)

    def audio(self, samples: Samples, sample_rate: int) -> None:
        if not self._heard:
            self._heard = True
            self._observation.record(first_audio_ms=round(self._observation.since_start_ms(), 3))
        if self._watcher:
            self._watcher.audio(samples, sample_rate)

    def measured(self, stages: Mapping[str, float], notes: Mapping[str, Scalar]) -> None:
        self._measured = True
        for name, seconds in stages.items():
            self._observation.spent(name, seconds)
        self._observation.record(
            **{
                name: round(value, 3) if isinstance(value, float) else value
                for name, value in notes.items()
            }
        )

    def done(self) -> None:
        """The pool has answered; a request that no worker took has only waited."""
        if not self._measured:
            self._record_seen()
        waited = self._waited_ms
        if waited is None:
            waited = self._observation.since_start_ms() - self._asked_ms
        self._observation.record(queue_ms=waited)

    def _record_seen(self) -> None:
        """An engine that was killed or hangs told no times; those between its stages are known."""
        ends = [began for _, began in self._seen[1:]] + [self._observation.since_start_ms()]
        for (name, began), end in zip(self._seen, ends, strict=False):
            self._observation.spent(name, (end - began) / 1000)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What ffprobe has to find in a file, and the verdict on its samples."""

    path: Path
    codec: str
    sample_rate: int
    seconds: float
    verdict: str


def _checked(
    request: SynthesisRequest, delivery: Delivery, request_id: str
) -> tuple[bytes, SignalReport]:
    signal = check_signal(
        delivery.samples, delivery.sample_rate, text=request.text, speed=request.speed
    )
    return audio.encoded(delivery.samples, delivery.sample_rate, request.format, request_id), signal


def _stored(data: bytes, path: Path) -> None:
    try:
        audio.stored(data, path)
    except OSError as error:
        log.error("output.not_stored", request_id=path.stem, reason=error.strerror)
        raise


def _probed(storing: Future[None], wanted: _Wanted) -> Known:
    """What ffprobe reads from the stored file; a verdict that is bad already stays."""
    if storing.exception():
        return {"probe_error": "not_stored"}
    report = probe(wanted.path)
    verdict = wanted.verdict
    if verdict == "ok":
        verdict = judge_file(
            report,
            codec=wanted.codec,
            sample_rate=wanted.sample_rate,
            channels=1,
            seconds=wanted.seconds,
        )
    return {
        "audio_verdict": verdict,
        "probe_ok": report.probe_ok,
        "probe_error": report.probe_error,
        "probe_ms": round(report.probe_ms, 3),
        "audio_bytes": report.audio_bytes,
        "codec": report.codec,
        "sample_rate": report.sample_rate,
        "channels": report.channels,
    }
