"""
Months of lines as the service writes them, for tests and benchmarks: the same seed, the same bytes.

Requests follow the day and the week, and things go wrong as they do: an hour of full GPU memory, a
slow day, a speaker that falls silent after an update, a crash that loses what was running. Every
line is an `Event` formatted by the log's own formatter; only redaction is left out, which finds
nothing in values that are made here (a test holds that to the byte).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from observability.capacity.load import BY_HOUR, BY_WEEKDAY
from observability.day_file import MAX_BYTES
from observability.events import Event, Scalar, Status
from observability.logs import EVENTS_LOGGER, LEVELS, LineFormatter
from observability.observe import Outcome, outcome_of

SPEAKERS: Final = ("zhiyan", "zhibei", "zhizhe", "zhitian", "知燕", "narrator", "alice", "demo-01")
EMOTIONS: Final = ("neutral", "happy", "calm", "sad", "angry", "surprised", "afraid", "melancholic")
USERS: Final = (
    "newsroom",
    "customer-service",
    "audiobook",
    "navigation",
    "school",
    "games",
    "museum",
    "podcast",
    "intern",
    "trial",
)
FORMATS: Final = ("wav", "mp3", "ogg")
VERSIONS: Final = ("2.0.0", "2.0.1", "2.1.0")
WORKERS: Final = 4

TIMEOUT_MS: Final = 60_000.0
PROBE_SECONDS: Final = 0.06
"""The finished line is written after ffprobe, a little later than the answer."""

_US: Final = 1_000_000
_DAY_US: Final = 86_400 * _US
_STATIC: Final = {"service": "indextts", "version": "1.0.0", "instance": "tts-1:7860"}
_EPOCH: Final = date(1970, 1, 1).toordinal()
_CROCKFORD: Final = np.frombuffer(b"0123456789ABCDEFGHJKMNPQRSTVWXYZ", np.uint8)
_HEX: Final = np.frombuffer(b"0123456789abcdef", np.uint8)


class _Fault(Exception):
    """Stands for an error of the service, so that its outcome comes out of `outcome_of`."""

    def __init__(self, status: Status, code: str, origin: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.origin = status, code, origin


@cache
def _fault(code: str) -> Outcome:
    status, origin, message = {
        "out_of_memory": ("failed", "OutOfMemoryError@gpt.forward", "The device is out of memory."),
        "engine_error": ("failed", "RuntimeError@s2mel.inference", "The engine failed."),
        "worker_died": ("failed", "worker", "The worker died."),
        "deadline_exceeded": ("timeout", "", "It took longer than 60 seconds."),
        "client_gone": ("cancelled", "", "Nobody waits for the answer any more."),
        "queue_full": ("rejected", "", "Too many requests are waiting. Try again in a moment."),
        "text_too_long": ("rejected", "", "The text is longer than 500 characters."),
    }[code]
    return outcome_of(_Fault(status, code, origin, message))  # type: ignore[arg-type]


class PlainFormatter(LineFormatter):
    """The log's own, but for the redaction."""

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """The fields as they are."""
        return log_data


