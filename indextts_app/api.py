"""REST: speech, what may be asked, health, metrics, and the story of a request."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from indextts_app import answers, errors, forms, streaming
from indextts_app.audio import MEDIA_TYPES
from indextts_app.desk import Desk
from indextts_app.door import caller_of, only_from
from indextts_app.error_body import ErrorBody, error_response, http_error_response
from indextts_app.operators import Operators
from indextts_app.readiness import Readiness
from indextts_app.settings import Settings
from indextts_app.streaming import Live
from indextts_app.synthesis import AudioFormat, SynthesisForm
from indextts_app.synthesizer import Synthesizer
from indextts_app.underway import Standing
from observability import metrics as metrics_module
from observability import request_id as request_ids
from observability.log_store.questions import Missing, Unanswerable
from observability.metrics import Metrics

ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "the request cannot be read"},
    401: {"model": ErrorBody, "description": "where keys are in force: it needs one"},
    413: {"model": ErrorBody, "description": "more bytes than may be sent"},
    422: {"model": ErrorBody, "description": "a field does not fit; the message says what would"},
    429: {"model": ErrorBody, "description": "too many of yours at a time; see Retry-After"},
    503: {"model": ErrorBody, "description": "not now, or the engine failed; see Retry-After"},
    504: {"model": ErrorBody, "description": "took longer than it may"},
    507: {"model": ErrorBody, "description": "no room for the audio; see Retry-After"},
}

_FORM: dict[str, Any] = {
    **SynthesisForm.model_json_schema(),
    "additionalProperties": {
        "description": "the controls of the engine in use by their names, see /speakers"
    },
}

SPEECH_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": _FORM,
                "example": {"text": "今天天气很好。", "emotion": "happy"},
            },
            "multipart/form-data": {
                "schema": {
                    **_FORM,
                    "properties": {
                        **_FORM["properties"],
                        "reference": {
                            "type": "string",
                            "format": "binary",
                            "description": "a reference recording (WAV, FLAC, MP3, OGG, M4A)",
                        },
                        "emotion_reference": {
                            "type": "string",
                            "format": "binary",
                            "description": "a recording to take the emotion from",
                        },
                    },
                }
            },
        },
    }
}

AUDIO: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The audio. X-Audio-Verdict says how it was judged, Server-Timing where "
        "the time went, X-Seed how to get it again, X-Hints what could be better. With `stream` it "
        "comes while it is made, with X-Seed only; an answer that breaks off is not whole.",
        "content": {media_type: {} for media_type in MEDIA_TYPES.values()},
    }
}


def router(
    synthesizer: Synthesizer,
    settings: Settings,
    readiness: Readiness,
    metrics: Metrics,
    *,
    desk: Desk,
    operators: Operators,
) -> APIRouter:
    """The routes of the service."""
    routes = APIRouter()

    @routes.post(
        "/tts",
        response_class=Response,
        responses={**AUDIO, **ERRORS},
        openapi_extra=SPEECH_BODY,
        summary="Turn text into speech",
    )
    async def tts(request: Request) -> Response:
        caller = caller_of(request.headers, answers.host_of(request), "api")
        async with AsyncExitStack() as held:
            folder = await held.enter_async_context(forms.uploads(settings, caller.request_id))
            asked, recordings = await forms.asked(
                request,
                folder,
                settings.timeout_seconds,
                reading=synthesizer.admission.reading(caller.client),
            )
            live = Live(caller.request_id) if streaming.is_asked(asked) else None
            work = synthesizer.synthesize(asked, caller, recordings=recordings, live=live)
            if live:
                return await streaming.answer(
                    request, live, work, whole=answers.audio, until=held.pop_all()
                )
            result = await answers.unless_gone(request, work)
        return answers.audio(result)

    @routes.get(
        "/live/{request_id}",
        response_class=Response,
        responses={404: {"model": ErrorBody}, 422: ERRORS[422]},
        summary="Listen to a request of the page while it runs",
    )
    async def listen(request_id: str, format: str = AudioFormat.MP3.value) -> Response:  # noqa: A002
        live = synthesizer.live.get(request_id)
        return await streaming.listen(live, format, settings.timeout_seconds)

    @routes.get(
        "/progress/{request_id}",
        responses={404: {"model": ErrorBody}},
        summary="Where a running request stands, by its request_id or your own X-Request-ID",
    )
    async def progress(request: Request, request_id: str) -> Standing:
        asker = caller_of(request.headers, answers.host_of(request), "api")
        return synthesizer.underway.standing(request_id, asker)

    @routes.get("/health", summary="Whether requests will be answered")
    async def health() -> JSONResponse:
        answer = await readiness.answer()
        if answer.ready:
            return JSONResponse({"status": "healthy"})
        return JSONResponse({"status": "unhealthy", "reason": answer.reason}, 503)

    @routes.get("/health/live", summary="Whether the process answers at all")
    async def live() -> dict[str, str]:
        return {"status": "alive"}

    @routes.get("/health/ready", summary="Whether to send requests, and why")
    async def ready() -> JSONResponse:
        answer = await readiness.answer()
        body = {"status": "ready" if answer.ready else "not ready", "reason": answer.reason}
        return JSONResponse(body, 200 if answer.ready else 503)

    @routes.get("/metrics", summary="Prometheus metrics", response_class=Response)
    async def scrape(request: Request) -> Response:
        only_from(answers.host_of(request), settings.metrics_allow, "INDEXTTS_METRICS_ALLOW")
        text = await asyncio.to_thread(metrics.text)
        return Response(text, media_type=metrics_module.CONTENT_TYPE)

    @routes.get(
        "/requests/{request_id}",
        summary="The story of one request (or of a client's own id), for operators",
        responses={
            401: {
                "model": ErrorBody,
                "description": "with INDEXTTS_OPERATIONS_PASSWORD: HTTP Basic",
            },
            403: {"model": ErrorBody, "description": "without one: not from this address"},
            404: {"model": ErrorBody},
            422: ERRORS[422],
            429: {"model": ErrorBody, "description": "too many wrong passwords"},
        },
    )
    async def request_story(request: Request, request_id: str) -> dict[str, Any]:
        operators.check(answers.host_of(request), request.headers)
        try:
            return asdict(await desk.story(request_id))
        except request_ids.MalformedRequestId as error:
            raise errors.MalformedId(reason=error.en, reason_zh=error.zh) from None
        except (Missing, Unanswerable) as missing:
            raise errors.UnknownRequest(reason=missing.en, reason_zh=missing.zh) from None

    return routes


def add_error_handlers(app: FastAPI) -> None:
    """Give every error of the API the one shape."""

    async def service_error(request: Request, error: Exception) -> Response:
        known = error if isinstance(error, errors.ServiceError) else errors.ServiceError()
        return error_response(request.headers, known, request.scope["path"])

    async def http_error(request: Request, error: Exception) -> Response:
        known = error if isinstance(error, HTTPException) else HTTPException(500)
        return http_error_response(request.headers, known, request.scope["path"])

    async def unfit_parameter(request: Request, error: Exception) -> Response:
        found = error.errors() if isinstance(error, RequestValidationError) else []
        name = str(found[0]["loc"][-1]) if found else ""
        known = errors.InvalidField(
            field=name, reason="it is no number. Send one.", reason_zh="应为数字。"
        )
        return error_response(request.headers, known, request.scope["path"])

    app.add_exception_handler(errors.ServiceError, service_error)
    app.add_exception_handler(RequestValidationError, unfit_parameter)
    app.add_exception_handler(HTTPException, http_error)
