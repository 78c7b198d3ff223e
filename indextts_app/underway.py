"""Requests that are being worked on: where each stands, and about how long it will take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from indextts_app import errors
from indextts_app.engines.base import Samples
from indextts_app.synthesis import Caller

Clock = Callable[[], float]


class Remaining:
    """
    The time that is left of a text in segments, going by how long those before took.

    Segments are of about the same length, so that each counts as much as any other; before the
    second nothing can be told.
    """

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self._clock = clock
        self._began = self._entered = 0.0
        self._number, self._count = 0, 0

    def segment(self, number: int, count: int) -> None:
        """Segment `number` (from 1) of `count` begins."""
        self._entered = self._clock()
        if self._number == 0:
            self._began = self._entered
        self._number, self._count = number, count

    def seconds(self) -> float | None:
        """About how long it will still take; None where that cannot be told."""
        made = self._number - 1
        if made < 1:
            return None
        each = (self._entered - self._began) / made
        left = each * (self._count - made) - (self._clock() - self._entered)
        return max(left, 0.0)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a request stands."""

    state: str
    """`waiting` in the queue, or `working`."""
    ahead: int | None
    """Requests in front of it in the queue."""
    stage: str | None
    segment: int | None
    """The one that is being made, from 1, where the text is made in segments."""
    segments: int | None
    elapsed_seconds: float
    remaining_seconds: float | None
    """About how long it will still take; None where that cannot be told."""


class _Request:
    """A watcher of one request."""

    def __init__(self, caller: Caller, task: asyncio.Task[object] | None, clock: Clock) -> None:
        self.caller = caller
        self.given_up = False
        """Whether it was stopped because the service was."""
        self._task = task
        self._clock = clock
        self._began = clock()
        self._remaining = Remaining(clock)
        self._ahead: int | None = None
        self._stage: str | None = None
        self._segments: tuple[int, int] | None = None

    def give_up(self) -> None:
        """Stop it at the next safe point."""
        if self._task and not self.given_up:
            self.given_up = True
            self._task.cancel()

    def waiting(self, ahead: int) -> None:
        self._ahead = ahead

    def stage(self, name: str) -> None:
        self._ahead, self._stage = None, name

    def segment(self, number: int, count: int) -> None:
        self._ahead, self._segments = None, (number, count)
        self._remaining.segment(number, count)

    def audio(self, samples: Samples, sample_rate: int) -> None: ...

    def standing(self) -> Standing:
        number, count = self._segments or (None, None)
        left = self._remaining.seconds()
        return Standing(
            state="working" if self._ahead is None else "waiting",
            ahead=self._ahead,
            stage=self._stage,
            segment=number,
            segments=count,
            elapsed_seconds=round(self._clock() - self._began, 3),
            remaining_seconds=None if left is None else round(left, 3),
        )


class Underway:
    """All requests between door and answer; whoever knows the id of one may ask where it stands."""

    def __init__(self, clock: Clock = time.perf_counter) -> None:
        self._clock = clock
        self._requests: dict[str, _Request] = {}

    def __len__(self) -> int:
        return len(self._requests)

    @contextmanager
    def request(
        self, caller: Caller, task: asyncio.Task[object] | None = None
    ) -> Iterator[_Request]:
        """
        The watcher of a request, which can be asked about until the block ends.

        Its `task` is cancelled if it is given up.
        """
        request = self._requests[caller.request_id] = _Request(caller, task, self._clock)
        try:
            yield request
        finally:
            del self._requests[caller.request_id]

    def give_up(self) -> tuple[str, ...]:
        """Stop every request at its next safe point; the ids of those that were not yet."""
        requests = [request for request in self._requests.values() if not request.given_up]
        for request in requests:
            request.give_up()
        return tuple(request.caller.request_id for request in requests)

    def standing_of(self, request_id: str) -> Standing | None:
        """Where the request with this request_id stands; None where there is none any more."""
        request = self._requests.get(request_id)
        return request.standing() if request else None

    def standing(self, known_id: str, asker: Caller) -> Standing:
        """
        Where the request with this request_id stands, or the asker's own with this client id.

        A client chooses its id before it asks, and others may choose the same: it counts for
        requests of the asker's own key only, or without keys of its own address.

        Raises:
            errors.UnknownRequest: there is none, or none any more.
        """
        request = self._requests.get(known_id.upper())
        if request is None:
            mine = (
                one
                for one in reversed(self._requests.values())
                if one.caller.client_request_id == known_id and _is_of(asker, one.caller)
            )
            request = next(mine, None)
        if request is None:
            raise errors.UnknownRequest(
                reason="No request with this id is being worked on: it has ended, or was none.",
                reason_zh="没有正在处理的该编号请求：可能已结束，或并不存在。",
            )
        return request.standing()


def _is_of(asker: Caller, caller: Caller) -> bool:
    """Whether both are one client; `client_ip` alone is shared by up to 256 of them."""
    if asker.client or caller.client:
        return asker.client == caller.client
    return asker.client_ip == caller.client_ip
