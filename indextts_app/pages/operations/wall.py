"""
The wall around the operations page: nothing behind it answers whoever is not an operator.

It stands before Gradio's application and not inside it, because Gradio's own login leaves some of
its routes open.
"""

from __future__ import annotations

from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from indextts_app import errors
from indextts_app.error_body import error_response, language_of
from indextts_app.login_page import let_in, let_out, login_page, sent
from indextts_app.operators import COOKIE, Operators
from indextts_app.pages.operations.texts import say

HEADERS: Final = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""On every answer of the page: nobody else's page may show it or learn its addresses."""


class Wall:
    """An ASGI application that lets operators through to another one."""

    def __init__(self, app: ASGIApp, operators: Operators) -> None:
        self._app = app
        self._operators = operators

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass an operator's request on, and answer everybody else's."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        request = Request(scope, receive)
        path = request.url.path.removeprefix(str(scope.get("root_path", "")))
        try:
            answer = await self._answer(request, path)
        except errors.ServiceError as error:
            answer = _refusal(request, path, error)
        await (answer or self._app)(scope, receive, send_guarded)

    async def _answer(self, request: Request, path: str) -> Response | None:
        """What the wall itself has to say; None for an operator."""
        _check_same_site(request)
        host = request.client.host if request.client else None
        if request.method == "POST" and path == "/login" and self._operators.log_in:
            return await self._login(request, host)
        if request.method == "POST" and path == "/logout":
            self._operators.logout(request.cookies.get(COOKIE, ""))
            return let_out(COOKIE)
        self._operators.check(host, request.headers, request.cookies.get(COOKIE))
        return None

    async def _login(self, request: Request, host: str | None) -> Response:
        user, password = await sent(request, "user", "password")
        return let_in(request, COOKIE, self._operators.login(host, user, password))


def _check_same_site(request: Request) -> None:
    """
    Refuse what another site's page asks a browser to do in an operator's name.

    Browsers say so themselves; following a link to the page is not meant.
    """
    foreign = request.headers.get("sec-fetch-site") in ("cross-site", "same-site")
    follows_link = request.method == "GET" and request.headers.get("sec-fetch-mode") == "navigate"
    if foreign and not follows_link:
        raise errors.Forbidden(setting="INDEXTTS_OPERATIONS_ALLOW")


def _refusal(request: Request, path: str, error: errors.ServiceError) -> Response:
    """A form for people who come to log in, and the API's error for everybody else."""
    wants_page = "text/html" in request.headers.get("accept", "")
    if wants_page and path in ("", "/", "/login"):
        language = language_of(request.headers.get("accept-language"))
        return _login_page(error, language, tried=request.method == "POST")
    answer = error_response(request.headers, error)
    # The browser's own dialogue would come up in the middle of the page.
    if "www-authenticate" in answer.headers:
        del answer.headers["www-authenticate"]
    return answer


def _login_page(error: errors.ServiceError, language: str, *, tried: bool) -> Response:
    told = error.message(language)
    fields = more = ""
    if isinstance(error, errors.LoginNeeded):
        told = say("login_wrong", language) if tried else ""
        more = say("login_more", language)
        fields = (
            f"<label>{say('user', language)}"
            '<input name="user" autocomplete="username" required autofocus></label>'
            f"<label>{say('password', language)}"
            '<input name="password" type="password" autocomplete="current-password" required>'
            f"</label><button>{say('login', language)}</button>"
        )
    return login_page(
        f"IndexTTS-2 · {say('title', language)}",
        more=more,
        told=told,
        fields=fields,
        language=language,
        status=error.http_status,
    )
