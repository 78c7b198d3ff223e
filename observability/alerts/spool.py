"""
What was taken and is not delivered yet, on disk: it survives a crash, and a receiver that is away.

A row for each alert that a receiver has yet to hear of, in its newest state, and a row for what it
heard last, so that the same state is not told twice. SQLite commits with fsync before `take`
returns. Delivery is at least once: who dies between the receiver's yes and the next commit tells
it again.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from observability.alerts.notification import Alert, Notification

MAX_GROUPS = 1_000
"""Groups that may wait for one receiver. With more the sender is asked to try again later."""

MAX_ALERTS = 200
"""Alerts of a group in one parcel; the others follow in the next."""

FORGET_SECONDS = 30 * 86_400.0
"""After this the last told state of an alert is forgotten."""

MAX_TOLD = 50_000

LONGEST_WAIT_SECONDS = 600.0
"""No due time is further away, whatever the clock did meanwhile."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS waiting_groups (
    channel TEXT NOT NULL, grp TEXT NOT NULL, source TEXT NOT NULL, truncated INTEGER NOT NULL,
    notifications INTEGER NOT NULL, first_at REAL NOT NULL, due REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (channel, grp)
) STRICT;
CREATE TABLE IF NOT EXISTS waiting_alerts (
    channel TEXT NOT NULL, grp TEXT NOT NULL, fingerprint TEXT NOT NULL, state TEXT NOT NULL,
    starts_at TEXT NOT NULL, alert TEXT NOT NULL, changes INTEGER NOT NULL,
    PRIMARY KEY (channel, grp, fingerprint)
) STRICT;
CREATE TABLE IF NOT EXISTS told (
    channel TEXT NOT NULL, grp TEXT NOT NULL, fingerprint TEXT NOT NULL, state TEXT NOT NULL,
    starts_at TEXT NOT NULL, told_at REAL NOT NULL, PRIMARY KEY (channel, grp, fingerprint)
) STRICT;
"""


class Full(Exception):
    """No room for another group: the sender has to keep it and try again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """
    An alert that a receiver has yet to hear of.

    `changes` counts the states it went through since the receiver last heard: more than one means
    that it fired and resolved in between.
    """

    alert: Alert
    changes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """
    What one receiver is to be told of one group.

    Args:
        notifications: how many of the sender's are summed up in it.
        first_at: when the first of them came, in seconds since 1970.
        attempts: how often it was tried already.
    """

    channel: str
    group: str
    source: str
    changes: tuple[Change, ...]
    truncated: int
    notifications: int
    first_at: float
    attempts: int


