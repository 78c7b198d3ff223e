"""The page's four tabs, and what happens when they are used."""

from __future__ import annotations

from functools import partial
from typing import Literal, TypedDict

import gradio as gr

from indextts_app.pages.operations import live_panel, story_panel
from indextts_app.pages.operations.handlers import BY, FIRST_BY, FIRST_WINDOW, WINDOWS, Handlers
from indextts_app.pages.operations.texts import label, say
from indextts_app.pages.visitor import language_of

TITLE = "IndexTTS-2 运维 · Operations"
SWEEP_SECONDS = 600


class Direct(TypedDict):
    """How a handler is called: at once, by nobody but this page, its fields as they were sent."""

    queue: bool
    api_visibility: Literal["private"]
    preprocess: bool


DIRECT: Direct = {"queue": False, "api_visibility": "private", "preprocess": False}


def build(handlers: Handlers, *, keep_hours: float, logs_in: bool) -> gr.Blocks:
    """
    The page over these handlers, none of which is a public API of Gradio's.

    Args:
        handlers: what is done.
        keep_hours: age at which uploads are deleted.
        logs_in: whether there is something to log out of.
    """
    page = gr.Blocks(
        title=TITLE,
        analytics_enabled=False,
        fill_width=True,
        delete_cache=(SWEEP_SECONDS, int(keep_hours * 3600)),
    )
    with page:
        _Page(page, handlers, logs_in=logs_in).draw()
    return page


