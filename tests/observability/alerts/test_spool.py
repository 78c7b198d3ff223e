"""What was taken is told once to each receiver, in its newest state, whatever happened between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from the_moment import Clock

from observability.alerts.notification import Alert, Notification
from observability.alerts.spool import Full, Parcel, Spool

ROOT = Path(__file__).parents[3]

MakeAlert = Callable[..., Alert]
Notify = Callable[..., Notification]


@pytest.fixture
def spool(tmp_path: Path, clock: Clock) -> Iterator[Spool]:
    made = Spool(tmp_path, repeat_seconds=3000, max_groups=3, now=clock)
    yield made
    made.close()


def states(parcel: Parcel | None) -> list[tuple[str, str, int]]:
    """Name, state and number of changes of each alert in a parcel."""
    assert parcel
    return [(one.alert.name, one.alert.state, one.changes) for one in parcel.changes]


def test_what_was_taken_comes_out_whole(
    spool: Spool, an_alert: MakeAlert, notified: Notify, clock: Clock
) -> None:
    """Labels, annotations, links and times survive the disk."""
    alert = an_alert(speaker="默认女声")
    assert spool.take(notified(alert, truncated=2), ["wecom"]) == 1
    parcel = spool.next_parcel("wecom")
    assert parcel
    assert parcel.changes[0].alert == alert
    assert (parcel.truncated, parcel.notifications, parcel.first_at) == (2, 1, clock.now)


def test_each_receiver_is_told(spool: Spool, an_alert: MakeAlert, notified: Notify) -> None:
    """One that is away keeps nothing from the others."""
    spool.take(notified(an_alert()), ["wecom", "slack"])
    first = spool.next_parcel("wecom")
    assert first
    spool.delivered(first)
    assert spool.next_parcel("wecom") is None
    assert states(spool.next_parcel("slack")) == [("IndexTTSErrorShareHigh", "firing", 1)]


def test_the_same_state_is_told_once(
    spool: Spool, an_alert: MakeAlert, notified: Notify, clock: Clock
) -> None:
    """A notification sent again, by a second Alertmanager say, is not news; an hour later it is."""
    spool.take(notified(an_alert()), ["wecom"])
    assert spool.take(notified(an_alert()), ["wecom"]) == 0
    parcel = spool.next_parcel("wecom")
    assert parcel
    assert parcel.notifications == 1
    spool.delivered(parcel)
    assert spool.take(notified(an_alert()), ["wecom"]) == 0
    clock.now += 3600
    assert spool.take(notified(an_alert()), ["wecom"]) == 1


def test_a_resolve_is_told_once(spool: Spool, an_alert: MakeAlert, notified: Notify) -> None:
    """And a later firing again."""
    for alert in (an_alert(), an_alert(state="resolved")):
        assert spool.take(notified(alert), ["wecom"]) == 1
        parcel = spool.next_parcel("wecom")
        assert parcel
        spool.delivered(parcel)
    assert spool.take(notified(an_alert(state="resolved")), ["wecom"]) == 0
    assert spool.take(notified(an_alert(started=1)), ["wecom"]) == 1


def test_what_piles_up_is_one_parcel_with_the_newest_state(
    spool: Spool, an_alert: MakeAlert, notified: Notify
) -> None:
    """A hundred changes of a receiver that was away become one message; no resolve is dropped."""
    calm = an_alert("IndexTTSQueueFull")
    spool.take(notified(calm, an_alert()), ["wecom"])
    spool.take(notified(an_alert("IndexTTSQueueFull", "resolved"), an_alert()), ["wecom"])
    for minute in range(49, 0, -1):
        spool.take(notified(an_alert(state="resolved", started=minute + 0.5)), ["wecom"])
        spool.take(notified(an_alert(started=minute)), ["wecom"])
    parcel = spool.next_parcel("wecom")
    assert states(parcel) == [
        ("IndexTTSErrorShareHigh", "firing", 99),
        ("IndexTTSQueueFull", "resolved", 2),
    ]
    assert parcel
    assert parcel.notifications == 100
    spool.delivered(parcel)
    assert spool.next_parcel("wecom") is None


def test_what_changes_while_it_is_sent_is_told_next(
    spool: Spool, an_alert: MakeAlert, notified: Notify
) -> None:
    """The receiver's yes is for what it was shown."""
    spool.take(notified(an_alert()), ["wecom"])
    parcel = spool.next_parcel("wecom")
    assert parcel
    spool.take(notified(an_alert(state="resolved")), ["wecom"])
    spool.delivered(parcel)
    assert states(spool.next_parcel("wecom")) == [("IndexTTSErrorShareHigh", "resolved", 1)]


def test_a_parcel_waits_until_it_is_due(
    spool: Spool, an_alert: MakeAlert, notified: Notify, clock: Clock
) -> None:
    """And no longer than ten minutes, should the clock be set back."""
    spool.take(notified(an_alert()), ["wecom"])
    parcel = spool.next_parcel("wecom")
    assert parcel
    spool.postpone(parcel, 60)
    assert spool.next_parcel("wecom") is None
    clock.now += 60
    again = spool.next_parcel("wecom")
    assert again
    assert again.attempts == 1
    spool.postpone(again, 60)
    clock.now -= 86_400
    assert spool.next_parcel("wecom")


def test_a_full_spool_takes_nothing_half(
    spool: Spool, an_alert: MakeAlert, notified: Notify
) -> None:
    """The sender keeps it; groups that wait already may still change."""
    for number in range(3):
        spool.take(notified(an_alert(), group=str(number)), ["wecom"])
    with pytest.raises(Full):
        spool.take(notified(an_alert(), group="3"), ["slack", "wecom"])
    assert spool.waiting() == {"wecom": (3, 0.0)}
    assert spool.take(notified(an_alert(state="resolved"), group="2"), ["wecom"]) == 1


def test_it_survives_being_killed(tmp_path: Path, an_alert: MakeAlert, notified: Notify) -> None:
    """SIGKILL right after `take` returned: the next process has all of it."""
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from observability.alerts.notification import parse\n"
        "from observability.alerts.spool import Spool\n"
        "spool = Spool(Path(sys.argv[1]))\n"
        "body = sys.stdin.buffer.read()\n"
        "spool.take(parse(body), ['wecom'])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    body = (
        '{"groupKey": "g", "alerts": [{"status": "firing", "labels": {"alertname": "A"},'
        ' "startsAt": "2026-11-28T03:00:00Z"}]}'
    )
    run = subprocess.run(
        [sys.executable, "-c", script, tmp_path],
        input=body.encode(),
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert run.returncode == -signal.SIGKILL
    reopened = Spool(tmp_path)
    assert states(reopened.next_parcel("wecom")) == [("A", "firing", 1)]
    reopened.close()
