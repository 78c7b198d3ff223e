"""One request's time as a picture: a waterfall of queue, stages and the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from indextts_app.pages.texts import say, say_name
from observability.events import PARTS, STAGES
from observability.observe import Times

COLOURS = {
    "queue": "#8c8c8c",
    "text_prep": "#56b4e9",
    "emotion_text": "#f0e442",
    "speaker_enc": "#e69f00",
    "acoustic": "#0072b2",
    "vocoder": "#009e73",
    "acoustic_vocoder": "#0072b2",
    "engine_http": "#0072b2",
    "post": "#cc79a7",
    "other": "#b3a58c",
}
"""Okabe and Ito's palette, told apart by colour-blind eyes on light and dark ground."""

STRANGER = "#d55e00"
"""The palette's last colour, for a stage that this page has not met yet."""

MIN_WIDTH_PX = 4
"""A stage of microseconds is still there to be seen."""

STYLE = """
.stage-picture { font-size: .8125rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.stage-picture .stage { display: grid; grid-template: "name track number share" /
  10.5rem 1fr 4.5rem 2.75rem; column-gap: .5rem; align-items: center; padding: .1875rem 0; }
.stage-picture .name { grid-area: name; }
.stage-picture .number { grid-area: number; text-align: right; }
.stage-picture .share { grid-area: share; text-align: right; opacity: .65; }
.stage-picture .track { grid-area: track; position: relative; height: .875rem;
  border-radius: .25rem; background: color-mix(in srgb, currentColor 8%, transparent); }
.stage-picture .bar { position: absolute; inset-block: 0; border-radius: .25rem; }
.stage-picture .part { padding: 0; opacity: .8; }
.stage-picture .part .name { padding-left: .75rem; }
.stage-picture .part .track { height: .375rem; }
.stage-picture .total { font-weight: 600; }
@media (max-width: 480px) {
  .stage-picture .stage { grid-template: "name number share" "track track track" /
    1fr max-content 2.5rem; }
  .stage-picture .track { height: .5rem; } }
"""


@dataclass(frozen=True, slots=True)
class _Span:
    name: str
    """As the texts know it."""
    colour: str
    begins_ms: float
    spent_ms: float
    parts: tuple[_Span, ...] = ()
    """Drawn one after the other, however often they alternated."""


def stage_picture(times: Times, language: str) -> str:
    """
    A fragment of HTML that shows where the time went, in the order of the work.

    It needs nothing from outside, reads on light and dark ground, and says the same in words to
    those who do not see it. Times without a single stage give an empty fragment.
    """
    spans = list(_spans(times))
    total = max(times.duration_ms, sum(span.spent_ms for span in spans))
    if not spans or total <= 0:
        return ""
    rows = "".join(_row(span, total, language) for span in spans)
    label = escape(_in_words(spans, total, language), quote=True)
    return (
        f'<div class="stage-picture" role="img" aria-label="{label}"><style>{STYLE}</style>{rows}'
        f'<div class="stage total"><span class="name">{say("total", language)}</span>'
        f'<span class="number">{milliseconds(total)}</span>'
        '<span class="share">100%</span></div></div>'
    )


def milliseconds(value: float) -> str:
    """A time with as many digits as it deserves."""
    digits = 2 if value < 10 else 1 if value < 1000 else 0
    return f"{value:,.{digits}f} ms"


def _spans(times: Times) -> Iterator[_Span]:
    """Queue, stages and other, each from where the one before it ended."""
    spent = dict(times.stages_ms)
    if times.queue_ms is not None:
        spent["queue"] = times.queue_ms
    begins = 0.0
    for stage in sorted(spent, key=_place):
        # A clock that is read twice may make `other` minus a microsecond.
        spent_ms = max(spent[stage], 0.0)
        colour = COLOURS.get(stage, STRANGER)
        parts = tuple(_parts(times, stage, colour, begins))
        yield _Span(f"stage_{stage}", colour, begins, spent_ms, parts)
        begins += spent_ms


def _parts(times: Times, stage: str, colour: str, begins: float) -> Iterator[_Span]:
    for part, spent_ms in times.parts_ms.items():
        if PARTS.get(part) == stage:
            yield _Span(f"part_{part}", colour, begins, spent_ms)
            begins += spent_ms


def _place(stage: str) -> int:
    """In the order of the work; `other` lies between all of them, and is shown last as one."""
    order = ("queue", *STAGES)
    return order.index(stage) if stage in order else order.index("other") - 1


def _row(span: _Span, total: float, language: str, kind: str = "stage") -> str:
    left, width = (100 * part / total for part in (span.begins_ms, span.spent_ms))
    place = (
        f"left:min({left:.3f}%, calc(100% - {MIN_WIDTH_PX}px));"
        f"width:max({width:.3f}%, {MIN_WIDTH_PX}px);background:{span.colour}"
    )
    bar = f'<span class="bar" style="{place}"></span>' if span.spent_ms else ""
    row = (
        f'<div class="{kind}"><span class="name">{escape(_name(span, language))}'
        f'</span><span class="track">{bar}</span>'
        f'<span class="number">{milliseconds(span.spent_ms)}</span>'
        f'<span class="share">{_share(width)}</span></div>'
    )
    return row + "".join(_row(part, total, language, "stage part") for part in span.parts)


def _name(span: _Span, language: str) -> str:
    kind, _, name = span.name.partition("_")
    return say_name(kind, name, language)


def _share(percent: float) -> str:
    return "&lt;1%" if 0 < percent < 0.5 else f"{percent:.0f}%"


def _in_words(spans: list[_Span], total: float, language: str) -> str:
    told = [
        f"{_name(span, language)} {milliseconds(span.spent_ms)}"
        for stage in spans
        for span in (stage, *stage.parts)
    ]
    return (
        f"{say('times', language)}: {say('total', language)} {milliseconds(total)}. "
        + ", ".join(told)
    )
