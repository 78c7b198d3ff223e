"""The language that a terminal asks for."""

from __future__ import annotations

import os

LANGUAGES = ("en", "zh")


def language() -> str:
    """One of `LANGUAGES`, by the first locale variable that is set, installed or not."""
    named = (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    return "zh" if next(filter(None, named), "").startswith("zh") else "en"
