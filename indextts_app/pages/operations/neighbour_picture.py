"""The requests around one as a picture: when each ended, how, and how long it took."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from html import escape
from typing import Any

from indextts_app.pages.operations import fragments
from indextts_app.pages.operations.texts import say, say_name
from indextts_app.story import Around

WIDTH, HEIGHT, BASE = 720, 108, 84
MARK_WIDTH = 5
LOWEST, HIGHEST = 6, 66
COLOURS = {"good": "#1a7f4b", "warn": "#b87400", "bad": "#c8372d", "calm": "#8c8c8c"}


def neighbour_picture(around: Around, own: Mapping[str, Any], language: str) -> str:
    """
    A bar for each neighbour, this request in the middle and outlined; bars open their stories.

    Heights are on one scale; colour says how a request ended, and its title says it in words.
    """
    centre = seconds_of(own)
    if centre is None or not around.lines:
        return ""
    marks = [(line, moment) for line in around.lines if (moment := seconds_of(line)) is not None]
    longest = max((_took(line) for line in (*around.lines, own)), default=0.0) or 1.0
    bars = "".join(
        _bar(line, moment - centre, around.seconds, longest, language) for line, moment in marks
    )
    bars += _bar(own, 0.0, around.seconds, longest, language, is_own=True)
    ticks = (
        f'<line x1="0" x2="{WIDTH}" y1="{BASE}" y2="{BASE}"/>'
        + _tick(2, "start", say("seconds_before", language, seconds=around.seconds))
        + _tick(WIDTH / 2, "middle", say("this_one", language))
        + _tick(WIDTH - 2, "end", say("seconds_after", language, seconds=around.seconds))
    )
    words = escape(fragments.in_language(around.summary, language), quote=True)
    return (
        f'<svg class="neighbours" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{words}">{ticks}{bars}</svg>'
    )


def _bar(
    line: Mapping[str, Any],
    offset: float,
    seconds: float,
    longest: float,
    language: str,
    *,
    is_own: bool = False,
) -> str:
    status = str(line.get("status", ""))
    colour = COLOURS[fragments.STATUS_TONES.get(status, "calm")]
    place = (offset / seconds + 1) / 2 * (WIDTH - 2 * MARK_WIDTH) + MARK_WIDTH
    tall = LOWEST + (HIGHEST - LOWEST) * _took(line) / longest
    told = (
        f"{str(line.get('timestamp', ''))[11:23]} · {say_name('status', status, language)} · "
        f"{line.get('error_type') or line.get('audio_verdict') or ''} · "
        f"{fragments.milliseconds(line.get('duration_ms'))}"
    )
    request_id = escape(str(line.get("request_id", "")), quote=True)
    kind = 'class="own"' if is_own else f'data-open="{request_id}"'
    return (
        f'<rect {kind} x="{place - MARK_WIDTH / 2:.1f}" y="{BASE - tall:.1f}" '
        f'width="{MARK_WIDTH}" height="{tall:.1f}" rx="1" fill="{colour}">'
        f"<title>{escape(told)}</title></rect>"
    )


def _tick(x: float, anchor: str, text: str) -> str:
    return f'<text x="{x:g}" y="{HEIGHT - 8}" text-anchor="{anchor}">{escape(text)}</text>'


def _took(line: Mapping[str, Any]) -> float:
    value = line.get("duration_ms")
    return max(float(value), 0.0) if isinstance(value, int | float) else 0.0


def seconds_of(line: Mapping[str, Any]) -> float | None:
    """When a line was written, in seconds since 1970; None where it does not say."""
    try:
        return datetime.fromisoformat(str(line.get("timestamp"))).timestamp()
    except ValueError:
        return None
