"""
The output folder: whether there is room for one more file, and what is swept to keep some.

Before an engine is asked, it is looked whether its file could be stored: a full disk is told in a
millisecond and not after a minute of work. What lies there is bounded by age and by size.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from indextts_app import errors, retention
from indextts_app.retention import SteadyClock, Swept
from indextts_app.settings import Settings

log = structlog.get_logger("indextts_app.storage")

SWEEP_SECONDS = 600.0
"""How often it is swept at least; more often where files come quickly."""

_UPLOAD = re.compile(r"(/operations)?/gradio_api/upload/?")

OVER = 1.1
"""With so much more than its share, which no sweep could bring down, no further file is made."""


class Storage:
    """
    Watches one folder; for the server's loop, but for what says otherwise.

    `on_swept` is called with the number of files that went and why: old, or surplus.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        now: Callable[[], float] | None = None,
        free_bytes: Callable[[Path], int] | None = None,
        on_swept: Callable[[str, int], None] = lambda _reason, _files: None,
    ) -> None:
        self._folder = settings.output_dir
        self._keep_seconds = settings.output_keep_hours * 3600
        self._max_bytes = int(settings.output_max_mb * 1e6)
        self._min_free_bytes = int(settings.min_free_mb * 1e6)
        self._now = now or SteadyClock(self._keep_seconds)
        self._free_bytes = free_bytes or _free_bytes
        self._on_swept = on_swept
        self._in_use: Counter[str] = Counter()
        self._bytes = 0
        self._too_much = asyncio.Event()
        self._full: str | None = None

    @property
    def bytes_used(self) -> int:
        """What lies there, about: by the last sweep and by what came since."""
        return self._bytes

    @property
    def bytes_free(self) -> int:
        """What the file system has left; may be asked from any thread."""
        try:
            return self._free_bytes(self._folder)
        except OSError:
            return 0

    def check(self) -> None:
        """
        Let pass who will store a file.

        Raises:
            errors.StorageFull: there is no room for one.
        """
        full = self._why_full()
        if full and not self._full:
            log.error("storage.full", reason=full)
        elif self._full and not full:
            log.info("storage.freed")
        self._full = full
        if full:
            raise errors.StorageFull

    def added(self, size: int) -> None:
        """A file of so many bytes was stored."""
        self._bytes += size
        if self._max_bytes and self._bytes > self._max_bytes:
            self._too_much.set()

    @contextmanager
    def used(self, name: str) -> Iterator[None]:
        """Nothing of this name is swept for as long as the block."""
        self._in_use[name] += 1
        try:
            yield
        finally:
            self._in_use[name] -= 1
            if not self._in_use[name]:
                del self._in_use[name]

    async def sweep_forever(self) -> None:
        """Sweep at once, and then whenever it is time, or there is too much."""
        while True:
            self._too_much.clear()
            await self.sweep()
            try:
                async with asyncio.timeout(SWEEP_SECONDS):
                    await self._too_much.wait()
            except TimeoutError:
                continue
            # What is too young to go will be a little older then.
            await asyncio.sleep(1.0)

    async def sweep(self) -> Swept:
        """Sweep once, on a thread."""
        before = self._bytes
        swept = await asyncio.to_thread(
            retention.sweep,
            self._folder,
            keep_seconds=self._keep_seconds,
            max_bytes=self._max_bytes,
            now=self._now(),
            in_use=frozenset(self._in_use),
        )
        self._bytes = swept.bytes_left + max(self._bytes - before, 0)
        if swept.old or swept.surplus:
            log.info("outputs.swept", old=swept.old, surplus=swept.surplus, bytes=self._bytes)
        self._on_swept("old", swept.old)
        self._on_swept("surplus", swept.surplus)
        return swept

    def _why_full(self) -> str | None:
        if self._min_free_bytes:
            try:
                free = self._free_bytes(self._folder)
            except OSError as error:
                return f"the folder cannot be looked at: {error.strerror}"
            if free < self._min_free_bytes:
                return f"{free / 1e6:.0f} MB are free, {self._min_free_bytes / 1e6:.0f} are needed"
        if self._max_bytes and self._bytes > OVER * self._max_bytes:
            # Nothing is added any more that would call for it.
            self._too_much.set()
            return f"{self._bytes / 1e6:.0f} MB are there, and nothing of it may go yet"
        return None


class FilesInUseMiddleware:
    """Keeps a file of the page from the sweep while it is being sent."""

    def __init__(self, app: ASGIApp, *, storage: Storage) -> None:
        self._app = app
        self._storage = storage

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        _, is_file, path = str(scope.get("path", "")).partition("/file=")
        if not is_file:
            await self._app(scope, receive, send)
            return
        with self._storage.used(path.rpartition("/")[2]):
            await self._app(scope, receive, send)


class PageUploadsMiddleware:
    """Lets visitors of the page upload only while there is room, and counts what they do."""

    def __init__(self, app: ASGIApp, *, storage: Storage) -> None:
        self._app = app
        self._storage = storage

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """
        Pass the request on.

        Raises:
            errors.StorageFull: there is no room for an upload.
        """
        if scope["type"] != "http" or not _UPLOAD.fullmatch(scope["path"]):
            await self._app(scope, receive, send)
            return
        self._storage.check()

        async def counted() -> Message:
            message = await receive()
            self._storage.added(len(message.get("body", b"")))
            return message

        await self._app(scope, counted, send)


def _free_bytes(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
