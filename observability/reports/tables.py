"""The report as flat tables, one CSV file each, for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from observability.reports import figures
from observability.reports.figures import Report

TABLES = (
    "summary", "speakers", "emotions", "users", "days", "weeks", "hours", "versions", "instances",
    "errors",
    "advice",
)  # fmt: skip

# A cell that begins so is a formula to a spreadsheet, whoever wrote it into a name.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_tables(report: Report) -> dict[str, str]:
    """
    Every table as CSV text (RFC 4180, UTF-8 with a byte order mark, so that Excel reads Chinese).

    A table without rows has its head all the same.
    """
    rows = _rows(report)
    return {name: _csv(name, rows[name]) for name in TABLES}


def _rows(report: Report) -> Mapping[str, Iterable[Mapping[str, Any]]]:
    document = report.document()
    return {
        "summary": [_summary(report)],
        **{name: document[name] for name in ("speakers", "emotions", "users", "days", "errors")},
        "weeks": [
            {
                **{name: value for name, value in row.items() if name != "stages_ms"},
                **{f"stage_{stage}_ms": row["stages_ms"].get(stage) for stage in report.stages_ms},
            }
            for row in document["weeks"]
        ],
        "hours": [
            {"weekday": day, "hour": hour, "requests": requests}
            for day, row in enumerate(report.weekday_hours, start=1)
            for hour, requests in enumerate(row)
        ],
        "versions": document["versions"],
        "instances": document["instances"],
        "advice": [
            {"code": piece.code, "kind": piece.kind, "en": piece.en, "zh": piece.zh}
            for piece in report.advice
        ],
    }


def _summary(report: Report) -> dict[str, Any]:
    """All single figures in one row."""
    known = report.reconciliation
    return {
        "month": report.month,
        "complete": report.complete,
        "requests": report.requests,
        "requests_change": report.growth.change if report.growth else None,
        **report.by_status,
        "characters": report.characters,
        "audio_seconds": report.audio_seconds,
        "silent_audio": report.silent_audio,
        "availability": report.availability,
        "slo_target": report.slo.target,
        "slo_budget_left": report.slo.budget_left,
        "share_under_2s": report.share_under_2s,
        **{f"latency_{name}_ms": value for name, value in asdict(report.latency_ms).items()},
        "chars_per_second": report.chars_per_second,
        "busy_minutes": report.busy_minutes.minutes,
        "users": report.users_total,
        "gpu_hours": report.gpu_hours,
        **{f"cost_{name}": value for name, value in asdict(report.cost).items()},
        "started": known.started,
        "finished": known.finished,
        "unsettled": known.unsettled,
        "files": known.files,
        "lines_read": known.lines_read,
        "lines_unreadable": known.lines_unreadable,
    }


_HEADS = {
    "speakers": "SpeakerRow",
    "emotions": "EmotionRow",
    "users": "UserRow",
    "errors": "ErrorRow",
    "versions": "VersionRow",
    "instances": "InstanceRow",
}


def _csv(name: str, rows: Iterable[Mapping[str, Any]]) -> str:
    rows = list(rows)
    head = list(rows[0]) if rows else _head(name)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(head)
    writer.writerows([[_cell(row.get(column)) for column in head] for row in rows])
    return f"\ufeff{text.getvalue()}"


def _head(name: str) -> list[str]:
    kind = getattr(figures, _HEADS[name]) if name in _HEADS else None
    return list(kind.__slots__) if kind else []


def _cell(value: object) -> object:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
