"""What the relay counts: fed by its own finished events, and by the spool when it is scraped."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from observability.alerts.heartbeat import Heartbeat
from observability.alerts.spool import Spool
from observability.events import Event
from observability.resources import LossCollector

SECONDS = (0.1, 0.5, 1, 5, 15, 60)


class RelayMetrics:
    """A sink for the events of the relay; the receivers are all there from the start."""

    def __init__(self, receivers: Sequence[str], spool: Spool, heartbeat: Heartbeat) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._notifications = Counter(
            "indextts_alert_relay_notifications",
            "Notifications that came in; success means kept, or known already.",
            ("status",),
            registry=self.registry,
        )
        self._deliveries = Counter(
            "indextts_alert_relay_deliveries",
            "Attempts to tell a receiver; anything but success is tried again.",
            ("receiver", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "indextts_alert_relay_delivery_seconds",
            "Time of an attempt, finding the failed requests included.",
            ("receiver",),
            buckets=SECONDS,
            registry=self.registry,
        )
        for receiver in receivers:
            for status in ("success", "failed"):
                self._deliveries.labels(receiver, status)
        self.registry.register(LossCollector())
        self.registry.register(_Waiting(receivers, spool, heartbeat))

    def started(self, event: Event) -> None:
        """Nothing: what counts is how it ended."""

    def finished(self, event: Event) -> None:
        """Count a notification that came, or an attempt to tell somebody."""
        status = event.status or "none"
        if event.event == "notification.finished":
            self._notifications.labels(status).inc()
        if event.event == "alert.finished" and "receiver" in event.extra:
            receiver = str(event.extra["receiver"])
            self._deliveries.labels(receiver, status).inc()
            if event.duration_ms is not None:
                self._seconds.labels(receiver).observe(event.duration_ms / 1000)

    def text(self) -> bytes:
        """The exposition for a scrape."""
        return generate_latest(self.registry)


class _Waiting(Collector):
    def __init__(self, receivers: Sequence[str], spool: Spool, heartbeat: Heartbeat) -> None:
        self._receivers = receivers
        self._spool = spool
        self._heartbeat = heartbeat

    def collect(self) -> Iterator[Metric]:
        waiting = self._spool.waiting()
        groups = GaugeMetricFamily(
            "indextts_alert_relay_waiting_groups",
            "Groups of alerts that a receiver has yet to hear of.",
            labels=("receiver",),
        )
        oldest = GaugeMetricFamily(
            "indextts_alert_relay_waiting_seconds",
            "How long the oldest of them has waited.",
            labels=("receiver",),
        )
        for receiver in self._receivers:
            count, seconds = waiting.get(receiver, (0, 0.0))
            groups.add_metric((receiver,), count)
            oldest.add_metric((receiver,), seconds)
        yield groups
        yield oldest
        yield GaugeMetricFamily(
            "indextts_alert_relay_heartbeat_age_seconds",
            "Time since the dead man's switch was last heard.",
            value=max(0.0, time.time() - self._heartbeat.heard_at),
        )
