"""The parts of the page that change, as HTML; whatever comes from outside is escaped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from indextts_app import emotions
from indextts_app.engines.base import Capabilities, Control, Segment
from indextts_app.pages.progress import Progress
from indextts_app.pages.texts import say, say_name
from indextts_app.presets import Preset
from indextts_app.synthesis import SynthesisResult

SCALED_SUM = 0.8
"""What IndexTTS-2 scales a vector's weights down to (index-tts ee40fa7, `normalize_emo_vec`)."""

VERDICT_TONES = {"ok": "good", "truncated": "warn", "clipped": "warn"}
"""Green, amber, and red for every verdict that leaves nothing to listen to."""


def header(can: Capabilities | None, language: str) -> str:
    """The title, and beside it which engine and model answer."""
    if can is None:
        chips = f'<span class="chip loading">{say("engine_loading", language)}</span>'
    else:
        # Some engines carry their name in their version, as `espeak-ng 1.52` does.
        version = can.engine_version
        engine = version if can.engine in version else f"{can.engine} {version}"
        chips = _chip("engine", engine, language)
        if can.model_version != version:
            chips += _chip("model", can.model_version, language)
    return (
        f'<div class="page-header"><div><h1>{say("title", language)}</h1>'
        f"<p>{say('subtitle', language)}</p></div><div class='chips'>{chips}</div></div>"
    )


def idle(language: str) -> str:
    """The place where the result will be."""
    return (
        f'<div class="panel idle"><strong>{say("idle", language)}</strong>'
        f"<p>{say('idle_more', language)}</p></div>"
    )


def running(progress: Progress, stages: tuple[str, ...], language: str) -> str:
    """Where in the queue, or in which stage, and for how long."""
    if progress.ahead is not None:
        headline = say("waiting", language)
        detail = (
            say("position", language, position=progress.ahead + 1, ahead=progress.ahead)
            if progress.ahead
            else say("position_next", language)
        )
    elif progress.current is None:
        headline, detail = say("starting", language), ""
    else:
        stage = say_name("stage", progress.current, language)
        headline, detail = say("working", language, stage=escape(stage)), ""
        if progress.segments and progress.segments[1] > 1:
            number, count = progress.segments
            detail = say("segment_of", language, number=number, count=count)
            if (left := progress.remaining_seconds()) is not None:
                detail += say("remaining", language, seconds=math.ceil(left))
    steps = "".join(
        f'<li class="{state}">{escape(say_name("stage", stage, language))}</li>'
        for stage, state in progress.steps(stages)
    )
    elapsed = say("elapsed", language, seconds=progress.elapsed_seconds())
    return (
        f'<div class="panel running" role="status"><div class="line"><span class="turning"></span>'
        f'<strong>{headline}</strong><span class="elapsed">{elapsed}</span></div>'
        f"<p>{detail}</p><ol class='steps'>{steps}</ol></div>"
    )


def failed(message: str, request_id: str, language: str) -> str:
    """What went wrong, what to do, and the id to quote."""
    return (
        f'<div class="panel bad" role="alert"><strong>{say("failed", language)}</strong>'
        f"<p>{escape(message)}</p>{request_id_line(request_id, language)}"
        f'<p class="hint">{say("quote_id", language)}</p></div>'
    )


def cancelled(request_id: str, language: str) -> str:
    """That the request was given up."""
    return (
        f'<div class="panel neutral" role="status"><strong>{say("cancelled", language)}</strong>'
        f"<p>{say('cancelled_more', language)}</p>{request_id_line(request_id, language)}</div>"
    )


def verdict(result: SynthesisResult, language: str) -> str:
    """The badge, and what it means for the ear."""
    tone = VERDICT_TONES.get(result.verdict, "bad")
    name = say_name("verdict", result.verdict, language)
    meaning = say_name("verdict", f"{result.verdict}_more", language)
    before = ""
    if result.result_cache_hit:
        more = escape(say("made_before_more", language), quote=True)
        before = f'<span class="chip" title="{more}">{say("made_before", language)}</span>'
    return (
        f'<div class="verdict" role="status"><span class="badge {tone}" '
        f'data-verdict="{escape(result.verdict, quote=True)}">{escape(name)}</span>'
        f"<span>{escape(meaning)}</span>{before}</div>"
    )


def facts(result: SynthesisResult, language: str, *, segments: int = 1) -> str:
    """The request_id, and the figures of the audio."""
    seconds = result.signal.audio_seconds
    work_ms = result.times.duration_ms - (result.times.queue_ms or 0.0)
    figures = {
        "duration": (say("seconds", language, value=seconds), ""),
        "size": (_size(len(result.audio)), ""),
        "loudness": (f"{result.signal.rms_dbfs:.1f} dBFS", ""),
    }
    if seconds > 0 and not result.result_cache_hit:
        rtf = work_ms / 1000 / seconds
        figures["rtf"] = (f"{rtf:.3f}" if rtf < 1 else f"{rtf:.2f}", say("rtf_help", language))
    if segments > 1:
        figures["segments"] = (str(segments), "")
    cells = "".join(
        f'<div title="{help_text}"><dt>{say(name, language)}</dt><dd>{value}</dd></div>'
        for name, (value, help_text) in figures.items()
    )
    spoken = ""
    if result.spoken_text and result.spoken_text.strip() != result.request.text.strip():
        spoken = (
            f'<p class="read-as"><span>{say("read_as", language)}</span>'
            f"{escape(result.spoken_text)}</p>"
        )
    lines = request_id_line(result.request_id, language) + _seed_line(result.seed, language)
    return f"{lines}<dl class='figures'>{cells}</dl>{spoken}"


