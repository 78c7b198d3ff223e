"""
Carries parcels to one receiver, one after another, as often as it takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from observability.alerts.failures import Failures, OpenStore, failures_of
from observability.alerts.message import Writer
from observability.alerts.receivers import Receiver, Undelivered
from observability.alerts.spool import Parcel, Spool
from observability.observe import observe, record, stage

log = structlog.get_logger("observability.alerts")

LOOK_SECONDS = 1.0
"""Between looks at the spool for parcels whose time has come."""

LONGEST_BACK_OFF_SECONDS = 300.0

READING_SECONDS = 20.0
"""Longer than this no alert waits for the failed requests to be found."""


def back_off(attempts: int) -> float:
    """Seconds to wait after so many attempts: 1, 2, 4 … up to five minutes."""
    return float(min(LONGEST_BACK_OFF_SECONDS, 2.0 ** min(attempts, 16)))


class Courier:
    """
    Delivers what waits for a receiver; what cannot be delivered keeps waiting.

    The message is written when it is sent, so that after an outage it tells how things are now.
    """

    def __init__(
        self,
        receiver: Receiver,
        spool: Spool,
        writer: Writer,
        open_store: OpenStore,
        *,
        failures: int = 10,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.receiver = receiver
        self._spool = spool
        self._writer = writer
        self._open_store = open_store
        self._failures = failures
        self._now = now
        self._in_a_row = 0
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """There is something new to carry."""
        self._woken.set()

    async def run(self) -> None:
        """Go on until cancelled."""
        while True:
            self._woken.clear()
            try:
                pause = await self.carry_one()
            except sqlite3.Error as error:  # a full disk say: it may have room again later
                log.error("alert.spool_failing", receiver=self.receiver.name, exc_info=error)
                pause = back_off(self._in_a_row)
                self._in_a_row += 1
            if pause is None:
                # Not asyncio.wait_for: before Python 3.12, it may swallow a cancellation.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._woken.wait()
            else:
                await asyncio.sleep(pause)

    async def carry_one(self) -> float | None:
        """
        Try to deliver what has waited longest.

        Returns:
            Seconds to leave the receiver alone, or None if nothing was due.
        """
        parcel = await asyncio.to_thread(self._spool.next_parcel, self.receiver.name)
        if parcel is None:
            return None
        try:
            await self._deliver(parcel)
        except Undelivered as why:
            wait_seconds = why.wait_seconds
        except Exception:  # noqa: BLE001  # an edge: an alert that cannot be written is kept
            wait_seconds = None
        else:
            self._in_a_row = 0
            return self.receiver.pause_seconds
        await asyncio.to_thread(
            self._spool.postpone, parcel, wait_seconds or back_off(parcel.attempts)
        )
        # Of a receiver that is away, one parcel at a time finds out that it is back.
        pause = wait_seconds or back_off(self._in_a_row)
        self._in_a_row += 1
        return max(self.receiver.pause_seconds, pause)

    @observe("alert", fields=lambda self, parcel: self.fields(parcel))
    async def _deliver(self, parcel: Parcel) -> None:
        with stage("failures"):
            failures = await self._attached(parcel)
        message = self._writer.message(parcel, failures)
        with stage("send"):
            await self.receiver.deliver(message)
        with stage("settle"):
            await asyncio.to_thread(self._spool.delivered, parcel)

    def fields(self, parcel: Parcel) -> dict[str, str | int]:
        """What the event of a delivery tells of it."""
        alerts = [change.alert for change in parcel.changes]
        return {
            "source": parcel.source,
            "receiver": self.receiver.name,
            "alert_names": ",".join(dict.fromkeys(alert.name for alert in alerts))[:200],
            "firing": sum(alert.state == "firing" for alert in alerts),
            "resolved": sum(alert.state == "resolved" for alert in alerts),
            "notifications": parcel.notifications,
            "attempt": parcel.attempts + 1,
        }

    async def _attached(self, parcel: Parcel) -> Failures | None:
        """The failed requests, unless all that is to be told is that known alerts are over."""
        about = [
            change.alert
            for change in parcel.changes
            if change.alert.state == "firing" or change.changes > 1
        ]
        if not about or not self._failures:
            return None
        now = self._now()
        reading = asyncio.to_thread(failures_of, self._open_store, about, now, limit=self._failures)
        try:
            async with asyncio.timeout(READING_SECONDS):
                failures = await reading
        except TimeoutError:
            seconds = f"{READING_SECONDS:g}"
            unread = (f"no answer in {seconds} seconds.", f"{seconds} 秒内没有应答。")
            return Failures(since=now, until=now, unread=unread)
        except Exception as error:  # an edge: an alert is told with or without them
            log.error("alert.failures_unread", exc_info=error)
            unread = ("see the relay's log.", "请查看中继日志。")
            return Failures(since=now, until=now, unread=unread)
        record(failures=len(failures.requests), failures_total=failures.total)
        return failures
