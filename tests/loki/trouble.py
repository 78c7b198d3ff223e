"""
Days of trouble, as lines in the log's own form: for every alert one that it must fire on, and one
that it nearly fires on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from observability.events import STAGES, Event, Scalar
from observability.generated_logs import PlainFormatter
from observability.logs import EVENTS_LOGGER, LEVELS

FIRST_DAY = datetime(2026, 7, 1, 12, tzinfo=UTC)
"""Noon of the first case's day; each alert has two days, so that none sees another's lines."""

FORMATTER = PlainFormatter({"service": "indextts", "version": "trouble"})


@dataclass(frozen=True, slots=True)
class Said:
    """A line of the service that knows everything but its time."""

    event: str
    level: str
    fields: Mapping[str, Scalar]

    def at(self, moment: datetime) -> str:
        """The text."""
        message: Any = {"event": self.event, **self.fields}
        if self.event.startswith("synthesis."):
            message = Event.build(self.event, self.fields).line()
        number = getattr(logging, self.level.upper())
        record = logging.LogRecord(EVENTS_LOGGER, number, "", 0, message, None, None)
        record.created = moment.timestamp()
        return FORMATTER.format(record)


Line = tuple[float, Said | str]
"""Seconds before the moment that the alert is asked at, and what is said or plainly written."""

Made = Callable[..., list[Line]]


@dataclass(frozen=True, slots=True)
class Case:
    """The lines that an alert fires on, and those that it only nearly fires on."""

    fires: list[Line]
    nearly: list[Line]


def said(before: float, event: str, level: str = "info", **fields: Scalar) -> Line:
    """A line of the service so many seconds before the moment."""
    return before, Said(event, level, fields)


def id_of(number: int) -> str:
    """The request_id of a request of trouble."""
    return f"01M{number:023d}"


def request(number: int, before: float, **known: Scalar) -> list[Line]:
    """The two lines of a request that ended so many seconds before the moment."""
    asked: dict[str, Scalar] = {
        "request_id": id_of(number),
        "source": "api",
        "user": f"user-{number}",
        "engine": "indextts2",
        "model_version": "2.1.0",
        "speaker": "zhiyan",
        "emotion": "neutral",
        "text_len": 20,
        "text_hash": f"{number:032x}",
    }
    asked |= {name: value for name, value in known.items() if name in asked}
    status = str(known.get("status", "success"))
    finished = {"duration_ms": 900.0, **asked, **known, "status": status}
    if status == "success":
        finished = {"audio_verdict": "ok", "audio_seconds": 4.5, **finished}
    level = LEVELS[status]
    return [
        said(before + 1, "synthesis.started", **asked),
        said(before, "synthesis.finished", level, **finished),
    ]


def failed(number: int, before: float, **known: Scalar) -> list[Line]:
    """A request that failed, with a fault of its own unless another is named."""
    fault: dict[str, Scalar] = {
        "status": "failed",
        "error_type": "engine_error",
        "error_stage": "acoustic",
        "error_fingerprint": f"{number:012x}",
        "error_message": "The engine failed.",
    }
    return request(number, before, **{**fault, **known})


def several(made: Made, count: int, *, first: int = 0, **known: Scalar) -> list[Line]:
    """So many of them, a few seconds apart, the last half a minute before the moment."""
    return [
        line for number in range(count) for line in made(first + number, 30 + 7 * number, **known)
    ]


CASES: Mapping[str, Case] = {
    "IndexTTSNewKindOfFailure": Case(
        fires=several(failed, 3, error_fingerprint="feedfeedfeed"),
        nearly=[
            *several(failed, 3, error_fingerprint="feedfeedfeed"),
            *failed(9, 5 * 3600, error_fingerprint="feedfeedfeed"),
        ],
    ),
    "IndexTTSTextFailsAgain": Case(
        fires=several(failed, 3, text_hash="ab" * 16),
        nearly=[*several(failed, 3, text_hash="ab" * 16), *request(9, 600, text_hash="ab" * 16)],
    ),
    "IndexTTSUserWithoutAudio": Case(
        fires=several(failed, 5, user="unlucky"),
        nearly=[*several(failed, 5, user="unlucky"), *request(9, 900, user="unlucky")],
    ),
    "IndexTTSSpeakerSilent": Case(
        fires=[
            *several(request, 10),
            *request(11, 300, status="degraded", audio_verdict="silent"),
            *request(12, 310, status="degraded", audio_verdict="silent"),
        ],
        nearly=[*several(request, 9), *request(11, 300, status="degraded", audio_verdict="silent")],
    ),
    "IndexTTSUnexpectedException": Case(
        fires=[said(60, "http.unexpected", "error", traceback="Traceback …")],
        nearly=[said(60, "worker.error", "error", traceback="Traceback …")],
    ),
    "IndexTTSLinesUnparsable": Case(
        fires=[said(61, "log.message", message="…"), (60, "Segmentation fault")],
        nearly=[said(60, "log.message", message="Segmentation fault")],
    ),
    "IndexTTSStartedNotFinished": Case(
        fires=[request(1, 700)[0]],
        nearly=[
            request(1, 700)[0],
            request(1, 20)[1],
            request(2, 300)[0],
            request(3, 700, text_len=9000)[0],
            request(4, 700, source="batch")[0],
        ],
    ),
    "IndexTTSRequestsLost": Case(
        fires=[
            *request(1, 60, status="lost", error_type="process_died"),
            said(50, "log.reconciled", requests_lost=1, partial_files_removed=0),
        ],
        nearly=failed(1, 60),
    ),
    "IndexTTSLogNotWritten": Case(
        fires=[said(60, "log.sink_failing", "error", sink="file")],
        nearly=[said(60, "log.sink_recovered", "warning", sink="file", lines_lost=3)],
    ),
    "IndexTTSNoLines": Case(fires=[], nearly=request(1, 3500)),
    "IndexTTSArchiveFails": Case(
        fires=[said(9 * 3600, "log.archive_failed", "error", reason="The disk is full.")],
        nearly=[said(9 * 3600, "log.archived", day="2026-06-30")],
    ),
    "IndexTTSPasswordGuessing": Case(
        fires=[
            said(40 + number, "operations.refused", "warning", client_ip="10.1.2.x")
            for number in range(5)
        ],
        nearly=[
            said(40 + number, "operations.refused", "warning", client_ip=f"10.1.{number}.x")
            for number in range(5)
        ],
    ),
}

OTHERS: list[Line] = [
    *several(failed, 6, speaker="demo-02", user="unlucky"),
    *request(26, 300, speaker="demo-02"),
    *several(failed, 2, first=100, speaker="demo-03"),
    *several(request, 9, first=102, speaker="demo-03"),
    *request(20, 100, client_request_id="order-4711", unknown_tokens=2, length_limited=False),
    *request(21, 110, probe_ok=False, probe_error="backlog"),
    *request(22, 120),
    request(22, 119)[1],
    *request(23, 130, status="rejected", error_type="queue_full"),
    request(24, 900)[0],
    *request(25, 140, queue_ms=3.5, **{f"stage_{stage}_ms": 80.0 for stage in STAGES}),
    said(210, "operations.refused", "warning", client_ip="10.9.8.x", failures=1),
    said(200, "service.started", engine="indextts2", workers=1, port=7860),
    said(190, "worker.ended", "error", worker="0:4000", reason="signal 9", served=12),
    said(180, "memory.cache_emptied", worker="0:4000", freed_mb=900.0),
    said(170, "output.not_stored", "error", reason="No space left on device"),
    said(160, "library.changed", kind="speaker", id="demo-02", change="added"),
    said(150, "log.message", message="Uvicorn running"),
]
"""What the triage book asks for besides, and generated months do not hold."""


REQUEST_WITH_EVERY_STAGE = id_of(25)


def moment_of(place: int, *, nearly: bool = False) -> datetime:
    """The moment that the case at this place is asked at."""
    return FIRST_DAY + timedelta(days=3 * place + (36 / 24 if nearly else 0))


MOMENT_OF_OTHERS = moment_of(len(CASES))


def write(folder: Path) -> int:
    """Write all cases into day files of a folder and return how many lines there are."""
    by_day: dict[str, list[tuple[datetime, str]]] = {}
    for moment, lines in _all():
        for before, line in lines:
            at = moment - timedelta(seconds=before)
            text = line.at(at) if isinstance(line, Said) else line
            by_day.setdefault(f"{at:%Y-%m-%d}", []).append((at, text))
    for day, dated in by_day.items():
        dated.sort(key=lambda line: line[0])
        with (folder / f"indextts-{day}.jsonl").open("x", encoding="utf-8") as file:
            file.writelines(f"{text}\n" for _, text in dated)
    return sum(map(len, by_day.values()))


def _all() -> Iterator[tuple[datetime, list[Line]]]:
    for place, case in enumerate(CASES.values()):
        yield moment_of(place), case.fires
        yield moment_of(place, nearly=True), case.nearly
    yield MOMENT_OF_OTHERS, OTHERS
