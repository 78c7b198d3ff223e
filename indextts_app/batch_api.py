"""REST for batches: a table in, a job that can be asked after, an archive out."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from indextts_app import errors, forms
from indextts_app.answers import host_of
from indextts_app.batches import intake
from indextts_app.batches.archive import archived
from indextts_app.batches.job import Job
from indextts_app.batches.runner import Batches
from indextts_app.batches.telling import ITEM_STATES, broken, items, summary
from indextts_app.door import caller_of
from indextts_app.error_body import ErrorBody
from indextts_app.settings import Settings
from indextts_app.synthesis import TEXT_FIELDS
from indextts_app.synthesizer import Synthesizer

FILE, ROWS = forms.TABLE, "rows"
MOST_ITEMS = 1_000
"""In one answer; the archive's manifest has all of them."""

_UNKNOWN: dict[int | str, dict[str, Any]] = {
    404: {"model": ErrorBody, "description": "there is none, or it is not yours"}
}
_CREATING: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "the table cannot be read; the message says why"},
    413: {"model": ErrorBody, "description": "too many rows, or bytes"},
    422: {"model": ErrorBody, "description": "a field beside the table does not fit"},
    503: {"model": ErrorBody, "description": "as many batches as may be; see Retry-After"},
    507: {"model": ErrorBody, "description": "no room for its audio"},
}

_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        FILE: {
                            "type": "string",
                            "format": "binary",
                            "description": "CSV with a header, or JSON Lines",
                        }
                    },
                    "required": [FILE],
                    "additionalProperties": {
                        "description": "fields of /tts for every row that does not name its own"
                    },
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {ROWS: {"type": "array", "items": {"type": "object"}}},
                    "required": [ROWS],
                    "additionalProperties": True,
                },
                "example": {"rows": [{"text": "第一句。"}, {"text": "第二句。", "name": "second"}]},
            },
        },
    }
}


def router(batches: Batches, synthesizer: Synthesizer, settings: Settings) -> APIRouter:
    """The routes; a job is known to whoever made it: to its API key, or to who has its id."""
    routes = APIRouter()

    def job_of(request: Request, job_id: str) -> Job:
        return batches.get(job_id, caller_of(request.headers, host_of(request), "api").user)

    @routes.post(
        "/batches",
        status_code=202,
        response_class=JSONResponse,
        responses=_CREATING,
        openapi_extra=_BODY,
        summary="Have a table of texts worked off",
    )
    async def create(request: Request) -> JSONResponse:
        caller = caller_of(request.headers, host_of(request), "api")
        async with forms.uploads(settings, caller.request_id) as folder:
            with synthesizer.admission.reading(caller.client):
                fields, uploads = await forms.sent(
                    request,
                    folder,
                    settings.timeout_seconds,
                    recordings=(FILE,),
                    text_fields=TEXT_FIELDS,
                )
            defaults = {name: value for name, value in fields.items() if name != ROWS}
            data = await asyncio.to_thread(uploads[FILE].path.read_bytes) if uploads else None
        rows = fields.get(ROWS)
        read = await asyncio.to_thread(intake.read, data, rows, settings)
        intake.check(read.columns, defaults, synthesizer.capabilities)
        job = await batches.begin(read.rows, defaults, caller)
        told = {**summary(job), "broken_rows": broken(read)}
        return JSONResponse(told, 202, headers={"Location": f"/batches/{job.about.job_id}"})

    @routes.get("/batches/{job_id}", responses=_UNKNOWN, summary="How far a batch is")
    async def status(
        request: Request, job_id: str, offset: int = 0, limit: int = 100, state: str | None = None
    ) -> dict[str, Any]:
        job = job_of(request, job_id)
        if state not in (None, *ITEM_STATES):
            states = ", ".join(ITEM_STATES)
            raise errors.InvalidField(
                field="state",
                reason=f"no row is ever in it. Choose one of {states}.",
                reason_zh=f"没有这种行状态。请选择 {states} 之一。",
            )
        first, most = max(offset, 0), min(max(limit, 0), MOST_ITEMS)
        return {**summary(job), "items": items(job, synthesizer.underway, first, most, state)}

    @routes.delete(
        "/batches/{job_id}",
        responses=_UNKNOWN,
        summary="Cancel a batch, or delete one that has ended",
    )
    async def delete(request: Request, job_id: str) -> dict[str, Any]:
        job = job_of(request, job_id)
        if job.has_ended:
            await batches.remove(job)
        else:
            await batches.cancel(job)
        return summary(job)

    @routes.get(
        "/batches/{job_id}/archive",
        response_class=Response,
        responses={
            **_UNKNOWN,
            200: {"content": {"application/zip": {}}, "description": "audio and manifest.csv"},
            409: {"model": ErrorBody, "description": "not finished yet"},
        },
        summary="The audio of a batch that has ended, as one zip",
    )
    async def archive(request: Request, job_id: str) -> Response:
        job = job_of(request, job_id)
        if not job.has_ended:
            raise errors.BatchUnfinished(done=job.done, total=job.about.total)
        name = f"batch-{job.about.job_id}.zip"
        return StreamingResponse(
            archived(job),
            media_type="application/zip",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )

    return routes
