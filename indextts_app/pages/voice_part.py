"""Whose voice it is, where the engine takes it from a recording."""

from __future__ import annotations

import gradio as gr

from indextts_app.pages.fields import Fields
from indextts_app.pages.labels import say
from indextts_app.pages.library_handlers import LibraryHandlers
from indextts_app.pages.listening import QUIET, confirmed


def build(fields: Fields, library: LibraryHandlers) -> gr.Dropdown:
    """
    A stored speaker, or a recording of one's own, which can be stored as well.

    Returns the list of speakers, for the page to fill.
    """
    with gr.Column(elem_id="voice-part", elem_classes=["card"]):
        voice = fields.add(
            "voice",
            gr.Radio(
                [(say("voice_stored"), "stored"), (say("voice_recording"), "recording")],
                value="stored",
                label=say("voice"),
                elem_id="voice",
            ),
        )
        with gr.Row(elem_classes=["only-stored", "beside"]):
            speaker = fields.add(
                "speaker",
                gr.Dropdown(label=say("speaker"), elem_id="speaker", scale=5, min_width=200),
            )
            delete = gr.Button(
                say("speaker_delete"),
                size="sm",
                scale=0,
                min_width=150,
                # Until a speaker is chosen that can be deleted.
                interactive=False,
                elem_id="speaker-delete",
            )
        with gr.Column(elem_classes=["only-recording"]):
            reference = fields.add(
                "reference",
                gr.Audio(
                    label=say("voice_audio"),
                    type="filepath",
                    sources=["upload", "microphone"],
                    editable=False,
                    # Its share button would send the recording to another host.
                    buttons=[],
                    elem_id="voice-reference",
                ),
            )
            with gr.Row(elem_classes=["beside"]):
                name = gr.Textbox(
                    label=say("speaker_name"),
                    placeholder=say("speaker_name_hint"),
                    max_lines=1,
                    scale=5,
                    min_width=200,
                    elem_id="speaker-name",
                )
                save = gr.Button(
                    say("speaker_save"), size="sm", scale=0, min_width=150, elem_id="speaker-save"
                )
        told = gr.HTML(elem_id="voice-told", elem_classes=["telling"])
    save.click(
        library.save_speaker,
        inputs=[name, reference],
        outputs=[speaker, voice, name, told],
        preprocess=False,
        **QUIET,
    )
    speaker.change(
        library.offer_deletion, inputs=speaker, outputs=delete, preprocess=False, **QUIET
    )
    delete.click(
        library.delete_speaker,
        inputs=speaker,
        outputs=[speaker, told],
        js=confirmed("speaker_delete_really"),
        preprocess=False,
        **QUIET,
    )
    return speaker
