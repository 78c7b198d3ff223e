"""Who has logged in: tokens that a browser holds, of which this process keeps only the hashes."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

SESSION_SECONDS = 12 * 3600.0
MAX_SESSIONS = 1_000


class Sessions:
    """
    Sessions of one kind, each with who it is of; for one thread, and none of it waits.

    They live in this process: whoever was logged in logs in again after a restart. With more than
    `MAX_SESSIONS`, the oldest ends.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sessions: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def open(self, who: str) -> str:
        """The token of a new session."""
        token = secrets.token_urlsafe(32)
        self._sessions[_hidden(token)] = who, self._clock() + SESSION_SECONDS
        while len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return token

    def who(self, token: str | None) -> str | None:
        """Who the session is of; None for a token that is none, or no longer."""
        who, ends = self._sessions.get(_hidden(token or ""), (None, 0.0))
        return who if self._clock() < ends else None

    def close(self, token: str) -> None:
        """End a session."""
        self._sessions.pop(_hidden(token), None)


def _hidden(token: str) -> str:
    """What is kept of a token: a look-up by its hash tells nothing by its time."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
