"""Terms and how they are read, for an engine that looks them up."""

from __future__ import annotations

import gradio as gr
from gradio.blocks import Block
from gradio.components import Component

from indextts_app.pages.labels import say
from indextts_app.pages.library_handlers import LibraryHandlers
from indextts_app.pages.listening import QUIET
from indextts_app.pages.offers import Offer


def build(library: LibraryHandlers) -> dict[Block, Offer]:
    """
    A closed accordion: the terms, a row to add one, a row to delete one.

    Returns what is to be filled when the page is opened.
    """
    with gr.Accordion(say("glossary"), open=False, elem_id="glossary", elem_classes=["more"]):
        table = gr.HTML(elem_id="glossary-table")
        with gr.Row(elem_classes=["beside"]):
            readings: list[Component] = [
                gr.Textbox(label=say(name), max_lines=1, min_width=100, elem_id=elem_id)
                for name, elem_id in (
                    ("glossary_term", "glossary-term"),
                    ("glossary_zh", "glossary-zh"),
                    ("glossary_en", "glossary-en"),
                )
            ]
            add = gr.Button(
                say("glossary_add"), size="sm", scale=0, min_width=80, elem_id="glossary-add"
            )
        with gr.Row(elem_classes=["beside"]):
            chosen = gr.Dropdown(
                label=say("glossary_choose"), scale=5, min_width=200, elem_id="glossary-chosen"
            )
            delete = gr.Button(
                say("glossary_delete"), size="sm", scale=0, min_width=80, elem_id="glossary-delete"
            )
        told = gr.HTML(elem_id="glossary-told", elem_classes=["telling"])
    add.click(
        library.add_term,
        inputs=readings,
        outputs=[table, chosen, *readings, told],
        preprocess=False,
        **QUIET,
    )
    delete.click(
        library.delete_term,
        inputs=chosen,
        outputs=[table, chosen, told],
        preprocess=False,
        **QUIET,
    )
    return {table: library.offered_glossary, chosen: library.offered_terms}
