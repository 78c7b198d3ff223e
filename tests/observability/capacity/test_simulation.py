"""The simulation agrees with theory where there is one, and loses nobody where there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from observability.capacity.load import Length, Load, drawn, week
from observability.capacity.queueing import Demand, erlang_c, mean_wait
from observability.capacity.scaling import Autoscale, Scaler
from observability.capacity.simulation import Fleet, Run, fewest, simulate

REQUESTS = 400_000
BATCHES = 40
Z = 3.5
"""Of a confidence interval that holds the truth in 99.95 of 100 cases."""


def random_load(rate: float, work: np.ndarray, seed: int = 1) -> Load:
    """Requests that come independently at one rate."""
    arrivals = np.cumsum(np.random.default_rng(seed).exponential(1 / rate, work.size))
    return Load(arrivals, work, float(arrivals[-1]) if work.size else 0.0)


def interval(values: np.ndarray) -> tuple[float, float]:
    """Confidence interval of the mean of values that follow each other: by batch means."""
    means = values[: values.size // BATCHES * BATCHES].reshape(BATCHES, -1)[2:].mean(axis=1)
    half = Z * means.std(ddof=1) / math.sqrt(means.size)
    return means.mean() - half, means.mean() + half


@pytest.mark.parametrize(("servers", "rate"), [(1, 0.7), (3, 2.4), (8, 6.4)])
def test_random_work_waits_as_erlang_says(servers: int, rate: float) -> None:
    """M/M/c: the share that waits, and the mean wait, within the confidence interval."""
    work = np.random.default_rng(2).exponential(1.0, REQUESTS)
    waits = simulate(random_load(rate, work), Fleet(replicas=servers)).waits
    demand = Demand(rate=rate, work_seconds=1.0)
    least, most = interval(waits)
    assert least <= mean_wait(servers, demand) <= most
    assert most - least < 0.3 * mean_wait(servers, demand)
    least, most = interval((waits > 0).astype(float))
    assert least <= erlang_c(servers, demand.offered) <= most


@pytest.mark.parametrize("rate", [0.5, 0.8])
def test_fixed_work_waits_as_pollaczek_and_khinchine_say(rate: float) -> None:
    """M/D/1: the mean wait within the confidence interval, half that of random work."""
    waits = simulate(random_load(rate, np.ones(REQUESTS)), Fleet()).waits
    least, most = interval(waits)
    exact = mean_wait(1, Demand(rate=rate, work_seconds=1.0, work_cv=0.0))
    assert exact == pytest.approx(rate / (2 * (1 - rate)))
    assert least <= exact <= most
    assert most - least < 0.15 * exact


def test_a_queue_each_waits_as_so_many_services_of_one_replica() -> None:
    """Random arrivals dealt at random are random arrivals: M/M/1 in each."""
    work = np.random.default_rng(3).exponential(1.0, REQUESTS)
    run = simulate(random_load(2.0, work), Fleet(replicas=4, queues="each"))
    least, most = interval(run.waits)
    assert least <= mean_wait(1, Demand(rate=0.5, work_seconds=1.0)) <= most


def test_one_queue_beats_the_shortest_and_that_beats_chance() -> None:
    """What a load balancer knows of the queues is worth replicas."""
    work = np.random.default_rng(4).exponential(1.0, 50_000)
    load = random_load(3.2, work)
    means = [
        float(simulate(load, Fleet(replicas=4, queues=queues)).waits.mean())
        for queues in ("one", "shortest", "each")  # type: ignore[misc]
    ]
    assert means == sorted(means)
    assert means[2] > 3 * means[1]


@settings(max_examples=60, deadline=None)
@given(
    gaps=st.lists(st.floats(0, 3), max_size=60),
    works=st.lists(st.floats(0, 5), min_size=60, max_size=60),
    replicas=st.integers(1, 4),
    max_queue=st.integers(0, 3),
    timeout=st.one_of(st.just(math.inf), st.floats(0.1, 8)),
    queues=st.sampled_from(["one", "each", "shortest"]),
    scales=st.booleans(),
)
def test_everybody_is_served_refused_or_late(
    gaps: list[float], works: list[float], replicas: int, max_queue: int, timeout: float,
    queues: str, scales: bool,
) -> None:  # fmt: skip
    """Whatever comes: nobody is lost, nobody is served early, no more at a time than can be."""
    arrivals = np.cumsum(np.array(gaps, float))
    load = Load(arrivals, np.array(works[: len(gaps)], float), 100.0)
    rule = Autoscale(least=1, most=replicas, target=1, start_seconds=2, look_seconds=1,
                     settle_seconds=3)  # fmt: skip
    fleet = Fleet(
        replicas=replicas, queues=queues, max_queue=max_queue, timeout_seconds=timeout,  # type: ignore[arg-type]
        autoscale=rule if scales else None,
    )  # fmt: skip
    run = simulate(load, fleet)
    served = ~np.isnan(run.started)
    assert not (served & run.refused).any()
    assert (run.started[served] >= arrivals[served]).all()
    assert (run.waits <= timeout + 1e-9).all()
    if timeout == math.inf:
        assert (served | run.refused).all()
    assert 0 <= run.timed_out <= len(gaps) - int(run.refused.sum())
    moments = [(at, 1) for at in run.started[served]]
    moments += [(at, -1) for at in (run.started + run.busy)[served]]
    under_way = np.cumsum([change for _, change in sorted(moments)])
    assert not under_way.size or under_way.max() <= replicas


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), replicas=st.integers(1, 5))
def test_one_more_replica_lets_nobody_wait_longer(seed: int, replicas: int) -> None:
    """With one queue and no deadline, request by request."""
    work = np.random.default_rng(seed).exponential(2.0, 300)
    load = random_load(1.0, work, seed)
    fewer, more = (simulate(load, Fleet(replicas=n)).waits for n in (replicas, replicas + 1))
    assert (more <= fewer + 1e-9).all()


def test_a_full_queue_refuses_and_a_late_answer_is_a_timeout() -> None:
    """By hand: one replica, ten seconds of work each, one place, a deadline of fifteen."""
    load = Load(np.array([0.0, 1.0, 2.0, 12.0]), np.array([10.0, 10.0, 10.0, 2.0]), 60.0)
    run = simulate(load, Fleet(max_queue=1, timeout_seconds=15))
    # The second begins at 10 and is cut off at 16; the third finds no room; the fourth begins then.
    assert run.refused.tolist() == [False, False, True, False]
    np.testing.assert_array_equal(run.started, [0.0, 10.0, math.nan, 16.0])
    assert run.timed_out == 1
    assert run.busy.tolist() == [10.0, 6.0, 0.0, 2.0]
    assert run.lost_share == 0.5


def test_autoscaling_comes_late_by_its_start_and_goes_after_the_lull() -> None:
    """Ten requests at once: one replica, more after their start, the least again after a while."""
    load = Load(np.zeros(10), np.full(10, 60.0), 3600.0)
    rule = Autoscale(least=1, most=5, target=1, start_seconds=90)
    run = simulate(load, Fleet(autoscale=rule))
    # The look at 15 finds ten and asks for all five, which are there at 105.
    assert sorted(run.started) == [0, 60, 105, 105, 105, 105, 120, 165, 165, 165]
    assert run.most_replicas == 5
    # All five until 300 s after the last look that asked for them (150), then as the looks of
    # 165, 180 and 225 have it: 4, 3, 1.
    assert run.replica_seconds == 15 + 5 * 450 + 4 * 15 + 3 * 45 + 1 * 3075


def test_what_was_asked_for_lately_keeps_replicas_and_starts_none() -> None:
    """Twenty were asked for and five allowed; a look that needs three leaves it at these five."""
    scaler = Scaler(Autoscale(least=1, most=20, target=1, start_seconds=0))
    assert scaler.look(0, waiting=19, served=1) == 0
    assert scaler.look(15, waiting=0, served=3) == 0
    assert scaler.ready + len(scaler.coming) == 5


def test_scaling_by_the_queue_alone_ends_replicas_that_are_busy() -> None:
    """A service without a queue is not idle: the rule by requests in it meets, the other misses."""
    load = drawn(20_000, Length(audio_seconds=8, rtf=0.5), days=1, by_hour=week(1), seed=7)
    waits = [
        simulate(
            load,
            Fleet(
                autoscale=Autoscale(
                    least=1, most=12, target=target, start_seconds=60, waiting_only=alone
                )
            ),
        ).wait_quantile(0.95)
        for target, alone in ((0.8, False), (2, True))
    ]
    assert waits[0] < 8 < waits[1]


def test_the_fewest_replicas_are_found() -> None:
    """With them it is enough, with one less it is not; where nothing is, none is named."""
    load = drawn(20_000, Length(audio_seconds=8, rtf=0.5), days=1, by_hour=week(), seed=7)

    def is_enough(run: Run) -> bool:
        return run.wait_quantile(0.95) <= 1

    found = fewest(load, Fleet(), is_enough=is_enough)
    assert found
    assert is_enough(found[1])
    assert not is_enough(simulate(load, Fleet(replicas=found[0] - 1)))
    assert fewest(load, Fleet(), is_enough=lambda _: False, most=20) is None


@pytest.mark.parametrize(
    "wrong", [{"replicas": 0}, {"max_queue": -1}, {"timeout_seconds": 0}]
)  # fmt: skip
def test_what_is_no_fleet_is_refused(wrong: dict[str, int]) -> None:
    """With what would be one."""
    with pytest.raises(ValueError, match=r"at least|or more"):
        Fleet(**wrong)  # type: ignore[arg-type]


def test_what_is_no_rule_is_refused() -> None:
    """No replica at least, or a target that nothing reaches."""
    for wrong in ({"least": 0}, {"least": 6}, {"target": 0}, {"start_seconds": -1}):
        with pytest.raises(ValueError, match=r"autoscaling|or more|more than"):
            Autoscale(**{"least": 1, "most": 5, "target": 1, "start_seconds": 1, **wrong})  # type: ignore[arg-type]
