"""How the page's handlers are called: at once, out of sight, and after asking back."""

from __future__ import annotations

import json
from typing import Literal, TypedDict

from indextts_app.pages.texts import LANGUAGES, say


class Quiet(TypedDict):
    """How a handler is called that answers at once: nothing waits, nothing turns."""

    queue: bool
    show_progress: Literal["hidden"]
    api_visibility: Literal["private"]


QUIET: Quiet = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


def confirmed(key: str) -> str:
    """A script that asks back in the visitor's language, and sends false if the answer is no."""
    questions = {language: say(key, language) for language in LANGUAGES}
    return f"(chosen) => window.confirmed({json.dumps(questions)}, chosen)"
