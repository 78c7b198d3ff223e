"""The page: what is asked on the left, what came of it on the right."""

from __future__ import annotations

import json
from typing import Literal, TypedDict

import gradio as gr
from gradio.i18n import I18nData

from indextts_app.pages import panels
from indextts_app.pages.examples import EXAMPLES
from indextts_app.pages.handlers import Handlers
from indextts_app.pages.texts import browser_key
from indextts_app.settings import Settings
from indextts_app.synthesis import MAX_SPEED, MIN_SPEED, AudioFormat
from indextts_app.synthesizer import Synthesizer


class Quiet(TypedDict):
    """How a handler is called that answers at once: nothing waits, nothing turns."""

    queue: bool
    show_progress: Literal["hidden"]
    api_visibility: Literal["private"]


TITLE = "IndexTTS-2 语音合成 · Speech"
READY_POLL_SECONDS = 2.0
SWEEP_SECONDS = 600
GRADIO_QUEUE = 1_000
"""Events of all kinds that Gradio may hold beyond the requests that the synthesizer may."""


def build(synthesizer: Synthesizer, settings: Settings) -> gr.Blocks:
    """
    The page of this synthesizer, which shows only what the engine in use can do.

    Its handlers are no public API of Gradio's: that is what `/tts` is for.
    """
    handlers = Handlers(synthesizer, settings)
    page = gr.Blocks(
        title=TITLE,
        analytics_enabled=False,
        fill_width=True,
        # The age at which outputs are swept as well; it also bounds Gradio's own list of files.
        delete_cache=(SWEEP_SECONDS, int(settings.output_keep_hours * 3600)),
    )
    with page:
        header = gr.HTML(panels.header(None, "en"))
        with gr.Row(equal_height=False):
            with gr.Column(scale=6, min_width=340):
                text = gr.Textbox(
                    label=_say("text"),
                    placeholder=_say("text_placeholder"),
                    lines=5,
                    max_lines=14,
                    elem_id="text",
                )
                with gr.Row(elem_id="examples"):
                    examples = [
                        (example, gr.Button(_say(example.name), size="sm")) for example in EXAMPLES
                    ]
                    gr.HTML(_counter(settings.max_text_chars))
                speaker = gr.Dropdown(label=_say("speaker"), elem_id="speaker", filterable=False)
                emotion = gr.Radio(label=_say("emotion"), elem_id="emotion")
                with gr.Row():
                    speed = gr.Slider(
                        MIN_SPEED,
                        MAX_SPEED,
                        value=1.0,
                        step=0.05,
                        label=_say("pace"),
                        info=_say("pace_info"),
                        min_width=220,
                        elem_id="pace",
                    )
                    kind = gr.Radio(
                        [(item.value.upper(), item.value) for item in AudioFormat],
                        value=AudioFormat.WAV.value,
                        label=_say("format"),
                        min_width=220,
                        elem_id="format",
                    )
                with gr.Accordion(
                    _say("reference"), open=False, visible=False, elem_id="reference"
                ) as reference_part:
                    reference_note = gr.HTML()
                    reference = gr.Audio(
                        label=_say("reference_audio"),
                        type="filepath",
                        sources=["upload", "microphone"],
                        editable=False,
                        # Its share button would send the recording to another host.
                        buttons=[],
                    )
                with gr.Row():
                    generate = gr.Button(_say("generate"), variant="primary", elem_id="generate")
                    cancel = gr.Button(_say("cancel"), visible=False, elem_id="cancel")
            with gr.Column(scale=6, min_width=340, elem_id="result"):
                status = gr.HTML(elem_id="status")
                player = gr.Audio(
                    label=_say("audio"),
                    type="filepath",
                    interactive=False,
                    visible=False,
                    buttons=["download"],
                    elem_id="player",
                )
                details = gr.HTML(visible=False, elem_id="details")
        footnote = gr.HTML()
        loading = gr.Timer(READY_POLL_SECONDS, active=False)

        quiet: Quiet = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        page.load(handlers.greet, outputs=[status, footnote], **quiet)
        offered = [header, speaker, emotion, reference_part, reference_note, loading]
        for event in (page.load, loading.tick):
            event(handlers.offer, outputs=offered, **quiet)
        text.change(None, inputs=text, js="window.countCharacters")
        for example, button in examples:
            button.click(
                None,
                outputs=[text, emotion],
                js=f"() => {json.dumps([example.text, example.emotion])}",
            )
        generate.click(None, js="window.showResult")
        generate.click(
            handlers.generate,
            inputs=[text, speaker, emotion, speed, kind, reference],
            outputs=[status, player, details, generate, cancel],
            # As the browser sent them: the synthesizer alone judges, and tells why.
            preprocess=False,
            # The audio is ready to play; Gradio would start an ffprobe to find that out.
            postprocess=False,
            # The synthesizer's queue decides who waits.
            concurrency_limit=None,
            trigger_mode="once",
            show_progress="hidden",
            api_visibility="private",
        )
        cancel.click(handlers.cancel, **quiet)
    page.queue(max_size=settings.max_queue + GRADIO_QUEUE, api_open=False)
    return page


def _say(key: str) -> I18nData:
    """A sentence that the browser puts into its own language."""
    return I18nData(browser_key(key))


def _counter(limit: int) -> str:
    return f'<span id="counter" data-limit="{limit}">0 / {limit}</span>'
