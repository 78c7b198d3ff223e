"""
The recent results of a visitor's own browser, which are kept there and nowhere else.

`history.js` keeps them and shows them; from here come its place, its words, and after each request
what came of it.
"""

from __future__ import annotations

import json
from html import escape
from urllib.parse import quote

import gradio as gr

from indextts_app.engines.base import Capabilities
from indextts_app.pages.fields import Fields
from indextts_app.pages.texts import say, say_name
from indextts_app.synthesis import RECORDINGS, SynthesisResult

MOST = 20
"""Results that a browser keeps; the oldest go."""

WORDS = ("listen", "save", "again", "again_seed", "recording", "unreachable")
SERVED_AT = "gradio_api/file="
"""Relative, for proxies that serve the page below another path."""


def build(fields: Fields) -> gr.HTML:
    """The place of the history, and what fills the form anew; once all fields are there."""
    # Gradio's own accordion holds nothing as long as it is closed.
    place = gr.HTML(elem_id="history")
    again = gr.Button(visible="hidden", elem_id="history-again")
    again.click(
        None, inputs=fields.components, outputs=fields.components, js="window.fieldsAgain"
    ).then(None, js="window.makeAgain")
    return place


def skeleton(fields: Fields, keep_hours: float, language: str) -> str:
    """What `history.js` fills: its words, its limits, and what it says of itself."""
    words = {name: say(f"history_{name}", language) for name in WORDS} | {
        "gone": say("history_gone", language, hours=keep_hours),
        "copy": say("copy", language),
        "copied": say("copied", language),
    }
    told = {
        "words": json.dumps(words, ensure_ascii=False),
        "fields": json.dumps(fields.names),
        "recordings": json.dumps([name for name in fields.names if name in RECORDINGS]),
        "most": str(MOST),
    }
    data = " ".join(f'data-{name}="{escape(value, quote=True)}"' for name, value in told.items())
    return (
        f'<details class="history" {data}><summary>{escape(say("history", language))}</summary>'
        f'<p class="note">{escape(say("history_note", language, most=MOST))}</p>'
        f'<p class="note none">{escape(say("history_none", language))}</p><ol></ol>'
        '<div class="history-foot"><label><input type="checkbox" id="history-keep" checked> '
        f"{escape(say('history_keep', language))}</label>"
        f'<button type="button" id="history-clear">{escape(say("history_clear", language))}'
        "</button></div></details>"
    )


def made(result: SynthesisResult, can: Capabilities | None, path: str, language: str) -> str:
    """What a browser keeps of a result, beside what it asked itself."""
    names = {one.id: getattr(one.name, language) for one in (can.speakers if can else ())}
    asked = result.request
    is_named = asked.emotion_mode in ("speaker", "preset")
    return _told(
        result.request_id,
        result.verdict,
        say_name("verdict", result.verdict, language),
        speaker=names.get(asked.speaker, asked.speaker),
        emotion=say_name("emotion", asked.emotion, language)
        if is_named
        else say(f"mode_{asked.emotion_mode}", language),
        length=f"{result.signal.audio_seconds:.1f} s",
        seed=result.seed,
        url=SERVED_AT + quote(path),
        file=result.path.name,
    )


def failed(request_id: str, code: str, language: str) -> str:
    """The same of a request that made no audio: its id is what a complaint needs."""
    return _told(request_id, code, say("history_failed", language))


def _told(request_id: str, verdict: str, said: str, **more: object) -> str:
    known = {name: value for name, value in more.items() if value is not None}
    return json.dumps(
        {"request_id": request_id, "verdict": verdict, "said": said, **known}, ensure_ascii=False
    )
