"""
Which of Gradio's own routes answer: those that our pages use.

It has many more, for anybody who reaches the port and for features that we have not: one runs
ffmpeg on whatever is sent to it, without any limit, one writes the state of a session to the disk,
one calls methods of components, one asks other hosts. A route that a later version brings is closed
until somebody opens it here.
"""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from indextts_app import errors
from indextts_app.error_body import error_response

_API: Final = "/gradio_api/"

OPEN: Final = frozenset(
    {
        "app_id",
        "cancel",
        "info",
        "login_check",
        "queue/data",
        "queue/join",
        "queue/status",
        "reset",
        "startup-events",
        "theme.css",
        "token",
        "upload",
        "upload_progress",
        "user",
    }
)
OPEN_BELOW: Final = ("file=", "heartbeat/", "run/")


class DoorsMiddleware:
    """
    Answers what asks for a route of Gradio's that no page of ours uses, as an unknown path.

    Of a file, one range is served, or all of it: Gradio stumbles over several (RFC 9110, 14.2, has
    a server ignore what it does not serve).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif _is_open(scope["path"]):
            scope["headers"] = [item for item in scope["headers"] if not _is_ranges(*item)]
            await self._app(scope, receive, send)
        else:
            refusal = error_response(Headers(scope=scope), errors.UnknownPath(), scope["path"])
            await refusal(scope, receive, send)


def _is_ranges(name: bytes, value: bytes) -> bool:
    return name == b"range" and b"," in value


def _is_open(path: str) -> bool:
    _, is_api, name = path.partition(_API)
    return not is_api or name.rstrip("/") in OPEN or name.startswith(OPEN_BELOW)
