"""What the page does when it is opened, asked, and told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import nullcontext

import gradio as gr
import structlog

from indextts_app import door, errors
from indextts_app.engines.base import Capabilities, Features
from indextts_app.pages import asking, history_part, panels
from indextts_app.pages.fields import Fields
from indextts_app.pages.gradio_environment import upload_folder
from indextts_app.pages.offers import Offer, Update
from indextts_app.pages.progress import Progress
from indextts_app.pages.served_files import linked
from indextts_app.pages.stage_picture import stage_picture
from indextts_app.pages.texts import say
from indextts_app.pages.visitor import host_of, language_of, path_of
from indextts_app.references import Upload
from indextts_app.settings import Settings
from indextts_app.synthesis import Caller, SynthesisResult
from indextts_app.synthesizer import Synthesizer

log = structlog.get_logger("indextts_app.pages")

FIRST_LOOK_SECONDS = 0.1
"""What is done by then is shown at once, without a flash of progress."""

LOOK_SECONDS = 0.25

Handler = Callable[[gr.Request], Awaitable[list[Update]]]
Synthesis = asyncio.Task[SynthesisResult]


class Handlers:
    """The page's handlers; each speaks the language that its visitor's browser asks for."""

    def __init__(
        self, synthesizer: Synthesizer, settings: Settings, features: Features, fields: Fields
    ) -> None:
        self._synthesizer = synthesizer
        self._features = features
        self._fields = fields
        self._uploads = upload_folder(settings.output_dir)
        self._running: dict[str | None, Synthesis] = {}

    def greeting(self, words: Sequence[Callable[[str], str]]) -> Handler:
        """A handler that says each of these in the visitor's language."""

        async def greet(request: gr.Request) -> list[Update]:
            language = language_of(request)
            return [gr.update(value=said(language)) for said in words]

        return greet

    def offering(self, offers: Sequence[Offer]) -> Handler:
        """A handler that updates each of these parts to what the engine in use can do."""

        async def offer(request: gr.Request) -> list[Update]:
            can, language = self._capabilities(), language_of(request)
            return [part(can, language) for part in offers]

        return offer

    async def generate(
        self, request: gr.Request, *values: object
    ) -> AsyncGenerator[tuple[Update, ...], None]:
        """
        Progress while the synthesizer works, then its answer.

        The updates are those of status, request to listen to, player, details, what the browser's
        history keeps, and the buttons to generate and to cancel. A visitor who cancels or leaves
        cancels the synthesis. The fields come as the browser sent them: the synthesizer alone
        judges them, so that a refusal has its event as well.
        """
        language = language_of(request)
        caller = door.caller_of(request.headers, host_of(request), "page")
        sent = self._fields.named(values)
        progress = Progress()
        plays = self._features.streams and bool(sent.get("live"))
        synthesis = asyncio.create_task(self._synthesized(sent, caller, progress, plays=plays))
        self._running[request.session_hash] = synthesis
        live = gr.update(value="")
        try:
            await asyncio.wait({synthesis}, timeout=FIRST_LOOK_SECONDS)
            while not synthesis.done():
                if plays and progress.heard:
                    plays, live = False, gr.update(value=caller.request_id)
                yield _busy(panels.running(progress, self._stages(), language), live, language)
                live = gr.update()
                await asyncio.wait({synthesis}, timeout=LOOK_SECONDS)
            yield self._outcome(synthesis, caller.request_id, progress, live, language)
        finally:
            synthesis.cancel()
            if self._running.get(request.session_hash) is synthesis:
                del self._running[request.session_hash]

    def previewing(self, names: Sequence[str]) -> Callable[..., Awaitable[Update]]:
        """A handler that shows how the text would be cut, by the values of these fields."""

        async def preview(request: gr.Request, *values: object) -> Update:
            language = language_of(request)
            sent = dict(zip(names, values, strict=True))
            try:
                pieces = await self._synthesizer.preview(asking.cut(self._features, sent))
            except errors.TextEmpty:
                return gr.update(value=panels.segments((), None, language))
            except errors.ServiceError as error:
                return gr.update(value=panels.note(error.message(language)))
            limit = sent.get(asking.control_field(asking.SEGMENT_LIMIT))
            return gr.update(value=panels.segments(pieces, limit, language))

        return preview

    async def cancel(self, request: gr.Request) -> None:
        """Stop what this visitor waits for; `generate` then says so."""
        if synthesis := self._running.get(request.session_hash):
            synthesis.cancel()

    async def _synthesized(
        self, sent: Mapping[str, object], caller: Caller, progress: Progress, *, plays: bool
    ) -> SynthesisResult:
        """The result; while it is made it can be listened to, if it is to be played."""
        with self._synthesizer.live.open(caller.request_id) if plays else nullcontext() as live:
            return await self._synthesizer.synthesize(
                self._asked(sent),
                caller,
                recordings=self._recordings(sent),
                watcher=progress,
                live=live,
                needs_file=True,
            )

    def _outcome(
        self,
        synthesis: Synthesis,
        request_id: str,
        progress: Progress,
        live: Update,
        language: str,
    ) -> tuple[Update, ...]:
        if synthesis.cancelled():
            told = history_part.failed(request_id, "cancelled", language)
            return _done(panels.cancelled(request_id, language), language, told=told)
        if error := synthesis.exception():
            if not isinstance(error, errors.ServiceError):
                # Its traceback was logged with the event; visitors get a sentence that is safe.
                log.error("page.unexpected", request_id=request_id, kind=type(error).__name__)
                error = errors.ServiceError()
            told = history_part.failed(request_id, error.code, language)
            panel = panels.failed(error.message(language), request_id, language)
            return _done(panel, language, told=told)
        result = synthesis.result()
        status = panels.verdict(result, language)
        picture = panels.titled(say("times", language), stage_picture(result.times, language))
        count = progress.segments[1] if progress.segments else 1
        details = (
            panels.hints(result, language)
            + panels.facts(result, language, segments=count)
            + picture
        )
        player = linked(result.path, self._uploads)
        return _done(
            status,
            language,
            # What is being heard is not cut: the live player goes when it has ended.
            live=live,
            player=player,
            details=details,
            told=history_part.made(result, self._capabilities(), player["path"], language),
        )

    def _asked(self, sent: Mapping[str, object]) -> dict[str, object] | errors.ServiceError:
        # The one that these fields began with may have been deleted by somebody since.
        known = [preset.id for preset in self._synthesizer.library.presets.all()]
        preset = sent.get("preset")
        return asking.asked(self._features, {**sent, "preset": preset if preset in known else None})

    def _recordings(self, sent: Mapping[str, object]) -> dict[str, Upload]:
        return {
            name: Upload(path_of(described), self._uploads)
            for name, described in asking.recordings(self._features, sent).items()
        }

    def _stages(self) -> tuple[str, ...]:
        can = self._capabilities()
        return tuple(dict.fromkeys((*can.stages, "post"))) if can else ()

    def _capabilities(self) -> Capabilities | None:
        try:
            return self._synthesizer.capabilities
        except errors.NotReady:
            return None


def _busy(panel: str, live: Update, language: str) -> tuple[Update, ...]:
    return (
        gr.update(value=panel),
        live,
        gr.update(visible=False),
        gr.update(visible=False),
        gr.update(),
        gr.update(interactive=False, value=say("generating", language)),
        gr.update(visible=True),
    )


def _done(
    panel: str,
    language: str,
    *,
    player: Update | None = None,
    details: str = "",
    live: Update | None = None,
    told: str = "",
) -> tuple[Update, ...]:
    return (
        gr.update(value=panel),
        live or gr.update(value=""),
        gr.update(value=player, visible=player is not None),
        gr.update(value=details, visible=bool(details)),
        gr.update(value=told),
        gr.update(interactive=True, value=say("generate", language)),
        gr.update(visible=False),
    )
