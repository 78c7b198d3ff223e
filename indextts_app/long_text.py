"""A text that is too long to be asked of an engine at once: piece by piece, joined into one."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from indextts_app import errors
from indextts_app.engines.base import Samples, Task
from indextts_app.joining import Joiner
from indextts_app.pieces import Piece, pieces
from indextts_app.workers.listener import Listener
from indextts_app.workers.worker import Delivery
from observability.audio_check import check_signal
from observability.events import PARTS, Scalar

PIECE_CHARS = 200
"""Enough for a whole paragraph's intonation, few enough that others get their turn in between."""

_SUMS = ("text_normalize_ms", "text_spoken_len", "text_tokens", "unknown_tokens", "model_load_ms")
_PARTS = tuple(f"{part}_ms" for part in PARTS)
"""What an engine tells of each piece that adds up over all of them."""


class Run(Protocol):
    """Has a worker work on one task, as `Pool.run` does."""

    async def __call__(self, task: Task, listener: Listener) -> Delivery:
        """What the engine made of it."""


class Waiting(Listener, Protocol):
    """Who listens to a request that goes to the queue more than once."""

    def asked(self) -> None:
        """The request goes to the queue now."""


@dataclass(frozen=True, slots=True)
class Spoken:
    """The audio of a whole text, and whether a piece of it was not spoken, or cut short."""

    delivery: Delivery
    lacks_a_piece: bool = False


class LongTexts:
    """
    Speaks long texts, at most `at_once` of them, so that their samples do not fill the memory.

    Each piece goes through the queue like a request of its own: a long text holds no worker while
    others wait.
    """

    def __init__(self, at_once: int) -> None:
        self._turns = asyncio.Semaphore(at_once)

    async def speak(self, run: Run, task: Task, listener: Waiting, *, piece_chars: int) -> Spoken:
        """
        The audio of all of `task.text`, its pieces joined in order.

        Raises:
            errors.ServiceError: of the first piece that could not be made; nothing is delivered.
        """
        cut = pieces(task.text, piece_chars)
        async with self._turn(listener):
            return await self._speak(run, task, listener, cut)

    async def _speak(
        self, run: Run, task: Task, listener: Waiting, cut: tuple[Piece, ...]
    ) -> Spoken:
        heard = _Pieces(listener)
        whole: list[Samples] = []
        said: list[str | None] = []
        joiner: Joiner | None = None
        sample_rate = 0
        lacks = False
        speakable = [piece for piece in cut if piece.speakable]
        for number, piece in enumerate(speakable, start=1):
            heard.begin(number, len(speakable))
            delivery = await run(replace(task, text=piece.text), heard)
            if not len(delivery.samples):
                raise errors.NoAudio
            if joiner is None:
                joiner, sample_rate = Joiner(delivery.sample_rate), delivery.sample_rate
            elif delivery.sample_rate != sample_rate:
                raise errors.EngineError(origin="sample_rate@long_text")
            lacks = lacks or await asyncio.to_thread(_is_lacking, delivery, piece, task)
            said.append(delivery.spoken_text)
            last = number == len(speakable)
            whole += [joiner.add(delivery.samples)]
            whole += [joiner.close() if last else joiner.next_piece(piece.pause_seconds)]
            heard.end(None if last else piece.pause_seconds)
        spoken_text = None if None in said else " ".join(filter(None, said))
        return Spoken(Delivery(np.concatenate(whole), sample_rate, spoken_text), lacks)

    @asynccontextmanager
    async def _turn(self, listener: Waiting) -> AsyncIterator[None]:
        listener.asked()
        async with self._turns:
            yield


def seconds_for(text: object, timeout_seconds: float, max_text_chars: int) -> float:
    """The time that a text may take: that of a request for each so many characters begun."""
    length = len(text) if isinstance(text, str) else 0
    return timeout_seconds * max(math.ceil(length / max_text_chars), 1)


def _is_lacking(delivery: Delivery, piece: Piece, task: Task) -> bool:
    """Silence in one piece of many would not show in the figures of the whole."""
    signal = check_signal(delivery.samples, delivery.sample_rate, text=piece.text, speed=task.speed)
    return signal.audio_verdict in ("silent", "truncated")


class _Pieces:
    """Tells a listener of the pieces as of one request."""

    def __init__(self, listener: Waiting) -> None:
        self._listener = listener
        self._joiner: Joiner | None = None
        self._sample_rate = 0
        self._number = self._count = 0
        self._notes: dict[str, Scalar] = {}

    def begin(self, number: int, count: int) -> None:
        """The next piece goes to the queue."""
        self._number, self._count = number, count
        if number > 1:
            self._listener.asked()

    def end(self, pause_seconds: float | None) -> None:
        """The piece is made; None after the last."""
        if self._joiner:
            rest = (
                self._joiner.close()
                if pause_seconds is None
                else self._joiner.next_piece(pause_seconds)
            )
            self._hand_on(rest)

    def waiting(self, ahead: int) -> None:
        """Only the first piece is seen to wait; between two, the request is at work."""
        if self._number == 1:
            self._listener.waiting(ahead)

    def placed(self, node: str, replica: str) -> None:
        """A machine has the piece."""
        self._listener.placed(node, replica)

    def taken(self, worker: str) -> None:
        """A worker has the piece."""
        self._listener.taken(worker)
        self._listener.segment(self._number, self._count)

    def stage(self, name: str) -> None:
        """The piece entered a stage."""
        self._listener.stage(name)

    def segment(self, number: int, count: int) -> None:
        """An engine's own segments are none of the request's."""

    def audio(self, samples: Samples, sample_rate: int) -> None:
        """The next samples, joined to those before."""
        if self._joiner is None:
            self._joiner, self._sample_rate = Joiner(sample_rate), sample_rate
        self._hand_on(self._joiner.add(samples))

    def measured(self, stages: Mapping[str, float], notes: Mapping[str, Scalar]) -> None:
        """The piece's times, and what is known of the request with this piece."""
        for name, value in notes.items():
            before = self._notes.get(name, 0)
            if name in (*_SUMS, *_PARTS) and not isinstance(value, str):
                self._notes[name] = value + (before if not isinstance(before, str) else 0)
            else:
                self._notes[name] = value
        self._notes["segments"] = self._count
        self._listener.measured(stages, self._notes)

    def lost(self, cause: str) -> bool:
        """Whether the piece may be begun anew; those before it are made."""
        return self._listener.lost(cause)

    def _hand_on(self, samples: Samples) -> None:
        if len(samples):
            self._listener.audio(samples, self._sample_rate)