@dataclass(frozen=True, slots=True)
class Month:
    """A month to be generated; equal ones give equal bytes."""

    year: int
    month: int
    requests: int
    seed: int = 1

    @property
    def days(self) -> list[date]:
        """The days of the month."""
        first = date(self.year, self.month, 1)
        after = date(self.year + self.month // 12, self.month % 12 + 1, 1)
        return [first + timedelta(days=number) for number in range((after - first).days)]

    @property
    def by_day(self) -> dict[date, int]:
        """How many requests each day has; together exactly as many as asked for."""
        days = self.days
        chance = np.random.default_rng([self.seed, self.year, self.month])
        weights = np.array([BY_WEEKDAY[day.weekday()] for day in days])
        weights *= np.linspace(0.9, 1.1, len(days)) * chance.uniform(0.93, 1.07, len(days))
        ends = np.rint(np.cumsum(weights) / weights.sum() * self.requests).astype(int)
        return dict(zip(days, np.diff(ends, prepend=0).tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class _Incidents:
    """What goes wrong in a month, and when."""

    full_memory: tuple[date, int]
    slow: date
    silent: date
    silent_speaker: str
    crash: tuple[date, int]

    @classmethod
    def of(cls, month: Month) -> _Incidents:
        chance = np.random.default_rng([month.seed, month.year, month.month, 1])
        days = [day for day in month.days if day.weekday() < 5]
        full, slow, silent, crash = (
            days[index] for index in chance.choice(len(days), 4, replace=False)
        )
        return cls(
            full_memory=(full, int(chance.integers(8, 18))),
            slow=slow,
            silent=silent,
            silent_speaker=SPEAKERS[int(chance.integers(0, 4))],
            crash=(crash, int(chance.integers(9, 17)) * 3600 + int(chance.integers(0, 3600))),
        )


def generate(month: Month, folder: Path, *, processes: int = 1) -> list[Path]:
    """
    Write the month's day files into a folder and return them, oldest first.

    Days that grow beyond `day_file.MAX_BYTES` go on in parts as the service's own do. A request of
    a day's last minute may end in the next day's file; none crosses the end of the month.

    Raises:
        FileExistsError: a file of the month is there already; nothing is overwritten.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for day in month.days:
        if found := sorted(folder.glob(f"indextts-{day}*")):
            raise FileExistsError(found[0])
    tasks = [(month, day, folder) for day in month.days]
    if processes == 1:
        written = [_write_day(*task) for task in tasks]
    else:
        with ProcessPoolExecutor(processes) as pool:
            written = list(pool.map(_write_day, *zip(*tasks, strict=True)))
    return [path for paths in written for path in paths]


def lines(month: Month, day: date, formatter: logging.Formatter | None = None) -> Iterator[str]:
    """The lines of one day in the order of writing, without their newlines."""
    formatter = formatter or PlainFormatter(_STATIC)
    for moment_us, _, level, name, fields in _records(month, day):
        message: Any = fields
        record = logging.LogRecord(
            name, getattr(logging, level.upper()), "", 0, message, None, None
        )
        record.created = moment_us / _US
        yield formatter.format(record)


def _write_day(month: Month, day: date, folder: Path) -> list[Path]:
    paths: list[Path] = []
    size = MAX_BYTES + 1
    file = None
    try:
        for line in lines(month, day):
            data = line.encode() + b"\n"
            if file is None or size + len(data) > MAX_BYTES:
                if file:
                    file.close()
                part = f"-{len(paths) + 1}" if paths else ""
                paths.append(folder / f"indextts-{day}{part}.jsonl")
                file, size = paths[-1].open("xb"), 0
            file.write(data)
            size += len(data)
    finally:
        if file:
            file.close()
    return paths


_Record = tuple[int, int, str, str, dict[str, Scalar]]
"""When (µs since 1970), a number that keeps the order, level, logger, fields."""


def _records(month: Month, day: date) -> list[_Record]:
    begin = _begin_of(day)
    records = _request_records(month, day, last_minute=False)
    records += _request_records(month, day, last_minute=True)
    if day != month.days[0]:
        records += _request_records(month, day - timedelta(days=1), last_minute=True)
    records += _service_records(month, day, records)
    kept = [record for record in records if begin <= record[0] < begin + _DAY_US]
    kept.sort(key=lambda record: record[:2])
    return kept


def _service_records(month: Month, day: date, requests: list[_Record]) -> list[_Record]:
    """What the service says at its first start, and at the one after the crash."""
    crash_day, crash = _Incidents.of(month).crash
    starts: list[int] = []
    if day == month.days[0]:
        starts.append(_begin_of(day))
    if day == crash_day:
        starts.append(_begin_of(day) + (crash + _RESTART_SECONDS) * _US)
    lost = sum(fields.get("status") == "lost" for *_, fields in requests)
    return [
        (moment + after, 1 << 40, "info", logger, fields)
        for moment in starts
        for after, logger, fields in _start(lost if moment > _begin_of(day) else 0)
    ]


def _start(lost: int) -> Iterator[tuple[int, str, dict[str, Scalar]]]:
    server, pool = "indextts_app.server", "indextts_app.workers.pool"
    settled: dict[str, Scalar] = {"event": "log.reconciled", "requests_lost": lost}
    yield 3 * _US, server, {**settled, "partial_files_removed": 0}
    started: dict[str, Scalar] = {"event": "service.started", "engine": "indextts2"}
    yield 3 * _US + 1, server, {**started, "workers": WORKERS, "port": 7860}
    for slot in range(WORKERS):
        ready: dict[str, Scalar] = {"event": "worker.ready", "worker": _worker(slot)}
        yield 4 * _US + slot, pool, {**ready, "engine": "indextts2", "device": "cuda:0"}


_RESTART_SECONDS: Final = 40


@dataclass(frozen=True, slots=True)
class _Draws:
    """The chances of a day's requests, a column each; drawn at once, because that is fast."""

    moments_us: list[int]
    ids: list[str]
    uniform: list[list[float]]
    normal: list[list[float]]
    hashes: list[str]


def _request_records(month: Month, day: date, *, last_minute: bool) -> list[_Record]:
    """
    The lines of a day's requests; those of its last minute are drawn apart from the others.

    So that the next day knows which of them end in its own file without drawing this whole day.
    """
    total = month.by_day[day]
    late = 0 if day == month.days[-1] else -(-total // 4000)
    chance = np.random.default_rng(
        [month.seed, month.year, month.month, day.day, 2, int(last_minute)]
    )
    teller = _Teller(month, day)
    if last_minute:
        at = chance.integers(_DAY_US - 60 * _US, _DAY_US, late)
    else:
        at = _moments(chance, total - late, teller.crash_us)
    draws = _draw(chance, _begin_of(day) + np.sort(at))
    records: list[_Record] = []
    for number, moment in enumerate(draws.moments_us):
        records += teller.request(number, moment, draws)
    return records


def _moments(
    chance: np.random.Generator, count: int, crash_us: int | None
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """When requests come, in µs of the day: with the rhythm of the day, none while it is down."""
    hours = chance.choice(24, count, p=BY_HOUR / BY_HOUR.sum())
    at = hours * (3600 * _US) + chance.integers(0, 3600 * _US, count)
    # The last minute is drawn apart, and what begins before it has ended by midnight.
    at = np.sort(np.minimum(at, _DAY_US - 90 * _US - chance.integers(0, 60 * _US, count)))
    if crash_us is not None:
        back = crash_us + (_RESTART_SECONDS + 5) * _US
        at[(at >= crash_us) & (at < back)] += back - crash_us
        # As many as there are workers are under way when it happens.
        under_way = np.flatnonzero(at < crash_us)[-WORKERS:]
        at[under_way] = crash_us - chance.integers(100_000, _SURELY_LOST_US, len(under_way))
    return at


_SURELY_LOST_US: Final = 2 * _US


def _draw(chance: np.random.Generator, moments: np.ndarray[Any, np.dtype[np.int64]]) -> _Draws:
    count = len(moments)
    codes = np.empty((count, 26), np.uint8)
    milliseconds = moments // 1000
    for place in range(10):
        codes[:, place] = (milliseconds >> (5 * (9 - place))) & 31
    codes[:, 10:] = chance.integers(0, 32, (count, 16), dtype=np.uint8)
    ids = _CROCKFORD[codes].tobytes().decode()
    hashes = _HEX[chance.integers(0, 16, (count, 32), dtype=np.uint8)].tobytes().decode()
    return _Draws(
        moments_us=moments.tolist(),
        ids=[ids[at : at + 26] for at in range(0, 26 * count, 26)],
        # Below 1 after rounding as well: what picks from a table of 1,000 has no place 1,000.
        uniform=np.minimum(chance.random((count, 12)).round(6), 0.999999).tolist(),
        normal=chance.standard_normal((count, 8)).round(6).tolist(),
        hashes=[hashes[at : at + 32] for at in range(0, 32 * count, 32)],
    )


@cache
def _table(count: int, steepness: float) -> list[int]:
    """1,000 places for choices of falling share, as popularity falls (Zipf)."""
    shares = 1 / np.arange(1, count + 1) ** steepness
    return np.repeat(
        np.arange(count),
        np.diff(np.rint(np.cumsum(shares / shares.sum()) * 1000), prepend=0).astype(int),
    ).tolist()


def _choice(options: tuple[str, ...], chance: float, steepness: float = 1.0) -> str:
    return options[_table(len(options), steepness)[int(chance * 1000)]]


class _Teller:
    """Tells the two lines of each request of a day."""

    def __init__(self, month: Month, day: date) -> None:
        self.incidents = _Incidents.of(month)
        self._day = day
        self._begin = _begin_of(day)
        self._version = VERSIONS[(day.day - 1) * len(VERSIONS) // len(month.days)]
        crash_day, crash = self.incidents.crash
        self.crash_us = crash * _US if day == crash_day else None

    def request(self, number: int, moment: int, draws: _Draws) -> list[_Record]:
        """The lines of a request that comes at this moment; those that a crash cuts off as lost."""
        records = self._told(number, moment, draws)
        if self.crash_us is None:
            return records
        crash = self._begin + self.crash_us
        if moment < crash and (records[-1][0] >= crash or moment >= crash - _SURELY_LOST_US):
            return self._lost(number, records[0], crash)
        return records

    def _told(self, number: int, moment: int, draws: _Draws) -> list[_Record]:
        u, n = draws.uniform[number], draws.normal[number]
        asked = self._asked(number, draws)
        fault = self._fault_of(moment, u)
        if fault in ("queue_full", "text_too_long"):
            return self._rejected(number, moment, asked, fault, u)
        slow = 1.7 if self._day == self.incidents.slow else 1.0
        text_len = int(asked["text_len"])
        queue = round(math.exp(n[0] * 1.2 + 1.2), 3)
        cached = u[5] < 0.8
        stages = {
            "text_prep": 50 * math.exp(n[1] * 0.25),
            "speaker_enc": 1.5 if cached else 120 * math.exp(n[2] * 0.3),
            "acoustic": (500 + 26 * text_len) * math.exp(n[3] * 0.3) * slow,
            "vocoder": (150 + 10 * text_len) * math.exp(n[4] * 0.25),
            "post": 30 * math.exp(n[5] * 0.3),
        }
        stages = {name: round(spent, 3) for name, spent in stages.items()}
        if queue + sum(stages.values()) > TIMEOUT_MS - 1000:
            fault = "deadline_exceeded"
        if fault:
            return self._ended_badly(number, moment, asked, fault, queue, stages, u)
        return self._delivered(number, moment, asked, queue, stages, draws, cached=cached)

    def _lost(self, number: int, started: _Record, crash: int) -> list[_Record]:
        """Started before the crash, settled at the next start."""
        settled = {
            **started[4],
            "status": "lost",
            "error_type": "process_died",
            "error_message": "The service stopped before this request was finished.",
        }
        back = crash + (_RESTART_SECONDS + 2) * _US
        return [started, _line(back, 2 * number + 1, "finished", settled)]

    def _asked(self, number: int, draws: _Draws) -> dict[str, Scalar]:
        u = draws.uniform[number]
        espeak = u[0] < 0.06
        user = _choice(USERS, u[1])
        api = u[2] < 0.85
        asked: dict[str, Scalar] = {"request_id": draws.ids[number]}
        if api and u[3] < 0.3:
            asked["client_request_id"] = f"{user}-{draws.hashes[number][:12]}"
        asked |= {
            "source": "api" if api else "page",
            "user": user,
            "client_ip": f"10.{int(u[1] * 200)}.{int(u[2] * 250)}.x",
            "engine": "espeak" if espeak else "indextts2",
            "engine_version": "1.52.0" if espeak else "2.0.0",
            "model_version": "1.52.0" if espeak else self._version,
            "speaker": _choice(SPEAKERS, u[4], 0.8),
            "emotion": (emotion := _choice(EMOTIONS, u[6], 1.3)),
            "emotion_mode": "speaker" if emotion == "neutral" else "preset",
            "speed": (0.8, 1.0, 1.0, 1.0, 1.2)[int(u[7] * 5)],
            "format": _choice(FORMATS, u[8], 1.5),
            "text_len": 4 + int(180 * u[9] ** 2.5),
            "text_script": "zh" if u[10] < 0.86 else "mixed" if u[10] < 0.95 else "en",
            "text_hash": draws.hashes[number],
            "device": "cpu" if espeak else "cuda:0",
        }
        return asked

    def _fault_of(self, moment: int, u: list[float]) -> str | None:
        hour = (moment - self._begin) // (3600 * _US)
        if (self._day, hour) == self.incidents.full_memory and u[11] < 0.3:
            return "out_of_memory"
        for code, share in _USUAL_FAULTS:
            if u[11] >= 1 - share:
                return code
        return None

    def _rejected(
        self, number: int, moment: int, asked: dict[str, Scalar], code: str, u: list[float]
    ) -> list[_Record]:
        spent = round(0.2 + u[5], 3)
        known = {**asked, "duration_ms": spent, "stage_other_ms": spent}
        known.pop("device")
        known |= _outcome(_fault(code))
        return [
            _line(moment, 2 * number, "started", asked),
            _line(moment + int(spent * 1000), 2 * number + 1, "finished", known),
        ]

    def _ended_badly(
        self,
        number: int,
        moment: int,
        asked: dict[str, Scalar],
        code: str,
        queue: float,
        stages: dict[str, float],
        u: list[float],
    ) -> list[_Record]:
        spent = {"text_prep": stages["text_prep"], "speaker_enc": stages["speaker_enc"]}
        if code == "deadline_exceeded":
            duration = TIMEOUT_MS
            spent["acoustic"] = round(duration - queue - sum(spent.values()) - 2.5, 3)
        else:
            spent["acoustic"] = round(stages["acoustic"] * u[5], 3)
            duration = round(queue + sum(spent.values()) + 2.5, 3)
        known = {
            **asked,
            **_times(duration, queue, spent),
            **_outcome(_fault(code)),
            "error_stage": "acoustic",
            "worker": _worker(number),
        }
        end = moment + int(duration * 1000)
        told = [_line(moment, 2 * number, "started", asked)]
        if code == "engine_error":
            told.append((end - 1500, 2 * number, "error", _WORKER_LOGGER, _worker_error(known)))
        return [*told, _line(end, 2 * number + 1, "finished", known)]

    def _delivered(
        self,
        number: int,
        moment: int,
        asked: dict[str, Scalar],
        queue: float,
        stages: dict[str, float],
        draws: _Draws,
        *,
        cached: bool,
    ) -> list[_Record]:
        u, n = draws.uniform[number], draws.normal[number]
        text_len, speed = int(asked["text_len"]), float(asked["speed"])
        duration = round(queue + sum(stages.values()) + 0.4 + 2 * u[3], 3)
        work_seconds = (duration - queue) / 1000
        audio_seconds = round(max(0.4, text_len / 4.2 / speed * math.exp(n[6] * 0.08)), 3)
        verdict = self._verdict(asked, u)
        silent = verdict == "silent"
        on_gpu = asked["engine"] == "indextts2"
        rate = 22050
        known: dict[str, Scalar] = {
            **asked,
            **_times(duration, queue, stages),
            "acoustic_gpt_ms": round(stages["acoustic"] * 0.7, 3),
            "acoustic_s2mel_ms": round(stages["acoustic"] * 0.28, 3),
            "first_audio_ms": round(duration - stages["post"], 3),
            "segments": 1 + text_len // 60,
            "text_tokens": int(text_len * 1.3) + 2,
            "acoustic_tokens": int(audio_seconds * 25),
            "audio_seconds": audio_seconds,
            "audio_bytes": int(audio_seconds * rate * 2) + 44,
            "sample_rate": rate,
            "channels": 1,
            "codec": {"wav": "pcm_s16le", "mp3": "mp3", "ogg": "vorbis"}[str(asked["format"])],
            "rtf": round(work_seconds / audio_seconds, 6),
            "chars_per_second": round(text_len / work_seconds, 3),
            "audio_verdict": verdict,
            "rms_dbfs": -96.0 if silent else round(-21 + n[7], 2),
            "peak_dbfs": -90.0 if silent else round(-3 + n[7] / 4, 2),
            "clipped_ratio": 0.0123 if verdict == "clipped" else 0.0,
            "silence_ratio": 1.0 if silent else round(0.05 + u[7] / 10, 4),
            "longest_silence_seconds": audio_seconds if silent else round(0.2 + u[8] / 4, 3),
            "probe_ok": True,
            "probe_ms": round(50 + 10 * u[9], 3),
            "status": "success" if verdict == "ok" else "degraded",
            "worker_memory_mb": round(3000 + 200 * u[6], 1),
            "speaker_cache_hit": cached,
            "worker": _worker(number),
        }
        if on_gpu:
            known |= {
                "gpu_seconds": round((stages["acoustic"] + stages["vocoder"]) / 1000, 3),
                "gpu_memory_before_mb": round(6100 + 50 * u[8], 1),
                "gpu_memory_peak_mb": round(7400 + 8 * text_len, 1),
                "gpu_memory_after_mb": round(6100 + 50 * u[9], 1),
            }
        written = moment + int(duration * 1000) + int(PROBE_SECONDS * _US)
        return [
            _line(moment, 2 * number, "started", asked),
            _line(written, 2 * number + 1, "finished", known),
        ]

    def _verdict(self, asked: Mapping[str, Scalar], u: list[float]) -> str:
        fallen_silent = self._day == self.incidents.silent
        if fallen_silent and asked["speaker"] == self.incidents.silent_speaker and u[5] < 0.7:
            return "silent"
        for verdict, share in _USUAL_FLAWS:
            if u[6] >= 1 - share:
                return verdict
        return "ok"


_USUAL_FAULTS: Final = (
    ("worker_died", 0.0002),
    ("out_of_memory", 0.0008),
    ("engine_error", 0.0025),
    ("deadline_exceeded", 0.0035),
    ("client_gone", 0.006),
    ("queue_full", 0.008),
    ("text_too_long", 0.012),
)
"""Shares of a usual day, each with those before it."""

_USUAL_FLAWS: Final = (("silent", 0.0006), ("clipped", 0.0025), ("truncated", 0.004))


def _times(duration: float, queue: float, stages: Mapping[str, float]) -> dict[str, Scalar]:
    other = round(duration - queue - sum(stages.values()), 3) + 0.0
    return {
        "duration_ms": duration,
        "queue_ms": queue,
        **{f"stage_{name}_ms": spent for name, spent in stages.items()},
        "stage_other_ms": other,
    }


def _outcome(outcome: Outcome) -> dict[str, Scalar]:
    fields = {
        "status": outcome.status,
        "error_type": outcome.error_type,
        "error_message": outcome.error_message,
        "error_fingerprint": outcome.error_fingerprint,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _line(moment: int, order: int, kind: str, known: Mapping[str, Scalar | None]) -> _Record:
    event = Event.build(f"synthesis.{kind}", known)
    level = LEVELS.get(event.status or "", "info")
    return moment, order, level, EVENTS_LOGGER, event.line()


def _worker(number: int) -> str:
    slot = number % WORKERS
    return f"{slot}:{4000 + slot}"


def _worker_error(known: Mapping[str, Scalar]) -> dict[str, Scalar]:
    return {
        "event": "worker.error",
        "worker": known["worker"],
        "request_id": known["request_id"],
        "traceback": _TRACEBACK,
    }


_WORKER_LOGGER: Final = "indextts_app.workers.worker"
_TRACEBACK: Final = """Traceback (most recent call last):
  File "infer_v2.py", line 702, in infer_generator
    mel = self.s2mel.inference(condition, lengths, prompt)
RuntimeError: shape mismatch
"""


def _begin_of(day: date) -> int:
    return (day.toordinal() - _EPOCH) * _DAY_US
