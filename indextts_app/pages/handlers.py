"""What the page does when it is opened, asked, and told to stop."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import gradio as gr
import structlog
from gradio.data_classes import FileData

from indextts_app import door, error_body, errors
from indextts_app.engines.base import Capabilities
from indextts_app.pages import panels
from indextts_app.pages.gradio_environment import upload_folder
from indextts_app.pages.progress import Progress
from indextts_app.pages.stage_picture import stage_picture
from indextts_app.pages.texts import say, say_name
from indextts_app.settings import Settings
from indextts_app.synthesis import DEFAULT_EMOTION, SynthesisResult
from indextts_app.synthesizer import Synthesizer, Upload

log = structlog.get_logger("indextts_app.pages")

FIRST_LOOK_SECONDS = 0.1
"""What is done by then is shown at once, without a flash of progress."""

LOOK_SECONDS = 0.25

Update = dict[str, Any]
Synthesis = asyncio.Task[SynthesisResult]


class Handlers:
    """The page's handlers; each speaks the language that its visitor's browser asks for."""

    def __init__(self, synthesizer: Synthesizer, settings: Settings) -> None:
        self._synthesizer = synthesizer
        self._keep_hours = settings.output_keep_hours
        self._uploads = upload_folder(settings.output_dir)
        self._running: dict[str | None, Synthesis] = {}

    async def greet(self, request: gr.Request) -> tuple[Update, Update]:
        """The empty result, and the footnote."""
        language = _language(request)
        privacy = say("privacy", language, hours=self._keep_hours)
        return (
            gr.update(value=panels.idle(language)),
            gr.update(value=panels.footnote(privacy)),
        )

    async def offer(self, request: gr.Request) -> tuple[Update, ...]:
        """
        What the engine in use can do: header, speakers, emotions, reference, what that changes,
        and whether to ask again because the engine is still loading.
        """
        language = _language(request)
        can = self._capabilities()
        header = gr.update(value=panels.header(can, language))
        if can is None:
            nothing = gr.update(choices=[], value=None)
            hidden = gr.update(visible=False)
            return header, nothing, nothing, hidden, gr.update(), gr.update(active=True)
        notes = {field: getattr(note, language) for field, note in can.notes.items()}
        return (
            header,
            gr.update(
                choices=[(getattr(item.name, language), item.id) for item in can.speakers],
                value=can.speakers[0].id,
                info=notes.get("speaker"),
            ),
            gr.update(
                choices=[(say_name("emotion", item, language), item) for item in can.emotions],
                value=DEFAULT_EMOTION if DEFAULT_EMOTION in can.emotions else can.emotions[0],
                info=notes.get("emotion"),
                visible=len(can.emotions) > 1,
            ),
            gr.update(visible=can.reference != "none"),
            gr.update(value=panels.note(notes.get("reference", ""))),
            gr.update(active=False),
        )

    async def generate(
        self,
        text: object,
        speaker: object,
        emotion: object,
        speed: object,
        kind: object,
        reference: object,
        request: gr.Request,
    ) -> AsyncGenerator[tuple[Update, ...], None]:
        """
        Progress while the synthesizer works, then its answer: status, player, details, buttons.

        A visitor who cancels or leaves cancels the synthesis. The fields come as the browser sent
        them: the synthesizer alone judges them, so that a refusal has its event as well.
        """
        language = _language(request)
        caller = door.caller_of(request.headers, getattr(request.client, "host", None), "page")
        progress = Progress()
        synthesis: Synthesis = asyncio.create_task(
            self._synthesizer.synthesize(
                {
                    "text": text,
                    "speaker": speaker,
                    "emotion": emotion,
                    "speed": speed,
                    "format": kind,
                },
                caller,
                reference=self._upload(reference),
                watcher=progress,
                needs_file=True,
            )
        )
        self._running[request.session_hash] = synthesis
        try:
            await asyncio.wait({synthesis}, timeout=FIRST_LOOK_SECONDS)
            while not synthesis.done():
                panel = panels.running(progress, self._stages(), language)
                yield _busy(panel, language)
                await asyncio.wait({synthesis}, timeout=LOOK_SECONDS)
            yield self._outcome(synthesis, caller.request_id, language)
        finally:
            synthesis.cancel()
            if self._running.get(request.session_hash) is synthesis:
                del self._running[request.session_hash]

    async def cancel(self, request: gr.Request) -> None:
        """Stop what this visitor waits for; `generate` then says so."""
        if synthesis := self._running.get(request.session_hash):
            synthesis.cancel()

    def _outcome(self, synthesis: Synthesis, request_id: str, language: str) -> tuple[Update, ...]:
        if synthesis.cancelled():
            return _done(panels.cancelled(request_id, language), language)
        if error := synthesis.exception():
            if not isinstance(error, errors.ServiceError):
                # Its traceback was logged with the event; visitors get a sentence that is safe.
                log.error("page.unexpected", request_id=request_id, kind=type(error).__name__)
                error = errors.ServiceError()
            return _done(panels.failed(error.message(language), request_id, language), language)
        result = synthesis.result()
        status = panels.verdict(result, language)
        picture = panels.titled(say("times", language), stage_picture(result.times, language))
        details = panels.facts(result, language) + picture
        return _done(status, language, player=self._served(result.path), details=details)

    def _served(self, path: Path) -> Update:
        """The audio under a name that Gradio may serve: a link, so that it is stored once."""
        target = self._uploads / path.name
        try:
            os.link(path, target)
        except OSError:
            shutil.copyfile(path, target)
        return FileData(path=str(target), orig_name=path.name).model_dump()

    def _upload(self, reference: object) -> Upload | None:
        # A hand-written request may hold anything; what is no path is refused with its event.
        if not reference:
            return None
        path = reference.get("path") if isinstance(reference, Mapping) else None
        return Upload(Path(path if isinstance(path, str) else ""), self._uploads)

    def _stages(self) -> tuple[str, ...]:
        can = self._capabilities()
        return tuple(dict.fromkeys((*can.stages, "post"))) if can else ()

    def _capabilities(self) -> Capabilities | None:
        try:
            return self._synthesizer.capabilities
        except errors.NotReady:
            return None


def _language(request: gr.Request) -> str:
    return error_body.language_of(request.headers.get("accept-language"))


def _busy(panel: str, language: str) -> tuple[Update, ...]:
    return (
        gr.update(value=panel),
        gr.update(visible=False),
        gr.update(visible=False),
        gr.update(interactive=False, value=say("generating", language)),
        gr.update(visible=True),
    )


def _done(
    panel: str, language: str, *, player: Update | None = None, details: str = ""
) -> tuple[Update, ...]:
    return (
        gr.update(value=panel),
        gr.update(value=player, visible=player is not None),
        gr.update(value=details, visible=bool(details)),
        gr.update(interactive=True, value=say("generate", language)),
        gr.update(visible=False),
    )
