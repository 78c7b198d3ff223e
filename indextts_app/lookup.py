"""
From what a user has at hand to the story: a request_id, an audio file, or the client's own id.

Several stores are asked one after the other, so that a line that one has dropped, or has not got
yet, is found in the next.
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
from observability.archived_requests import ArchivedRequests
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

    def __init__(
        self,
        *stores: LogStore,
        archives: ArchivedRequests | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """
        Args:
            stores: asked in this order.
            archives: asked for a request that none of the stores has.
            clock: tells the moment.
        """
        self._stores = stores
        self._archives = archives
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
        except (request_ids.MalformedRequestId, Missing) as error:
            named = self._named(typed.strip())
            if not named:
                raise type(error)(
                    en=f"{error.en} Nor did a client of the last {CLIENT_ID_DAYS} days call a "
                    "request so.",
                    zh=f"{error.zh}最近 {CLIENT_ID_DAYS} 天内也没有客户端用它作过自带编号。",
                ) from None
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
        The story of a request, from the first store that has lines of it.

        Raises:
            Missing: no store has, and why.
            Unanswerable: a store is away, and no other has.
        """
        reasons: list[Missing | Unanswerable] = []
        for store in self._stores:
            try:
                lines = store.lines_of(request_id)
            except (Missing, Unanswerable) as reason:
                reasons.append(reason)
                continue
            around = _neighbours(store, request_id)
            return story.told(request_id, lines, around, seconds=NEIGHBOUR_SECONDS)
        if self._archives:
            try:
                return story.told(request_id, self._archives.lines_of(request_id))
            except (Missing, Unanswerable) as reason:
                reasons.append(reason)
        kind = Unanswerable if any(isinstance(one, Unanswerable) for one in reasons) else Missing
        raise kind(
            en=" ".join(reason.en for reason in reasons),
            zh="".join(reason.zh for reason in reasons),
        )

    def _named(self, text: str) -> tuple[Line, ...]:
        if request_ids.clean_client_id(text) is None:
            return ()
        now = self._clock()
        since, until = now - timedelta(days=CLIENT_ID_DAYS), now + timedelta(minutes=5)
        for store in self._stores:
            found = store.find_client_id(text, since=since, until=until).lines
            exact = tuple(line for line in found if line.get("client_request_id") == text)
            if named := exact or (found if len(text) >= MIN_PART else ()):
                return named
        return ()


def _neighbours(store: LogStore, request_id: str) -> Neighbours | None:
    try:
        return store.neighbours(request_id, seconds=NEIGHBOUR_SECONDS)
    except Unanswerable:
        return None


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
