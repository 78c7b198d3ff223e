"""The one path that every request takes, from the page and from the API alike."""

from __future__ import annotations

import asyncio
import json
import math
import secrets
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import structlog

from indextts_app import audio, controls, errors, presets
from indextts_app.admission import Admission
from indextts_app.engines.base import Capabilities, Samples, Segment, Task
from indextts_app.hints import hints_of
from indextts_app.library import Library
from indextts_app.long_text import PIECE_CHARS, LongTexts, Spoken, seconds_for
from indextts_app.references import Reference, Upload
from indextts_app.results.cache import ResultCache
from indextts_app.results.entry import Entry
from indextts_app.settings import Settings
from indextts_app.storage import Storage
from indextts_app.streaming import Live, LiveAudio
from indextts_app.synthesis import (
    EMOTION_REFERENCE,
    MAX_SEED,
    REFERENCE,
    AudioFormat,
    Caller,
    SynthesisRequest,
    SynthesisResult,
    validated,
)
from indextts_app.underway import Underway
from indextts_app.workers.interface import Pool
from indextts_app.workers.listener import Listener
from indextts_app.workers.worker import Delivery
from observability.audio_check import SignalReport, check_signal
from observability.audio_probe import BACKLOG, judge_file, probe
from observability.events import Scalar
from observability.observe import Known, Observation, current, observe, record, stage
from observability.text_facts import facts_of, keyed_hash

log = structlog.get_logger("indextts_app.synthesizer")

DECODERS = 2
"""Recordings that are decoded at a time."""

MAX_STORING = 16
"""Files being written beside their answers; with more, an answer waits for its own file."""

KEPT_NOTES = (
    "text_spoken_len",
    "segments",
    "text_tokens",
    "unknown_tokens",
    "acoustic_tokens",
    "length_limited",
)
"""What an engine told of an audio that is as true when it is served again."""


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


