"""
The shape of every error that leaves over HTTP: code, message, request_id.

Below /v1 it is OpenAI's, whose clients look for `error.message`, `error.type` and `error.code`.
"""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from indextts_app import errors

ID_HEADER = "x-request-id"

OPENAI_PATH: Final = "/v1"
OPENAI_NAMES: Final = {
    "text": "input",
    "speaker": "voice",
    "format": "response_format",
    "stream": "stream_format",
}
"""Our name of a field, and OpenAI's."""

_OF_TEXT = (
    errors.TextEmpty,
    errors.TextTooLong,
    errors.TextUnreadable,
    errors.TextNotSpeakable,
    errors.ScriptNotSpoken,
)
_HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}


class ErrorBody(BaseModel):
    """The body of every error."""

    error: str
    message: str
    request_id: str


class OpenAIError(BaseModel):
    """An error as OpenAI tells it; `request_id` is ours, and stands in the header as there."""

    message: str
    type: str
    param: str | None
    code: str
    request_id: str


class OpenAIErrorBody(BaseModel):
    """The body of every error below /v1."""

    error: OpenAIError


def error_response(headers: Headers, error: errors.ServiceError, path: str = "") -> JSONResponse:
    """The error in the client's language, by the headers and the path of its request."""
    language = language_of(headers.get("accept-language"))
    request_id = headers.get(ID_HEADER, "")
    body: BaseModel
    if _is_openai(path):
        body = openai_body(error, request_id, language)
    else:
        body = ErrorBody(error=error.code, message=error.message(language), request_id=request_id)
    told = {}
    if error.retry_after_seconds is not None:
        told["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(error, errors.LoginNeeded | errors.KeyNeeded):
        told["WWW-Authenticate"] = error.challenge
    return JSONResponse(body.model_dump(), error.http_status, headers=told)


def http_error_response(headers: Headers, error: HTTPException, path: str = "") -> JSONResponse:
    """The same of an error that the framework raised."""
    code = _HTTP_CODES.get(error.status_code, "http_error")
    request_id = headers.get(ID_HEADER, "")
    body: BaseModel
    if _is_openai(path):
        body = _openai(error.status_code, code, str(error.detail), None, request_id)
    else:
        body = ErrorBody(error=code, message=str(error.detail), request_id=request_id)
    return JSONResponse(body.model_dump(), error.status_code, getattr(error, "headers", None))


def openai_body(error: errors.ServiceError, request_id: str, language: str) -> OpenAIErrorBody:
    """The error as a client of OpenAI's reads it, its fields called as there."""
    message = error.message(language, OPENAI_NAMES)
    return _openai(error.http_status, error.code, message, _param(error), request_id)


def _openai(
    status: int, code: str, message: str, param: str | None, request_id: str
) -> OpenAIErrorBody:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return OpenAIErrorBody(
        error=OpenAIError(
            message=message,
            type="rate_limit_error" if status == 429 else kind,
            param=param,
            code=code,
            request_id=request_id,
        )
    )


def _param(error: errors.ServiceError) -> str | None:
    if isinstance(error, _OF_TEXT):
        return OPENAI_NAMES["text"]
    if isinstance(error, errors.SpeedOutOfRange):
        return "speed"
    field: Any = error.details.get("field")
    return None if field is None else OPENAI_NAMES.get(field, field)


def _is_openai(path: str) -> bool:
    return path == OPENAI_PATH or path.startswith(f"{OPENAI_PATH}/")


def language_of(accept_language: str | None) -> str:
    """`zh` if the client prefers Chinese over English, else `en`."""
    best, best_weight = "en", 0.0
    for part in (accept_language or "")[:500].split(","):
        tag, _, weight_text = part.strip().partition(";q=")
        language = tag.lower()[:2]
        try:
            weight = float(weight_text) if weight_text else 1.0
        except ValueError:
            continue
        if language in ("zh", "en") and weight > best_weight:
            best, best_weight = language, weight
    return best
