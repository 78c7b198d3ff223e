"""What comes is what was asked for: so many, in that rhythm, of that length; or as it was."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from observability.capacity.load import HOUR_SECONDS, Length, Load, drawn, replayed, week
from observability.generated_logs import Month, generate
from observability.log_store.files import FileLogStore
from observability.log_store.questions import Unanswerable

SINCE, UNTIL = datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC)


@pytest.mark.parametrize("factor", [1.0, 2.0, 2.5, 6.0, 40.0, 84.0])
def test_the_busiest_hour_has_what_was_asked_for(factor: float) -> None:
    """Over a mean of one."""
    rates = week(factor)
    assert rates.max() == pytest.approx(factor, rel=1e-3)
    assert rates.mean() == pytest.approx(1)
    with pytest.raises(ValueError, match="from 1 to 84"):
        week(factor / 100)


def test_a_month_has_its_requests_hour_by_hour() -> None:
    """Each hour within what a Poisson number strays; the same seed gives the same month."""
    length = Length(audio_seconds=8, rtf=0.5, fixed_seconds=0.2)
    load = drawn(500_000, length, by_hour=week(), seed=3)
    counts = np.histogram(load.arrivals, bins=720, range=(0, 720 * HOUR_SECONDS))[0]
    expected = np.resize(week(), 720) / np.resize(week(), 720).sum() * 500_000
    assert (np.abs(counts - expected) / np.sqrt(expected)).max() < 5
    assert load.work_seconds == pytest.approx(length.mean, rel=0.01)
    assert load.work_cv == pytest.approx(length.cv, rel=0.02)
    again = drawn(500_000, length, by_hour=week(), seed=3)
    assert (again.arrivals == load.arrivals).all()
    assert drawn(0, length, by_hour=week()).arrivals.size == 0


def test_what_is_no_length_is_refused() -> None:
    """Audio without length, work without time."""
    for wrong in ({"rtf": 0}, {"audio_seconds": -1}, {"audio_cv": -1}, {"fixed_seconds": -1}):
        with pytest.raises(ValueError, match="are"):
            Length(**{"audio_seconds": 8, "rtf": 0.5, **wrong})


def test_what_is_no_load_is_refused() -> None:
    """Arrivals out of order, work that is no time."""
    for arrivals, work in (([2, 1], [1, 1]), ([1], [np.nan]), ([1, 2], [1])):
        with pytest.raises(ValueError, match=r"arrival|work"):
            Load(np.array(arrivals, float), np.array(work, float), 10)


def test_a_month_of_the_log_is_played_as_it_was(tmp_path: Path) -> None:
    """Moments of the ids, work without the wait; as three times the traffic, three of each."""
    generate(Month(2026, 9, 600, seed=4), tmp_path)
    store = FileLogStore(tmp_path, clock=lambda: UNTIL + timedelta(days=1))
    load = replayed(store, SINCE, UNTIL)
    statement = (
        "SELECT (duration_ms - queue_ms) / 1e3, epoch_us(timestamp) / 1e6 - duration_ms / 1e3 "
        "FROM finished WHERE status IN ('success', 'degraded') ORDER BY request_id"
    )
    with store.requests(SINCE, UNTIL, ("duration_ms", "queue_ms", "status")) as found:
        work, came = np.array(found.rows(statement), float).T
    assert load.work.tolist() == pytest.approx(work.tolist())
    # The line is written after ffprobe, and an id tells whole milliseconds.
    assert np.abs(load.arrivals + SINCE.timestamp() - came).max() < 0.1
    assert load.seconds == 30 * 86_400
    thrice = replayed(store, SINCE, UNTIL, times=3)
    assert thrice.arrivals.size == 3 * load.arrivals.size
    assert sorted(thrice.work) == sorted(load.work.tolist() * 3)


def test_a_month_without_audio_is_no_month_of_rest(tmp_path: Path) -> None:
    """It says so, instead of playing nothing."""
    with pytest.raises(Unanswerable, match="No request got audio"):
        replayed(FileLogStore(tmp_path), SINCE, UNTIL)
