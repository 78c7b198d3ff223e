"""
Waiting times by formula: requests that come at random to so many servers and one queue.

M/M/c is exact, by Erlang's C formula (A. K. Erlang, 1917; L. Kleinrock, Queueing Systems I, 1975,
section 3.5). Where service times or arrivals vary otherwise, the mean wait is that of M/M/c times
half the sum of their squared coefficients of variation (the Allen-Cunneen approximation: A. O.
Allen, Probability, Statistics, and Queueing Theory, 2nd ed. 1990, section 5.3; its kin for one
server is Kingman's, 1961). For one server and random arrivals that is the Pollaczek-Khinchine
formula, and exact. W. Whitt, Approximations for the GI/G/m Queue, 1993, tells how far it is off.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass

MOST_SERVERS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """
    What comes in at a time: requests a second, and seconds of work for one.

    Args:
        rate: requests a second.
        work_seconds: mean time that a server needs for one.
        work_cv: standard deviation of that time over its mean; 1 if exponential, 0 if fixed.
        arrival_cv: the same of the time between two arrivals; 1 where they come independently.
    """

    rate: float
    work_seconds: float
    work_cv: float = 1.0
    arrival_cv: float = 1.0

    def __post_init__(self) -> None:
        if not (self.rate >= 0 and self.work_seconds > 0):
            raise ValueError("rate is 0 or more, work_seconds more than 0")
        if not (self.work_cv >= 0 and self.arrival_cv >= 0):
            raise ValueError("a coefficient of variation is 0 or more")

    @property
    def offered(self) -> float:
        """Servers that are busy on average, in erlangs, if all of it is served."""
        return self.rate * self.work_seconds


def erlang_c(servers: int, offered: float) -> float:
    """
    The share of requests that have to wait, in M/M/c; 1 where more comes than can be served.

    By Erlang's B formula in its recursive form, which no number of servers overflows.
    """
    if servers < 1 or offered < 0:
        raise ValueError("there is one server at least, and no negative load")
    if offered >= servers:
        return 1.0
    blocked = 1.0
    for number in range(1, servers + 1):
        blocked = offered * blocked / (number + offered * blocked)
        if not blocked:
            return 0.0  # below what a float can say, and falling
    return blocked / (1 - offered / servers * (1 - blocked))


def mean_wait(servers: int, demand: Demand) -> float:
    """Seconds that a request waits on average; infinite where more comes than can be served."""
    if demand.offered >= servers:
        return math.inf
    free = servers / demand.work_seconds - demand.rate
    variation = (demand.arrival_cv**2 + demand.work_cv**2) / 2
    return erlang_c(servers, demand.offered) / free * variation


def wait_quantile(servers: int, demand: Demand, share: float) -> float:
    """
    Seconds that this share of the requests waits at most.

    As if the waits of those that wait were exponential: exact in M/M/c, an approximation elsewhere.
    """
    if not 0 <= share < 1:
        raise ValueError("share is from 0 to below 1")
    waiting = erlang_c(servers, demand.offered)
    if waiting <= 1 - share:
        return 0.0
    return mean_wait(servers, demand) / waiting * math.log(waiting / (1 - share))


def servers_for(demand: Demand, *, wait_seconds: float, share: float) -> int:
    """
    The fewest servers with which this share waits no longer than that.

    Raises:
        ValueError: more than a million would be needed, or the aim is none.
    """
    if not wait_seconds >= 0:
        raise ValueError("wait_seconds is 0 or more")
    enough = range(int(min(demand.offered, MOST_SERVERS)) + 1, MOST_SERVERS + 1)
    found = bisect_left(
        enough, True, key=lambda count: wait_quantile(count, demand, share) <= wait_seconds
    )
    if found == len(enough):
        raise ValueError(f"more than {MOST_SERVERS:,} servers would be needed")
    return enough[found]
