"""The story of a request as HTML, for somebody who has a user on the phone."""

from __future__ import annotations

from html import escape

from indextts_app.pages.operations import fragments
from indextts_app.pages.operations.fragments import in_language, section
from indextts_app.pages.operations.neighbour_picture import neighbour_picture, seconds_of
from indextts_app.pages.operations.texts import say
from indextts_app.pages.stage_picture import stage_picture
from indextts_app.pages.texts import LANGUAGES
from indextts_app.story import Story
from observability.log_store import logql
from observability.observe import Times

NEAREST_SHOWN = 8
"""Of the others around a request that did not go well, so many stand in the table."""


def idle() -> str:
    """The place where the story will be, in both languages; the style shows the browser's own."""
    parts = "".join(
        f'<div lang="{language}"><strong>{say("idle", language)}</strong>'
        f"<p>{say('idle_more', language)}</p></div>"
        for language in LANGUAGES
    )
    return f'<div class="panel idle">{parts}</div>'


def story_panel(told: Story, language: str) -> str:
    """Everything that is known of a request, what matters most first."""
    return (
        _head(told, language)
        + section(say("causes", language), _causes(told, language), kind="causes")
        + section(say("advice", language), _advice(told, language), kind="advice")
        + '<div class="halves"><div>'
        + section(say("times", language), _times(told, language))
        + section(say("around", language), _around(told, language))
        + section(say("machine", language), fragments.fields(told.machine, language))
        + "</div><div>"
        + section(say("outcome", language), _outcome(told, language))
        + section(say("came_out", language), fragments.fields(told.came_out, language))
        + section(say("asked", language), fragments.fields(told.asked, language))
        + "</div></div>"
        + _for_programs(told, language)
    )


def _head(told: Story, language: str) -> str:
    shown = escape(told.request_id, quote=True)
    asked_at = next((fragments.moment_of(line) for line in told.lines if "timestamp" in line), "")
    heard = f"<p>{in_language(told.heard, language)}</p>" if told.heard else ""
    also = ""
    if told.also:
        links = " ".join(map(fragments.request_link, told.also))
        also = f"<p class='also'>{say('also', language)}: {links}</p>"
    return (
        f'<div class="story-head" data-request="{shown}">'
        f"<div>{fragments.badge(told.status, language)}<code>{shown}</code>"
        f'<button type="button" data-copy="{shown}" data-copied="{say("copied", language)}">'
        f"{say('copy', language)}</button><span>{asked_at} UTC</span></div>"
        f"<p><strong>{in_language(told.meaning, language)}</strong></p>{heard}{also}</div>"
    )


def _causes(told: Story, language: str) -> str:
    items = "".join(
        f'<li data-cause="{escape(cause.code, quote=True)}">{in_language(cause.text, language)}'
        f"<span>{in_language(cause.next_step, language)}</span></li>"
        for cause in told.causes
    )
    return f"<ul>{items}</ul>" if items else ""


def _advice(told: Story, language: str) -> str:
    items = "".join(f"<li>{in_language(advice, language)}</li>" for advice in told.advice)
    return f"<ul>{items}</ul>" if items else ""


def _times(told: Story, language: str) -> str:
    times = dict(told.stages_ms)
    total = times.pop("total", 0.0)
    queue = times.pop("queue", None)
    picture = stage_picture(Times(total, queue, times, dict(told.parts_ms)), language)
    return picture or f'<p class="note">{say("no_times", language)}</p>'


def _around(told: Story, language: str) -> str:
    if told.around is None:
        return f'<p class="note">{say("around_unknown", language)}</p>'
    centre = seconds_of(told.known) or 0.0
    bad = [line for line in told.around.lines if line.get("status") != "success"]
    nearest = sorted(bad, key=lambda line: abs((seconds_of(line) or 0.0) - centre))[:NEAREST_SHOWN]
    shown = [line for line in bad if line in nearest]
    return (
        f"<p>{in_language(told.around.summary, language)}</p>"
        + neighbour_picture(told.around, told.known, language)
        + fragments.request_table(shown, language, ("time", "status", "error", "took", "request"))
    )


def _outcome(told: Story, language: str) -> str:
    """Beyond the status, which stands above."""
    return fragments.fields(
        {name: value for name, value in told.outcome.items() if name != "status"}, language
    )


def _for_programs(told: Story, language: str) -> str:
    command = (
        fragments.copyable(say("command", language), told.replay, language) if told.replay else ""
    )
    query = logql.of_request(told.request_id)
    return (
        command
        + fragments.copyable(say("logql", language), query, language)
        + fragments.folded(
            say("lines", language, count=len(told.lines)), fragments.raw_lines(told.lines)
        )
    )
