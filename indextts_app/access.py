"""
Who may ask for speech: everybody, or, once there are API keys, whoever has one.

With keys, everything needs one but what stands in `OPEN`, so that a route that is added later is
closed until somebody opens it. A program sends its key with each request. A person enters it once,
on the page, and gets a session; so does an operator who has logged in to `/operations`, or sends
the operations password. Whose key it was goes on as a header, and from there to the event's `user`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Final

import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from indextts_app import errors
from indextts_app.api_keys import ApiKeys, digest_of
from indextts_app.attempts import Attempts
from indextts_app.door import USER_HEADER, masked_ip
from indextts_app.error_body import ID_HEADER, language_of
from indextts_app.login_page import let_in, let_out, login_page, sent
from indextts_app.operators import COOKIE as OPERATOR_COOKIE
from indextts_app.operators import Operators, check_same_site
from indextts_app.pages.texts import say
from indextts_app.sessions import Sessions
from indextts_app.settings import Settings

log = structlog.get_logger("indextts_app.access")

COOKIE: Final = "indextts_visitor"
"""Holds the token of a visitor's session."""

OPEN: Final = frozenset(
    {
        "/health",
        "/health/live",
        "/health/ready",
        # These have rules of their own.
        "/metrics",
        "/operations",
        # The API's description, which holds nothing of anybody.
        "/docs",
        "/docs/oauth2-redirect",
        "/openapi.json",
    }
)
OPEN_BELOW: Final = ("/operations/", "/requests/", "/static-offline-docs/")


def tell_if_open(settings: Settings, keys: ApiKeys) -> None:
    """Say in the log that others may ask without a key: nobody should find that out too late."""
    if not keys.are_needed and not _is_loopback(settings.host):
        log.warning(
            "access.open",
            host=settings.host,
            advice="Whoever reaches this port may ask for speech: set INDEXTTS_API_KEYS_FILE.",
        )


class AccessMiddleware:
    """Answers whoever needs an API key and has none, and names the others."""

    def __init__(
        self, app: ASGIApp, *, keys: ApiKeys, operators: Operators, origins: tuple[str, ...] = ()
    ) -> None:
        """
        Args:
            app: what answers those who may ask.
            keys: in force.
            operators: who need none.
            origins: of web pages that may ask.
        """
        self._app = app
        self._origins = origins
        self._keys = keys
        self._operators = operators
        self._sessions = Sessions()
        self._attempts = Attempts()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or raise the `errors.ServiceError` that says why not."""
        if not self._keys.are_needed or scope["type"] not in ("http", "websocket"):
            if scope["type"] == "http":
                self._check_site(Request(scope))
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            answer = await self._answer(Request(scope, receive))
            await (answer or self._app)(scope, receive, send)

    async def _answer(self, request: Request) -> Response | None:
        """What is answered here; None for who may go on."""
        path = request.scope["path"]
        try:
            if request.method == "POST" and path == "/login":
                return await self._login(request)
            if request.method == "POST" and path == "/logout":
                self._sessions.close(request.cookies.get(COOKIE, ""))
                return let_out(COOKIE)
            if path in OPEN or path.startswith(OPEN_BELOW):
                return None
            user = self._user(request)
        except errors.ServiceError as error:
            wants_page = "text/html" in request.headers.get("accept", "")
            if wants_page and path in ("/", "/login"):
                return _login_page(request, error)
            raise
        request.scope["headers"].append((USER_HEADER.encode(), user.encode()))
        return None

    def _check_site(self, request: Request) -> None:
        """
        Refuse what another site's page makes a visitor's browser ask for.

        Where no key is needed, it would have this machine speak for anybody whose page is open.
        """
        if request.method in ("GET", "HEAD", "OPTIONS"):
            return
        foreign = request.headers.get("sec-fetch-site") in ("cross-site", "same-site")
        if foreign and request.headers.get("origin") not in self._origins:
            raise errors.ForeignSite

    def _user(self, request: Request) -> str:
        host = request.client.host if request.client else None
        if (key := _key(request.headers)) is not None:
            return self._checked(key, request)
        # A key that was revoked takes its sessions with it.
        digest = self._sessions.who(request.cookies.get(COOKIE))
        name = self._keys.name_of_digest(digest) if digest else None
        if name is None:
            session = request.cookies.get(OPERATOR_COOKIE)
            name = self._operators.logged_in(host, request.headers, session)
        if name is None:
            raise errors.KeyNeeded
        if request.method not in ("GET", "HEAD"):
            # A browser sends its session along, whoever's page asks it to.
            check_same_site(request.headers)
        return name

    def _checked(self, key: str, request: Request) -> str:
        """
        The name of a key.

        A right one is let in from any address: whoever guesses behind the same proxy locks nobody
        out, and has 256 bits to guess.
        """
        if name := self._keys.name_of(key):
            return name
        host = request.client.host if request.client else None
        self._attempts.check(host)
        log.warning(
            "access.refused",
            request_id=request.headers.get(ID_HEADER),
            client_ip=masked_ip(host),
            failures=self._attempts.failed(host),
        )
        raise errors.KeyUnknown

    async def _login(self, request: Request) -> Response:
        check_same_site(request.headers)
        (key,) = await sent(request, "key")
        key = key.strip()
        name = self._checked(key, request)
        log.info("access.login", user=name)
        return let_in(request, COOKIE, self._sessions.open(digest_of(key)))


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _key(headers: Mapping[str, str]) -> str | None:
    """The API key that came with a request; None where there is none."""
    if key := headers.get("x-api-key"):
        return key.strip()
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _login_page(request: Request, error: errors.ServiceError) -> Response:
    language = language_of(request.headers.get("accept-language"))
    told = "" if type(error) is errors.KeyNeeded else error.message(language)
    fields = (
        f"<label>{say('api_key', language)}"
        '<input name="key" type="password" autocomplete="current-password" required autofocus>'
        f"</label><button>{say('log_in', language)}</button>"
    )
    return login_page(
        say("title", language),
        more=say("log_in_more", language),
        told=told,
        fields=fields,
        language=language,
        status=error.http_status,
    )
