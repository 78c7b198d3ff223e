"""What the page does with a batch: begin one, follow it, find it again after a reload, end it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

import gradio as gr

from indextts_app import door, errors
from indextts_app.batches import intake
from indextts_app.batches.job import Job
from indextts_app.batches.runner import Batches
from indextts_app.batches.table import Table
from indextts_app.engines.base import Features
from indextts_app.pages import asking, batch_panel, panels
from indextts_app.pages.fields import Fields
from indextts_app.pages.gradio_environment import upload_folder
from indextts_app.pages.offers import Update
from indextts_app.pages.visitor import host_of, language_of, path_of
from indextts_app.settings import Settings
from indextts_app.synthesis import Caller
from indextts_app.synthesizer import Synthesizer

LOOK_SECONDS = 0.5

UPDATED = 5
"""Parts of the page."""

Updates = tuple[Update | str, ...]


class BatchHandlers:
    """
    Each yields the updates of panel, table, id of the batch, and the buttons to begin and to end.

    A visitor who leaves leaves the batch alone: it goes on, and is there again with the next visit.
    """

    def __init__(
        self,
        batches: Batches,
        synthesizer: Synthesizer,
        settings: Settings,
        features: Features,
        fields: Fields,
    ) -> None:
        self._batches = batches
        self._synthesizer = synthesizer
        self._settings = settings
        self._features = features
        self._fields = fields
        self._uploads = upload_folder(settings.output_dir)

    async def begin(
        self, request: gr.Request, file: object, *values: object
    ) -> AsyncGenerator[Updates, None]:
        """Take the table that was uploaded; what is set on the page holds for all its rows."""
        language = language_of(request)
        try:
            sent = self._fields.named(values)
            job, read = await self._begun(_caller(request), file, sent)
        except errors.ServiceError as error:
            told = gr.update(value=panels.refused(error.message(language)))
            yield told, gr.update(value=None), gr.skip(), gr.skip(), gr.skip()
            return
        async for updates in self._followed(job, language, read):
            yield updates

    async def resume(self, request: gr.Request, job_id: object) -> AsyncGenerator[Updates, None]:
        """Go on following the batch that this browser began before."""
        try:
            job = self._job(request, job_id)
        except errors.UnknownBatch:
            # Gradio empties the parts of a handler that yields nothing.
            yield (gr.skip(),) * UPDATED
            return
        async for updates in self._followed(job, language_of(request), None):
            yield updates

    async def end(self, request: gr.Request, job_id: object) -> None:
        """End the batch; whoever follows it then says so."""
        try:
            await self._batches.cancel(self._job(request, job_id))
        except errors.UnknownBatch:
            return

    def _job(self, request: gr.Request, job_id: object) -> Job:
        known = job_id if isinstance(job_id, str) else ""
        return self._batches.get(known, _caller(request).user)

    async def _begun(
        self, caller: Caller, file: object, sent: Mapping[str, object]
    ) -> tuple[Job, Table]:
        defaults = self._defaults(sent)
        path = path_of(file)
        if not path.name or not path.resolve().is_relative_to(self._uploads):
            raise errors.BatchUnreadable(
                reason="there is none yet. Upload it first.", reason_zh="还没有表格，请先上传。"
            )
        data = await asyncio.to_thread(_taken, path)
        read = await asyncio.to_thread(intake.read, data, None, self._settings)
        intake.check(read.columns, defaults, self._synthesizer.capabilities)
        return await self._batches.begin(read.rows, defaults, caller), read

    def _defaults(self, sent: Mapping[str, object]) -> dict[str, object]:
        if asking.recordings(self._features, sent):
            raise errors.BatchUnreadable(
                reason="a recording cannot go with it. Save it as a speaker first, or remove it.",
                reason_zh="不能附带录音，请先保存为发音人，或移除录音。",
            )
        return asking.kept(self._features, sent)

    async def _followed(
        self, job: Job, language: str, read: Table | None
    ) -> AsyncGenerator[Updates, None]:
        job_id = job.about.job_id
        underway = self._synthesizer.underway
        while True:
            html = batch_panel.panel(job, underway, language, unread=read)
            going = not job.has_ended
            yield (
                gr.update(value=html),
                gr.update(value=None),
                job_id,
                gr.update(interactive=not going),
                gr.update(visible=going),
            )
            if not going:
                return
            await asyncio.sleep(LOOK_SECONDS)


def _caller(request: gr.Request) -> Caller:
    return door.caller_of(request.headers, host_of(request), "page")


def _taken(path: Path) -> bytes:
    """Its texts are kept with the batch, and not with the other uploads as well."""
    try:
        data = path.read_bytes()
        path.unlink()
    except OSError:
        raise errors.BatchUnreadable(
            reason="it is gone. Upload it again.", reason_zh="文件已不存在，请重新上传。"
        ) from None
    return data
