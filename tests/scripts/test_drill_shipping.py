"""The drill on the way to Loki, shortened: the case in which most is broken loses nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import shipping
from scripts.drill_shipping import both_killed, drill


@pytest.mark.skipif(
    bool(shipping.missing()), reason=f"not on PATH: {', '.join(shipping.missing())}"
)
def test_both_killed_at_the_turn_of_the_day_lose_nothing(tmp_path: Path) -> None:
    """Loki away, Promtail killed and started again meanwhile, a new day's file: in = out."""
    done = drill(both_killed, tmp_path, outage=4, rate=50)
    assert done.files == 2
    assert done.lines > 400
    assert done.lost == 0
