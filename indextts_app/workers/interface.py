"""What the service needs of whoever runs its engines, here or on a cluster."""

from __future__ import annotations

import math
from typing import Protocol

from indextts_app import errors
from indextts_app.engines.base import Capabilities, Segment, Task
from indextts_app.workers.listener import Listener
from indextts_app.workers.worker import Delivery


class Pool(Protocol):
    """
    Has engines work on tasks, first come first served; those in the background come last.

    For the loop that it is started on. `capabilities` is None until an engine was ready.
    """

    capabilities: Capabilities | None

    @property
    def unavailable(self) -> str | None:
        """Why no engine can be had; None while one is ready, or expected to be."""

    def not_ready(self) -> errors.NotReady:
        """The refusal for whoever comes while no engine can be had."""

    def check_open(self) -> None:
        """
        Let pass whoever comes while an engine can be had, or waited for.

        Raises:
            errors.NotReady: none can.
        """

    @property
    def size(self) -> int:
        """Engines that there are, or may be."""

    @property
    def places(self) -> int:
        """Requests that there is room for, with engines and in the queue together."""

    @property
    def waiting(self) -> int:
        """Requests in the queue, without those in the background."""

    @property
    def busy(self) -> int:
        """Requests that an engine works on."""

    @property
    def ready_workers(self) -> int:
        """Engines that are loaded, idle or busy."""

    @property
    def stopping_workers(self) -> int:
        """Engines that have not stopped yet for a task that was given up, where that is known."""

    @property
    def unloaded_workers(self) -> int:
        """Engines that the next request loads; they count as healthy."""

    @property
    def trial_seconds(self) -> float:
        """How long a short synthesis may take before it counts as failed."""

    @property
    def start_seconds(self) -> float:
        """How long an engine may take to start."""

    def pids(self) -> dict[str, int]:
        """The processes of engines on this machine, by slot."""

    def trial_task(self) -> Task | None:
        """A short synthesis that any engine must be able to do; None before one was ready."""

    def start(self) -> None:
        """Begin to start engines; tasks are taken once the first is ready."""

    async def restart_all(self, reason: str) -> None:
        """Have every engine started anew, whatever it does."""

    def drain(self) -> None:
        """Refuse new tasks; those that run or wait go on."""

    async def stop(self, grace_seconds: float) -> int:
        """
        Refuse new tasks and let running ones finish within the grace.

        Returns:
            How many were given up.
        """

    async def run(
        self,
        task: Task,
        listener: Listener | None = None,
        *,
        patience_seconds: float = math.inf,
        background: bool = False,
    ) -> Delivery:
        """
        Wait for an engine and have it work on the task.

        A caller that is cancelled leaves at once. What the listener raises is counted, and changes
        nothing for the task. A task in the background gets an engine only while nobody else waits
        for one; the queue has no limit for these: whoever has them bounds their number.

        Raises:
            errors.QueueFull, errors.NotReady: the task was not taken.
            errors.SynthesisFailed, errors.ReferenceRefused: the engine was asked and did not
                deliver, or its process or machine was lost.
        """

    async def preview(self, task: Task) -> tuple[Segment, ...]:
        """
        The segments that a task's text will be cut into.

        Raises:
            errors.QueueFull: as many previews wait as may wait.
            errors.NotReady: no engine can say, or none said it in time.
            errors.InvalidField: the engine cannot cut this text, or no text at all.
            errors.EngineError: the engine failed.
        """
