"""REST: speech, speakers, health, metrics, and the story of a request."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import shutil
import sys
from collections.abc import Coroutine, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect

from indextts_app import errors, story
from indextts_app.audio import MEDIA_TYPES
from indextts_app.door import caller_of
from indextts_app.error_body import ID_HEADER, ErrorBody, error_response
from indextts_app.readiness import Readiness
from indextts_app.settings import Network, Settings
from indextts_app.synthesis import AudioFormat, SynthesisForm, SynthesisResult
from indextts_app.synthesizer import Synthesizer, Upload
from observability import metrics as metrics_module
from observability import request_id as request_ids
from observability.log_store.files import FileLogStore, Missing
from observability.metrics import Metrics

T = TypeVar("T")

MAX_FORM_FIELDS = 20
MAX_JSON_BYTES = 1_000_000
RECORDING = "reference"


ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "the request cannot be read"},
    413: {"model": ErrorBody, "description": "more bytes than may be sent"},
    422: {"model": ErrorBody, "description": "a field does not fit; the message says what would"},
    503: {"model": ErrorBody, "description": "not now, or the engine failed; see Retry-After"},
    504: {"model": ErrorBody, "description": "took longer than it may"},
}

SPEECH_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": SynthesisForm.model_json_schema(),
                "example": {"text": "今天天气很好。", "emotion": "happy"},
            },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["text"],
                    "properties": {
                        **SynthesisForm.model_json_schema()["properties"],
                        "reference": {
                            "type": "string",
                            "format": "binary",
                            "description": "a reference recording (WAV, FLAC, MP3, OGG, M4A)",
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
        "the time went.",
        "content": {media_type: {} for media_type in MEDIA_TYPES.values()},
    }
}


def router(
    synthesizer: Synthesizer, settings: Settings, readiness: Readiness, metrics: Metrics
) -> APIRouter:
    """The routes of the service."""
    routes = APIRouter()
    store = FileLogStore(settings.log_dir)

    @routes.post(
        "/tts",
        response_class=Response,
        responses={**AUDIO, **ERRORS},
        openapi_extra=SPEECH_BODY,
        summary="Turn text into speech",
    )
    async def tts(request: Request) -> Response:
        caller = caller_of(request.headers, _host(request), "api")
        uploads = settings.output_dir / "uploads" / caller.request_id
        asked, reference = await _asked(request, uploads, settings.timeout_seconds)
        try:
            result = await _unless_gone(
                request, synthesizer.synthesize(asked, caller, reference=reference)
            )
        finally:
            if reference:
                shutil.rmtree(uploads, ignore_errors=True)
        return _audio(result)

    @routes.get("/speakers", responses={503: ERRORS[503]}, summary="Speakers, emotions, formats")
    async def speakers() -> dict[str, Any]:
        can = synthesizer.capabilities
        return {
            "engine": can.engine,
            "speakers": [
                {"id": speaker.id, "name": speaker.name.en, "name_zh": speaker.name.zh}
                for speaker in can.speakers
            ],
            "emotions": list(can.emotions),
            "formats": [item.value for item in AudioFormat],
            "reference": can.reference,
            "notes": {name: asdict(note) for name, note in can.notes.items()},
        }

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
        _only_from(request, settings.metrics_allow, "INDEXTTS_METRICS_ALLOW")
        text = await asyncio.to_thread(metrics.text)
        return Response(text, media_type=metrics_module.CONTENT_TYPE)

    @routes.get(
        "/requests/{request_id}",
        summary="The story of one request, for operators",
        responses={403: {"model": ErrorBody}, 404: {"model": ErrorBody}, 422: ERRORS[422]},
    )
    async def request_story(request: Request, request_id: str) -> dict[str, Any]:
        _only_from(request, settings.operations_allow, "INDEXTTS_OPERATIONS_ALLOW")
        try:
            wanted = request_ids.parse(request_id)
            lines = await asyncio.to_thread(store.lines_of, wanted)
        except request_ids.MalformedRequestId as error:
            raise errors.MalformedId(reason=error.en, reason_zh=error.zh) from None
        except Missing as missing:
            raise errors.UnknownRequest(reason=missing.en, reason_zh=missing.zh) from None
        return asdict(story.told(wanted, lines))

    return routes


def add_error_handlers(app: FastAPI) -> None:
    """Give every error of the API the one shape."""

    async def service_error(request: Request, error: Exception) -> Response:
        known = error if isinstance(error, errors.ServiceError) else errors.ServiceError()
        return error_response(request.headers, known)

    async def http_error(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        body = ErrorBody(
            error={404: "not_found", 405: "method_not_allowed"}.get(status, "http_error"),
            message=str(getattr(error, "detail", "")),
            request_id=request.headers.get(ID_HEADER, ""),
        )
        return JSONResponse(body.model_dump(), status, getattr(error, "headers", None))

    app.add_exception_handler(errors.ServiceError, service_error)
    app.add_exception_handler(HTTPException, http_error)


def _audio(result: SynthesisResult) -> Response:
    timing = [f"{name};dur={spent}" for name, spent in result.times.stages_ms.items()]
    timing.append(f"total;dur={result.times.duration_ms}")
    name = f"{result.request_id}.{result.request.format.value}"
    headers = {
        "X-Audio-Verdict": result.verdict,
        "X-Audio-Seconds": f"{result.signal.audio_seconds:.3f}",
        "Server-Timing": ", ".join(timing),
        "Content-Disposition": f'attachment; filename="{name}"',
    }
    return Response(result.audio, media_type=MEDIA_TYPES[result.request.format], headers=headers)


async def _asked(
    request: Request, folder: Path, timeout_seconds: float
) -> tuple[Mapping[str, object] | errors.ServiceError, Upload | None]:
    """What the client sent, or the error that says why it cannot be read."""
    try:
        async with asyncio.timeout(timeout_seconds):
            if request.headers.get("content-type", "").startswith("multipart/form-data"):
                return await _form(request, folder)
            return _json(await _body(request)), None
    except errors.Rejected as error:
        return error, None
    except TimeoutError:
        return errors.DeadlineExceeded(seconds=timeout_seconds), None
    except ClientDisconnect:
        return errors.ClientGone(), None


async def _body(request: Request) -> bytes:
    """A JSON body has no recording in it, so that little is enough."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_JSON_BYTES:
            raise errors.TooLarge(limit_mb=f"{MAX_JSON_BYTES / 1e6:g}")
    return bytes(body)


