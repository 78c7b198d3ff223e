"""Promises of the memory ladder: which figures call for which step, and which call for none."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from indextts_app.engines.base import Memory
from indextts_app.workers.memory_ladder import (
    ENOUGH,
    SERVED_AT_LEAST,
    WARM_UP,
    WINDOW,
    History,
    Ladder,
    Need,
    growth_mb,
    lasting_growth_mb,
    next_need,
)

LADDER = Ladder(
    empty_cache_mb=1_000,
    worker_memory_mb=5_000,
    memory_slope_mb=4,
    recycle_requests=1_000,
    idle_unload_seconds=60,
)


def rss(figures: Iterable[float]) -> list[Memory]:
    """Reports of a worker without a device of its own."""
    return [Memory(worker_mb=figure) for figure in figures]


def on_device(allocated: float, reserved: float, *, speakers: float = 0.0) -> Memory:
    """A report of a worker with a device of its own."""
    return Memory(2_000, allocated_mb=allocated, reserved_mb=reserved, speakers_mb=speakers)


def test_a_worker_that_holds_still_needs_nothing() -> None:
    """Flat memory below the limits, however large the model is."""
    assert LADDER.needs(rss([3_000] * WINDOW), served=100) == ()
    assert LADDER.needs([on_device(4_000, 4_900)] * WINDOW, served=100) == ()


def test_without_a_report_nothing_is_needed() -> None:
    """Before the self-test nobody knows anything."""
    assert LADDER.needs([], served=0) == ()


def test_memory_that_the_device_keeps_unused_is_given_back() -> None:
    """More than the limit lies between what is reserved and what is in use."""
    assert LADDER.needs([on_device(2_000, 3_001)], served=1) == (Need("empty_cache", "unused"),)
    assert LADDER.needs([on_device(2_000, 3_000)], served=1) == ()


@pytest.mark.parametrize("too_much", [on_device(4_900, 5_001), Memory(worker_mb=5_001)])
def test_too_much_memory_costs_the_speakers_first_and_then_the_worker(too_much: Memory) -> None:
    """On the device or in the process: whichever is larger counts."""
    needs = LADDER.needs([too_much], served=SERVED_AT_LEAST)
    assert needs == (Need("drop_speakers", "memory"), Need("recycle", "memory"))


def test_a_limit_below_what_each_request_needs_does_not_load_the_model_for_each() -> None:
    """A new worker stays for some requests even if it is over the limit at once."""
    needs = LADDER.needs(rss([6_000]), served=SERVED_AT_LEAST - 1)
    assert needs == (Need("drop_speakers", "memory"),)


def test_steady_growth_costs_the_worker() -> None:
    """Five MB with each request, and nothing that ever gives it back."""
    history = rss(1_000 + 5 * number for number in range(ENOUGH))
    assert growth_mb(history) == pytest.approx(5)
    assert LADDER.needs(history, served=ENOUGH) == (Need("recycle", "growth"),)
    assert LADDER.needs(history[:-1], served=ENOUGH) == ()


def test_growth_below_the_limit_is_borne() -> None:
    """Three MB a request is told, and nothing is done."""
    history = rss(1_000 + 3 * number for number in range(WINDOW))
    assert growth_mb(history) == pytest.approx(3)
    assert LADDER.needs(history, served=WINDOW) == ()


@pytest.mark.parametrize("at", range(0, WINDOW, 3))
def test_one_step_up_is_no_leak(at: int) -> None:
    """A large request makes a pool larger once; the slope alone would call that growth."""
    history = rss([1_000] * at + [1_600] * (WINDOW - at))
    assert lasting_growth_mb(history) <= LADDER.memory_slope_mb
    assert LADDER.needs(history, served=WINDOW) == ()


def test_a_leak_under_noise_is_found_and_noise_is_not() -> None:
    """Requests differ; up and down by 40 MB hides no leak of 8 MB, and is none itself."""
    noise = [40 * (-1) ** number for number in range(WINDOW)]
    leaking = rss(1_000 + 8 * number + noise[number] for number in range(WINDOW))
    assert LADDER.needs(leaking, served=WINDOW) == (Need("recycle", "growth"),)
    assert LADDER.needs(rss(1_000 + part for part in noise), served=WINDOW) == ()


def test_a_cache_that_fills_is_no_leak() -> None:
    """Speakers have a budget of their own, and do not count as growth."""
    filling = [
        on_device(2_000 + 10 * number, 2_600, speakers=10 * number) for number in range(WINDOW)
    ]
    assert growth_mb(filling) == pytest.approx(0)
    assert LADDER.needs(filling, served=WINDOW) == ()


def test_on_a_device_its_own_memory_counts_as_growth() -> None:
    """The process may breathe; what is in use on the device is what creeps."""
    creeping = [
        Memory(2_000 + 100 * (number % 2), allocated_mb=1_000 + 6 * number, reserved_mb=1_900)
        for number in range(WINDOW)
    ]
    assert LADDER.needs(creeping, served=WINDOW) == (Need("recycle", "growth"),)


def test_a_worker_that_has_served_its_number_is_replaced() -> None:
    """Whatever its memory says."""
    assert LADDER.needs(rss([1_000]), served=999) == ()
    assert LADDER.needs(rss([1_000]), served=1_000) == (Need("recycle", "requests"),)


def test_without_limits_nothing_is_ever_needed() -> None:
    """Zero means none."""
    leaking = [on_device(100 * number, 300 * number) for number in range(WINDOW)]
    assert Ladder().needs(leaking, served=100_000) == ()
    assert not Ladder().unloads_after(1e9)


def test_idle_for_long_enough_is_unloaded() -> None:
    """From the limit on."""
    assert LADDER.unloads_after(60)
    assert not LADDER.unloads_after(59.9)


def test_the_lowest_rung_that_was_not_tried_is_next() -> None:
    """A step that did not help is not taken again in the same trouble."""
    needs = (Need("drop_speakers", "memory"), Need("recycle", "memory"))
    assert next_need(needs, set()) == needs[0]
    assert next_need(needs, {"drop_speakers"}) == needs[1]
    assert next_need(needs, {"drop_speakers", "recycle"}) is None
    assert next_need((), set()) is None


def test_the_warm_up_counts_for_nothing() -> None:
    """The first requests make a worker larger; of them only the latest figure is known."""
    history = History()
    assert history.latest is None
    for number in range(WARM_UP + 1):
        history.add(Memory(1_000 + 200 * number))
        assert history.reports == (history.latest,) == (Memory(1_000 + 200 * number),)
    for _ in range(WINDOW):
        history.add(Memory(2_000))
    assert len(history.reports) == WINDOW
    assert growth_mb(history.reports) == pytest.approx(0)


def test_what_a_step_left_replaces_the_latest_figure() -> None:
    """A step is no request: the history grows by requests only."""
    history = History()
    history.add(Memory(3_000))
    history.correct(Memory(1_000))
    assert history.reports == (Memory(1_000),)
