"""The engine's own controls, each drawn after its kind."""

from __future__ import annotations

from collections.abc import Iterable

import gradio as gr

from indextts_app.engines.base import Control
from indextts_app.pages.asking import control_field
from indextts_app.pages.fields import Fields
from indextts_app.pages.labels import choices, info, label


def build(fields: Fields, controls: Iterable[Control]) -> None:
    """One field for each control, side by side where there is room."""
    with gr.Row(elem_classes=["controls"]):
        for control in controls:
            add(fields, control)


def add(fields: Fields, control: Control) -> None:
    """The field of one control."""
    fields.add(control_field(control.name), _component(control))


def _component(control: Control) -> gr.Slider | gr.Checkbox | gr.Dropdown:
    if control.kind == "switch":
        return gr.Checkbox(
            bool(control.default),
            label=label(control),
            info=info(control),
            min_width=240,
            elem_id=control_field(control.name),
        )
    if control.kind == "choice":
        return gr.Dropdown(
            choices(control),
            value=str(control.default),
            label=label(control),
            info=info(control),
            filterable=False,
            min_width=240,
            elem_id=control_field(control.name),
        )
    return gr.Slider(
        control.lowest,
        control.highest,
        value=float(control.default),
        step=control.step,
        label=label(control),
        info=info(control),
        min_width=240,
        elem_id=control_field(control.name),
    )