class _Page:
    """The parts of one page while they are put together."""

    def __init__(self, page: gr.Blocks, handlers: Handlers, *, logs_in: bool) -> None:
        self._page = page
        self._handlers = handlers
        self._logs_in = logs_in

    def draw(self) -> None:
        """The header, the tabs, and their events."""
        head = gr.HTML(header("", logs_in=self._logs_in))
        self._timer = gr.Timer(live_panel.SECONDS, active=False)
        with gr.Tabs(elem_id="tabs") as tabs:
            with gr.Tab(label("tab_request"), id="request", elem_id="tab-request") as request:
                self._request(tabs)
            with gr.Tab(label("tab_failures"), id="failures", elem_id="tab-failures") as failures:
                self._failures(failures)
            with gr.Tab(label("tab_live"), id="live", elem_id="tab-live") as live:
                self._live(live)
            with gr.Tab(label("tab_report"), id="report", elem_id="tab-report") as report:
                self._report(report)
        for other in (request, failures, report):
            other.select(
                lambda: gr.update(active=False),
                outputs=self._timer,
                queue=False,
                show_progress="hidden",
                api_visibility="private",
            )

        async def greet(request: gr.Request) -> dict[str, object]:
            return gr.update(value=header(language_of(request), logs_in=self._logs_in))

        self._page.load(
            greet,
            outputs=head,
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        ).then(None, js="window.openLinked")

    def _request(self, tabs: gr.Tabs) -> None:
        with gr.Row(elem_id="wanted-row"):
            wanted = gr.Textbox(
                label=label("wanted"),
                placeholder=label("wanted_hint"),
                lines=1,
                max_lines=1,
                scale=5,
                elem_id="wanted",
                autofocus=True,
            )
            look_up = gr.Button(
                label("look_up"), variant="primary", scale=1, min_width=120, elem_id="look-up"
            )
            file = gr.File(
                label=label("file"), file_types=["audio"], scale=4, height=128, elem_id="dropped"
            )
        current = gr.Textbox(visible="hidden", elem_id="current")
        opened = gr.Button(visible="hidden", elem_id="open")
        story = gr.HTML(story_panel.idle(), elem_id="story")
        with gr.Accordion(label("replay"), open=False, elem_id="replay"):
            with gr.Row():
                text = gr.Textbox(
                    label=label("replay_text"),
                    info=label("replay_text_hint"),
                    lines=3,
                    max_lines=12,
                    scale=3,
                    elem_id="replay-text",
                )
                emotion = gr.Textbox(
                    label=label("replay_emotion"), lines=3, scale=2, elem_id="replay-emotion"
                )
            run = gr.Button(label("replay_run"), elem_id="replay-run")
            compared = gr.HTML(elem_id="replayed")
            player = gr.Audio(
                label=label("replay_audio"),
                type="filepath",
                interactive=False,
                visible=False,
                buttons=["download"],
                elem_id="replay-player",
            )
        shown = [story, current]
        for ask in (wanted.submit, look_up.click):
            ask(self._handlers.look_up, inputs=wanted, outputs=shown, **DIRECT)
        file.upload(self._handlers.look_up_file, inputs=file, outputs=shown, **DIRECT)
        # Whatever was clicked, wherever: its story, on this tab.
        opened.click(
            lambda request_id: (request_id, gr.update(selected="request")),
            inputs=wanted,
            outputs=[wanted, tabs],
            js="() => [window.chosenRequest]",
            show_progress="hidden",
            **DIRECT,
        ).then(self._handlers.look_up, inputs=wanted, outputs=shown, **DIRECT)
        run.click(
            self._handlers.replay,
            inputs=[current, text, emotion],
            outputs=[compared, player],
            postprocess=False,
            **DIRECT,
        )

    def _failures(self, tab: gr.Tab) -> None:
        with gr.Row(elem_id="failure-choices"):
            window = gr.Radio(
                [(label(f"window_{key}"), key) for key in WINDOWS],
                value=FIRST_WINDOW,
                label=label("window"),
                elem_id="window",
                elem_classes="choice",
            )
            by = gr.Radio(
                [(label(f"by_{key}"), key) for key in BY],
                value=FIRST_BY,
                label=label("by"),
                elem_id="by",
                elem_classes="choice",
            )
            source = self._source("failures-source")
            refresh = gr.Button(label("refresh"), size="sm", min_width=100, elem_id="refresh")
        found = gr.HTML(elem_id="failures")
        drill = gr.Button(visible="hidden", elem_id="drill")
        value = gr.Textbox(visible="hidden", elem_id="drill-value")
        lines = gr.HTML(elem_id="drilled")
        other = gr.HTML(elem_id="other")
        for event in (tab.select, refresh.click, window.input, by.input, source.input):
            event(
                self._handlers.failures,
                inputs=[window, by, source],
                outputs=[found, lines, other],
                **DIRECT,
            )
        drill.click(
            self._handlers.drill,
            inputs=[window, by, value, source],
            outputs=lines,
            js="(window_, by, _, source) => [window_, by, window.chosenGroup, source]",
            **DIRECT,
        ).then(None, js="window.showDrilled")

    def _live(self, tab: gr.Tab) -> None:
        panel = gr.HTML(elem_id="live-panel")
        quiet = partial(
            self._timer.tick,
            self._handlers.live,
            outputs=panel,
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )
        quiet()
        tab.select(
            lambda: gr.update(active=True),
            outputs=self._timer,
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )
        tab.select(
            self._handlers.live,
            outputs=panel,
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )

    def _report(self, tab: gr.Tab) -> None:
        with gr.Row(elem_id="report-choices"):
            month = gr.Dropdown(
                label=label("month"),
                info=label("report_idle"),
                choices=[],
                allow_custom_value=True,
                scale=2,
                elem_id="month",
            )
            source = self._source("report-source")
            show = gr.Button(
                label("show_report"), variant="primary", scale=1, elem_id="show-report"
            )
        panel = gr.HTML(elem_id="report")
        tab.select(
            self._handlers.months,
            outputs=month,
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )
        show.click(self._handlers.report, inputs=[month, source], outputs=panel, **DIRECT)

    def _source(self, elem_id: str) -> gr.Radio:
        """Where lines are asked for; not shown where there is no choice."""
        sources = self._handlers.sources
        return gr.Radio(
            [(label(f"source_{source}"), source) for source in sources],
            value=sources[0],
            label=label("source"),
            visible=len(sources) > 1,
            elem_id=elem_id,
            elem_classes="choice",
        )


def header(language: str, *, logs_in: bool) -> str:
    """The title, and the ways out; its language is known once the page is ready to be used."""
    out = (
        f'<form method="post" action="logout"><button>{say("logout", language)}</button></form>'
        if logs_in
        else ""
    )
    return (
        f'<div class="page-header" data-language="{language}"><div>'
        f"<h1>{say('title', language)}</h1>"
        f"<p>{say('subtitle', language)}</p></div><div class='ways-out'>"
        f'<a href="../">{say("to_page", language)}</a>{out}</div></div>'
    )
