"""REST for what may be asked for and is kept: speakers, presets, the glossary; and segments."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from indextts_app import errors, forms
from indextts_app.engines.base import Capabilities, Control
from indextts_app.error_body import ID_HEADER, ErrorBody
from indextts_app.operators import COOKIE, Operators
from indextts_app.presets import Preset
from indextts_app.settings import Settings
from indextts_app.speakers import StoredSpeaker
from indextts_app.synthesis import RECORDINGS, TEXT_FIELDS, AudioFormat, offered
from indextts_app.synthesizer import Synthesizer
from observability import request_id

AUDIO = "audio"
NAMES = frozenset({"name", "description"})

READING: dict[int | str, dict[str, Any]] = {503: {"model": ErrorBody}}
KEEPING: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "the request cannot be read"},
    401: {"model": ErrorBody, "description": "with INDEXTTS_OPERATIONS_PASSWORD: HTTP Basic"},
    403: {"model": ErrorBody, "description": "not from this address, or from another site's page"},
    413: {"model": ErrorBody, "description": "more bytes than may be sent"},
    422: {"model": ErrorBody, "description": "a field does not fit; the message says what would"},
    429: {"model": ErrorBody, "description": "too many wrong passwords"},
    503: {"model": ErrorBody, "description": "not now; the message says why"},
}
FORGETTING: dict[int | str, dict[str, Any]] = {
    401: KEEPING[401],
    403: KEEPING[403],
    404: {"model": ErrorBody, "description": "there is none"},
    422: {"model": ErrorBody, "description": "something else needs it"},
    429: KEEPING[429],
    503: KEEPING[503],
}

_TEXT: dict[str, Any] = {"type": "string"}
_FILE: dict[str, Any] = {"type": "string", "format": "binary"}
_READINGS: dict[str, Any] = {"type": "object", "properties": {"zh": _TEXT, "en": _TEXT}}

_RANGE = ("lowest", "highest", "step")


def router(synthesizer: Synthesizer, settings: Settings, operators: Operators) -> APIRouter:
    """The routes; whoever may ask for speech may read, and only operators may change."""
    routes = APIRouter()
    library = synthesizer.library

    def check_operator(request: Request) -> None:
        host = request.client.host if request.client else None
        operators.check_change(host, request.headers, request.cookies.get(COOKIE))

    def check_change(request: Request) -> None:
        check_operator(request)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in ("application/json", "multipart/form-data"):
            raise errors.MalformedRequest(
                reason="its Content-Type is neither of both.",
                reason_zh="Content-Type 不是这两者之一。",
            )

    @asynccontextmanager
    async def sent(
        request: Request,
        recordings: tuple[str, ...] = (),
        text_fields: frozenset[str] = frozenset(),
    ) -> AsyncIterator[forms.Sent]:
        name = request.headers.get(ID_HEADER) or request_id.new()
        async with forms.uploads(settings, name) as folder:
            yield await forms.sent(
                request,
                folder,
                settings.timeout_seconds,
                recordings=recordings,
                text_fields=text_fields,
            )

    @routes.get("/speakers", responses=READING, summary="All that may be asked for")
    async def speakers() -> dict[str, Any]:
        return _offer(synthesizer.capabilities, {one.id: one for one in library.speakers.all()})

    @routes.post(
        "/speakers",
        status_code=201,
        response_class=JSONResponse,
        responses=KEEPING,
        openapi_extra=_form({"name": _TEXT, "description": _TEXT, AUDIO: _FILE}, "name", AUDIO),
        summary="Make a speaker from a recording",
    )
    async def add_speaker(request: Request) -> JSONResponse:
        check_change(request)
        async with sent(request, (AUDIO,), NAMES) as (fields, uploads):
            _check_known(fields, (*NAMES, AUDIO))
            if AUDIO not in uploads:
                raise errors.ReferenceRefused(
                    reason=f"there is none. Send it in a form (curl: -F {AUDIO}=@FILE).",
                    reason_zh=f"没有音频，请用表单上传（curl：-F {AUDIO}=@文件）。",
                )
            added = await asyncio.to_thread(
                library.add_speaker,
                fields.get("name"),
                fields.get("description"),
                uploads[AUDIO],
                synthesizer.capabilities,
            )
        return JSONResponse(_stored(added), 201)

    @routes.delete(
        "/speakers/{speaker_id}", status_code=204, responses=FORGETTING, summary="Forget a speaker"
    )
    async def remove_speaker(request: Request, speaker_id: str) -> Response:
        check_operator(request)
        await asyncio.to_thread(library.remove_speaker, speaker_id)
        return Response(status_code=204)

    @routes.get("/presets", summary="The presets")
    async def presets() -> dict[str, Any]:
        return {"presets": [_preset(preset) for preset in library.presets.all()]}

    @routes.post(
        "/presets",
        status_code=201,
        response_class=JSONResponse,
        responses=KEEPING,
        openapi_extra=_form(
            {
                "name": _TEXT,
                "description": _TEXT,
                "fields": {"type": "object", "description": "as of /tts, without the text"},
                **dict.fromkeys(RECORDINGS, _FILE),
            },
            "name",
        ),
        summary="Keep the fields of a request under a name",
    )
    async def add_preset(request: Request) -> JSONResponse:
        check_change(request)
        async with sent(request, RECORDINGS, NAMES) as (asked, uploads):
            _check_known(asked, (*NAMES, "fields", *RECORDINGS))
            fields = asked.get("fields", {})
            if not isinstance(fields, Mapping):
                raise errors.InvalidField(
                    field="fields",
                    reason='it must be a JSON object, as {"speaker": "sample", "seed": 7}.',
                    reason_zh='应为 JSON 对象，例如 {"speaker": "sample", "seed": 7}。',
                )
            added = await asyncio.to_thread(
                library.add_preset,
                asked.get("name"),
                asked.get("description"),
                fields,
                uploads,
                synthesizer.capabilities,
            )
        return JSONResponse(_preset(added), 201)

    @routes.get("/presets/{preset_id}", responses={404: FORGETTING[404]}, summary="One preset")
    async def preset(preset_id: str) -> dict[str, Any]:
        return _preset(library.presets.get(preset_id))

    @routes.delete(
        "/presets/{preset_id}", status_code=204, responses=FORGETTING, summary="Forget a preset"
    )
    async def remove_preset(request: Request, preset_id: str) -> Response:
        check_operator(request)
        await asyncio.to_thread(library.remove_preset, preset_id)
        return Response(status_code=204)

    def check_glossary(request: Request) -> None:
        check_change(request)
        can = synthesizer.capabilities
        if not can.features.glossary:
            raise errors.NotSupported(
                engine=can.engine, reason="it uses no glossary.", reason_zh="它不使用术语词汇表。"
            )

    @routes.get("/glossary", summary="How terms are read")
    async def glossary() -> dict[str, Any]:
        return {"terms": dict(library.glossary.all())}

    @routes.put(
        "/glossary",
        responses=KEEPING,
        openapi_extra=_json_body({"type": "object", "additionalProperties": _READINGS}),
        summary="Replace the whole glossary",
    )
    async def replace_glossary(request: Request) -> dict[str, Any]:
        check_glossary(request)
        async with sent(request) as (terms, _):
            await asyncio.to_thread(library.glossary.replace, terms)
        return {"terms": dict(library.glossary.all())}

    @routes.put(
        "/glossary/{term:path}",
        responses=KEEPING,
        openapi_extra=_json_body(_READINGS),
        summary="Say how a term is read",
    )
    async def put_term(request: Request, term: str) -> dict[str, Any]:
        check_glossary(request)
        async with sent(request) as (readings, _):
            await asyncio.to_thread(library.glossary.put, term, readings)
        return {"terms": dict(library.glossary.all())}

    @routes.delete(
        "/glossary/{term:path}", status_code=204, responses=FORGETTING, summary="Forget a term"
    )
    async def remove_term(request: Request, term: str) -> Response:
        check_operator(request)
        await asyncio.to_thread(library.glossary.remove, term)
        return Response(status_code=204)

    @routes.post(
        "/segments",
        responses={status: KEEPING[status] for status in (400, 413, 422, 503)},
        openapi_extra=_json_body(
            {
                "type": "object",
                "description": "as of /tts",
                "required": ["text"],
                "properties": {"text": _TEXT},
            }
        ),
        summary="How the text of a request will be cut into segments",
    )
    async def segments(request: Request) -> dict[str, Any]:
        async with sent(request, RECORDINGS, TEXT_FIELDS) as (asked, recordings):
            found = await synthesizer.preview(asked, recordings)
        return {"segments": [asdict(segment) for segment in found]}

    return routes


def _offer(can: Capabilities, stored: Mapping[str, StoredSpeaker]) -> dict[str, Any]:
    features = can.features
    clones = can.reference == "voice"
    return {
        "engine": can.engine,
        "speakers": [
            _stored(stored[speaker.id])
            if clones and speaker.id in stored
            else {"id": speaker.id, "name": speaker.name.en, "name_zh": speaker.name.zh}
            for speaker in can.speakers
        ],
        "emotions": list(can.emotions),
        "emotion_modes": list(features.emotion_modes),
        "formats": [item.value for item in AudioFormat],
        "reference": can.reference,
        "controls": [_control(control) for control in features.controls],
        "fields": list(offered(can)),
        "speed": features.speed,
        "seed": features.seed,
        "segments": features.segments,
        "streams": features.streams,
        "glossary": features.glossary,
        "text_hint": asdict(features.text_hint) if features.text_hint else None,
        "notes": {name: asdict(note) for name, note in can.notes.items()},
    }


def _control(control: Control) -> dict[str, Any]:
    unused = {"switch": (*_RANGE, "choices"), "choice": _RANGE}.get(control.kind, ("choices",))
    return {name: value for name, value in asdict(control).items() if name not in unused}


def _stored(speaker: StoredSpeaker) -> dict[str, Any]:
    return {
        "id": speaker.id,
        "name": speaker.name.en,
        "name_zh": speaker.name.zh,
        "description": speaker.description,
        "seconds": speaker.seconds,
        "truncated": speaker.truncated,
        "reference_hash": speaker.sha256,
        "created": speaker.created or None,
    }


def _preset(preset: Preset) -> dict[str, Any]:
    return asdict(preset)


def _check_known(fields: Mapping[str, object], known: Collection[str]) -> None:
    if not set(fields) <= set(known):
        raise errors.UnknownField(known=", ".join(sorted(known)))


def _form(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    schema = {"type": "object", "required": list(required), "properties": properties}
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }


def _json_body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
