"""Pieces of HTML that several tabs are made of; whatever comes from outside is escaped."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from indextts_app.engines.base import Translated
from indextts_app.pages.operations.texts import TEXTS, say, say_name
from indextts_app.pages.texts import say_name as shared_name
from observability.events import field_names

STATUS_TONES = {
    "success": "good",
    "degraded": "warn",
    "failed": "bad",
    "timeout": "bad",
    "lost": "bad",
    "rejected": "calm",
    "cancelled": "calm",
    "running": "calm",
}

NONE = "–"


def in_language(sentence: Translated, language: str) -> str:
    """A sentence of the service, escaped."""
    return escape(sentence.zh if language == "zh" else sentence.en)


def badge(status: str, language: str) -> str:
    """How a request ended, in one word and one colour."""
    tone = STATUS_TONES.get(status, "calm")
    return (
        f'<span class="badge {tone}" data-status="{escape(status, quote=True)}">'
        f"{escape(say_name('status', status, language))}</span>"
    )


def message(title: str, text: str, *, tone: str = "bad") -> str:
    """A panel that says one thing."""
    role = "alert" if tone == "bad" else "status"
    return (
        f'<div class="panel {tone}" role="{role}"><strong>{escape(title)}</strong>'
        f"<p>{escape(text)}</p></div>"
    )


def section(title: str, content: str, *, kind: str = "") -> str:
    """A part with its heading; nothing if there is nothing in it."""
    return f'<section class="{kind}"><h2>{escape(title)}</h2>{content}</section>' if content else ""


def folded(title: str, content: str) -> str:
    """A part that opens on demand."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>" if content else ""


def copyable(title: str, text: str, language: str) -> str:
    """A line for another program, with its copy button; `copying.js` makes the button work."""
    shown = escape(text, quote=True)
    return (
        f'<div class="copyable"><div><span>{escape(title)}</span>'
        f'<button type="button" data-copy="{shown}" data-copied="{say("copied", language)}">'
        f"{say('copy', language)}</button></div><code>{shown}</code></div>"
    )


def request_link(request_id: object) -> str:
    """A request's id that opens its story; `operations.js` makes it work, by the keyboard too."""
    shown = escape(str(request_id), quote=True)
    return f'<button type="button" class="link" data-open="{shown}">{shown}</button>'


def fields(known: Mapping[str, Any], language: str) -> str:
    """Fields of the event by what they mean, their names beside."""
    names = field_names()
    rows = "".join(
        f'<tr><th scope="row" title="{escape(f"{name}: {names[name][language]}", quote=True)}">'
        f"{escape(field_label(name, language))}</th><td>{value_of(name, value, language)}</td></tr>"
        for name, value in known.items()
        if name in names
    )
    return f'<table class="rows known">{rows}</table>' if rows else ""


def field_label(name: str, language: str) -> str:
    """What a field is called: the beginning of what the schema says of it."""
    if f"field_{name}" in TEXTS:
        return say(f"field_{name}", language)
    return _FURTHER.split(str(field_names()[name][language]), maxsplit=1)[0].strip()


_FURTHER = re.compile(r"[,:;(：，；（、]")


def value_of(name: str, value: object, language: str) -> str:
    """A field's value as people read it, with its unit, escaped."""
    if isinstance(value, bool):
        return say("yes" if value else "no", language)
    if isinstance(value, int | float):
        if name.endswith("_ms"):
            return milliseconds(value)
        unit = next((unit for end, unit in UNITS.items() if name.endswith(end)), "")
        # Without commas: a seed is copied.
        number = f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
        return f"{number}{unit}"
    if name in NAMED:
        return escape(shared_name(NAMED[name], str(value), language))
    return escape(str(value))


UNITS = {
    "_seconds": " s",
    "_bytes": " B",
    "_mb": " MB",
    "_dbfs": " dBFS",
    "sample_rate": " Hz",
}
"""What stands behind a number, by the end of its field's name."""

NAMED = {"audio_verdict": "verdict", "emotion": "emotion"}
"""Fields whose values have names on the synthesis page."""


def milliseconds(value: object) -> str:
    """A time in the unit that it is best read in."""
    if not isinstance(value, int | float):
        return NONE
    return f"{value / 1000:,.2f} s" if value >= 1000 else f"{value:,.0f} ms"


def moment_of(line: Mapping[str, Any]) -> str:
    """When a line was written, to the second."""
    return escape(str(line.get("timestamp", ""))[:19].replace("T", " "))


def table(heads: Sequence[str], rows: Iterable[str]) -> str:
    """A table of rows that are HTML already; it scrolls sideways where it must."""
    body = "".join(rows)
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    return (
        f'<div class="scroll"><table class="rows"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


COLUMNS = ("time", "status", "error", "stage", "speaker", "took", "request")


def request_table(
    lines: Sequence[Mapping[str, Any]], language: str, columns: Sequence[str] = COLUMNS
) -> str:
    """Requests, one a row, each of which opens its story."""
    if not lines:
        return ""
    heads = [say(f"column_{name}", language) for name in columns]
    return table(heads, (_request_row(line, language, columns) for line in lines))


def _request_row(line: Mapping[str, Any], language: str, columns: Sequence[str]) -> str:
    what = line.get("error_type") or line.get("audio_verdict") or NONE
    cells = {
        "time": moment_of(line)[5:],
        "request": request_link(line.get("request_id", "")),
        "status": badge(str(line.get("status", "")), language),
        "error": escape(str(what)),
        "stage": escape(str(line.get("error_stage") or NONE)),
        "speaker": escape(str(line.get("speaker") or NONE)),
        "took": milliseconds(line.get("duration_ms")),
    }
    opens = escape(str(line.get("request_id", "")), quote=True)
    return f"<tr data-open='{opens}'>{''.join(f'<td>{cells[name]}</td>' for name in columns)}</tr>"


def raw_lines(lines: Sequence[Mapping[str, Any]]) -> str:
    """The lines as they stand in the log, a traceback with its line ends."""
    return "".join(_raw_line(line) for line in lines)


def _raw_line(line: Mapping[str, Any]) -> str:
    rest = {name: value for name, value in line.items() if name != "traceback"}
    text = json.dumps(rest, ensure_ascii=False, default=str)
    trace = str(line.get("traceback", "")).rstrip()
    return f"<pre>{escape(text)}</pre>" + (
        f"<pre class='trace'>{escape(trace)}</pre>" * bool(trace)
    )


def notes(found: Iterable[Any], language: str) -> str:
    """What the log store could not read; nothing where all was read."""
    items = "".join(f"<li>{in_language(note, language)}</li>" for note in found)
    return f'<ul class="reading">{items}</ul>' if items else ""
