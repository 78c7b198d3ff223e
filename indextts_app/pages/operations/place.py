"""The operations page put into the application, below `/operations` and behind its wall."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route

from indextts_app import errors
from indextts_app.desk import Desk
from indextts_app.error_body import error_response, language_of
from indextts_app.operators import Operators
from indextts_app.pages.mount import letting_go, served
from indextts_app.pages.operations import operations_page, texts
from indextts_app.pages.operations.handlers import Handlers
from indextts_app.pages.operations.wall import Wall
from indextts_app.settings import Settings
from indextts_app.synthesizer import Synthesizer
from observability.log_store.questions import Unanswerable
from observability.reports.figures import Report
from observability.reports.html_page import html_page
from observability.reports.month import Month, MonthError
from observability.reports.tables import csv_tables

PATH = "/operations"
HERE = Path(__file__).parent


def mount(
    app: FastAPI,
    settings: Settings,
    *,
    desk: Desk,
    operators: Operators,
    synthesizer: Synthesizer,
    hash_key: bytes,
) -> Callable[[], None]:
    """
    Serve the page at `/operations`; before the page at `/`, which hides what follows it.

    Returns what lets go of the open tabs, for the server's loop.
    """
    handlers = Handlers(desk, synthesizer, settings, hash_key)
    page = operations_page.build(
        handlers, keep_hours=settings.output_keep_hours, logs_in=operators.log_in
    )

    async def to_the_page(_: Request) -> Response:
        # Relative, for proxies that serve all of this below another path.
        return RedirectResponse(f"{PATH.removeprefix('/')}/", 307)

    app.add_route(PATH, to_the_page, methods=["GET"], include_in_schema=False)
    pages = HERE.parent
    gradio_app = served(
        app,
        page,
        PATH,
        i18n=texts.translations(),
        styles=[pages / "page.css", HERE / "operations.css"],
        scripts=[pages / "copying.js", HERE / "operations.js"],
        settings=settings,
    )
    behind = Starlette(
        routes=[
            Route("/report/{name}", _Downloads(desk).report),
            Mount("/", gradio_app),
        ]
    )
    app.router.routes[-1].app = Wall(behind, operators)  # type: ignore[attr-defined]
    return letting_go(gradio_app)


class _Downloads:
    """
    The report as files.

    Not through Gradio, whose files anybody may fetch who knows their names.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def report(self, request: Request) -> Response:
        """`2026-10.html`, `.json`, `.zip` (every table as CSV) or `.csv?table=summary`."""
        stem, _, kind = request.path_params["name"].rpartition(".")
        language = request.query_params.get("language")
        if language not in ("en", "zh"):
            language = language_of(request.headers.get("accept-language"))
        try:
            source = request.query_params.get("source")
            made = await self._desk.report(Month.parse(stem), source)
            content, media_type = _file(made, kind, request.query_params.get("table"), language)
        except (MonthError, Unanswerable) as error:
            told = errors.UnknownRequest(reason=error.en, reason_zh=error.zh)
            return error_response(request.headers, told)
        except KeyError:
            return error_response(request.headers, errors.UnknownPath())
        name = f"indextts-{made.month}.{kind}"
        disposition = f'attachment; filename="{name}"'
        return Response(
            content, media_type=media_type, headers={"Content-Disposition": disposition}
        )


def _file(made: Report, kind: str, table: str | None, language: str) -> tuple[bytes, str]:
    if kind == "html":
        return html_page(made, language).encode(), "text/html; charset=utf-8"
    if kind == "json":
        text = json.dumps(made.document(), ensure_ascii=False, indent=2, allow_nan=False)
        return f"{text}\n".encode(), "application/json"
    if kind == "csv":
        return csv_tables(made)[table or "summary"].encode(), "text/csv; charset=utf-8"
    if kind == "zip":
        return _zipped(made), "application/zip"
    raise KeyError(kind)


def _zipped(made: Report) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in csv_tables(made).items():
            archive.writestr(f"indextts-{made.month}-{name}.csv", text)
    return file.getvalue()
