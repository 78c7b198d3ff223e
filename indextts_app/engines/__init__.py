"""The engines by name; each module is imported only in the worker that runs it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from indextts_app.engines.base import Engine

_WHERE = {
    "espeak": ("indextts_app.engines.espeak", "EspeakEngine"),
    "drill": ("indextts_app.engines.drill", "DrillEngine"),
}


def make(name: str, options: Mapping[str, float | str]) -> Engine:
    """A new, not yet loaded engine; `options` are its own settings."""
    module, factory = _WHERE[name]
    engine: Engine = getattr(import_module(module), factory)(**options)
    return engine
