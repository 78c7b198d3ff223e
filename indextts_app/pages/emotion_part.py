"""Where the emotion comes from: one choice, and only the fields that it needs."""

from __future__ import annotations

import gradio as gr
from gradio.components import Component

from indextts_app import emotions
from indextts_app.engines.base import Features
from indextts_app.pages import control_part
from indextts_app.pages.asking import weight_field
from indextts_app.pages.fields import Fields
from indextts_app.pages.labels import say

WEIGHT_STEP = 0.05


def build(fields: Fields, features: Features) -> gr.HTML | None:
    """
    The modes that the engine has; the style sheet hides the parts of all but the chosen one.

    Returns the place of the sliders' sum, where there are sliders.
    """
    vector_sum = None
    with gr.Column(elem_id="emotion-part", elem_classes=["card"]):
        fields.add(
            "emotion_mode",
            gr.Radio(
                [(say(f"mode_{mode}"), mode) for mode in features.emotion_modes],
                value=features.emotion_modes[0],
                label=say("emotion"),
                elem_id="emotion-mode",
            ),
        )
        if "preset" in features.emotion_modes:
            fields.add(
                "emotion",
                gr.Radio(
                    [(say(f"emotion_{emotion}"), emotion) for emotion in emotions.WEIGHTS],
                    value=emotions.WEIGHTS[0],
                    show_label=False,
                    elem_id="emotion",
                    elem_classes=["only-preset"],
                ),
            )
        if "reference" in features.emotion_modes:
            fields.add(
                "emotion_reference",
                gr.Audio(
                    label=say("emotion_audio"),
                    type="filepath",
                    sources=["upload", "microphone"],
                    editable=False,
                    buttons=[],
                    elem_id="emotion-reference",
                    elem_classes=["only-reference"],
                ),
            )
        if "vector" in features.emotion_modes:
            vector_sum = _sliders(fields)
        if "text" in features.emotion_modes:
            with gr.Column(elem_classes=["only-text"]):
                fields.add(
                    "emotion_text",
                    gr.Textbox(
                        label=say("emotion_text"),
                        placeholder=say("emotion_text_hint"),
                        lines=2,
                        elem_id="emotion-text",
                    ),
                )
        with gr.Row(elem_classes=["not-speaker"]):
            fields.add(
                "emotion_weight",
                gr.Slider(
                    0,
                    1,
                    value=emotions.DEFAULT_WEIGHT,
                    step=0.01,
                    label=say("emotion_weight"),
                    min_width=220,
                    elem_id="emotion-weight",
                ),
            )
            with gr.Column(elem_classes=["only-random"], min_width=220):
                control_part.build(
                    fields, [item for item in features.controls if item.group == "emotion"]
                )
    return vector_sum


def _sliders(fields: Fields) -> gr.HTML:
    with gr.Column(elem_id="emotion-vector", elem_classes=["only-vector"]):
        with gr.Row(elem_classes=["controls"]):
            sliders: list[Component] = [
                fields.add(
                    weight_field(emotion),
                    gr.Slider(
                        0,
                        1,
                        value=0,
                        step=WEIGHT_STEP,
                        label=say(f"emotion_{emotion}"),
                        min_width=220,
                        elem_id=weight_field(emotion),
                    ),
                )
                for emotion in emotions.WEIGHTS
            ]
        vector_sum = gr.HTML(elem_id="vector-sum")
        for slider in sliders:
            slider.change(None, inputs=sliders, js="window.showVectorSum")  # type: ignore[attr-defined]
    return vector_sum