def _json(body: bytes) -> dict[str, object]:
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        raise errors.MalformedRequest(reason="it is not JSON.", reason_zh="不是 JSON。") from None
    if not isinstance(asked, dict):
        raise errors.MalformedRequest(
            reason="it is JSON, but not an object.", reason_zh="是 JSON，但不是对象。"
        )
    return asked


async def _form(request: Request, folder: Path) -> tuple[dict[str, object], Upload | None]:
    try:
        # The door bounds the whole body; a part that is too long is refused by its name.
        async with request.form(
            max_files=1, max_fields=MAX_FORM_FIELDS, max_part_size=sys.maxsize
        ) as form:
            items = form.multi_items()
            asked = {name: _number(value) if name == "speed" else value for name, value in items}
            recording = asked.get(RECORDING)
            if recording is None:
                return asked, None
            if not isinstance(recording, UploadFile):
                raise errors.ReferenceRefused(
                    reason="it came as text. Send the file itself (curl: -F reference=@FILE).",
                    reason_zh="收到的是文本，请上传文件本身（curl：-F reference=@文件）。",
                )
            del asked[RECORDING]
            data = await recording.read()
    except (MultiPartException, HTTPException):
        raise errors.MalformedRequest(
            reason="its form data is broken, or has more than one file.",
            reason_zh="表单数据不完整，或不止一个文件。",
        ) from None
    return asked, await asyncio.to_thread(_kept, data, folder)


def _kept(data: bytes, folder: Path) -> Upload:
    """The client's file name is never used: it could be a path, or an option of ffmpeg."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RECORDING
    path.write_bytes(data)
    return Upload(path, folder)


def _number(value: object) -> object:
    """A form has only strings; what is no number stays one, and is refused with its name."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of the work; it is cancelled when the client closes the connection."""
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_disconnected(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
        return await task
    except asyncio.CancelledError:
        if gone.done() and not gone.cancelled():
            raise errors.ClientGone from None
        task.cancel()
        raise
    finally:
        gone.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _host(request: Request) -> str | None:
    return request.client.host if request.client else None


def _only_from(request: Request, allowed: tuple[Network, ...], setting: str) -> None:
    try:
        address = ipaddress.ip_address(_host(request) or "")
    except ValueError:
        raise errors.Forbidden(setting=setting) from None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if not any(address in network for network in allowed):
        raise errors.Forbidden(setting=setting)
