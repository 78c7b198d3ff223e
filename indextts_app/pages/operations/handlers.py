"""What the operations page does when it is asked; whatever the browser sends is checked here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType

import gradio as gr
import structlog

from indextts_app import door, errors, replay
from indextts_app.desk import Desk
from indextts_app.pages.gradio_environment import upload_folder
from indextts_app.pages.offers import Update
from indextts_app.pages.operations import fragments, live_panel, story_panel
from indextts_app.pages.operations.failure_panel import drilled_panel, failure_panel, other_panel
from indextts_app.pages.operations.replay_panel import replay_panel
from indextts_app.pages.operations.report_panel import report_panel
from indextts_app.pages.operations.texts import say
from indextts_app.pages.served_files import linked
from indextts_app.pages.visitor import host_of, language_of, path_of
from indextts_app.settings import Settings
from indextts_app.story import Story
from indextts_app.synthesizer import Synthesizer
from observability.log_store import logql
from observability.log_store.questions import FAILED, Filter, Missing, Unanswerable
from observability.reports.month import Month, MonthError
from observability.request_id import MalformedRequestId

log = structlog.get_logger("indextts_app.pages.operations")

WINDOWS: Mapping[str, timedelta] = MappingProxyType(
    {
        "15m": timedelta(minutes=15),
        "1h": timedelta(hours=1),
        "24h": timedelta(days=1),
        "7d": timedelta(days=7),
    }
)
BY: Mapping[str, str] = MappingProxyType(
    {
        "type": "error_type",
        "stage": "error_stage",
        "speaker": "speaker",
        "version": "model_version",
        "instance": "instance",
    }
)
"""What failures are grouped by, and the field of the event that holds it."""

FIRST_WINDOW, FIRST_BY = "1h", "type"
LONGEST_TYPED = 200
LINES_SHOWN = 50

NOT_THERE = (MalformedRequestId, Missing, Unanswerable)


class Handlers:
    """The page's handlers; each speaks the language that its visitor's browser asks for."""

    def __init__(
        self, desk: Desk, synthesizer: Synthesizer, settings: Settings, hash_key: bytes
    ) -> None:
        self._desk = desk
        self._synthesizer = synthesizer
        self._output_dir = settings.output_dir
        self._uploads = upload_folder(settings.output_dir)
        self._hash_key = hash_key

    @property
    def sources(self) -> tuple[str, ...]:
        """Where lines can be asked for; the first is asked by default."""
        return self._desk.sources

    # --- Request -----------------------------------------------------------------------------

    async def look_up(self, request: gr.Request, typed: object) -> tuple[Update, Update]:
        """The story of what was typed, and the id that it is of."""
        language = language_of(request)
        wanted = _text(typed).strip()
        if not wanted:
            return gr.update(value=story_panel.idle()), gr.update(value="")
        try:
            return _told(await self._desk.story(wanted), language)
        except NOT_THERE as error:
            return _not_there(error, language)

    async def look_up_file(self, request: gr.Request, described: object) -> tuple[Update, Update]:
        """The story of an audio file that was dropped, which must be an upload."""
        language = language_of(request)
        if not described:
            return gr.skip(), gr.skip()
        path = path_of(described)
        name = described.get("orig_name") if isinstance(described, Mapping) else None
        try:
            if not _is_within(path, self._uploads):
                raise Missing(en="This file was not uploaded here.", zh="该文件不是在此上传的。")
            return _told(await self._desk.story_of_file(path, _text(name) or path.name), language)
        except NOT_THERE as error:
            return _not_there(error, language)

    async def replay(
        self, request: gr.Request, request_id: object, text: object, emotion_text: object
    ) -> tuple[Update, Update]:
        """The same request once more through the ordinary synthesizer: a comparison, a player."""
        language = language_of(request)
        if not _text(request_id):
            return _replay_told("replay_refused", say("replay_first", language), language)
        try:
            told = await self._desk.story(_text(request_id))
            wanted = replay.again(
                told.known,
                _unbounded(text),
                hash_key=self._hash_key,
                output_dir=self._output_dir,
                emotion_text=_unbounded(emotion_text),
            )
        except NOT_THERE as error:
            return _replay_told("replay_refused", _in(error, language), language)
        except replay.NotReplayable as refusal:
            sentence = getattr(refusal.message, language)
            return _replay_told("replay_refused", sentence, language)
        caller = door.caller_of(request.headers, host_of(request), "replay")
        # So that the story of the one leads to the other.
        caller = replace(caller, client_request_id=told.request_id)
        try:
            result = await self._synthesizer.synthesize(
                wanted.asked, caller, recordings=wanted.recordings, needs_file=True
            )
        except errors.ServiceError as error:
            sentence = f"{error.message(language)} ({caller.request_id})"
            return _replay_told("replay_failed", sentence, language)
        version = self._synthesizer.capabilities.model_version
        panel = replay_panel(told.known, result, version, language)
        player = gr.update(value=linked(result.path, self._uploads), visible=True)
        return gr.update(value=panel), player

    # --- Failures ----------------------------------------------------------------------------

    async def failures(
        self, request: gr.Request, window: object, by: object, source: object = None
    ) -> tuple[Update, Update, Update]:
        """What failed, grouped, and what else is odd; the lines of an earlier click are gone."""
        language = language_of(request)
        window, by = _one_of(WINDOWS, window, FIRST_WINDOW), _one_of(BY, by, FIRST_BY)
        try:
            found = await self._desk.failures(WINDOWS[window], (BY[by],), _text(source))
        except Unanswerable as error:
            none = gr.update(value="")
            return gr.update(value=_no_answer(error, language)), none, none
        panel = failure_panel(found, say(f"by_{by}", language).lower(), language)
        other = other_panel(found, language)
        return gr.update(value=panel), gr.update(value=""), gr.update(value=other)

    async def drill(
        self, request: gr.Request, window: object, by: object, value: object, source: object = None
    ) -> Update:
        """The newest failures of one group."""
        language = language_of(request)
        window, by = _one_of(WINDOWS, window, FIRST_WINDOW), _one_of(BY, by, FIRST_BY)
        value = _text(value)
        if not value:
            return gr.update(value="")
        until = self._desk.moment()
        asked = Filter(since=until - WINDOWS[window], until=until, status=FAILED)
        asked = replace(asked, **{BY[by]: (value,)})  # type: ignore[arg-type]
        try:
            found = await self._desk.search(asked, LINES_SHOWN, _text(source))
        except Unanswerable as error:
            return gr.update(value=_no_answer(error, language))
        what = say(f"by_{by}", language)
        return gr.update(value=drilled_panel(found, logql.lines(asked), what, value, language))

    # --- Live and report ---------------------------------------------------------------------

    async def live(self, request: gr.Request) -> Update:
        """How the service is now."""
        pulse = await self._desk.pulse()
        return gr.update(value=live_panel.live_panel(pulse, language_of(request)))

    async def months(self) -> Update:
        """The months that can be chosen; the last whole one is."""
        months = [str(month) for month in await self._desk.months()]
        last_whole = str(Month.before_now(self._desk.moment()))
        return gr.update(choices=months, value=last_whole)

    async def report(self, request: gr.Request, month: object, source: object = None) -> Update:
        """The report of a month."""
        language = language_of(request)
        try:
            made = await self._desk.report(Month.parse(_text(month)), _text(source))
        except (MonthError, Unanswerable) as error:
            return gr.update(value=_no_answer(error, language))
        return gr.update(value=report_panel(made, language))


def _told(story: Story, language: str) -> tuple[Update, Update]:
    panel = story_panel.story_panel(story, language)
    return gr.update(value=panel), gr.update(value=story.request_id)


def _not_there(
    error: MalformedRequestId | Missing | Unanswerable, language: str
) -> tuple[Update, Update]:
    panel = fragments.message(say("not_found", language), _in(error, language), tone="bad")
    return gr.update(value=panel), gr.update(value="")


def _replay_told(key: str, sentence: str, language: str) -> tuple[Update, Update]:
    panel = fragments.message(say(key, language), sentence)
    return gr.update(value=panel), gr.update(value=None, visible=False)


def _no_answer(error: MonthError | Unanswerable, language: str) -> str:
    return fragments.message(say("no_answer", language), _in(error, language))


def _in(error: MalformedRequestId | Missing | MonthError | Unanswerable, language: str) -> str:
    return error.zh if language == "zh" else error.en


def _text(sent: object) -> str:
    """What the browser sent if it is a text, within bounds."""
    return sent[:LONGEST_TYPED] if isinstance(sent, str) else ""


def _unbounded(sent: object) -> str:
    """A text of any length: the door bounds the request, and the synthesizer the text."""
    return sent if isinstance(sent, str) else ""


def _one_of(known: Mapping[str, object], sent: object, default: str) -> str:
    return sent if isinstance(sent, str) and sent in known else default


def _is_within(path: Path, folder: Path) -> bool:
    try:
        return path.resolve(strict=True).is_relative_to(folder) and not path.is_symlink()
    except (OSError, ValueError):
        return False
