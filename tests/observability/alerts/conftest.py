"""Alerts as they come, and a robot that takes them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from robot_double import RobotDouble, robot_double
from the_moment import NOW, Clock

from observability.alerts.notification import Alert, Notification, State


@pytest.fixture
def robot() -> Iterator[RobotDouble]:
    """A robot on this machine."""
    with robot_double() as double:
        yield double


@pytest.fixture
def clock() -> Clock:
    """Seconds since 1970, as the test has them."""
    return Clock()


@pytest.fixture(scope="session")
def an_alert() -> Callable[..., Alert]:
    """`an_alert(name, state, started=minutes_ago, **labels)`."""

    def made(
        name: str = "IndexTTSErrorShareHigh",
        state: State = "firing",
        *,
        started: float = 5,
        **labels: str,
    ) -> Alert:
        starts_at = NOW - timedelta(minutes=started)
        return Alert(
            fingerprint=f"{name}{sorted(labels.items())}",
            state=state,
            labels={"alertname": name, "severity": "critical", **labels},
            annotations={
                "summary": "12 % of the requests fail",
                "summary_zh": "12% 的请求失败",
                "description": "More than 10 % have failed for 5 minutes.",
                "description_zh": "失败率已连续 5 分钟超过 10%。",
            },
            links={
                "dashboard": "/d/indextts-failures",
                "runbook": "https://example.org/runbook#errors",
            },
            starts_at=starts_at,
            ends_at=NOW if state == "resolved" else None,
        )

    return made


@pytest.fixture(scope="session")
def notified() -> Callable[..., Notification]:
    """`notified(*alerts, group=…)`."""

    def made(*alerts: Alert, group: str = "g", truncated: int = 0) -> Notification:
        return Notification(source="alertmanager", group=group, alerts=alerts, truncated=truncated)

    return made
