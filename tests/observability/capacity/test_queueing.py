"""The formulas give what the textbooks print, and what is true of any queue."""

from __future__ import annotations

import math

import pytest

from observability.capacity.queueing import (
    Demand,
    erlang_c,
    mean_wait,
    servers_for,
    wait_quantile,
)


@pytest.mark.parametrize(
    ("servers", "offered", "share"),
    [(1, 0.5, 0.5), (2, 1.0, 1 / 3), (3, 2.0, 4 / 9), (5, 4.0, 0.55411), (10, 8.0, 0.40918)],
)
def test_erlang_c_is_that_of_its_tables(servers: int, offered: float, share: float) -> None:
    """One server: the load itself; two and three: fractions; five and ten: printed tables."""
    assert erlang_c(servers, offered) == pytest.approx(share, abs=5e-6)


def test_no_number_of_servers_overflows() -> None:
    """Factorials would, from 171 on."""
    assert 0 < erlang_c(10_000, 9_900) < 1


def test_one_server_with_random_arrivals_is_pollaczek_khinchine() -> None:
    """Mean wait = rate × mean of the squared work / (2 × (1 - load)), whatever the work is like."""
    for cv in (0.0, 0.5, 1.0, 3.0):
        demand = Demand(rate=0.8, work_seconds=1.0, work_cv=cv)
        assert mean_wait(1, demand) == pytest.approx(0.8 * (1 + cv**2) / (2 * 0.2))


def test_what_cannot_be_served_waits_for_ever() -> None:
    """More work than servers: everybody waits, and there is no mean."""
    demand = Demand(rate=3.0, work_seconds=1.0)
    assert erlang_c(3, demand.offered) == 1.0
    assert mean_wait(3, demand) == wait_quantile(3, demand, 0.95) == math.inf


def test_the_fewest_servers_are_found() -> None:
    """With them the aim is met, with one less it is not; nobody needs one at least."""
    demand = Demand(rate=2.0, work_seconds=4.0, work_cv=0.8)
    found = servers_for(demand, wait_seconds=2.0, share=0.95)
    assert wait_quantile(found, demand, 0.95) <= 2.0 < wait_quantile(found - 1, demand, 0.95)
    assert servers_for(Demand(rate=0, work_seconds=1), wait_seconds=0, share=0.99) == 1
    many = Demand(rate=9_500.0, work_seconds=4.0, work_cv=0.8)
    found = servers_for(many, wait_seconds=0.01, share=0.95)
    assert wait_quantile(found, many, 0.95) <= 0.01 < wait_quantile(found - 1, many, 0.95)


@pytest.mark.parametrize("rate", [1e6, math.inf])
def test_more_than_a_million_servers_are_no_answer(rate: float) -> None:
    """It is said, rather than searched for without end."""
    with pytest.raises(ValueError, match="more than 1,000,000 servers"):
        servers_for(Demand(rate=rate, work_seconds=2.0), wait_seconds=1, share=0.95)


@pytest.mark.parametrize(
    "wrong", [{"rate": -1.0}, {"work_seconds": 0.0}, {"work_cv": -1.0}, {"rate": math.nan}]
)
def test_what_is_no_demand_is_refused(wrong: dict[str, float]) -> None:
    """Before anything is divided by it."""
    with pytest.raises(ValueError, match="or more"):
        Demand(**{"rate": 1.0, "work_seconds": 1.0, **wrong})
