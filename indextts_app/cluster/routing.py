"""
A queued request goes on in the moment in which a replica is free.

Serve's router asks the replicas whether one is, again and again: ever more rarely, up to every half
second, which leaves a replica idle for a quarter of a second on average, or at a rate that costs a
fifth of a core. Here the end of a request wakes it as well, and it asks often just after one.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from ray.serve._private.request_router import PowerOfTwoChoicesRequestRouter as Router

SOONEST_SECONDS = 0.004
LATEST_SECONDS = 0.05
"""How often replicas are asked while none is known to have become free: another service may have
had it."""

TURN_SECONDS = 1.0
WINDOW_SECONDS = 0.06
"""Once in a turn a replica that has become free is left so long to the queues of other services,
which would else never get one that this service has just been done with."""


def wake_when_one_is_free() -> None:
    """Have every router of this process do so; Ray's version is pinned for it."""
    completed = Router.on_request_completed

    def on_request_completed(self: Any, *arguments: Any, **named: Any) -> None:  # noqa: ANN401
        completed(self, *arguments, **named)
        # Ray may call it from a thread of its own.
        self._event_loop.call_soon_threadsafe(_free, self)

    async def backoff(self: Any, _attempt: int) -> None:  # noqa: ANN401
        freed, since = _freed(self)
        elapsed = asyncio.get_running_loop().time() - since
        # What has just ended may not have let go of its replica yet.
        in_window = self._left_at == since and elapsed < WINDOW_SECONDS
        wait = LATEST_SECONDS if in_window else min(max(elapsed, SOONEST_SECONDS), LATEST_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await freed.wait()
        freed.clear()

    Router.on_request_completed = on_request_completed
    Router._backoff = backoff


def _freed(router: Any) -> tuple[asyncio.Event, float]:  # noqa: ANN401
    """Set when a request ends, and when that last was."""
    if not hasattr(router, "_freed"):
        router._freed, router._freed_at = asyncio.Event(), float("-inf")
        router._left_at = float("-inf")
    return router._freed, router._freed_at


def _free(router: Any) -> None:  # noqa: ANN401
    freed, _ = _freed(router)
    loop = asyncio.get_running_loop()
    router._freed_at = now = loop.time()
    if now - router._left_at < TURN_SECONDS:
        freed.set()
    else:
        router._left_at = now
        loop.call_later(WINDOW_SECONDS, freed.set)
