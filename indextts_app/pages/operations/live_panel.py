"""The service as it is now as HTML: its own state, and the last minutes of its log."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from indextts_app.desk import PULSE_WINDOW, Pulse
from indextts_app.pages.operations import fragments
from indextts_app.pages.operations.fragments import section
from indextts_app.pages.operations.texts import say
from observability.log_store.questions import Series
from observability.reports import charts
from observability.reports.numbers import percent

SECONDS = 3.0
"""Between two looks of one visitor."""

MINUTES = PULSE_WINDOW.total_seconds() / 60
LABEL_EVERY = 6


def live_panel(pulse: Pulse, language: str) -> str:
    """Figures in one row, charts below."""
    updated = say("updated", language, time=f"{pulse.moment:%H:%M:%S}", seconds=SECONDS)
    cells = "".join(
        f'<div class="{tone}"><dt>{escape(name)}</dt><dd>{value}</dd><small>{more}</small></div>'
        for name, value, more, tone in _figures(pulse, language)
    )
    drawn = _charts(pulse.series, language) if pulse.series else say("no_log", language)
    return (
        f'<div class="live-head">{_health(pulse, language)}<span>{updated}</span></div>'
        f'<dl class="figures">{cells}</dl>{drawn}'
    )


def _health(pulse: Pulse, language: str) -> str:
    now = pulse.now
    engine = escape(" ".join(filter(None, (now.engine, now.model_version))))
    if now.unavailable and not now.ready and not now.unloaded:
        text = say("unhealthy", language, reason=now.unavailable)
        return f'<span class="badge bad">{escape(text)}</span> {engine}'
    if not now.gpus:
        engine += f" · {say('no_gpu', language)}"
    return f'<span class="badge good">{say("healthy", language)}</span> {engine}'


def _figures(pulse: Pulse, language: str) -> Iterator[tuple[str, str, str, str]]:
    """Name, value, what it is of, and tone."""
    now, total = pulse.now, pulse.total
    minutes = say("last_minutes", language, minutes=f"{MINUTES:g}")
    if total is not None:
        yield say("rate", language), f"{total.requests / MINUTES:.1f}", minutes, ""
        tone = "bad" if total.share_failed >= 0.05 else ""
        yield say("share_failed", language), percent(total.share_failed), minutes, tone
        for name, value in (("p50", total.p50_ms), ("p95", total.p95_ms), ("p99", total.p99_ms)):
            yield say(name, language), fragments.milliseconds(value), minutes, ""
    yield say("in_flight", language), f"{now.in_flight}", "", ""
    tone = "bad" if now.max_queue and now.waiting >= 0.8 * now.max_queue else ""
    yield say("queue", language), f"{now.waiting}", f"/ {now.max_queue}", tone
    of = say("workers_of", language, ready=now.ready, all=now.workers)
    yield say("workers", language), f"{now.busy}", of, "" if now.ready or now.unloaded else "bad"
    if now.memory:
        each = " · ".join(
            f"{slot}: {_megabytes(size)}" for slot, size in sorted(now.memory.items())
        )
        yield say("worker_memory", language), _megabytes(sum(now.memory.values())), each, ""
    for gpu in now.gpus:
        busy = fragments.NONE if gpu.utilization_ratio is None else f"{gpu.utilization_ratio:.0%}"
        used, room = gpu.memory_used_bytes, gpu.memory_total_bytes
        memory = f"{_megabytes(used)} / {_megabytes(room)}" if used and room else ""
        yield say("gpu", language, index=gpu.index), busy, memory, ""


def _charts(series: Series, language: str) -> str:
    points = series.points
    labels = [f"{point.start:%H:%M:%S}" for point in points]
    shown = [label[:5] if place % LABEL_EVERY == 0 else "" for place, label in enumerate(labels)]
    figures = [point.figures for point in points]
    others = [row.requests - row.delivered - row.failed for row in figures]
    outcomes = [
        charts.Part(say("delivered", language), charts.BLUE, [row.delivered for row in figures]),
        charts.Part(say("turned_away", language), charts.GREY, others),
        charts.Part(say("not_delivered", language), charts.RED, [row.failed for row in figures]),
    ]
    latency = [
        charts.Part("P95 ms", charts.GREEN, [row.p95_ms or 0.0 for row in figures]),
    ]
    return (
        fragments.notes(
            # The last step is always still going on.
            (note for note in series.reading.notes if note.code != "unfinished"),
            language,
        )
        + '<div class="halves">'
        + section(
            say("requests_chart", language),
            str(
                charts.columns(labels, outcomes, words=say("requests_chart", language), shown=shown)
            )
            + str(charts.legend(outcomes)),
        )
        + section(
            say("latency_chart", language),
            str(charts.columns(labels, latency, words=say("latency_chart", language), shown=shown)),
        )
        + "</div>"
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.0f} MB"
