"""
The result cache: which requests may be served again, under which key, and from where.

Looked for in memory, then on the disk, then in Redis; what is found further out is kept nearer from
then on. A layer that fails is counted, and the audio is made. Requests for the same audio at the
same time have it made once.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import structlog

from indextts_app import __version__
from indextts_app.engines.base import Capabilities, Task
from indextts_app.results.disk import Disk
from indextts_app.results.entry import Damaged, Entry, SharedUnavailable
from indextts_app.results.memory import Memory
from indextts_app.settings import Settings
from indextts_app.synthesis import Caller, SynthesisRequest

if TYPE_CHECKING:
    from indextts_app.results.shared import Shared

log = structlog.get_logger("indextts_app.results")

FOLDER = "cache"
"""Below the output folder, so that it is swept by age and counts in what may lie there."""

CLOSE_SECONDS = 5.0
"""How long what is being kept may take when the service ends."""

ASKS_THE_ENGINE = ("canary", "replay")
"""Sources of requests whose point is that the engine speaks."""

Layer = Literal["disk", "redis"]


@dataclass(frozen=True, slots=True)
class Use:
    """What a request lets the cache do for it."""

    reads: bool
    writes: bool


NONE = Use(reads=False, writes=False)


class ResultCache:
    """The layers together; for the server's loop."""

    def __init__(
        self,
        settings: Settings,
        key: bytes,
        *,
        set_up: Mapping[str, object],
        stored: Callable[[int], None] = lambda _: None,
        failed: Callable[[str], None] = lambda _: None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            settings: how much may be kept and for how long.
            key: of the hashes that stand for requests, so that no text can be found by trying.
            set_up: how the engine was started, as far as its audio depends on it.
            stored: told of the size of each file.
            failed: told of the layer (disk, redis) that did not do what it was asked.
            now: the wall clock.
        """
        megabyte = 1_000_000
        self._key = key
        self._set_up = {**set_up, "version": __version__, "piece": settings.max_text_chars}
        self._keep_seconds = settings.output_keep_hours * 3600
        self._now = now
        self._on_stored = stored
        self._on_failure = failed
        self.is_on = settings.result_cache_mb > 0
        self._memory = Memory(int(settings.result_cache_mb * megabyte))
        self._disk: Disk | None = None
        self._shared: Shared | None = None
        if self.is_on and settings.result_cache_disk_mb:
            folder = settings.output_dir / FOLDER
            self._disk = Disk(folder, int(settings.result_cache_disk_mb * megabyte))
        if self.is_on and settings.redis_url:
            # Its client brings the SDK of OpenTelemetry along, which nobody else needs.
            from indextts_app.results.shared import Shared

            self._shared = Shared(
                settings.redis_url.get_secret_value(),
                keep_seconds=self._keep_seconds,
                max_entry_bytes=int(settings.result_cache_mb * megabyte),
            )
        self._made: dict[str, asyncio.Event] = {}
        self._keeping: set[asyncio.Task[None]] = set()

    @property
    def bytes_in_memory(self) -> int:
        """Audio held in this process."""
        return self._memory.bytes_used

    @property
    def bytes_on_disk(self) -> int:
        """Size of the files; what was there before the first request is not known yet."""
        return self._disk.bytes_used if self._disk else 0

    def use(self, request: SynthesisRequest, can: Capabilities, caller: Caller) -> Use:
        """
        What the cache may do for a request, before a seed was drawn for it.

        Unasked, only what would come out the same again is served again: not where chance has a
        part that no seed was sent for. `cache: true` says that any earlier take will do.
        """
        if not self.is_on or caller.source in ASKS_THE_ENGINE or request.cache is False:
            return NONE
        same_again = can.features.repeats and (request.seed is not None or not can.features.seed)
        if caller.cache_control == "no-store" or not (request.cache or same_again):
            return NONE
        return Use(reads=caller.cache_control != "no-cache", writes=True)

    def key_of(
        self,
        request: SynthesisRequest,
        task: Task,
        can: Capabilities,
        recordings: Mapping[str, str],
    ) -> str:
        """
        64 hexadecimal characters that stand for all that the audio depends on.

        Args:
            request: with the seed that it was sent with, if any.
            task: whose glossary holds the readings of the terms in the text.
            can: the engine in use and its versions.
            recordings: the content hash of each, a stored speaker's among them.
        """
        parts = {
            "set_up": self._set_up,
            "engine": (can.engine, can.engine_version, can.model_version, can.device),
            "text": request.text,
            "speaker": request.speaker,
            "emotion": (
                request.emotion,
                request.emotion_mode,
                request.emotion_weight,
                request.emotion_vector,
                request.emotion_text,
            ),
            "speed": request.speed,
            "format": request.format.value,
            "seed": request.seed,
            "controls": dict(request.controls),
            "glossary": {term: dict(readings) for term, readings in task.glossary.items()},
            "recordings": dict(recordings),
        }
        said = json.dumps(parts, sort_keys=True, default=str).encode()
        return hmac.new(self._key, said, hashlib.sha256).hexdigest()

    async def find(self, key: str) -> Entry | None:
        """The entry of a key, from the nearest layer that has it."""
        made_after = self._now() - self._keep_seconds
        if entry := self._memory.find(key, made_after=made_after):
            return entry
        entry = await self._found_on_disk(key, made_after) or await self._found_in_redis(
            key, made_after
        )
        if entry:
            self._memory.put(key, entry)
        return entry

    def put(self, key: str, entry: Entry) -> None:
        """Keep an entry: in memory at once, further out beside the answer."""
        self._memory.put(key, entry)
        if self._disk or self._shared:
            task = asyncio.create_task(self._keep(key, entry))
            self._keeping.add(task)
            task.add_done_callback(self._keeping.discard)

    async def settled(self, key: str) -> None:
        """Wait until nobody looks for this audio or makes it; who calls `making` next does."""
        while event := self._made.get(key):
            await event.wait()

    @contextmanager
    def making(self, key: str) -> Iterator[None]:
        """This audio is being looked for or made, for as long as the block."""
        event = asyncio.Event()
        is_first = self._made.setdefault(key, event) is event
        try:
            yield
        finally:
            if is_first:
                del self._made[key]
            event.set()

    async def close(self) -> None:
        """Let what is being kept come to its end, and let go of Redis."""
        if self._keeping:
            await asyncio.wait(self._keeping, timeout=CLOSE_SECONDS)
        if self._shared:
            await self._shared.close()

    def now(self) -> float:
        """The time that entries bear."""
        return self._now()

    async def _found_on_disk(self, key: str, made_after: float) -> Entry | None:
        if self._disk is None:
            return None
        try:
            return await asyncio.to_thread(self._disk.find, key, made_after=made_after)
        except (OSError, Damaged) as error:
            self._failed("disk", error)
            return None

    async def _found_in_redis(self, key: str, made_after: float) -> Entry | None:
        if self._shared is None:
            return None
        try:
            return await self._shared.find(key, made_after=made_after)
        except (SharedUnavailable, Damaged) as error:
            self._failed("redis", error)
            return None

    async def _keep(self, key: str, entry: Entry) -> None:
        work: list[Coroutine[Any, Any, None]] = []
        if self._disk:
            work.append(self._on_disk(self._disk, key, entry))
        if self._shared:
            work.append(self._in_redis(self._shared, key, entry))
        await asyncio.gather(*work)

    async def _on_disk(self, disk: Disk, key: str, entry: Entry) -> None:
        try:
            self._on_stored(await asyncio.to_thread(disk.put, key, entry))
        except OSError as error:
            self._failed("disk", error)

    async def _in_redis(self, shared: Shared, key: str, entry: Entry) -> None:
        try:
            await shared.put(key, entry)
        except SharedUnavailable as error:
            self._failed("redis", error)

    def _failed(self, layer: Layer, error: Exception) -> None:
        self._on_failure(layer)
        if layer == "disk":
            reason = getattr(error, "strerror", None) or type(error).__name__
            log.warning("result_cache.disk_failed", reason=reason)
