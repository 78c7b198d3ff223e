"""Who hears how a request goes on, and why nobody who hears badly can end it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from indextts_app.engines.base import Samples
from observability import losses
from observability.events import Scalar


class Listener(Protocol):
    """Hears how a request goes on, from the pool and from its worker."""

    def waiting(self, ahead: int) -> None:
        """In the queue, with so many requests ahead."""

    def placed(self, node: str, replica: str) -> None:
        """The machine, and the engine's copy there, that have it; of a pool that spans machines."""

    def taken(self, worker: str) -> None:
        """A worker has it now."""

    def stage(self, name: str) -> None:
        """The engine entered a stage."""

    def segment(self, number: int, count: int) -> None:
        """The engine is at segment `number` (from 1) of `count`."""

    def audio(self, samples: Samples, sample_rate: int) -> None:
        """The engine's next samples arrived."""

    def measured(self, stages: Mapping[str, float], notes: Mapping[str, Scalar]) -> None:
        """The engine's stages in seconds and its own fields, also of a failed request."""

    def lost(self, cause: str) -> bool:
        """
        Where it ran is lost, through no fault of its own; whether it may be begun anew.

        It may not once somebody has been given audio that another beginning would give again.
        """


class Silence:
    """A listener for work that nobody watches."""

    def waiting(self, ahead: int) -> None: ...
    def placed(self, node: str, replica: str) -> None: ...
    def taken(self, worker: str) -> None: ...
    def stage(self, name: str) -> None: ...
    def segment(self, number: int, count: int) -> None: ...
    def audio(self, samples: Samples, sample_rate: int) -> None: ...
    def measured(self, stages: Mapping[str, float], notes: Mapping[str, Scalar]) -> None: ...
    def lost(self, cause: str) -> bool:  # noqa: ARG002
        return True


class Guarded:
    """Tells a listener everything; what it fails to take is counted as lost, and never raised."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener

    def waiting(self, ahead: int) -> None:
        """See `Listener`, as for all that follows."""
        _tell(lambda: self._listener.waiting(ahead))

    def placed(self, node: str, replica: str) -> None:
        _tell(lambda: self._listener.placed(node, replica))

    def taken(self, worker: str) -> None:
        _tell(lambda: self._listener.taken(worker))

    def stage(self, name: str) -> None:
        _tell(lambda: self._listener.stage(name))

    def segment(self, number: int, count: int) -> None:
        _tell(lambda: self._listener.segment(number, count))

    def audio(self, samples: Samples, sample_rate: int) -> None:
        _tell(lambda: self._listener.audio(samples, sample_rate))

    def measured(self, stages: Mapping[str, float], notes: Mapping[str, Scalar]) -> None:
        _tell(lambda: self._listener.measured(stages, notes))

    def lost(self, cause: str) -> bool:
        """Whoever cannot say so may have been given audio: nothing is begun anew for it."""
        may: list[bool] = []
        _tell(lambda: may.append(self._listener.lost(cause)))
        return may == [True]


def _tell(call: Callable[[], None]) -> None:
    try:
        call()
    except Exception:  # noqa: BLE001  # the channel to the worker would be closed by it
        losses.count("listener")
