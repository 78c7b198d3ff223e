"""Wrong secrets from one address: so many are looked at, and then none for a while."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from indextts_app import errors

MAX_FAILURES = 10
"""Wrong secrets from one address within `FAILURE_SECONDS`, after which none is looked at."""

FAILURE_SECONDS = 600.0
MAX_ADDRESSES = 10_000
"""Addresses that are remembered; beyond it those are forgotten that failed longest ago."""


class Attempts:
    """Counts the wrong secrets of each address; for one thread, and none of it waits."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, host: str | None) -> None:
        """
        Let an address try.

        Raises:
            errors.TooManyAttempts: too many wrong secrets came from it.
        """
        failures = self._recent(address_of(host))
        if len(failures) >= MAX_FAILURES:
            wait = failures[0] + FAILURE_SECONDS - self._clock()
            raise errors.TooManyAttempts(minutes=max(1, math.ceil(wait / 60)))

    def failed(self, host: str | None) -> int:
        """Remember a wrong secret; how many came from this address lately."""
        address = address_of(host)
        failures = self._recent(address)
        failures.append(self._clock())
        self._failures[address] = failures
        self._failures.move_to_end(address)
        while len(self._failures) > MAX_ADDRESSES:
            self._failures.popitem(last=False)
        return len(failures)

    def _recent(self, address: str) -> deque[float]:
        failures = self._failures.get(address, deque())
        while failures and failures[0] <= self._clock() - FAILURE_SECONDS:
            failures.popleft()
        return failures


def address_of(host: str | None) -> str:
    """Who counts as one: an IPv4 address, or the IPv6 network that one customer gets."""
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network(f"{address}/64", strict=False))
    return str(address)
