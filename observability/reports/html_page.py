"""The report as one HTML file: nothing to load, nothing to run, made to be printed."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from observability.events import STAGES
from observability.reports import charts, numbers, wording
from observability.reports.figures import Report

UNREMARKABLE = frozenset({"versions", "several_files"})
"""Notes that no figure suffers from; they stand at the end, with what the figures rest on."""

TOP_SPEAKERS, TOP_USERS, TOP_ERRORS = 10, 20, 12


def html_page(report: Report, language: str) -> str:
    """
    The whole page in `zh`, or else in English.

    Whatever stands in the log is escaped: a name of a user or a speaker is text and nothing else.
    """
    return (
        _environment()
        .get_template("monthly.html.j2")
        .render(
            report=report,
            language=language,
            say=lambda key, **details: wording.say(key, language, **details),
            name=lambda kind, key: wording.say_name(kind, str(key), language),
            month=lambda text: wording.say_month(text, language),
            n=numbers,
            warnings=[note for note in report.notes if note.code not in UNREMARKABLE],
            remarks=[note for note in report.notes if note.code in UNREMARKABLE],
            charts=_charts(report, language),
            top_speakers=report.speakers[:TOP_SPEAKERS],
            top_users=report.users[:TOP_USERS],
            top_errors=report.errors[:TOP_ERRORS],
            busiest_day=max(report.days, key=lambda row: row.requests),
            busiest_hour=max(range(24), key=lambda hour: report.hours[hour]),
        )
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _charts(report: Report, language: str) -> dict[str, Any]:
    def say(key: str) -> str:
        return wording.say(key, language)

    days = [row.day[5:] for row in report.days]
    outcomes = [
        charts.Part(say("delivered"), charts.BLUE, [row.delivered for row in report.days]),
        charts.Part(say("excluded"), charts.GREY, [row.excluded for row in report.days]),
        charts.Part(say("not_delivered"), charts.RED, [row.unavailable for row in report.days]),
    ]
    weeks = [row for row in report.weeks if row.delivered]
    times = [{"queue": row.queue_ms or 0.0, **row.stages_ms} for row in weeks]
    stages = [
        charts.Part(
            wording.say_name("stage", stage, language),
            charts.STAGE_COLOURS.get(stage, charts.SAND),
            [row.get(stage, 0.0) for row in times],
        )
        for stage in ("queue", *STAGES)
        if any(stage in row for row in times)
    ]
    return {
        "days": charts.columns(
            days,
            outcomes,
            words=say("by_day"),
            shown=[day[3:] if int(day[3:]) % 5 == 1 or len(days) < 12 else "" for day in days],
        ),
        "days_legend": charts.legend(outcomes),
        "heat": charts.heat(
            report.weekday_hours,
            [wording.say_name("weekday", str(day), language) for day in range(7)],
            words=say("by_hour"),
            hour="UTC",
        ),
        "speakers": charts.bars(
            [
                (row.speaker, row.requests, _with_share(row.requests, row.share))
                for row in report.speakers[:TOP_SPEAKERS]
            ],
            words=say("speakers"),
        ),
        "emotions": charts.bars(
            [
                (
                    wording.say_name("emotion", row.emotion, language),
                    row.requests,
                    _with_share(row.requests, row.share),
                )
                for row in report.emotions[:TOP_SPEAKERS]
            ],
            words=say("emotions"),
            colour=charts.GREEN,
        ),
        "weeks": charts.columns(
            [f"{row.first_day[5:]} – {row.last_day[5:]}" for row in weeks],
            stages,
            words=say("by_week"),
            height=230,
        ),
        "weeks_legend": charts.legend(stages),
        "budget": charts.gauge(
            1 - report.slo.budget_left if report.slo.budget_left is not None else 0.0,
            words=say("budget"),
        ),
    }


def _with_share(count: int, share: float) -> str:
    return f"{numbers.count(count)} · {numbers.percent(share)}"
