"""
The dead man's switch: an alert that always fires is expected every few minutes, and missed aloud.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import structlog

from observability.alerts.notification import Alert, Notification

log = structlog.get_logger("observability.alerts")

NAME = "IndexTTSAlertingSilent"


class Heartbeat:
    """Knows when the switch was last heard, and what that means."""

    def __init__(
        self,
        limit_seconds: float,
        *,
        outside_url: str | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            limit_seconds: silence that is an alert; 0 = none is.
            outside_url: called for each heartbeat; whoever watches it notices our own end as well.
            now: seconds since 1970.
        """
        self._limit_seconds = limit_seconds
        self._outside_url = outside_url
        self._now = now
        # The relay's own start counts, so that a watch that never begins is missed as well.
        self.heard_at = now()
        self._told_silent = False

    def __repr__(self) -> str:
        return f"Heartbeat(heard_at={self.heard_at})"

    async def heard(self, notification: Notification) -> None:
        """A notification came on the switch's route; counts if its alert fires."""
        if not any(alert.state == "firing" for alert in notification.alerts):
            return
        self.heard_at = self._now()
        if self._outside_url:
            try:
                async with httpx.AsyncClient(timeout=10.0) as client:
                    (await client.get(self._outside_url)).raise_for_status()
            except httpx.HTTPError as error:
                log.warning("heartbeat.not_passed_on", error_type=type(error).__name__)

    def told(self, notification: Notification) -> None:
        """What `news` gave is kept where it will be delivered."""
        self._told_silent = notification.alerts[0].state == "firing"

    def _silent(self) -> bool:
        return bool(self._limit_seconds) and self._now() - self.heard_at > self._limit_seconds

    def news(self) -> Notification | None:
        """The alert on a silence that began or ended and was not told yet; else None."""
        silent = self._silent()
        if silent == self._told_silent:
            return None
        now = datetime.fromtimestamp(self._now(), UTC)
        minutes = f"{self._limit_seconds / 60:g}"
        alert = Alert(
            fingerprint="heartbeat",
            state="firing" if silent else "resolved",
            labels={"alertname": NAME, "severity": "critical"},
            annotations={
                "summary": f"No heartbeat of the alerting for {minutes} minutes: other alerts may "
                "not arrive",
                "summary_zh": f"告警链路已 {minutes} 分钟没有心跳，其他告警可能无法送达",
                "description": "Prometheus or Alertmanager is down, or cannot reach this relay. "
                "Look at both, then at the route of the alert IndexTTSWatchdog.",
                "description_zh": "Prometheus 或 Alertmanager 已停止，或无法连接本中继。"
                "请先检查两者，再检查告警 IndexTTSWatchdog 的路由。",
            },
            starts_at=datetime.fromtimestamp(self.heard_at, UTC) if silent else now,
            ends_at=None if silent else now,
        )
        return Notification(source="alertmanager", group="heartbeat", alerts=(alert,))
