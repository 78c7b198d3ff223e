"""A batch as the page shows it, as HTML: how far it is, its rows, and its archive."""

from __future__ import annotations

import math
from html import escape
from typing import Any

from indextts_app.batches.job import Item, Job
from indextts_app.batches.table import Table
from indextts_app.pages import panels
from indextts_app.pages.texts import say, say_name
from indextts_app.underway import Underway

MOST_ROWS = 100
"""That are shown; the archive's manifest has all of them."""

GOOD = ("success", "degraded")
"""Rows that have audio."""

_TONES = {"success": "good", "degraded": "warn", "running": "plain", "pending": "plain"}
"""Of the badges; whatever left a row without audio is red."""


def panel(job: Job, underway: Underway, language: str, *, unread: Table | None = None) -> str:
    """The whole panel; `unread` is the table that the job was made of, for its broken rows."""
    return (
        f'<div class="panel batch" role="status">{_head(job, language)}'
        f"{_broken(unread, language)}{_rows(job, underway, language)}</div>"
    )


def _head(job: Job, language: str) -> str:
    about, left = job.about, job.remaining_seconds()
    counts = job.counts
    bad = sum(count for status, count in counts.items() if status not in GOOD)
    line = say("batch_done", language, done=sum(counts.values()), total=about.total, bad=bad)
    if job.reason:
        detail = job.reason[language == "zh"]
    elif left is not None:
        detail = say("batch_left", language, minutes=math.ceil(left / 60))
    else:
        detail = ""
    link = ""
    if job.has_ended:
        # Relative, for proxies that serve all of this below another path.
        link = (
            f'<a class="download" download href="batches/{about.job_id}/archive">'
            f"{say('batch_download', language)}</a>"
        )
    return (
        f'<div class="line"><strong>{say(f"batch_{about.state}", language)}</strong>'
        f'<span class="elapsed">{line}</span></div>'
        f'<progress max="{about.total}" value="{job.done}"></progress>'
        f"<p>{escape(detail)}</p>{link}"
        f"{panels.request_id_line(about.job_id, language, 'batch_id')}"
    )


def _broken(unread: Table | None, language: str) -> str:
    lines = [str(row.line) for row in unread.rows if row.fault] if unread else []
    if not lines:
        return ""
    shown = ", ".join(lines[:20]) + (" …" if len(lines) > 20 else "")
    return f'<p class="told bad">{say("batch_broken", language, lines=shown)}</p>'


def _rows(job: Job, underway: Underway, language: str) -> str:
    """What went wrong first, then what is being made, then what came last."""
    results = job.results
    bad = [item for item in results if item.status not in GOOD]
    good = [item for item in results if item.status in GOOD]
    shown: list[Item | int] = [*bad, *job.running, *reversed(good)]
    if not shown:
        return ""
    # Of those alone that are shown: it is made anew twice a second, for each who looks.
    rows = [
        _done(one, language)
        if isinstance(one, Item)
        else _running(one, underway, job.running[one], language)
        for one in shown[:MOST_ROWS]
    ]
    heads = "".join(
        f"<th>{say(name, language)}</th>"
        for name in ("batch_row", "batch_line", "batch_state", "batch_result", "request_id")
    )
    more = len(shown) - MOST_ROWS
    rest = f'<p class="note">{say("batch_more", language, count=more)}</p>' if more > 0 else ""
    return (
        f'<table class="rows batch-rows"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>{rest}"
    )


def _done(item: Item, language: str) -> str:
    if item.error:
        result = item.message_zh if language == "zh" else item.message
    else:
        result = say("seconds", language, value=item.audio_seconds or 0.0)
        if item.verdict not in (None, "ok"):
            result += f" · {say_name('verdict', item.verdict or '', language)}"
    return _row((item.row, item.line), item.status, result or "", item.request_id, language)


def _running(row: int, underway: Underway, request_id: str, language: str) -> str:
    standing: Any = underway.standing_of(request_id)
    result = ""
    if standing and standing.segments and standing.segments > 1:
        result = say("segment_of", language, number=standing.segment, count=standing.segments)
    return _row((row, ""), "running", result, request_id, language)


def _row(
    place: tuple[int, int | str], status: str, result: str, request_id: str, language: str
) -> str:
    row, line = place
    badge = f'<span class="badge {_TONES.get(status, "bad")}" data-state="{escape(status)}">'
    return (
        f"<tr><td>{row}</td><td>{line}</td>"
        f"<td>{badge}{say_name('status', status, language)}</span></td>"
        f"<td>{escape(result)}</td><td><code>{escape(request_id)}</code></td></tr>"
    )
