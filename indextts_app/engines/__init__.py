"""The engines by name; each module is imported only in the worker that runs it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from indextts_app.engines.base import Engine, Features, Value

Options = Mapping[str, Value]

_ENGINES = {
    "espeak": ("indextts_app.engines.espeak", "EspeakEngine"),
    "drill": ("indextts_app.engines.drill", "DrillEngine"),
    "indextts2": ("indextts_app.engines.indextts2.engine", "IndexTTS2Engine"),
    "sambert": ("indextts_app.engines.sambert.engine", "SambertEngine"),
    "openai_speech": ("indextts_app.engines.openai_speech.engine", "OpenAISpeechEngine"),
}

_FEATURES = {
    "indextts2": "indextts_app.engines.indextts2.features",
    "sambert": "indextts_app.engines.sambert.voices",
    "openai_speech": "indextts_app.engines.openai_speech.features",
    "espeak": "indextts_app.engines.espeak",
    "drill": "indextts_app.engines.drill",
}


def make(name: str, options: Options) -> Engine:
    """A new, not yet loaded engine; `options` are its own settings."""
    module, factory = _ENGINES[name]
    engine: Engine = getattr(import_module(module), factory)(**options)
    return engine


def features(name: str, options: Options) -> Features:
    """What may be asked of an engine with these options, without loading it."""
    found: Features = import_module(_FEATURES[name]).features(**options)
    return found
