"""Labels that the browser puts into its own language, the engine's own among them."""

from __future__ import annotations

from collections.abc import Mapping

import gradio as gr
from gradio.i18n import I18nData

from indextts_app.engines.base import Control, Features, Translated
from indextts_app.pages import texts
from indextts_app.pages.texts import LANGUAGES, TEXTS, browser_key

CHINESE_LOCALES = ("zh", "zh-CN", "zh-TW", "zh-HK")


def say(key: str) -> I18nData:
    """A sentence of the page."""
    return I18nData(browser_key(key))


def label(control: Control) -> I18nData:
    """What the engine calls one of its controls."""
    return say(f"control_{control.name}")


def info(control: Control) -> I18nData | None:
    """What the engine says about one of its controls."""
    return say(f"control_{control.name}_info") if control.info else None


def choices(control: Control) -> list[tuple[str | I18nData, str | int | float]]:
    """The choices of a control by name; one that has none is shown as it is."""
    keys = {choice: f"{control.name}_{choice}" for choice in control.choices}
    return [(say(key) if key in TEXTS else choice, choice) for choice, key in keys.items()]


def translations(features: Features) -> gr.I18n:
    """Everything that can be said on this engine's page, for the browser to choose from."""
    own = _of_engine(features)
    tables = {
        language: texts.browser_table(language)
        | {browser_key(key): getattr(sentence, language) for key, sentence in own.items()}
        for language in LANGUAGES
    }
    return gr.I18n(en=tables["en"], **dict.fromkeys(CHINESE_LOCALES, tables["zh"]))


def _of_engine(features: Features) -> Mapping[str, Translated]:
    own = {}
    for control in features.controls:
        own[f"control_{control.name}"] = control.label
        if control.info:
            own[f"control_{control.name}_info"] = control.info
    return own
