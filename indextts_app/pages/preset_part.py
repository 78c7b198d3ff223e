"""All fields under one name: saved, described, loaded, deleted."""

from __future__ import annotations

import gradio as gr

from indextts_app.pages.fields import Fields
from indextts_app.pages.labels import say
from indextts_app.pages.library_handlers import LibraryHandlers
from indextts_app.pages.listening import QUIET, confirmed


def build(fields: Fields, library: LibraryHandlers) -> gr.Dropdown:
    """
    A closed accordion: one row to take a preset, one to make one of all fields there are so far.

    Returns the list of presets, for the page to fill.
    """
    used = fields.add("preset", gr.Textbox(visible=False))
    with gr.Accordion(say("presets"), open=False, elem_id="presets", elem_classes=["more"]):
        with gr.Row(elem_classes=["beside"]):
            chosen = gr.Dropdown(label=say("preset"), scale=5, min_width=200, elem_id="preset")
            load = gr.Button(
                say("preset_load"), size="sm", scale=0, min_width=90, elem_id="preset-load"
            )
            delete = gr.Button(
                say("preset_delete"), size="sm", scale=0, min_width=90, elem_id="preset-delete"
            )
        described = gr.HTML(elem_id="preset-described", elem_classes=["telling"])
        with gr.Row(elem_classes=["beside"]):
            name = gr.Textbox(
                label=say("preset_name"), max_lines=1, min_width=140, elem_id="preset-name"
            )
            description = gr.Textbox(
                label=say("preset_description"),
                max_lines=1,
                scale=2,
                min_width=180,
                elem_id="preset-description",
            )
            save = gr.Button(
                say("preset_save"), size="sm", scale=0, min_width=90, elem_id="preset-save"
            )
        told = gr.HTML(elem_id="preset-told", elem_classes=["telling"])
    chosen.change(
        library.describe_preset, inputs=chosen, outputs=described, preprocess=False, **QUIET
    )
    load.click(
        library.load_preset,
        inputs=chosen,
        outputs=[*fields.components, told],
        preprocess=False,
        # Recordings come as Gradio describes files; it would look for them by their path.
        postprocess=False,
        **QUIET,
    )
    delete.click(
        library.delete_preset,
        inputs=chosen,
        outputs=[chosen, used, told],
        js=confirmed("preset_delete_really"),
        preprocess=False,
        **QUIET,
    )
    save.click(
        library.save_preset,
        inputs=[name, description, *fields.components],
        outputs=[chosen, name, description, told],
        preprocess=False,
        **QUIET,
    )
    return chosen
