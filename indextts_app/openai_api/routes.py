"""The routes below /v1: speech, models, voices; every error there has OpenAI's shape."""

from __future__ import annotations

import time
from asyncio import Task
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from indextts_app import answers, errors, forms, streaming
from indextts_app.audio import MEDIA_TYPES
from indextts_app.door import caller_of
from indextts_app.engines.base import Capabilities
from indextts_app.error_body import OPENAI_PATH, OpenAIErrorBody, language_of
from indextts_app.methods import METHODS
from indextts_app.openai_api import events, words
from indextts_app.settings import Settings
from indextts_app.streaming import Live
from indextts_app.synthesis import SynthesisResult
from indextts_app.synthesizer import Synthesizer

SPEAKER_HEADER = "X-Speaker"
"""Who speaks: a client that sent a name of OpenAI's may want to know."""

_TEXT: dict[str, Any] = {"type": "string"}
_ERROR = {"model": OpenAIErrorBody}

SPEECH_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["input"],
                    "properties": {
                        "model": {**_TEXT, "description": "the engine in use, or one of OpenAI's"},
                        "input": {**_TEXT, "description": "what to say"},
                        "voice": {**_TEXT, "description": "id from /v1/voices"},
                        "response_format": {
                            **_TEXT,
                            "enum": [kind.value for kind in MEDIA_TYPES],
                            "default": words.DEFAULT_FORMAT.value,
                        },
                        "speed": {"type": "number", "minimum": 0.5, "maximum": 2, "default": 1},
                        "stream_format": {**_TEXT, "enum": list(words.STREAM_FORMATS)},
                        "instructions": {**_TEXT, "description": "the emotion in words"},
                    },
                    "additionalProperties": {"description": "the further fields of /tts"},
                },
                "example": {"model": "tts-1", "input": "今天天气很好。", "voice": "alloy"},
            }
        },
    }
}


def router(synthesizer: Synthesizer, settings: Settings) -> APIRouter:
    """The routes; `elsewhere` answers every other path below /v1."""
    routes = APIRouter(prefix=OPENAI_PATH, tags=["OpenAI"])
    since = int(time.time())
    engine = settings.engine

    @routes.post(
        "/audio/speech",
        response_class=Response,
        responses=dict.fromkeys((400, 401, 404, 413, 422, 429, 503, 504, 507), _ERROR),
        openapi_extra=SPEECH_BODY,
        summary="Turn text into speech, as OpenAI's API does",
    )
    async def speech(request: Request) -> Response:
        caller = caller_of(request.headers, answers.host_of(request), "api")
        async with AsyncExitStack() as held:
            folder = await held.enter_async_context(forms.uploads(settings, caller.request_id))
            sent, recordings = await forms.asked(
                request,
                folder,
                settings.timeout_seconds,
                reading=synthesizer.admission.reading(caller.client),
                text_fields=words.TEXT,
            )
            wanted = words.speech(sent, engine, _can(synthesizer), settings.openai_voices)
            live = Live(caller.request_id) if wanted.streams else None
            work = synthesizer.synthesize(wanted.asked, caller, recordings=recordings, live=live)
            if live is None:
                return _whole(await answers.unless_gone(request, work), events_=wanted.events)

            def begun(
                outcome: Task[SynthesisResult], unheard: Callable[[], Awaitable[None]]
            ) -> Response:
                kind, headers = streaming.head_of(live)
                headers |= _speaker(live.request.speaker) if live.request else {}
                if not wanted.events:
                    return streaming.StreamedAudio(live, kind, headers, unheard)
                language = language_of(request.headers.get("accept-language"))
                return events.StreamedEvents(
                    live, kind, headers, unheard, outcome=outcome, language=language
                )

            return await streaming.answer(
                request,
                live,
                work,
                begun=begun,
                whole=lambda result: _whole(result, events_=wanted.events),
                until=held.pop_all(),
            )

    def model(name: str = engine) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": since, "owned_by": "indextts"}

    @routes.get("/models", summary="The engine in use")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [model()]}

    @routes.get("/models/{name}", responses={404: _ERROR}, summary="The engine in use, by its name")
    async def one_model(name: str) -> dict[str, Any]:
        words.check_model(name, engine)
        return model(name)

    @routes.get("/voices", responses={503: _ERROR}, summary="The speakers")
    @routes.get("/audio/voices", responses={503: _ERROR}, include_in_schema=False)
    async def voices() -> dict[str, Any]:
        found = _voices(synthesizer.capabilities, settings.openai_voices)
        return {"object": "list", "data": found, "voices": found}

    return routes


def elsewhere() -> APIRouter:
    """What answers, behind all routes, every path below /v1 that is none: in the same shape."""
    routes = APIRouter(prefix=OPENAI_PATH)

    @routes.api_route("/{path:path}", methods=sorted(METHODS), include_in_schema=False)
    async def unknown() -> Response:
        raise errors.UnknownPath

    return routes


def _can(synthesizer: Synthesizer) -> Capabilities | None:
    try:
        return synthesizer.capabilities
    except errors.NotReady:
        return None


def _voices(can: Capabilities, given: Mapping[str, str]) -> list[dict[str, Any]]:
    """The speakers, and the operator's own names for them."""
    return [
        *(
            {"id": one.id, "object": "voice", "name": one.name.en, "name_zh": one.name.zh}
            for one in can.speakers
        ),
        *(
            {"id": name, "object": "voice", "name": name, "speaker": speaker}
            for name, speaker in given.items()
        ),
    ]


def _whole(result: SynthesisResult, *, events_: bool) -> Response:
    headers = {**answers.headers_of(result), **_speaker(result.request.speaker)}
    return events.whole(result, headers) if events_ else answers.audio(result, headers)


def _speaker(speaker: str) -> dict[str, str]:
    return {SPEAKER_HEADER: speaker}
