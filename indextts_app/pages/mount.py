"""The page put into the application, with every door of Gradio's closed that it does not need."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Never

import gradio as gr
import gradio.processing_utils
import gradio.queueing
import gradio.route_utils
import gradio.routes
import gradio.utils
import structlog
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse

from indextts_app import errors
from indextts_app.engines.base import Features
from indextts_app.error_body import error_response
from indextts_app.pages import labels
from indextts_app.pages.doors import DoorsMiddleware
from indextts_app.settings import Settings
from observability.frames import frames_of

log = structlog.get_logger("indextts_app.pages")

HERE = Path(__file__).parent
SESSIONS_KEPT = 200
"""Gradio keeps 37 kB for each of the last 10,000 sessions; the handlers need none of it."""


def mount(
    app: FastAPI, page: gr.Blocks, settings: Settings, features: Features
) -> Callable[[], None]:
    """
    Serve the page at `/`; routes that are added to the application later are never reached.

    Returns what lets go of the open tabs: each holds a connection that would keep a server that
    wants to stop waiting. Call it in the server's loop.
    """
    gradio_app = served(
        app,
        page,
        "/",
        i18n=labels.translations(features),
        styles=[HERE / "page.css"],
        scripts=[HERE / name for name in ("copying.js", "page.js", "history.js")],
        settings=settings,
    )
    _answer_unknown_paths(gradio_app)
    return letting_go(gradio_app)


def served(
    app: FastAPI,
    page: gr.Blocks,
    path: str,
    *,
    i18n: gr.I18n,
    styles: Sequence[Path],
    scripts: Sequence[Path],
    settings: Settings,
) -> FastAPI:
    """Gradio's own application of a page, which is the last route of the application now."""
    page.state_session_capacity = SESSIONS_KEPT
    _fetch_nothing()
    _print_no_messages()
    code = "\n".join(script.read_text(encoding="utf-8") for script in scripts)
    gr.mount_gradio_app(
        app,
        page,
        path,
        i18n=i18n,
        theme=_theme(),
        css_paths=list(styles),
        head=f"<script>{code}</script>",
        max_file_size=int(settings.max_upload_mb * 1e6),
        # Messages of unexpected exceptions are for the log, not for visitors.
        show_error=False,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
    )
    # Only launch() sets this, and without it Gradio skips its check that an input file was
    # uploaded: {"path": "/etc/passwd"} would be handed to the handler.
    page.has_launched = True
    gradio_app: FastAPI = app.router.routes[-1].app  # type: ignore[attr-defined]
    gradio_app.add_middleware(DoorsMiddleware)
    _answer_faults(gradio_app)
    return gradio_app


def letting_go(gradio_app: FastAPI) -> Callable[[], None]:
    """What closes the connections of open tabs; for the server's loop."""
    release: Callable[[], None] = gradio_app.stop_event.set  # type: ignore[attr-defined]
    return release


def _answer_unknown_paths(gradio_app: FastAPI) -> None:
    """A path that nobody serves ends up here, as the page is at `/`; it gets the API's answer."""

    async def unknown(request: Request, _: Exception) -> JSONResponse:
        return error_response(request.headers, errors.UnknownPath(), request.scope["path"])

    gradio_app.add_exception_handler(404, unknown)


def _answer_faults(gradio_app: FastAPI) -> None:
    """Where Gradio stumbles over what was sent, its answer would be neither JSON nor have an id."""

    async def fault(request: Request, _: Exception) -> JSONResponse:
        return error_response(request.headers, errors.ServiceError(), request.scope["path"])

    gradio_app.add_exception_handler(Exception, fault)


def _print_no_messages() -> None:
    """
    Keep what a visitor typed out of the log: Gradio prints tracebacks of requests that it cannot
    read, and their messages quote the fields. It has no switch for it either.
    """
    for module in (gradio.queueing, gradio.route_utils, gradio.routes, gradio.utils):
        module.traceback = _Tracebacks()  # type: ignore[attr-defined]


class _Tracebacks:
    """The module `traceback`, whose `print_exc` logs where it happened and not what was said."""

    def print_exc(self, *_: object, **__: object) -> None:
        if error := sys.exception():
            log.error("page.unexpected", kind=type(error).__name__, traceback=frames_of(error))

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(traceback, name)


def _fetch_nothing() -> None:
    """
    Keep Gradio from fetching URLs that a client names, as a file input or behind `/file=`.

    It offers no switch for it, and allows any public host, at any size.
    """
    gradio.processing_utils.async_ssrf_protected_get = _refuse
    gradio.routes.secure_url_stream_response = _refuse  # type: ignore[attr-defined]


async def _refuse(url: str, request: object = None) -> Never:  # noqa: ARG001
    raise HTTPException(403, "Files are taken as uploads only.")


def _theme() -> gr.themes.Base:
    """Fonts that every system has, so that none is fetched."""
    theme = gr.themes.Default(
        primary_hue="blue",
        neutral_hue="slate",
        font=[
            "system-ui",
            "PingFang SC",
            "Microsoft YaHei",
            "Noto Sans CJK SC",
            "WenQuanYi Micro Hei",
            "sans-serif",
        ],
        font_mono=["ui-monospace", "Consolas", "monospace"],
    )
    return theme.set(body_background_fill="*neutral_50")