class Spool:
    """The parcels of all receivers in one SQLite file. May be used from any thread."""

    def __init__(
        self,
        folder: Path,
        *,
        repeat_seconds: float = 3_000.0,
        max_groups: int = MAX_GROUPS,
        now: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            folder: where the file is; made if missing.
            repeat_seconds: the same firing state is told again only after so long.
            max_groups: groups that may wait for one receiver.
            now: seconds since 1970.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._repeat_seconds = repeat_seconds
        self._max_groups = max_groups
        self._now = now
        self._lock = threading.Lock()
        self._database = sqlite3.connect(
            folder / "spool.sqlite", check_same_thread=False, isolation_level=None
        )
        # FULL: a commit is on the disk, not only in the system's memory, when it returns.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=5000"):
            self._database.execute(f"PRAGMA {pragma}")
        self._database.executescript(SCHEMA)

    def close(self) -> None:
        """Give the file back."""
        with self._lock:
            self._database.close()

    def take(self, notification: Notification, channels: Sequence[str]) -> int:
        """
        Keep what is new for these receivers; it is on disk when this returns.

        Returns:
            How many alerts were new to some receiver; 0 for a notification that tells nothing new.

        Raises:
            Full: one of them has too many groups waiting; nothing was kept for any.
        """
        with self._lock, _committed(self._database) as database:
            return sum(self._take_for(database, notification, channel) for channel in channels)

    def _take_for(
        self, database: sqlite3.Connection, notification: Notification, channel: str
    ) -> int:
        key = (channel, notification.group)
        now = self._now()
        new = 0
        for alert in notification.alerts:
            if not self._is_news(database, key, alert, now):
                continue
            new += 1
            database.execute(
                "INSERT INTO waiting_alerts VALUES (?, ?, ?, ?, ?, ?, 1) ON CONFLICT DO UPDATE SET "
                "changes = changes + 1, state = excluded.state, starts_at = excluded.starts_at, "
                "alert = excluded.alert",
                (*key, alert.fingerprint, alert.state, alert.starts_at.isoformat(), _dump(alert)),
            )
        if not new:
            return 0
        database.execute(
            "INSERT INTO waiting_groups VALUES (?, ?, ?, ?, 1, ?, ?, 0) ON CONFLICT DO UPDATE SET "
            "notifications = notifications + 1, truncated = excluded.truncated",
            (*key, notification.source, notification.truncated, now, now),
        )
        waiting = database.execute(
            "SELECT count(*) FROM waiting_groups WHERE channel = ?", (channel,)
        ).fetchone()[0]
        if waiting > self._max_groups:
            raise Full
        return new

    def _is_news(
        self, database: sqlite3.Connection, key: tuple[str, str], alert: Alert, now: float
    ) -> bool:
        row = (*key, alert.fingerprint)
        where = "WHERE channel = ? AND grp = ? AND fingerprint = ?"
        known = database.execute(
            f"SELECT state, starts_at, 0 FROM waiting_alerts {where}",  # noqa: S608
            row,
        ).fetchone()
        waiting = known is not None
        if not waiting:
            known = database.execute(
                f"SELECT state, starts_at, told_at FROM told {where}",  # noqa: S608
                row,
            ).fetchone()
        if known is None:
            return True
        state, starts_at, told_at = known
        if state != alert.state:
            return True
        if alert.state == "resolved":
            # Of another firing, which this receiver never heard of.
            return bool(starts_at != alert.starts_at.isoformat())
        return not waiting and now - told_at >= self._repeat_seconds

    def next_parcel(self, channel: str) -> Parcel | None:
        """What has waited longest for a receiver and is due; None while nothing is."""
        now = self._now()
        with self._lock:
            group = self._database.execute(
                "SELECT grp, source, truncated, notifications, first_at, attempts "
                "FROM waiting_groups WHERE channel = ? AND (due <= ? OR due > ?) "
                "ORDER BY first_at, grp LIMIT 1",
                (channel, now, now + LONGEST_WAIT_SECONDS),
            ).fetchone()
            if group is None:
                return None
            name, source, truncated, notifications, first_at, attempts = group
            rows = self._database.execute(
                "SELECT alert, changes FROM waiting_alerts WHERE channel = ? AND grp = ? "
                "ORDER BY state, starts_at, fingerprint",
                (channel, name),
            ).fetchall()
        changes = [Change(alert=_load(text), changes=changes) for text, changes in rows]
        return Parcel(
            channel=channel,
            group=name,
            source=source,
            changes=tuple(changes[:MAX_ALERTS]),
            truncated=truncated,
            notifications=notifications,
            first_at=first_at,
            attempts=attempts,
        )

    def delivered(self, parcel: Parcel) -> None:
        """The receiver has heard of it; what changed since the parcel was made stays waiting."""
        key = (parcel.channel, parcel.group)
        now = self._now()
        with self._lock, _committed(self._database) as database:
            for change in parcel.changes:
                alert = change.alert
                row = (*key, alert.fingerprint)
                database.execute(
                    "INSERT OR REPLACE INTO told VALUES (?, ?, ?, ?, ?, ?)",
                    (*row, alert.state, alert.starts_at.isoformat(), now),
                )
                which = "WHERE channel = ? AND grp = ? AND fingerprint = ?"
                database.execute(
                    f"DELETE FROM waiting_alerts {which} AND changes = ?",  # noqa: S608
                    (*row, change.changes),
                )
                database.execute(
                    f"UPDATE waiting_alerts SET changes = changes - ? {which}",  # noqa: S608
                    (change.changes, *row),
                )
            left = database.execute(
                "SELECT count(*) FROM waiting_alerts WHERE channel = ? AND grp = ?", key
            ).fetchone()[0]
            if left:
                database.execute(
                    "UPDATE waiting_groups SET notifications = max(1, notifications - ?), "
                    "attempts = 0, first_at = ?, due = ? WHERE channel = ? AND grp = ?",
                    (parcel.notifications, now, now, *key),
                )
            else:
                database.execute("DELETE FROM waiting_groups WHERE channel = ? AND grp = ?", key)
            database.execute("DELETE FROM told WHERE told_at < ?", (now - FORGET_SECONDS,))
            database.execute(
                "DELETE FROM told WHERE rowid IN "
                "(SELECT rowid FROM told ORDER BY told_at DESC LIMIT -1 OFFSET ?)",
                (MAX_TOLD,),
            )

    def postpone(self, parcel: Parcel, seconds: float) -> None:
        """The receiver did not take it: try again after so long."""
        with self._lock, _committed(self._database) as database:
            database.execute(
                "UPDATE waiting_groups SET attempts = attempts + 1, due = ? "
                "WHERE channel = ? AND grp = ?",
                (self._now() + seconds, parcel.channel, parcel.group),
            )

    def waiting(self) -> Mapping[str, tuple[int, float]]:
        """How many groups wait for each receiver, and for how many seconds the oldest has."""
        now = self._now()
        with self._lock:
            rows = self._database.execute(
                "SELECT channel, count(*), min(first_at) FROM waiting_groups GROUP BY channel"
            ).fetchall()
        return {channel: (groups, max(0.0, now - oldest)) for channel, groups, oldest in rows}


class _committed:  # noqa: N801  # reads as what it does, `with _committed(database)`
    """A transaction that is on disk after its block, or undone if the block raised."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> sqlite3.Connection:
        self._database.execute("BEGIN IMMEDIATE")
        return self._database

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._database.execute("ROLLBACK" if kind else "COMMIT")


def _dump(alert: Alert) -> str:
    return json.dumps(asdict(alert), default=datetime.isoformat, ensure_ascii=False)


def _load(text: str) -> Alert:
    fields = json.loads(text)
    moments = {
        name: datetime.fromisoformat(fields[name])
        for name in ("starts_at", "ends_at")
        if fields[name]
    }
    return Alert(**{**fields, **moments})
