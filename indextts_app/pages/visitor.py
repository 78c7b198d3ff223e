"""Who uses the page: language, address, and the files that the browser names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import gradio as gr
from starlette.requests import cookie_parser

from indextts_app import error_body


def language_of(request: gr.Request) -> str:
    """The language of this visitor's browser."""
    return error_body.language_of(request.headers.get("accept-language"))


def host_of(request: gr.Request) -> str | None:
    """The address that this visitor comes from."""
    host = getattr(request.client, "host", None)
    return host if isinstance(host, str) else None


def cookie_of(request: gr.Request, name: str) -> str | None:
    """The value of a cookie; Gradio's own `cookies` is an object with the names as attributes."""
    return cookie_parser(request.headers.get("cookie", "")).get(name)


def path_of(described: object) -> Path:
    """
    The path of a recording as the browser describes it.

    A hand-written request may hold anything; what is no path is refused where it is read.
    """
    path = described.get("path") if isinstance(described, Mapping) else None
    return Path(path if isinstance(path, str) else "")
