"""
Slack, e-mail, and the hundred others that Apprise knows by a URL each.
"""

from __future__ import annotations

import asyncio
import logging

import apprise

from observability.alerts.message import Message, Tone
from observability.alerts.receivers import Undelivered

KINDS: dict[Tone, apprise.NotifyType] = {
    "critical": apprise.NotifyType.FAILURE,
    "warning": apprise.NotifyType.WARNING,
    "info": apprise.NotifyType.INFO,
    "resolved": apprise.NotifyType.SUCCESS,
}


class AppriseReceiver:
    """
    One Apprise URL. Whether it was delivered is what Apprise says; why not, it does not tell.
    """

    pause_seconds = 1.0

    def __init__(self, name: str, url: str, *, limit_chars: int | None = None) -> None:
        """
        Args:
            name: what it is called in log and metrics.
            url: Apprise's URL, secrets included; kept out of `repr` and errors.
            limit_chars: longest message; what Apprise knows of the service if None.

        Raises:
            ValueError: Apprise does not know such a URL. It does not quote it.
        """
        # Its own messages name addresses; what became of a message is in our line.
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
        made = apprise.Apprise.instantiate(url, suppress_exceptions=True)
        if not made or isinstance(made, dict | list):
            raise ValueError(f"{name}: Apprise does not know this kind of URL.")
        self.name = name
        self._apprise = apprise.Apprise()
        self._apprise.add(made)
        self._limit_chars = limit_chars or min(int(made.body_maxlen), 100_000)

    def __repr__(self) -> str:
        return f"AppriseReceiver({self.name!r})"

    async def deliver(self, message: Message) -> None:
        """Send it in a thread, as Apprise waits for its answer."""
        taken = await asyncio.to_thread(
            self._apprise.notify,
            # A line break alone is none in Markdown.
            body=message.fitted(self._limit_chars - 500, _paragraphs).replace("\n", "\n\n"),
            title=message.title,
            notify_type=KINDS[message.tone],
            body_format=apprise.NotifyFormat.MARKDOWN,
        )
        if not taken:
            raise Undelivered("not_taken")


def _paragraphs(text: str) -> int:
    return len(text) + text.count("\n")
