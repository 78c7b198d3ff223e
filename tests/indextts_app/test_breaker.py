"""Promises of the breaker: failures call for a trial, only trials open and close it."""

from __future__ import annotations

import pytest

from indextts_app.breaker import FAILURES, WAITS, Breaker


class Clock:
    """A clock that the test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The time of this test."""
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    """A closed breaker."""
    return Breaker(clock)


def fail(breaker: Breaker, times: int) -> None:
    """So many bad outcomes in a row."""
    for _ in range(times):
        breaker.saw(good=False)


def test_failures_in_a_row_call_for_a_trial(breaker: Breaker) -> None:
    """One fewer does not, nor as many with a good one between them."""
    fail(breaker, FAILURES - 1)
    assert not breaker.wants_trial
    breaker.saw(good=True)
    fail(breaker, FAILURES - 1)
    assert not breaker.wants_trial
    fail(breaker, 1)
    assert (breaker.state, breaker.wants_trial) == ("closed", True)


def test_a_good_trial_proves_that_the_requests_were_to_blame(breaker: Breaker) -> None:
    """It never opened, and counts anew."""
    fail(breaker, FAILURES)
    breaker.trying()
    breaker.tried(good=True)
    assert (breaker.state, breaker.wants_trial) == ("closed", False)


def test_a_bad_trial_opens_it_for_longer_each_time(breaker: Breaker, clock: Clock) -> None:
    """Five seconds, ten, and five minutes in the end; what comes meanwhile changes nothing."""
    fail(breaker, FAILURES)
    breaker.trying()
    breaker.tried(good=False)
    for wait in (*WAITS[1:], WAITS[-1]):
        assert breaker.state == "open"
        breaker.saw(good=True)
        clock.now += breaker.seconds_left - 0.5
        assert not breaker.wants_trial
        clock.now += 0.5
        assert breaker.wants_trial
        breaker.trying()
        assert breaker.state == "half_open"
        breaker.tried(good=False)
        assert breaker.seconds_left == wait


def test_a_good_trial_closes_it(breaker: Breaker, clock: Clock) -> None:
    """And the next trouble begins with a short wait again."""
    for _ in range(2):
        fail(breaker, FAILURES)
        breaker.trying()
        breaker.tried(good=False)
        assert breaker.seconds_left == WAITS[0]
        clock.now += WAITS[0]
        breaker.trying()
        breaker.tried(good=True)
        assert (breaker.state, breaker.seconds_left, breaker.wants_trial) == ("closed", 0, False)


def test_a_trial_without_a_result_changes_nothing(breaker: Breaker, clock: Clock) -> None:
    """It is tried again at once: nobody could be asked."""
    fail(breaker, FAILURES)
    breaker.trying()
    breaker.tried(good=None)
    assert (breaker.state, breaker.wants_trial) == ("closed", True)
    breaker.tried(good=False)
    clock.now += WAITS[0]
    breaker.trying()
    breaker.tried(good=None)
    assert (breaker.state, breaker.wants_trial) == ("open", True)
