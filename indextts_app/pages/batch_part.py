"""The part of the page where a table of texts becomes an archive of audio."""

from __future__ import annotations

from collections.abc import Callable

import gradio as gr
from gradio.components import Component

from indextts_app.pages import panels
from indextts_app.pages.batch_handlers import BatchHandlers
from indextts_app.pages.fields import Fields
from indextts_app.pages.labels import say
from indextts_app.pages.listening import QUIET
from indextts_app.pages.texts import say as say_in

STORAGE_KEY = "batch"
"""In the browser: which batch it began last."""

SUFFIXES = [".csv", ".tsv", ".txt", ".jsonl"]


def build(
    page: gr.Blocks, fields: Fields, handlers: BatchHandlers
) -> dict[Component, Callable[[str], str]]:
    """
    Upload, buttons and the panel that follows the batch; after every field of the request.

    Returns the parts that are filled with words in the visitor's language.
    """
    with gr.Accordion(say("batch"), open=False, elem_id="batch", elem_classes=["more"]):
        note = gr.HTML()
        file = gr.File(
            label=say("batch_file"), file_types=SUFFIXES, height=120, elem_id="batch-file"
        )
        with gr.Row():
            begin = gr.Button(say("batch_begin"), variant="primary", elem_id="batch-begin")
            end = gr.Button(say("batch_end"), visible=False, elem_id="batch-end")
        panel = gr.HTML(elem_id="batch-panel")
    job_id = gr.BrowserState("", storage_key=STORAGE_KEY, secret=STORAGE_KEY)
    results = [panel, file, job_id, begin, end]
    begin.click(
        handlers.begin,
        inputs=[file, *fields.components],
        outputs=results,
        preprocess=False,
        concurrency_limit=None,
        trigger_mode="once",
        show_progress="hidden",
        api_visibility="private",
    )
    page.load(
        handlers.resume,
        inputs=job_id,
        outputs=results,
        concurrency_limit=None,
        show_progress="hidden",
        api_visibility="private",
    )
    end.click(handlers.end, inputs=job_id, **QUIET)
    return {note: lambda language: panels.note(say_in("batch_note", language))}
