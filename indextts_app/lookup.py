"""
From what a user has at hand to the story: a request_id, an audio file, or the client's own id.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from indextts_app import story
from indextts_app.story import Story
from observability import request_id as request_ids
from observability.audio_probe import request_id_of
from observability.log_store.questions import (
    Line,
    LogStore,
    Missing,
    Neighbours,
    Unanswerable,
)

CLIENT_ID_DAYS = 31
"""A client's own id says nothing of its time, so that so many days are searched for it."""

MIN_PART = 4
"""A shorter piece of a client's id is in too many of them."""

NEIGHBOUR_SECONDS = 60.0


def utc_now() -> datetime:
    """The moment, in UTC."""
    return datetime.now(UTC)


class Lookup:
    """Finds stories in whatever keeps the lines; blocks, and may be used from any thread."""

    def __init__(self, store: LogStore, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._clock = clock

    def by_text(self, typed: str) -> Story:
        """
        The story of a request_id, in whichever way it was typed, or of the client's own id.

        Where several requests bear a client's id the newest is told, and names the others.

        Raises:
            MalformedRequestId: it is no request id, and no client's either.
            Missing: it is one, and there is no line of it.
        """
        try:
            return self.by_id(request_ids.parse(typed))
        except (request_ids.MalformedRequestId, Missing):
            named = self._named(typed.strip())
            if not named:
                raise
        newest, *others = (str(line["request_id"]) for line in named)
        return replace(self.by_id(newest), also=tuple(others))

    def by_file(self, path: Path, name: str | None = None) -> Story:
        """
        The story of the request that made an audio file, by its tags; `name` is for the message.

        Raises:
            Missing: it has none in its tags, or there is no line of it.
        """
        return self.by_id(request_id_in(path, name))

    def by_id(self, request_id: str) -> Story:
        """
        The story of a request.

        Raises:
            Missing: there is no line of it.
        """
        lines = self._store.lines_of(request_id)
        return story.told(
            request_id, lines, self._neighbours(request_id), seconds=NEIGHBOUR_SECONDS
        )

    def _neighbours(self, request_id: str) -> Neighbours | None:
        try:
            return self._store.neighbours(request_id, seconds=NEIGHBOUR_SECONDS)
        except Unanswerable:
            return None

    def _named(self, text: str) -> tuple[Line, ...]:
        if request_ids.clean_client_id(text) is None:
            return ()
        now = self._clock()
        found = self._store.find_client_id(
            text, since=now - timedelta(days=CLIENT_ID_DAYS), until=now + timedelta(minutes=5)
        )
        exact = tuple(line for line in found.lines if line.get("client_request_id") == text)
        return exact or (found.lines if len(text) >= MIN_PART else ())


def request_id_in(path: Path, name: str | None = None) -> str:
    """
    The request_id in an audio file's tags.

    Raises:
        Missing: there is none, with the reason.
    """
    if found := request_id_of(path):
        return found
    if not shutil.which("ffprobe"):
        raise Missing(
            en="Its tags cannot be read: ffprobe is not installed (apt-get install ffmpeg).",
            zh="无法读取其标签：未安装 ffprobe（apt-get install ffmpeg）。",
        )
    shown = name or path.name
    raise Missing(
        en=f"{shown} has no request_id in its tags; it was not made here, or re-encoded.",
        zh=f"{shown} 的标签中没有请求编号：不是本服务生成，或已被转码。",
    )
