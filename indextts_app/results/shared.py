"""
Entries in a Redis that several services share.

It may be away, slow or full: it is asked for a moment only, after a failure not at all for a while,
and what it does not give is made anew. How much it holds is its own setting (`maxmemory` with an
`allkeys-` policy); each entry expires.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import redis.asyncio
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from indextts_app.results.entry import Damaged, Entry, SharedUnavailable

T = TypeVar("T")

log = structlog.get_logger("indextts_app.results")

PREFIX = "indextts:result:"
ASK_SECONDS = 0.1
"""How long a request waits for it: less than the shortest synthesis of a model."""

PUT_SECONDS = 2.0
REST_SECONDS = 5.0
"""After a failure it is not asked for so long."""


class Shared:
    """A Redis at this URL; for the server's loop."""

    def __init__(
        self,
        url: str,
        *,
        keep_seconds: float,
        max_entry_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis.asyncio.Redis.from_url(
            url,
            socket_connect_timeout=ASK_SECONDS,
            socket_timeout=PUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
            client_name="indextts",
        )
        self._keep_seconds = keep_seconds
        self._max_entry_bytes = max_entry_bytes
        self._clock = clock
        self._rests_until = 0.0
        self._is_away = False

    @property
    def rests(self) -> bool:
        """Whether it failed so recently that it is not asked."""
        return self._clock() < self._rests_until

    async def find(self, key: str, *, made_after: float) -> Entry | None:
        """
        The entry, if there is one that is not too old; None while it rests.

        Raises:
            SharedUnavailable, Damaged: why there is none.
        """
        if self.rests:
            return None
        data = await self._asked(self._redis.get(PREFIX + key), ASK_SECONDS)
        if data is None:
            return None
        if isinstance(data, str):
            raise Damaged
        entry = Entry.unpacked(data)
        return entry if entry.made_at >= made_after else None

    async def put(self, key: str, entry: Entry) -> None:
        """
        Keep it until it is too old.

        Raises:
            SharedUnavailable: it is not kept.
        """
        if self.rests or len(entry.audio) > self._max_entry_bytes:
            return
        seconds = max(int(self._keep_seconds), 1)
        await self._asked(self._redis.set(PREFIX + key, entry.packed(), ex=seconds), PUT_SECONDS)

    async def close(self) -> None:
        """Let go of its connections."""
        await self._redis.aclose()

    async def _asked(self, answer: Awaitable[T], seconds: float) -> T:
        try:
            async with asyncio.timeout(seconds):
                found = await answer
        except (RedisError, OSError, TimeoutError) as error:
            self._rests_until = self._clock() + REST_SECONDS
            if not self._is_away:
                self._is_away = True
                log.warning("result_cache.redis_away", kind=type(error).__name__)
            raise SharedUnavailable from error
        if self._is_away:
            self._is_away = False
            log.info("result_cache.redis_back")
        return found
