"""
Who is told: one `Receiver` for each robot, mailbox or channel that the settings name.
"""

from __future__ import annotations

from typing import Protocol

from observability.alerts.message import Message


class Undelivered(Exception):
    """
    The receiver did not take the message.

    `reason` is a short code for metrics and log, without addresses or secrets; `wait_seconds` is
    how long the receiver wants to be left alone, where it said so.
    """

    status = "failed"
    """What the event of the delivery says."""

    def __init__(self, reason: str, *, wait_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.code = self.reason = reason
        self.wait_seconds = wait_seconds


class Receiver(Protocol):
    """Somewhere that messages go."""

    name: str
    """What it is called in settings, log and metrics."""

    pause_seconds: float
    """Least time between two messages, so that the receiver does not shut us out."""

    async def deliver(self, message: Message) -> None:
        """
        Hand a message over; when this returns the receiver has confirmed it.

        Raises:
            Undelivered: it has not.
        """