class Synthesizer:
    """Turns what a caller sent into a checked audio file, and tells its story in one event."""

    def __init__(
        self,
        pool: Pool,
        settings: Settings,
        hash_key: bytes,
        library: Library,
        storage: Storage,
        results: ResultCache,
        brake: Callable[[], errors.ServiceError | None] = lambda: None,
    ) -> None:
        self.pool = pool
        self.results = results
        self.storage = storage
        self.library = library
        self.live = LiveAudio()
        self.admission = Admission(pool, max_per_client=settings.max_per_client, brake=brake)
        self._settings = settings
        self._hash_key = hash_key
        self.underway = Underway()
        self._long_texts = LongTexts(pool.size)
        self._storage = ThreadPoolExecutor(2, "storage")
        # Not the loop's own threads: a few large recordings must not hold up everything else.
        self._decoding = ThreadPoolExecutor(DECODERS, "decoding")
        self._room = threading.Semaphore(MAX_STORING)

    @property
    def in_flight(self) -> int:
        """Requests between door and answer."""
        return len(self.underway)

    @property
    def capabilities(self) -> Capabilities:
        """
        What the engine in use can do; where its voices are recordings, with those that are kept.

        Raises:
            errors.NotReady: no worker has been ready yet.
        """
        can = self.pool.capabilities
        if can is None:
            raise self.pool.not_ready()
        if can.reference != "voice":
            return can
        return replace(can, speakers=(*can.speakers, *self.library.speakers.offered()))

    @observe(
        "synthesis", fields=lambda _self, _asked, caller, **_: caller.fields(), late_start=True
    )
    async def synthesize(
        self,
        asked: Mapping[str, object] | errors.ServiceError,
        caller: Caller,
        *,
        recordings: Mapping[str, Upload] = MappingProxyType({}),
        watcher: Watcher | None = None,
        live: Live | None = None,
        needs_file: bool = False,
        background: bool = False,
    ) -> SynthesisResult:
        """
        The audio that `asked` describes, its signal checked.

        `recordings` are the files that came with it, by their names in `synthesis.RECORDINGS`;
        whoever listens to `live` hears the audio while it is made.

        A text of more than `max_text_chars` is spoken piece by piece and joined, and has its
        time for each so many characters; an engine that cuts texts itself gets it whole.

        A request that could not even be read comes in as the error that says why, so that it has
        its event as well. The task may be cancelled at any time; its worker then stops. The audio
        is stored beside the answer, or before it for a caller that `needs_file`.

        A request in the background gets a worker while nobody else waits for one, and takes no
        place in the queue; its time counts from when it has its worker.

        Raises:
            errors.ServiceError: why there is no audio.
        """
        text = None if isinstance(asked, errors.ServiceError) else asked.get("text")
        seconds = seconds_for(text, self._settings.timeout_seconds, self._settings.max_text_chars)
        # From the door on: a body that came slowly has used some of it up.
        left = caller.arrived + seconds - time.monotonic()
        deadline = asyncio.get_running_loop().time() + left
        try:
            with (
                self.admission.client(caller.client),
                self.underway.request(caller, asyncio.current_task()) as request,
            ):
                watchers = (request, *([watcher] if watcher else ()))
                try:
                    async with asyncio.timeout_at(None if background else deadline) as limit:
                        return await self._synthesize(
                            asked,
                            caller,
                            recordings,
                            watchers,
                            live,
                            needs_file,
                            _Time(limit, seconds, is_background=background),
                        )
                except asyncio.CancelledError:
                    if request.given_up:
                        raise errors.GivenUp from None
                    raise
        except TimeoutError:
            raise errors.DeadlineExceeded(seconds=seconds) from None

    async def _synthesize(
        self,
        asked: Mapping[str, object] | errors.ServiceError,
        caller: Caller,
        recordings: Mapping[str, Upload],
        watchers: Sequence[Watcher],
        live: Live | None,
        needs_file: bool,
        time_left: _Time,
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
        asked, kept = self._with_preset(asked, recordings)
        self._keep_private(observation, asked.get("emotion_text"))
        request = validated(
            asked,
            can,
            max_text_chars=self._settings.longest_text_chars,
            recordings={*recordings, *kept},
        )
        use, wanted = self.results.use(request, can, caller), request
        if can.features.seed and request.seed is None:
            request = replace(request, seed=secrets.randbelow(MAX_SEED + 1))
        record(**_asked_fields(request, can))
        if live:
            live.accepted(request)
        with ExitStack() as borrowed:
            place = borrowed.enter_context(ExitStack())
            if recordings:
                self._admit(place, time_left)
            references = await self._references(request, recordings, kept, borrowed)
            task = replace(
                self._task(observation.request_id, request, references, can),
                traceparent=observation.traceparent,
            )
            glossary_hash = self._glossary_hash(task)
            record(glossary_hash=glossary_hash)
            truncated = any(references[name].truncated for name in (*recordings, *kept))
            key = None
            if use.reads or use.writes:
                hashes = {name: reference.sha256 for name, reference in references.items()}
                key = self.results.key_of(wanted, task, can, hashes)
            claim = borrowed.enter_context(ExitStack())
            # Nobody waits for a background request, which lets others go first.
            if key and not time_left.is_background:
                # Who listens while it is made does not wait for another's, all of it at once.
                if use.reads and live is None:
                    await self.results.settled(key)
                claim.enter_context(self.results.making(key))
            if key and use.reads:
                entry = await self.results.find(key)
                record(result_cache_hit=entry is not None)
                if entry:
                    claim.close()
                    observation.started()
                    result = await self._serve_again(observation, request, entry, needs_file)
                    return _told(result, entry.notes, truncated, glossary_hash, hit=True)
            if not recordings:
                self._admit(place, time_left)
            observation.started()
            follower = _Follower(observation, watchers, live, time_left)
            try:
                spoken = await self._spoken(task, follower, can, time_left)
            finally:
                follower.done()
            place.close()
            observation.current_stage = None
            if not len(spoken.delivery.samples):
                raise errors.NoAudio
            for watcher in watchers:
                watcher.stage("post")
            result = await self._deliver(
                observation, request, spoken, can, follower.notes, needs_file
            )
            if key and result.verdict == "ok":
                self.results.put(key, self._entry(result, spoken.delivery, follower.notes))
        return _told(
            result, follower.notes, truncated, glossary_hash, hit=False if use.reads else None
        )

    def _admit(self, place: ExitStack, time_left: _Time) -> None:
        """Take a place, for as long as the stack is open, and look whether a file can be stored."""
        if not time_left.is_background:
            place.enter_context(self.admission.place())
        self.storage.check()

    def _entry(
        self, result: SynthesisResult, delivery: Delivery, notes: Mapping[str, Scalar]
    ) -> Entry:
        kept = {name: notes[name] for name in KEPT_NOTES if name in notes}
        return Entry(
            request_id=result.request_id,
            made_at=self.results.now(),
            audio=result.audio,
            sample_rate=audio.rate_of(result.request.format, delivery.sample_rate),
            signal=result.signal,
            seed=result.seed,
            notes=kept,
        )

    async def _spoken(
        self, task: Task, follower: _Follower, can: Capabilities, time_left: _Time
    ) -> Spoken:
        async def run(task: Task, listener: Listener) -> Delivery:
            return await self.pool.run(
                task,
                listener,
                patience_seconds=time_left.until_worker(),
                background=time_left.is_background,
            )

        limit = self._settings.max_text_chars
        if can.features.segments or len(task.text) <= limit:
            return Spoken(await run(task, follower))
        return await self._long_texts.speak(
            run, task, follower, piece_chars=min(PIECE_CHARS, limit)
        )

    async def preview(
        self, asked: Mapping[str, object], recordings: Collection[str] = ()
    ) -> tuple[Segment, ...]:
        """
        The segments that the text of a request will be cut into.

        Args:
            asked: as for `synthesize`.
            recordings: the names of those that came with it; their content does not matter here.

        Raises:
            errors.NotSupported: the engine in use shows none.
            errors.ServiceError: see `validated` and `Pool.preview`.
        """
        can = self.capabilities
        if not can.features.segments:
            raise errors.NotSupported(
                engine=can.engine,
                reason="it cuts no text into segments that could be shown.",
                reason_zh="它不会把文本切成可预览的分段。",
            )
        asked, kept = self._with_preset(asked, recordings)
        request = validated(
            asked,
            can,
            max_text_chars=self._settings.longest_text_chars,
            recordings={*recordings, *kept},
        )
        return await self.pool.preview(self._task("preview", request, {}, can))

    def _task(
        self,
        request_id: str,
        request: SynthesisRequest,
        references: Mapping[str, Reference],
        can: Capabilities,
    ) -> Task:
        reads_terms = can.features.glossary and request.controls.get("use_glossary", True)
        paths = {name: str(reference.path) for name, reference in references.items()}
        weight = request.emotion_weight
        return Task(
            request_id=request_id,
            text=request.text,
            speaker=request.speaker,
            emotion=request.emotion,
            speed=request.speed,
            reference=paths.get(REFERENCE),
            emotion_mode=request.emotion_mode,
            emotion_weight=1.0 if weight is None else weight,
            emotion_vector=request.emotion_vector,
            emotion_text=request.emotion_text,
            emotion_reference=paths.get(EMOTION_REFERENCE),
            seed=request.seed,
            controls=request.controls,
            glossary=self.library.glossary.of(request.text) if reads_terms else {},
        )

    def _glossary_hash(self, task: Task) -> str | None:
        """What tells whether the same text would still be read alike; None without a term."""
        if not task.glossary:
            return None
        return keyed_hash(json.dumps(task.glossary, sort_keys=True, default=dict), self._hash_key)

    def _with_preset(
        self, asked: Mapping[str, object], recordings: Collection[str]
    ) -> tuple[Mapping[str, object], dict[str, str]]:
        """The fields with those of the preset that they name, and its recordings' hashes."""
        name = asked.get("preset")
        if not isinstance(name, str):
            return asked, {}
        try:
            preset = self.library.presets.get(name)
        except errors.NotKept:
            raise errors.UnknownPreset from None
        record(preset=preset.id)
        return presets.applied(preset, asked, recordings)

    def _record_text(self, observation: Observation, text: object) -> None:
        """What may be known of a text is known even of a refused one, within bounds."""
        if isinstance(text, str):
            observation.private.append(text[: self._settings.longest_text_chars])
            if len(text) <= self._settings.longest_text_chars:
                facts = facts_of(text, self._hash_key)
                record(text_script=facts.text_script, text_hash=facts.text_hash)
            record(text_len=len(text))

    def _keep_private(self, observation: Observation, text: object) -> None:
        if isinstance(text, str):
            observation.private.append(text[: self._settings.max_text_chars])

    def _is_recorded(self, speaker: str) -> bool:
        """Whether the engine needs a recording to know this speaker."""
        can = self.pool.capabilities
        return (
            can is not None
            and can.reference == "voice"
            and speaker not in {one.id for one in can.speakers}
        )

    async def _references(
        self,
        request: SynthesisRequest,
        recordings: Mapping[str, Upload],
        kept: Mapping[str, str],
        borrowed: ExitStack,
    ) -> dict[str, Reference]:
        """The recordings that the engine will read, by name; kept ones stay while it does."""
        found = {}
        for name, upload in recordings.items():
            with stage("speaker_enc"):
                accepted = await asyncio.get_running_loop().run_in_executor(
                    self._decoding, self.library.accept, upload, name
                )
            # However long it waits for its worker, the sweep leaves it.
            borrowed.enter_context(self.storage.used(accepted.path.name))
            # An engine knows a recording by its path: that of a speaker is encoded already.
            stored = borrowed.enter_context(self.library.recordings.borrowed(accepted.sha256))
            found[name] = stored or accepted
        for name, sha256 in kept.items():
            found[name] = self.library.borrow(sha256, borrowed)
        if REFERENCE not in found and self._is_recorded(request.speaker):
            speaker = self.library.speaker(request.speaker)
            found[REFERENCE] = self.library.borrow(speaker.sha256, borrowed)
        for name, reference in found.items():
            seconds = round(reference.seconds, 3)
            record(**{f"{name}_hash": reference.sha256}, **{f"{name}_seconds": seconds})
        if recordings or kept:
            # Of a stored speaker, whoever made it was told; of these, whoever asks is.
            sent = (*recordings, *kept)
            record(reference_truncated=any(found[name].truncated for name in sent))
        return found

    async def _deliver(
        self,
        observation: Observation,
        request: SynthesisRequest,
        spoken: Spoken,
        can: Capabilities,
        notes: Mapping[str, Scalar],
        needs_file: bool,
    ) -> SynthesisResult:
        delivery, request_id = spoken.delivery, observation.request_id
        limited = bool(notes.get("length_limited"))
        with observation.stage("post"):
            data, signal = await asyncio.to_thread(_checked, request, delivery, request_id, limited)
            storing = await self._store(data, self._path(request_id, request), needs_file)
        verdict: str = "truncated" if spoken.lacks_a_piece else signal.audio_verdict
        if delivery.sample_rate != can.sample_rate:
            verdict = "wrong_format"
        rate = audio.rate_of(request.format, delivery.sample_rate)
        result = self._handed_over(observation, request, data, rate, signal, verdict, storing)
        return replace(result, spoken_text=delivery.spoken_text)

    async def _serve_again(
        self,
        observation: Observation,
        request: SynthesisRequest,
        entry: Entry,
        needs_file: bool,
    ) -> SynthesisResult:
        request_id = observation.request_id
        request = replace(request, seed=entry.seed)
        record(result_of=entry.request_id, seed=entry.seed, **entry.notes)
        with observation.stage("post"):
            data = entry.audio_for(request_id)
            storing = await self._store(data, self._path(request_id, request), needs_file)
        return self._handed_over(
            observation, request, data, entry.sample_rate, entry.signal, "ok", storing
        )

    def _path(self, request_id: str, request: SynthesisRequest) -> Path:
        return self._settings.output_dir / f"{request_id}.{request.format.value}"

    def _handed_over(
        self,
        observation: Observation,
        request: SynthesisRequest,
        data: bytes,
        rate: int,
        signal: SignalReport,
        verdict: str,
        storing: Future[None],
    ) -> SynthesisResult:
        """The result, told to the event; its file is looked at beside the answer."""
        request_id = observation.request_id
        path = self._path(request_id, request)
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
        observation.after(lambda: _probed(storing, wanted), otherwise={"probe_error": BACKLOG})
        return SynthesisResult(
            request_id=request_id,
            request=request,
            audio=data,
            path=path,
            signal=signal,
            verdict=verdict,
            times=observation.times(),
            spoken_text=None,
            seed=request.seed,
        )

    async def _store(self, data: bytes, path: Path, needs_file: bool) -> Future[None]:
        self.storage.added(len(data))
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


def _told(
    result: SynthesisResult,
    notes: Mapping[str, Scalar],
    truncated: bool,
    glossary_hash: str | None,
    *,
    hit: bool | None,
) -> SynthesisResult:
    """The result with what is known beside its audio."""
    return replace(
        result,
        hints=hints_of({**notes, "reference_truncated": truncated}),
        glossary_hash=glossary_hash,
        text_tokens=_count(notes.get("text_tokens")),
        acoustic_tokens=_count(notes.get("acoustic_tokens")),
        result_cache_hit=hit,
    )


def _count(note: Scalar | None) -> int | None:
    return None if note is None else int(note)


def _asked_fields(request: SynthesisRequest, can: Capabilities) -> dict[str, Scalar | None]:
    """The fields of the event that tell what was asked, so that it can be asked again."""
    vector, text = request.emotion_vector, request.emotion_text
    language = request.controls.get("language", "auto")
    return {
        "speaker": request.speaker,
        # In the other modes no emotion of the list was asked for.
        "emotion": request.emotion if request.emotion_mode in ("speaker", "preset") else None,
        "emotion_mode": request.emotion_mode,
        "emotion_weight": request.emotion_weight,
        "emotion_vector": ",".join(f"{weight:g}" for weight in vector) if vector else None,
        "emotion_text_len": None if text is None else len(text),
        "speed": request.speed,
        "format": request.format.value,
        "seed": request.seed,
        "controls": controls.changed(request.controls, can.features.controls),
        "language": None if language == "auto" else str(language),
    }


class _Time:
    """The time of a request: from the door on, or in the background from its worker on."""

    def __init__(self, limit: asyncio.Timeout, seconds: float, *, is_background: bool) -> None:
        self.is_background = is_background
        self._limit = limit
        self._seconds = seconds

    def begin(self) -> None:
        """It has a worker, the first of as many as it needs."""
        if self._limit.when() is None:
            self._limit.reschedule(asyncio.get_running_loop().time() + self._seconds)

    def until_worker(self) -> float:
        """Seconds that it may wait for one."""
        when = self._limit.when()
        if self.is_background or when is None:
            return math.inf
        return when - asyncio.get_running_loop().time()


class _Follower:
    """Listens to the pool: what it hears goes to the event and to whoever watches."""

    def __init__(
        self,
        observation: Observation,
        watchers: Sequence[Watcher],
        live: Live | None,
        time_left: _Time,
    ) -> None:
        self._observation = observation
        self._time_left = time_left
        self._watchers = watchers
        self._live = live
        self._asked_ms: float | None = observation.since_start_ms()
        self._waited_ms = 0.0
        self.notes: Mapping[str, Scalar] = {}
        self._heard = False
        self._gave_since_taken = False
        self._retries = 0
        self._seen: list[tuple[str, float]] = []

    def asked(self) -> None:
        """It goes to the queue, once more for each piece of a long text."""
        self._count_waiting()
        self._asked_ms = self._observation.since_start_ms()

    def waiting(self, ahead: int) -> None:
        for watcher in self._watchers:
            watcher.waiting(ahead)

    def placed(self, node: str, replica: str) -> None:
        self._observation.record(node=node, replica=replica)

    def taken(self, worker: str) -> None:
        self._count_waiting()
        self._time_left.begin()
        self._gave_since_taken = False
        self._observation.record(worker=worker)

    def stage(self, name: str) -> None:
        self._observation.current_stage = name
        self._seen.append((name, self._observation.since_start_ms()))
        for watcher in self._watchers:
            watcher.stage(name)

    def segment(self, number: int, count: int) -> None:
        for watcher in self._watchers:
            watcher.segment(number, count)

    def audio(self, samples: Samples, sample_rate: int) -> None:
        if not self._heard:
            self._heard = True
            self._observation.record(first_audio_ms=round(self._observation.since_start_ms(), 3))
        if self._live:
            self._gave_since_taken = True
            self._live.audio(samples, sample_rate)
            self._observation.record(streamed=True)
        for watcher in self._watchers:
            watcher.audio(samples, sample_rate)

    def measured(self, stages: Mapping[str, float], notes: Mapping[str, Scalar]) -> None:
        self._seen.clear()
        self.notes = notes
        for name, seconds in stages.items():
            self._observation.spent(name, seconds)
        self._observation.record(
            **{
                name: round(value, 3) if isinstance(value, float) else value
                for name, value in notes.items()
            }
        )

    def lost(self, cause: str) -> bool:
        if self._gave_since_taken:
            return False
        self._retries += 1
        self._observation.record(retries=self._retries, retry_cause=cause)
        # What the lost one did is done again, and its time is nobody's.
        self._seen.clear()
        if not self._live:
            self._heard = False
        self.asked()
        return True

    def done(self) -> None:
        """The pool has answered; a request that no worker took has only waited."""
        self._record_seen()
        self._count_waiting()
        self._observation.record(queue_ms=self._waited_ms)

    def _count_waiting(self) -> None:
        if self._asked_ms is not None:
            self._waited_ms += self._observation.since_start_ms() - self._asked_ms
            self._asked_ms = None

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
    request: SynthesisRequest, delivery: Delivery, request_id: str, limited: bool
) -> tuple[bytes, SignalReport]:
    longer = float(request.controls.get("duration_factor", 1.0))
    signal = check_signal(
        delivery.samples,
        delivery.sample_rate,
        text=request.text,
        speed=request.speed / longer,
        length_limited=limited,
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
    is_bare = wanted.path.suffix == f".{AudioFormat.PCM.value}"
    told = {"pcm_rate": wanted.sample_rate} if is_bare else {}
    report = probe(wanted.path, **told)
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
