"""The one shape of every error that leaves over HTTP: code, message, request_id."""

from __future__ import annotations

from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.responses import JSONResponse

from indextts_app import errors

ID_HEADER = "x-request-id"


class ErrorBody(BaseModel):
    """The body of every error."""

    error: str
    message: str
    request_id: str


def error_response(headers: Headers, error: errors.ServiceError) -> JSONResponse:
    """The error in the client's language, by the headers of its request."""
    language = language_of(headers.get("accept-language"))
    body = ErrorBody(
        error=error.code,
        message=error.message(language),
        request_id=headers.get(ID_HEADER, ""),
    )
    told = {}
    if error.retry_after_seconds is not None:
        told["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(error, errors.LoginNeeded):
        told["WWW-Authenticate"] = error.challenge
    return JSONResponse(body.model_dump(), error.http_status, headers=told)


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
