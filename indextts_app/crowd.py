"""
Open pages hold connections that say nothing for hours; they are counted apart from requests.

So many may be open, and so many of one client, that there always is room for a request: a thousand
forgotten tabs keep nobody from being answered.
"""

from __future__ import annotations

import re
from collections import Counter

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from indextts_app import errors
from indextts_app.door import client_of

_HELD = re.compile(r"(/operations)?/gradio_api/(heartbeat/|queue/data$)|/live/")
"""What answers for as long as somebody stays."""

ONE_CLIENTS_SHARE = 4
"""One client may hold a quarter."""


class CrowdMiddleware:
    """Answers the page that is one too many."""

    def __init__(self, app: ASGIApp, *, max_held: int) -> None:
        """
        Args:
            app: what answers the others.
            max_held: lasting answers at a time.
        """
        self._app = app
        self._max_held = max_held
        self._held = 0
        self._of_client: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Pass the request on.

        Raises:
            errors.Crowded: there are too many already.
        """
        if scope["type"] != "http" or not _HELD.match(scope["path"]):
            await self._app(scope, receive, send)
            return
        client = client_of(Headers(scope=scope), scope["client"][0] if scope["client"] else None)
        self._check(client)
        self._held += 1
        self._of_client[client or ""] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._held -= 1
            self._of_client[client or ""] -= 1
            if not self._of_client[client or ""]:
                del self._of_client[client or ""]

    def _check(self, client: str | None) -> None:
        of_one = self._of_client[client] if client else 0
        if self._held >= self._max_held or of_one >= max(self._max_held // ONE_CLIENTS_SHARE, 1):
            raise errors.Crowded
