"""
The wall around the operations page: nothing behind it answers whoever is not an operator.

It stands before Gradio's application and not inside it, because Gradio's own login leaves some of
its routes open.
"""

from __future__ import annotations

from html import escape
from typing import Final
from urllib.parse import parse_qs

from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from indextts_app import errors
from indextts_app.error_body import error_response, language_of
from indextts_app.operators import COOKIE, SESSION_SECONDS, Operators
from indextts_app.pages.operations.texts import say

MAX_LOGIN_BYTES: Final = 4_096

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
            answer = RedirectResponse("./", 303)
            answer.delete_cookie(COOKIE, path="/")
            return answer
        self._operators.check(host, request.headers, request.cookies.get(COOKIE))
        return None

    async def _login(self, request: Request, host: str | None) -> Response:
        sent = parse_qs(await _body(request), keep_blank_values=True, max_num_fields=10)
        user, password = (sent.get(name, [""])[0] for name in ("user", "password"))
        token = self._operators.login(host, user, password)
        answer = RedirectResponse("./", 303)
        answer.set_cookie(
            COOKIE,
            token,
            max_age=int(SESSION_SECONDS),
            # The page may be served below another path, which this process does not know.
            path="/",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="lax",
        )
        return answer


def _check_same_site(request: Request) -> None:
    """
    Refuse what another site's page asks a browser to do in an operator's name.

    Browsers say so themselves; following a link to the page is not meant.
    """
    foreign = request.headers.get("sec-fetch-site") in ("cross-site", "same-site")
    follows_link = request.method == "GET" and request.headers.get("sec-fetch-mode") == "navigate"
    if foreign and not follows_link:
        raise errors.Forbidden(setting="INDEXTTS_OPERATIONS_ALLOW")


async def _body(request: Request) -> str:
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_LOGIN_BYTES:
                raise errors.TooLarge(limit_mb=f"{MAX_LOGIN_BYTES / 1e6:g}")
    except ClientDisconnect:
        raise errors.ClientGone from None
    return body.decode("utf-8", "replace")


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
    form = told = ""
    if isinstance(error, errors.LoginNeeded):
        told = say("login_wrong", language) if tried else ""
        form = (
            f'<form method="post" action="login"><label>{say("user", language)}'
            '<input name="user" autocomplete="username" required autofocus></label>'
            f"<label>{say('password', language)}"
            '<input name="password" type="password" autocomplete="current-password" required>'
            f"</label><button>{say('login', language)}</button></form>"
        )
    else:
        told = error.message(language)
    alert = f'<p role="alert">{escape(told)}</p>' if told else ""
    more = f"<p>{say('login_more', language)}</p>" if form else ""
    text = (
        f'<!doctype html><html lang="{language}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{say('title', language)}</title><style>{STYLE}</style></head><body><main>"
        f"<h1>IndexTTS-2 · {say('title', language)}</h1>{more}{alert}{form}</main></body></html>"
    )
    return HTMLResponse(
        text,
        error.http_status,
        headers={
            "Cache-Control": "no-store",
            "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
            "form-action 'self'; frame-ancestors 'none'",
        },
    )


STYLE: Final = """
:root { color-scheme: light dark; }
body { margin: 0; min-height: 100vh; display: grid; place-items: center;
  font: 1rem/1.5 system-ui, "PingFang SC", "Microsoft YaHei", "WenQuanYi Micro Hei", sans-serif;
  background: light-dark(#f8fafc, #0b0f19); color: light-dark(#1f2937, #f1f5f9); }
main { width: min(22rem, calc(100vw - 3rem)); padding: 1.5rem; border-radius: .625rem;
  background: light-dark(#fff, #1f2937); border: 1px solid light-dark(#e2e8f0, #374151); }
h1 { margin: 0 0 .5rem; font-size: 1.25rem; }
p { margin: 0 0 1rem; font-size: .875rem; color: light-dark(#64748b, #94a3b8); }
p[role=alert] { color: light-dark(#c8372d, #f87171); }
form { display: grid; gap: .75rem; }
label { display: grid; gap: .25rem; font-size: .875rem; }
input, button { font: inherit; padding: .5rem .75rem; border-radius: .375rem;
  border: 1px solid light-dark(#cbd5e1, #4b5563); }
button { border: 0; background: #2563eb; color: #fff; font-weight: 600; cursor: pointer; }
"""
