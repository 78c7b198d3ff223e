"""What the engine in use offers, put into the parts of the page once it is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from indextts_app.engines.base import Capabilities, Speaker
from indextts_app.pages import panels
from indextts_app.pages.texts import say_name
from indextts_app.synthesis import DEFAULT_EMOTION

Update = dict[str, Any]
Offer = Callable[[Capabilities | None, str], Update]
"""An update of one part, in the visitor's language; no capabilities: the engine still loads."""


def header(can: Capabilities | None, language: str) -> Update:
    """Which engine answers, and with which model."""
    return gr.update(value=panels.header(can, language))


def speakers(can: Capabilities | None, language: str) -> Update:
    """The speakers by name, the first one chosen."""
    if can is None:
        return gr.update(choices=[], value=None)
    return gr.update(
        choices=named(can.speakers, language),
        value=can.speakers[0].id,
        info=_note(can, "speaker", language),
    )


def emotions(can: Capabilities | None, language: str) -> Update:
    """The emotions by name; nothing where there is nothing to choose."""
    if can is None:
        return gr.update(choices=[], value=None)
    return gr.update(
        choices=[(say_name("emotion", item, language), item) for item in can.emotions],
        value=DEFAULT_EMOTION if DEFAULT_EMOTION in can.emotions else can.emotions[0],
        info=_note(can, "emotion", language),
        visible=len(can.emotions) > 1,
    )


def reference(can: Capabilities | None, _language: str) -> Update:
    """A place for a recording, where one changes anything."""
    return gr.update(visible=can is not None and can.reference != "none")


def reference_note(can: Capabilities | None, language: str) -> Update:
    """What a recording changes."""
    return gr.update(value=panels.note(_note(can, "reference", language) or ""))


def ask_again(can: Capabilities | None, _language: str) -> Update:
    """Whether the page must ask again, because the engine is still loading."""
    return gr.update(active=can is None)


def named(speakers: Sequence[Speaker], language: str) -> list[tuple[str, str]]:
    """The choices of a list of speakers."""
    return [(getattr(speaker.name, language), speaker.id) for speaker in speakers]


def _note(can: Capabilities | None, field: str, language: str) -> str | None:
    note = can.notes.get(field) if can else None
    return getattr(note, language) if note else None
