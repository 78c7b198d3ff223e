"""
Requests of a month for reports: drawn from a seed, with each fact that a figure rests on.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from ulid import ULID

from observability.log_store.files import FileLogStore

SINCE = datetime(2026, 10, 1, tzinfo=UTC)
UNTIL = datetime(2026, 11, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 3, 9, 30, tzinfo=UTC)

Line = dict[str, Any]


def request(moment: datetime, **fields: Any) -> list[Line]:
    """The two lines of one request that finished at `moment`."""
    spent = timedelta(milliseconds=fields.get("duration_ms", 0.0))
    began = moment - spent
    known = {"request_id": str(ULID.from_datetime(began)), "engine": "indextts2", **fields}
    outcome = ("status", "duration_ms", "error_type", "audio_verdict")
    start = {name: value for name, value in known.items() if name not in outcome}
    return [
        {"timestamp": began, "level": "info", "event": "synthesis.started", **start},
        {"timestamp": moment, "level": "info", "event": "synthesis.finished", **known},
    ]


def drawn(seed: int, count: int, since: datetime = SINCE, until: datetime = UNTIL) -> list[Line]:
    """The lines of `count` requests of every kind, in the order of their end."""
    draw = random.Random(seed)  # noqa: S311  # a test's data
    seconds = (until - since).total_seconds()
    lines: list[Line] = []
    for moment in sorted(draw.uniform(0, seconds - 1) for _ in range(count)):
        lines += request(since + timedelta(seconds=moment), **_fields(draw, moment / seconds))
    return lines


def _fields(draw: random.Random, progress: float) -> Line:
    status = draw.choices(
        ("success", "degraded", "failed", "rejected", "timeout", "cancelled", "lost"),
        (80, 5, 4, 4, 2, 3, 2),
    )[0]
    stages = {
        f"stage_{stage}_ms": round(draw.uniform(1, most), 3)
        for stage, most in (("text_prep", 60), ("acoustic", 3000), ("vocoder", 900), ("other", 9))
    }
    queue = round(draw.uniform(0, 500), 3)
    fields: Line = {
        "status": status,
        "source": draw.choice(("page", "api", "canary")),
        "version": "0.1.0" if progress < 0.5 else "0.2.0",
        "model_version": "2" if progress < 0.7 else "2.5",
        "text_len": draw.randint(1, 300),
        "queue_ms": queue,
        **stages,
        "duration_ms": round(queue + sum(stages.values()), 3),
        "gpu_seconds": round(draw.uniform(0, 3), 3),
    }
    if draw.random() < 0.7:
        fields["user"] = f"team-{draw.randint(1, 5)}"
    if draw.random() < 0.8:
        fields["speaker_cache_hit"] = draw.random() < 0.4
    if status != "rejected" or draw.random() < 0.5:
        fields["speaker"] = draw.choice(("zhiyan", "zhibei", "小明"))
        fields["emotion"] = draw.choice(("neutral", "happy", "sad"))
    if status in ("success", "degraded"):
        fields["audio_seconds"] = round(draw.uniform(0.5, 30), 3)
        fields["audio_verdict"] = (
            "ok" if status == "success" else draw.choice(("silent", "clipped"))
        )
    elif status == "rejected":
        fields["error_type"] = draw.choice(("queue_full", "not_ready", "text_empty"))
    elif status == "cancelled":
        fields["error_type"] = "client_gone"
    else:
        fields["error_type"] = draw.choice(("out_of_memory", "worker_died"))
    return fields


def kept(folder: Path, lines: Iterable[Line]) -> FileLogStore:
    """The store of a folder with these lines in the files of their days."""
    folder.mkdir(parents=True, exist_ok=True)
    days: dict[date, list[str]] = {}
    for line in sorted(lines, key=lambda line: line["timestamp"]):
        moment = line["timestamp"]
        written = moment.replace(tzinfo=None).isoformat("T", "microseconds")
        shown = {**line, "timestamp": f"{written}Z"}
        days.setdefault(moment.date(), []).append(json.dumps(shown, ensure_ascii=False))
    for day, texts in days.items():
        text = "".join(f"{text}\n" for text in texts)
        (folder / f"indextts-{day}.jsonl").write_text(text, "utf-8")
    return FileLogStore(folder, clock=lambda: NOW)
