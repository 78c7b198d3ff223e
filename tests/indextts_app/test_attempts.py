"""Promises of the counter of wrong secrets: no address guesses for long, none fills the memory."""

from __future__ import annotations

import pytest

from indextts_app import attempts, errors
from indextts_app.attempts import FAILURE_SECONDS, MAX_FAILURES, Attempts


def test_after_so_many_an_address_waits() -> None:
    """Until the first of them is long ago, and nobody else does."""
    now = [1_000.0]
    counted = Attempts(lambda: now[0])
    for number in range(1, MAX_FAILURES + 1):
        counted.check("203.0.113.7")
        assert counted.failed("203.0.113.7") == number
        now[0] += 1
    with pytest.raises(errors.TooManyAttempts):
        counted.check("203.0.113.7")
    counted.check("203.0.113.8")
    now[0] = 1_000.0 + FAILURE_SECONDS
    counted.check("203.0.113.7")


def test_addresses_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has many addresses fills no memory."""
    monkeypatch.setattr(attempts, "MAX_ADDRESSES", 3)
    counted = Attempts()
    for last in range(20):
        counted.failed(f"203.0.113.{last}")
    assert len(counted._failures) == 3


@pytest.mark.parametrize(
    ("host", "counted_as"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8::ffff:2", "2001:db8::/64"),
        ("testclient", ""),
        (None, ""),
    ],
)
def test_one_customer_is_one_address(host: str | None, counted_as: str) -> None:
    """An IPv6 customer has more addresses than there are guesses."""
    assert attempts.address_of(host) == counted_as