def hints(result: SynthesisResult, language: str) -> str:
    """What could be better about this audio, and how; nothing if there is nothing to say."""
    items = "".join(
        f'<li data-hint="{escape(hint.code, quote=True)}">{escape(getattr(hint.text, language))}'
        "</li>"
        for hint in result.hints
    )
    if not items:
        return ""
    return (
        f'<div class="panel hints" role="note"><strong>{say("hints", language)}</strong>'
        f"<ul>{items}</ul></div>"
    )


def live(language: str) -> str:
    """The place of a player for audio that is being made; `page.js` shows and uses it."""
    return (
        f'<div class="live" hidden><span>{say("live", language)}</span>'
        "<audio controls></audio></div>"
    )


def segments(pieces: Sequence[Segment], limit: object, language: str) -> str:
    """How the text will be cut; a piece of more tokens than `limit` is marked."""
    if not pieces:
        return note(say("segments_none", language))
    heads = "".join(
        f"<th>{say(name, language)}</th>"
        for name in ("segment_number", "segment_text", "segment_tokens")
    )
    rows = "".join(
        _segment(number, piece, limit, language) for number, piece in enumerate(pieces, start=1)
    )
    return f"<table class='rows'><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def _segment(number: int, piece: Segment, limit: object, language: str) -> str:
    over = isinstance(limit, int | float) and piece.tokens > limit
    mark = f"<em>{say('segment_over', language, limit=f'{limit:g}')}</em>" if over else ""
    return (
        f"<tr{' class=over' if over else ''}><td>{number}</td><td>{escape(piece.text)}</td>"
        f"<td>{piece.tokens}{mark}</td></tr>"
    )


def vector_sum(language: str) -> str:
    """The sliders' sum, which `page.js` keeps, and what becomes of it."""
    rule = say("vector_rule", language, scaled=SCALED_SUM, highest=emotions.MAX_SUM)
    return (
        f'<p class="note"><span id="sum" data-highest="{emotions.MAX_SUM}">'
        f"{say('vector_sum', language)} <b>0.00</b></span> {rule}</p>"
    )


def glossary(terms: Mapping[str, Mapping[str, str]], language: str) -> str:
    """Every term with its readings."""
    if not terms:
        return note(say("glossary_none", language))
    heads = "".join(
        f"<th>{say(name, language)}</th>"
        for name in ("glossary_term", "glossary_zh", "glossary_en")
    )
    rows = "".join(
        f"<tr><td>{escape(term)}</td><td>{escape(readings.get('zh', ''))}</td>"
        f"<td>{escape(readings.get('en', ''))}</td></tr>"
        for term, readings in terms.items()
    )
    return f"<table class='rows'><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>"


def described(preset: Preset, controls: Sequence[Control], language: str) -> str:
    """What a preset is for, and what it sets; controls at their default are left out."""
    known = {control.name: control for control in controls}
    shown: dict[str, str] = {}
    for name, value in preset.fields.items():
        control = known.get(name)
        if control is None:
            shown[say_name("field", name, language)] = _plain(name, value, language)
        elif value != control.default:
            shown[getattr(control.label, language)] = _plain(name, value, language)
    for name in preset.recordings:
        shown[say_name("field", name, language)] = say("preset_recording", language)
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in shown.items()
    )
    words = f"<p>{escape(preset.description)}</p>" if preset.description else ""
    return f'<div class="described">{words}<dl>{items}</dl></div>'


def _plain(name: str, value: object, language: str) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return say("on" if value else "off", language)
    return say_name(name.removeprefix("emotion_"), str(value), language)


def done(text: str) -> str:
    """That something was kept or deleted."""
    return f'<p class="note told" role="status">{escape(text)}</p>'


def refused(text: str) -> str:
    """That it was not, and why."""
    return f'<p class="note told bad" role="alert">{escape(text)}</p>'


def request_id_line(request_id: str, language: str, name: str = "request_id") -> str:
    """The id with its copy button; `page.js` makes the button work."""
    shown = escape(request_id, quote=True)
    return (
        f'<div class="request-id"><span>{say(name, language)}</span>'
        f'<code>{shown}</code><button type="button" data-copy="{shown}" '
        f'data-copied="{say("copied", language)}">{say("copy", language)}</button></div>'
    )


def _seed_line(seed: int | None, language: str) -> str:
    if seed is None:
        return ""
    return (
        f'<div class="seed-line"><span>{say("seed", language)}</span><code>{seed}</code>'
        f'<button type="button" data-seed="{seed}">{say("seed_again", language)}</button></div>'
    )


def titled(title: str, content: str) -> str:
    """A section of the result with its heading; nothing if there is nothing in it."""
    return f"<section><h2>{title}</h2>{content}</section>" if content else ""


def note(text: str) -> str:
    """A sentence under a field."""
    return f'<p class="note">{escape(text)}</p>'


def footnote(text: str) -> str:
    """A sentence under the page."""
    return f'<p class="note footnote">{escape(text)}</p>'


def _chip(name: str, value: str, language: str) -> str:
    return f'<span class="chip">{say(name, language)} <b>{escape(value)}</b></span>'


def _size(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
