"""What fails now as HTML: the sum, the groups, and the lines of the one that was clicked."""

from __future__ import annotations

from html import escape

from indextts_app.pages.operations import fragments
from indextts_app.pages.operations.fragments import section
from indextts_app.pages.operations.texts import say
from observability.log_store.questions import Found, Group
from observability.reports.numbers import percent
from observability.triage import Triage

MAX_GROUPS = 25


def failure_panel(found: Triage, what: str, language: str) -> str:
    """
    The failures of a time, grouped; `what` they are grouped by, in words.

    A row carries its value for the drill-down; failures without one cannot be asked for.
    """
    failed, total = found.failures.total.requests, found.total
    figures = {
        "all_requests": (f"{total.requests:,}", ""),
        "failed": (f"{failed:,}", "bad" if failed else "good"),
        "share": (percent(failed / total.requests) if total.requests else fragments.NONE, ""),
        "silent_audio": (f"{found.silent.total:,}", "bad" if found.silent.total else ""),
        "p95": (fragments.milliseconds(total.p95_ms), ""),
    }
    cells = "".join(
        f'<div class="{tone}"><dt>{say(name, language)}</dt><dd>{value}</dd></div>'
        for name, (value, tone) in figures.items()
    )
    return (
        fragments.notes(found.reading.notes, language)
        + f'<dl class="figures">{cells}</dl>'
        + _groups(found, what, language)
        + fragments.copyable(say("logql", language), found.logql_counts, language)
    )


def other_panel(found: Triage, language: str) -> str:
    """What did not fail, and is worth a look all the same: silent audio, slow audio."""
    return section(
        say("silent_lines", language), fragments.request_table(found.silent.lines, language)
    ) + fragments.folded(
        say("slowest", language), fragments.request_table(found.slowest[:10], language)
    )


def _groups(found: Triage, what: str, language: str) -> str:
    if not found.failures.groups:
        key = "nothing_failed" if found.total.requests else "no_requests"
        return f'<p class="panel neutral">{say(key, language)}</p>'
    most = found.failures.groups[0].figures.requests
    total = found.failures.total.requests
    rows = "".join(
        _group(group, most, total, language) for group in found.failures.groups[:MAX_GROUPS]
    )
    title = say("failures_by", language, what=what)
    hint = f'<p class="note">{say("drill_hint", language)}</p>'
    return section(title, f'<table class="rows groups"><tbody>{rows}</tbody></table>{hint}')


def _group(group: Group, most: int, total: int, language: str) -> str:
    count = group.figures.requests
    (value,) = group.values
    name = say("not_known", language) if value is None else value
    drill = "" if value is None else f' data-drill="{escape(value, quote=True)}" tabindex="0"'
    return (
        f'<tr{drill}><th scope="row">{escape(name)}</th>'
        f'<td><span class="meter"><span style="width:{100 * count / most:.1f}%"></span></span></td>'
        f"<td>{count:,}</td><td>{percent(count / total)}</td></tr>"
    )


def drilled_panel(found: Found, query: str, what: str, value: str, language: str) -> str:
    """The newest lines of one group, and the query that finds them elsewhere."""
    title = say(
        "drilled", language, what=what, value=value, shown=len(found.lines), total=found.total
    )
    lines = fragments.request_table(found.lines, language)
    if not lines:
        lines = f'<p class="note">{say("nothing_failed", language)}</p>'
    return (
        section(title, lines, kind="drilled")
        + fragments.copyable(say("logql", language), query, language)
        + fragments.folded(
            say("lines", language, count=len(found.lines)), fragments.raw_lines(found.lines)
        )
    )
