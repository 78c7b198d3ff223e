"""
Charts as inline SVG: no script, no font, no image from elsewhere; they print as they look.

Every mark carries its figure as a `<title>`, and every chart says in words what it shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, log10

from markupsafe import Markup, escape

from observability.reports.numbers import count

# Okabe and Ito's palette, told apart by colour-blind eyes, on paper as well.
BLUE, SKY, GREEN, ORANGE, RED, PINK, GREY, SAND = (
    "#0072b2", "#56b4e9", "#009e73", "#e69f00", "#d55e00", "#cc79a7", "#8c8c8c", "#b3a58c",
)  # fmt: skip

STAGE_COLOURS = {
    "queue": GREY,
    "text_prep": SKY,
    "emotion_text": "#f0e442",
    "speaker_enc": ORANGE,
    "acoustic": BLUE,
    "vocoder": GREEN,
    "acoustic_vocoder": BLUE,
    "engine_http": BLUE,
    "post": PINK,
    "other": SAND,
}
"""The colours that the synthesis page has for them as well."""

_WIDTH = 720
_LEFT = 58
_INK = "#5f6368"
_RULE = "#e3e5e8"


@dataclass(frozen=True, slots=True)
class Part:
    """One colour of a stacked chart, with a value for each column."""

    name: str
    colour: str
    values: Sequence[float]


def columns(
    labels: Sequence[str],
    parts: Sequence[Part],
    *,
    words: str,
    height: int = 190,
    shown: Sequence[str] | None = None,
) -> Markup:
    """Stacked columns with an axis; `shown` are the labels below them where not all fit."""
    totals = [sum(part.values[place] for part in parts) for place in range(len(labels))]
    top = _round_up(max(totals, default=0))
    base, room = height - 22, height - 34
    step = (_WIDTH - _LEFT) / max(len(labels), 1)
    width = min(step * 0.72, 64)
    marks: list[Markup] = []
    for share in (0, 0.5, 1):
        y = base - share * room
        marks.append(
            Markup('<line x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}" stroke="{}"/>').format(
                _LEFT, _WIDTH, y, y, _RULE
            )
        )
        marks.append(_text(_LEFT - 6, y + 4, _axis(top * share), anchor="end"))
    for place, label in enumerate(labels):
        x = _LEFT + place * step + (step - width) / 2
        y = float(base)
        for part in parts:
            value = part.values[place]
            if value <= 0:
                continue
            tall = value / top * room
            y -= tall
            marks.append(
                _rect(x, y, width, tall, part.colour, f"{label} · {part.name}: {_axis(value)}")
            )
        below = shown[place] if shown else label
        if below:
            marks.append(_text(x + width / 2, height - 6, below, anchor="middle"))
    return _svg(height, marks, words)


def bars(rows: Sequence[tuple[str, float, str]], *, words: str, colour: str = BLUE) -> Markup:
    """Horizontal bars with the name before and the figure behind each; longest value fills."""
    line, name_width, figure_width = 24, 150, 150
    room = _WIDTH - name_width - figure_width
    most = max((value for _, value, _ in rows), default=0) or 1
    marks: list[Markup] = []
    for place, (name, value, figure) in enumerate(rows):
        y = place * line
        marks.append(_text(name_width - 8, y + 16, _cut(name, 20), anchor="end", full=name))
        wide = max(value / most * room, 1.5 if value else 0)
        marks.append(_rect(name_width, y + 4, wide, line - 8, colour, f"{name}: {figure}"))
        marks.append(_text(name_width + wide + 8, y + 16, figure))
    return _svg(line * len(rows) + 4, marks, words)


def heat(matrix: Sequence[Sequence[int]], names: Sequence[str], *, words: str, hour: str) -> Markup:
    """Weekday by hour, the darker the more."""
    line, left = 22, 76
    step = (_WIDTH - left) / 24
    most = max((value for row in matrix for value in row), default=0) or 1
    marks: list[Markup] = []
    for place, (name, row) in enumerate(zip(names, matrix, strict=True)):
        marks.append(_text(left - 8, place * line + 15, name, anchor="end"))
        for at, value in enumerate(row):
            depth = 0.06 + 0.94 * (value / most) ** 0.7 if value else 0.03
            marks.append(
                _rect(
                    left + at * step,
                    place * line + 1,
                    step - 2,
                    line - 2,
                    BLUE,
                    f"{name} {at:02}:00–{at + 1:02}:00 {hour}: {count(value)}",
                    opacity=depth,
                )
            )
    bottom = len(matrix) * line
    marks += [
        _text(left + at * step + step / 2 - 1, bottom + 14, f"{at:02}", anchor="middle")
        for at in range(0, 24, 3)
    ]
    return _svg(bottom + 20, marks, words)


def gauge(share_used: float, *, words: str) -> Markup:
    """How much of an allowance is used; what is over it shows in red."""
    used = min(max(share_used, 0), 1)
    marks = [
        _rect(0, 2, _WIDTH, 16, _RULE, words),
        _rect(0, 2, _WIDTH * used, 16, RED if share_used > 1 else GREEN, words),
    ]
    return _svg(20, marks, words)


def _round_up(value: float) -> float:
    """The next 1, 1.5, 2, 3, 4, 5, 6, 8 or 10 of a power of ten, for an axis that is read."""
    if value <= 0:
        return 1
    power = 10.0 ** ceil(log10(value) - 1e-9)
    return next(
        step * power for step in (0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1) if step * power >= value
    )


def _axis(value: float) -> str:
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            scale = 1e3 if sign == "k" else size
            return f"{value / scale:,.4g}{sign}"
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def _cut(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _rect(
    x: float, y: float, width: float, height: float, colour: str, title: str, opacity: float = 1
) -> Markup:
    faint = Markup(' fill-opacity="{:.2f}"').format(opacity) if opacity < 1 else ""
    return Markup(
        '<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" fill="{}"{}>'
        "<title>{}</title></rect>"
    ).format(x, y, width, height, colour, faint, title)


def _text(x: float, y: float, text: str, *, anchor: str = "start", full: str = "") -> Markup:
    title = Markup("<title>{}</title>").format(full) if full and full != text else ""
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" fill="{}">{}{}</text>').format(
        x, y, anchor, _INK, text, title
    )


def _svg(height: float, marks: Sequence[Markup], words: str) -> Markup:
    return Markup(
        '<svg viewBox="0 0 {} {:.0f}" role="img" aria-label="{}" '
        'xmlns="http://www.w3.org/2000/svg">{}</svg>'
    ).format(_WIDTH, height, words, Markup().join(marks))


def legend(parts: Sequence[Part]) -> Markup:
    """What the colours of a stacked chart mean."""
    return Markup('<p class="legend">{}</p>').format(
        Markup(" ").join(
            Markup(
                '<span><svg viewBox="0 0 10 10" width="10" height="10" aria-hidden="true">'
                '<rect width="10" height="10" rx="2" fill="{}"/></svg> {}</span>'
            ).format(part.colour, escape(part.name))
            for part in parts
        )
    )
