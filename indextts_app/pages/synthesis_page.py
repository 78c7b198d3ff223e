"""The page: what is asked on the left, what came of it on the right."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from indextts_app.batches.runner import Batches
from indextts_app.engines.base import Control, Features
from indextts_app.operators import Operators
from indextts_app.pages import (
    batch_part,
    control_part,
    emotion_part,
    glossary_part,
    history_part,
    offers,
    panels,
    preset_part,
    voice_part,
)
from indextts_app.pages.asking import control_field, filled_emotion, has_modes
from indextts_app.pages.batch_handlers import BatchHandlers
from indextts_app.pages.examples import Example, examples_for
from indextts_app.pages.fields import Fields
from indextts_app.pages.handlers import Handlers
from indextts_app.pages.labels import say
from indextts_app.pages.library_handlers import LibraryHandlers
from indextts_app.pages.listening import QUIET
from indextts_app.pages.offers import Offer
from indextts_app.pages.texts import say as say_in
from indextts_app.settings import Settings
from indextts_app.synthesis import MAX_SEED, MAX_SPEED, MIN_SPEED, AudioFormat
from indextts_app.synthesizer import Synthesizer

TITLE = "IndexTTS-2 语音合成 · Speech"
READY_POLL_SECONDS = 2.0
SWEEP_SECONDS = 600
GRADIO_QUEUE = 1_000
"""Events of all kinds that Gradio may hold beyond the requests that the synthesizer may."""

AT_HAND = ("language", "duration_factor")
"""Controls that most visitors need, so that they stand beside pace and format."""


def build(
    synthesizer: Synthesizer,
    settings: Settings,
    features: Features,
    operators: Operators,
    *,
    batches: Batches,
    logs_in: bool = False,
) -> gr.Blocks:
    """
    The page of this synthesizer, which shows only what the engine in use can do.

    With `logs_in` there is something to log out of.

    Its handlers are no public API of Gradio's: that is what `/tts` is for.
    """
    page = gr.Blocks(
        title=TITLE,
        analytics_enabled=False,
        fill_width=True,
        # The age at which outputs are swept as well; it also bounds Gradio's own list of files.
        delete_cache=(SWEEP_SECONDS, int(settings.output_keep_hours * 3600)),
    )
    with page:
        _Page(
            page, synthesizer, settings, features, operators, batches=batches, logs_in=logs_in
        ).draw()
    page.queue(max_size=settings.max_queue + GRADIO_QUEUE, api_open=False)
    return page


class _Page:
    """The parts of one page while they are put together."""

    def __init__(
        self,
        page: gr.Blocks,
        synthesizer: Synthesizer,
        settings: Settings,
        features: Features,
        operators: Operators,
        *,
        batches: Batches,
        logs_in: bool,
    ) -> None:
        self._page = page
        self._settings = settings
        self._features = features
        self._logs_in = logs_in
        self._fields = Fields()
        self._handlers = Handlers(synthesizer, settings, features, self._fields)
        self._library = LibraryHandlers(synthesizer, settings, features, self._fields, operators)
        self._batches = BatchHandlers(batches, synthesizer, settings, features, self._fields)
        self._greeted: dict[Component, Callable[[str], str]] = {}
        self._offered: dict[Block, Offer] = {}

    def draw(self) -> None:
        """Everything, from the header to the footnote, and what happens when it is used."""
        self._offered[gr.HTML(panels.header(None, "en"))] = offers.header
        with gr.Row(equal_height=False):
            with gr.Column(scale=6, min_width=340):
                self._text()
                if self._features.reference == "voice":
                    speaker = voice_part.build(self._fields, self._library)
                    self._offered[speaker] = offers.speakers
                else:
                    self._speaker()
                self._emotion()
                self._delivery()
                if self._features.reference != "voice":
                    self._reference()
                generate, cancel = self._buttons()
                self._more()
            with gr.Column(scale=6, min_width=340, elem_id="result"):
                results = self._results()
                # After every field, which it fills anew.
                history = history_part.build(self._fields)
                keep_hours = self._settings.output_keep_hours
                self._greeted[history] = partial(history_part.skeleton, self._fields, keep_hours)
        # After the last field, because they hold for its rows.
        self._greeted |= batch_part.build(self._page, self._fields, self._batches)
        self._greeted[gr.HTML()] = partial(
            _footnote, self._settings.output_keep_hours, self._logs_in
        )
        self._loading = gr.Timer(READY_POLL_SECONDS, active=False)
        self._offered[self._loading] = offers.ask_again
        self._listen(generate, cancel, results)

    def _text(self) -> None:
        text = self._fields.add(
            "text",
            gr.Textbox(
                label=say("text"),
                placeholder=say("text_placeholder"),
                lines=5,
                max_lines=14,
                elem_id="text",
            ),
        )
        text.change(None, inputs=text, js="window.countCharacters")
        with gr.Row(elem_id="examples"):
            self._examples = [
                (example, gr.Button(say(example.name), size="sm"))
                for example in examples_for(self._features)
            ]
            gr.HTML(_counter(self._settings.longest_text_chars))
        if hint := self._features.text_hint:
            self._greeted[gr.HTML()] = lambda language: panels.note(getattr(hint, language))

    def _speaker(self) -> None:
        speaker = gr.Dropdown(label=say("speaker"), elem_id="speaker", filterable=False)
        self._offered[self._fields.add("speaker", speaker)] = offers.speakers

    def _emotion(self) -> None:
        if has_modes(self._features):
            vector_sum = emotion_part.build(self._fields, self._features)
            if vector_sum:
                self._greeted[vector_sum] = panels.vector_sum
        else:
            emotion = gr.Radio(label=say("emotion"), elem_id="emotion")
            self._offered[self._fields.add("emotion", emotion)] = offers.emotions

    def _delivery(self) -> None:
        with gr.Row():
            if self._features.speed:
                self._fields.add(
                    "speed",
                    gr.Slider(
                        MIN_SPEED,
                        MAX_SPEED,
                        value=1.0,
                        step=0.05,
                        label=say("pace"),
                        info=say("pace_info"),
                        min_width=220,
                        elem_id="pace",
                    ),
                )
            for control in self._controls("delivery"):
                if control.name in AT_HAND:
                    control_part.add(self._fields, control)
            self._fields.add(
                "format",
                gr.Radio(
                    # Of bare samples no player knows what they are.
                    [(item.value.upper(), item.value) for item in AudioFormat if item != "pcm"],
                    value=AudioFormat.WAV.value,
                    label=say("format"),
                    min_width=220,
                    elem_id="format",
                ),
            )
            if self._features.seed:
                self._seed()

    def _seed(self) -> None:
        with gr.Row(elem_classes=["beside", "card"], elem_id="seed-part"):
            # A field for text: one for numbers would show 0 where there is none.
            seed = self._fields.add(
                "seed",
                gr.Textbox(
                    label=say("seed"),
                    info=say("seed_info"),
                    placeholder=say("seed_random"),
                    max_lines=1,
                    scale=5,
                    min_width=120,
                    elem_id="seed",
                ),
            )
            new = gr.Button(say("seed_new"), size="sm", scale=0, min_width=100, elem_id="seed-new")
        new.click(
            None, outputs=seed, js=f"() => String(Math.floor(Math.random() * {MAX_SEED + 1}))"
        )

    def _reference(self) -> None:
        with gr.Accordion(say("reference"), open=False, visible=False, elem_id="reference") as part:
            self._offered[part] = offers.reference
            self._offered[gr.HTML()] = offers.reference_note
            self._fields.add(
                "reference",
                gr.Audio(
                    label=say("reference_audio"),
                    type="filepath",
                    sources=["upload", "microphone"],
                    editable=False,
                    # Its share button would send the recording to another host.
                    buttons=[],
                ),
            )

    def _buttons(self) -> tuple[gr.Button, gr.Button]:
        with gr.Row():
            generate = gr.Button(say("generate"), variant="primary", elem_id="generate")
            cancel = gr.Button(say("cancel"), visible=False, elem_id="cancel")
        if self._features.streams:
            self._fields.add("live", gr.Checkbox(True, label=say("play_live"), elem_id="play-live"))
        return generate, cancel

    def _more(self) -> None:
        """What most visitors never open."""
        self._segments()
        if generation := self._controls("generation"):
            with gr.Accordion(
                say("advanced"), open=False, elem_id="advanced", elem_classes=["more"]
            ):
                control_part.build(self._fields, generation)
                reset = gr.Button(say("reset"), size="sm", elem_id="reset")
            reset.click(
                None,
                outputs=self._fields.of(*(control_field(item.name) for item in generation)),
                js=f"() => {json.dumps([item.default for item in generation])}",
            )
        if self._features.glossary:
            self._offered |= glossary_part.build(self._library)
        if has_modes(self._features):
            # The last part, because it needs every field.
            presets = preset_part.build(self._fields, self._library)
            self._offered[presets] = self._library.offered_presets

    def _segments(self) -> None:
        delivery = [item for item in self._controls("delivery") if item.name not in AT_HAND]
        if not delivery and not self._features.segments:
            return
        with gr.Accordion(
            say("delivery"), open=False, elem_id="delivery", elem_classes=["more"]
        ) as part:
            control_part.build(self._fields, delivery)
            if not self._features.segments:
                return
            table = self._said(gr.HTML(elem_id="segments"), partial(panels.segments, (), None))
        # Pressed by `page.js`, once the visitor has stopped typing and if the table is seen.
        look = gr.Button(visible="hidden", elem_id="look")
        cutting = ["text", *(control_field(item.name) for item in self._controls("delivery"))]
        for field in self._fields.of(*cutting):
            field.change(None, js="window.lookSoon")  # type: ignore[attr-defined]
        part.expand(None, js="window.lookSoon")
        look.click(
            self._handlers.previewing(cutting),
            inputs=self._fields.of(*cutting),
            outputs=table,
            preprocess=False,
            trigger_mode="always_last",
            **QUIET,
        )

    def _results(self) -> list[Component]:
        status = self._said(gr.HTML(elem_id="status"), panels.idle)
        # The request that can be listened to; the player itself is none of Gradio's, which would
        # draw it anew with every update, and so begin anew.
        live = gr.Textbox(visible="hidden", elem_id="live-id")
        live.change(None, inputs=live, js="window.playLive")
        if self._features.streams:
            self._said(gr.HTML(elem_id="live"), panels.live)
        player = gr.Audio(
            label=say("audio"),
            type="filepath",
            interactive=False,
            visible=False,
            buttons=["download"],
            elem_id="player",
        )
        details = gr.HTML(visible=False, elem_id="details")
        if self._features.seed:
            # Pressed by `page.js` for the button beside the seed.
            again = gr.Button(visible="hidden", elem_id="seed-again")
            again.click(None, outputs=self._fields.of("seed"), js="window.seedShown")
        # What the browser's own history keeps of it.
        told = gr.Textbox(visible="hidden", elem_id="told")
        told.change(None, inputs=told, js="window.keepResult")
        return [status, live, player, details, told]

    def _said(self, part: gr.HTML, words: Callable[[str], str]) -> gr.HTML:
        self._greeted[part] = words
        return part

    def _listen(self, generate: gr.Button, cancel: gr.Button, results: list[Component]) -> None:
        greet = self._handlers.greeting(list(self._greeted.values()))
        self._page.load(greet, outputs=list(self._greeted), **QUIET).then(
            None, js="window.showHistory"
        )
        offer = self._handlers.offering(list(self._offered.values()))
        for event in (self._page.load, self._loading.tick):
            event(offer, outputs=list(self._offered), **QUIET)
        for example, button in self._examples:
            filled = {
                name: value
                for name, value in _filled(example, self._features).items()
                if name in self._fields.names
            }
            button.click(
                None,
                outputs=self._fields.of(*filled),
                js=f"() => {json.dumps(list(filled.values()))}",
            )
        generate.click(None, inputs=self._fields.components, js="window.asked")
        generate.click(
            self._handlers.generate,
            inputs=self._fields.components,
            outputs=[*results, generate, cancel],
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
        cancel.click(self._handlers.cancel, **QUIET)

    def _controls(self, group: str) -> list[Control]:
        return [item for item in self._features.controls if item.group == group]


def _filled(example: Example, features: Features) -> dict[str, object]:
    """The fields that an example fills, and what with."""
    if not has_modes(features):
        return {"text": example.text, "emotion": example.emotion}
    return {"text": example.text, **filled_emotion(example.request())}


def _footnote(keep_hours: float, logs_in: bool, language: str) -> str:
    text = panels.footnote(say_in("privacy", language, hours=keep_hours))
    if not logs_in:
        return text
    button = f"<button>{say_in('log_out', language)}</button>"
    return f'{text}<form class="log-out" method="post" action="logout">{button}</form>'


def _counter(limit: int) -> str:
    return f'<span id="counter" data-limit="{limit}">0 / {limit}</span>'
