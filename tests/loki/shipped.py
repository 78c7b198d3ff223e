"""What the tests of LogQL share: a Loki and what it was filled with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from scripts import shipping


@dataclass(frozen=True, slots=True)
class Shipped:
    """The Loki, how many lines were written, and the time that they are of."""

    loki: shipping.Loki
    lines: int
    since: datetime
    until: datetime
