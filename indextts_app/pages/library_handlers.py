"""What the page does with speakers, presets and the glossary, which are kept for everybody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import gradio as gr

from indextts_app import errors
from indextts_app.engines.base import Capabilities, Features
from indextts_app.kept_files import Recordings
from indextts_app.naming import MAX_NAME_CHARS
from indextts_app.operators import COOKIE, Operators
from indextts_app.pages import asking, offers, panels
from indextts_app.pages.fields import Fields
from indextts_app.pages.gradio_environment import upload_folder
from indextts_app.pages.offers import Update
from indextts_app.pages.served_files import copied
from indextts_app.pages.texts import say
from indextts_app.pages.visitor import cookie_of, host_of, language_of, path_of
from indextts_app.presets import Preset
from indextts_app.references import Upload
from indextts_app.settings import Settings
from indextts_app.speakers import SAMPLE
from indextts_app.synthesis import RECORDINGS
from indextts_app.synthesizer import Synthesizer

T = TypeVar("T")

DECLINED = False
"""What `page.js` sends in place of a choice where the visitor did not confirm."""


class LibraryHandlers:
    """
    Each returns the updates of its part of the page, the last of them what is told about it.

    The library is changed for operators only. A refusal is told, and leaves everything else on the
    page as it is.
    """

    def __init__(
        self,
        synthesizer: Synthesizer,
        settings: Settings,
        features: Features,
        fields: Fields,
        operators: Operators,
    ) -> None:
        self._synthesizer = synthesizer
        self._library = synthesizer.library
        self._operators = operators
        self._features = features
        self._fields = fields
        self._uploads = upload_folder(settings.output_dir)

    async def save_speaker(
        self, request: gr.Request, name: object, recording: object
    ) -> tuple[Update, ...]:
        """Speakers with the new one chosen, source of the voice, name, told."""
        language = language_of(request)

        def add() -> str:
            if not recording:
                raise errors.ReferenceRefused(
                    reason=say("speaker_not_there", "en"), reason_zh=say("speaker_not_there", "zh")
                )
            upload = Upload(path_of(recording), self._uploads)
            return self._library.add_speaker(name, None, upload, self._synthesizer.capabilities).id

        added = await self._changed(request, add)
        if isinstance(added, errors.ServiceError):
            return (*_unchanged(3), _refusal(added, language))
        told = _told(say("speaker_saved", language, name=str(name).strip()))
        return (
            self._speakers(language, chosen=added),
            gr.update(value="stored"),
            gr.update(value=""),
            told,
        )

    async def delete_speaker(self, request: gr.Request, chosen: object) -> tuple[Update, ...]:
        """Speakers with the first one chosen, told."""
        language = language_of(request)
        if chosen is DECLINED:
            return _unchanged(2)

        def remove() -> bool:
            self._library.remove_speaker(_id(chosen))
            return True

        removed = await self._changed(request, remove)
        if isinstance(removed, errors.ServiceError):
            return (*_unchanged(1), _refusal(removed, language))
        return self._speakers(language), _told(say("speaker_deleted", language))

    async def offer_deletion(self, chosen: object) -> Update:
        """The button that deletes a speaker; the built-in one stays."""
        return gr.update(interactive=_id(chosen) not in ("", SAMPLE))

    async def save_preset(
        self, request: gr.Request, name: object, description: object, *values: object
    ) -> tuple[Update, ...]:
        """Presets with the new one chosen, name, description, told."""
        language = language_of(request)
        sent = self._fields.named(values)

        def add() -> str:
            return self._library.add_preset(
                name,
                description,
                asking.kept(self._features, sent),
                {
                    field: Upload(path_of(recording), self._uploads)
                    for field, recording in asking.recordings(self._features, sent).items()
                },
                self._synthesizer.capabilities,
            ).id

        added = await self._changed(request, add)
        if isinstance(added, errors.ServiceError):
            return (*_unchanged(3), _refusal(added, language))
        told = _told(say("preset_saved", language, name=str(name).strip()))
        empty = gr.update(value="")
        return self._presets(language, chosen=added), empty, empty, told

    async def describe_preset(self, request: gr.Request, chosen: object) -> Update:
        """What the chosen preset is for, and what it sets; the only one that tells nothing."""
        preset = await _tried(lambda: self._library.presets.get(_id(chosen)))
        if isinstance(preset, errors.ServiceError):
            return gr.update(value="")
        shown = panels.described(preset, self._features.controls, language_of(request))
        return gr.update(value=shown)

    async def load_preset(self, request: gr.Request, chosen: object) -> tuple[Update, ...]:
        """Every field of the page, told."""
        language = language_of(request)
        if not chosen:
            nothing = _said_badly(say("preset_nothing", language))
            return (*_unchanged(len(self._fields.names)), nothing)

        def load() -> tuple[Preset, dict[str, object]]:
            preset = self._library.presets.get(_id(chosen))
            files = {
                name: self._served(self._library.recordings, sha256)
                for name, sha256 in preset.recordings.items()
            }
            filled = asking.filled(self._features, preset.fields, files)
            empty = dict.fromkeys(RECORDINGS)
            return preset, filled | empty | files | {"preset": preset.id}

        loaded = await _tried(load)
        if isinstance(loaded, errors.ServiceError):
            return (*_unchanged(len(self._fields.names)), _refusal(loaded, language))
        preset, filled = loaded
        told = _told(say("preset_loaded", language, name=preset.name))
        if unfit := asking.unfit(self._features, preset.fields):
            told = _said_badly(say("preset_unfit", language, names=", ".join(unfit)))
        updates = [
            gr.update(value=filled[name]) if name in filled else gr.skip()
            for name in self._fields.names
        ]
        return (*updates, told)

    async def delete_preset(self, request: gr.Request, chosen: object) -> tuple[Update, ...]:
        """Presets with none chosen, the preset that the fields began with, told."""
        language = language_of(request)
        if chosen is DECLINED:
            return _unchanged(3)
        if not chosen:
            return (*_unchanged(2), _said_badly(say("preset_nothing", language)))

        def remove() -> bool:
            self._library.remove_preset(_id(chosen))
            return True

        removed = await self._changed(request, remove)
        if isinstance(removed, errors.ServiceError):
            return (*_unchanged(2), _refusal(removed, language))
        told = _told(say("preset_deleted", language))
        return self._presets(language), gr.update(value=""), told

    async def add_term(
        self, request: gr.Request, term: object, chinese: object, english: object
    ) -> tuple[Update, ...]:
        """Table, terms, the three fields, told."""
        language = language_of(request)

        def put() -> bool:
            self._library.glossary.put(term, {"zh": chinese, "en": english})
            return True

        done = await self._changed(request, put)
        if isinstance(done, errors.ServiceError):
            return (*_unchanged(5), _refusal(done, language))
        empty = gr.update(value="")
        told = _told(say("glossary_saved", language))
        return (*self._glossary(language), empty, empty, empty, told)

    async def delete_term(self, request: gr.Request, chosen: object) -> tuple[Update, ...]:
        """Table, terms, told."""
        language = language_of(request)

        def remove() -> bool:
            self._library.glossary.remove(_id(chosen))
            return True

        removed = await self._changed(request, remove)
        if isinstance(removed, errors.ServiceError):
            return (*_unchanged(2), _refusal(removed, language))
        return (*self._glossary(language), _told(say("glossary_deleted", language)))

    def offered_presets(self, _can: Capabilities | None, language: str) -> Update:
        """The presets that there are now."""
        return self._presets(language)

    def offered_terms(self, _can: Capabilities | None, language: str) -> Update:
        """The terms that there are now."""
        return self._glossary(language)[1]

    def offered_glossary(self, _can: Capabilities | None, language: str) -> Update:
        """The terms and their readings, as a table."""
        return self._glossary(language)[0]

    def _speakers(self, language: str, chosen: str | None = None) -> Update:
        can = self._synthesizer.capabilities
        return gr.update(
            choices=offers.named(can.speakers, language), value=chosen or can.speakers[0].id
        )

    def _presets(self, _language: str, chosen: str | None = None) -> Update:
        presets = self._library.presets.all()
        return gr.update(choices=[(one.name, one.id) for one in presets], value=chosen)

    def _glossary(self, language: str) -> tuple[Update, Update]:
        terms = self._library.glossary.all()
        return (
            gr.update(value=panels.glossary(terms, language)),
            gr.update(choices=list(terms), value=None),
        )

    def _served(self, recordings: Recordings, sha256: str) -> dict[str, object]:
        with recordings.borrowed(sha256) as recording:
            if recording is None:
                raise errors.NotKept(kind="recording", kind_zh="录音", where="GET /presets")
            return copied(recording.path, self._uploads)

    async def _changed(
        self, request: gr.Request, change: Callable[[], T]
    ) -> T | errors.ServiceError:
        """As `_tried`, for operators."""
        try:
            self._operators.check_change(
                host_of(request), request.headers, cookie_of(request, COOKIE)
            )
        except errors.ServiceError as error:
            return error
        return await _tried(change)


async def _tried(work: Callable[[], T]) -> T | errors.ServiceError:
    """What the work returns, or why it was refused; it may block on the disk or on ffmpeg."""
    try:
        return await asyncio.to_thread(work)
    except errors.ServiceError as error:
        return error


def _id(chosen: object) -> str:
    return chosen if isinstance(chosen, str) else ""


def _unchanged(count: int) -> tuple[Update, ...]:
    return (gr.skip(),) * count


def _told(text: str) -> Update:
    return gr.update(value=panels.done(text))


def _refusal(error: errors.ServiceError, language: str) -> Update:
    if type(error) is errors.InvalidField and error.details["field"] == "name":
        return _said_badly(say("name_needed", language, most=MAX_NAME_CHARS))
    return _said_badly(error.message(language))


def _said_badly(text: str) -> Update:
    return gr.update(value=panels.refused(text))
