"""Two results of the same request beside each other as HTML."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from indextts_app import replay
from indextts_app.pages.operations import fragments
from indextts_app.pages.operations.texts import say
from indextts_app.pages.texts import say_name
from indextts_app.synthesis import SynthesisResult

ROWS = ("audio_seconds", "rms_dbfs", "audio_verdict", "duration_ms", "model_version")


def replay_panel(
    then: Mapping[str, Any], result: SynthesisResult, model_version: str | None, language: str
) -> str:
    """The old request_id and the new, their figures, whether they are the same, and why not."""
    now = {
        "audio_seconds": result.signal.audio_seconds,
        "rms_dbfs": result.signal.rms_dbfs,
        "audio_verdict": result.verdict,
        "duration_ms": result.times.duration_ms,
        "model_version": model_version,
    }
    same = replay.is_same(then, result.signal.audio_seconds, result.signal.rms_dbfs)
    key = "replay_no_old" if same is None else "replay_same" if same else "replay_other"
    tone = "good" if same else "warn"
    why = "" if replay.is_read_alike(then, result.glossary_hash) else "replay_glossary"
    rows = "".join(
        f'<tr><th scope="row">{say(name, language)}</th>'
        f"<td>{_shown(name, then.get(name), language)}</td>"
        f"<td>{_shown(name, now[name], language)}</td></tr>"
        for name in ROWS
    )
    ids = "".join(
        f"<td>{fragments.request_link(request_id)}</td>"
        for request_id in (then.get("request_id", ""), result.request_id)
    )
    heads = f"<th></th><th>{say('replay_old', language)}</th><th>{say('replay_new', language)}</th>"
    return (
        f'<div class="verdict" role="status" data-replay="{key}">'
        f'<span class="badge {tone}">{say("replay_done", language)}</span>'
        f"<span>{say(key, language)}{' ' + say(why, language) if why else ''}</span></div>"
        f'<table class="rows replayed"><thead><tr>{heads}</tr></thead><tbody>'
        f'<tr><th scope="row">request_id</th>{ids}</tr>{rows}</tbody></table>'
    )


def _shown(name: str, value: object, language: str) -> str:
    if value is None:
        return fragments.NONE
    if name == "duration_ms":
        return fragments.milliseconds(value)
    if name == "audio_verdict":
        return escape(say_name("verdict", str(value), language))
    if isinstance(value, float):
        return f"{value:.2f} {'s' if name == 'audio_seconds' else 'dBFS'}"
    return escape(str(value))
