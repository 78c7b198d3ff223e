"""
What comes in a month: when each request arrives, and how much work it is.

Either drawn, or as it was: `replayed` takes arrivals and work from the service's own log.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from observability.log_store.questions import DELIVERED, LogStore, Unanswerable

Floats = npt.NDArray[np.float64]

HOUR_SECONDS: Final = 3600
WEEK_HOURS: Final = 7 * 24

BY_HOUR: Final = np.array(
    [2, 1, 1, 1, 1, 2, 4, 9, 18, 26, 28, 24, 18, 22, 27, 28, 26, 22, 18, 17, 16, 12, 7, 4], float
)
"""Requests by hour of the day, as shares: office hours, a dip at noon, little at night."""

BY_WEEKDAY: Final = np.array([1.0, 1.05, 1.08, 1.04, 0.96, 0.55, 0.5])
"""The same by day of the week, Monday first."""

FIELDS: Final = ("duration_ms", "queue_ms", "status", "source", "result_cache_hit")
"""What is read of the lines."""

MOST_SECONDS: Final = 86_400.0
MOST_CV: Final = 100
MOST_REQUESTS: Final = 20_000_000
"""Beyond these, figures of floats mean nothing or the machine's memory ends."""

JITTER_SECONDS: Final = 900.0
"""How far the copies of a replayed request lie from it at most."""


_DIGITS: Final = np.zeros(256)
_DIGITS[np.frombuffer(b"0123456789ABCDEFGHJKMNPQRSTVWXYZ", np.uint8)] = np.arange(32)


@dataclass(frozen=True, slots=True)
class Load:
    """
    Requests in the order of their arrival.

    Args:
        arrivals: seconds since the beginning, not falling.
        work: seconds that a replica needs for each.
        seconds: how long the time is that they come in.
    """

    arrivals: Floats
    work: Floats
    seconds: float

    def __post_init__(self) -> None:
        if self.arrivals.shape != self.work.shape or self.arrivals.ndim != 1:
            raise ValueError("there is one work for each arrival")
        if self.arrivals.size and (np.diff(self.arrivals) < 0).any():
            raise ValueError("arrivals are in order")
        if self.work.size and not (np.isfinite(self.work) & (self.work >= 0)).all():
            raise ValueError("work is a number of seconds, 0 or more")

    @property
    def work_seconds(self) -> float:
        """Mean work of a request; 0 where there is none."""
        return float(self.work.mean()) if self.work.size else 0.0

    @property
    def work_cv(self) -> float:
        """Standard deviation of the work over its mean; 0 where there is none."""
        return float(self.work.std() / self.work.mean()) if self.work.sum() else 0.0

    @property
    def peak_rate(self) -> float:
        """Requests a second in the busiest hour."""
        hours = max(1, int(np.ceil(self.seconds / HOUR_SECONDS)))
        counts, _ = np.histogram(self.arrivals, bins=hours, range=(0, hours * HOUR_SECONDS))
        return float(counts.max()) / HOUR_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """
    How long the work of a request is: fixed + RTF × seconds of audio, both lognormal.

    RTF is the field `rtf` of the line: seconds of work for a second of audio.
    """

    audio_seconds: float
    rtf: float
    audio_cv: float = 0.8
    rtf_cv: float = 0.2
    fixed_seconds: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.audio_seconds <= MOST_SECONDS and 0 < self.rtf <= MOST_SECONDS):
            raise ValueError("audio_seconds and rtf are more than 0, and no more than a day")
        if not all(0 <= cv <= MOST_CV for cv in (self.audio_cv, self.rtf_cv)):
            raise ValueError(f"audio_cv and rtf_cv are 0 or more, up to {MOST_CV}")
        if not 0 <= self.fixed_seconds <= MOST_SECONDS:
            raise ValueError("fixed_seconds are 0 or more, and no more than a day")

    @property
    def mean(self) -> float:
        """Seconds of work of a request."""
        return self.fixed_seconds + self.rtf * self.audio_seconds

    @property
    def cv(self) -> float:
        """Standard deviation over mean, as the product of two independent factors has it."""
        varying = (1 + self.audio_cv**2) * (1 + self.rtf_cv**2) - 1
        return float(np.sqrt(varying) * self.rtf * self.audio_seconds / self.mean)

    def draw(self, count: int, chance: np.random.Generator) -> Floats:
        """So many of them."""
        audio = _lognormal(self.audio_seconds, self.audio_cv, count, chance)
        return self.fixed_seconds + audio * _lognormal(self.rtf, self.rtf_cv, count, chance)


def week(peak_factor: float | None = None) -> Floats:
    """
    The rate of each hour of a week over the mean rate, Monday 0 o'clock first.

    Args:
        peak_factor: what the busiest hour is to have; 1 for the same rate always. If not given,
            that of office hours, 2.5.

    Raises:
        ValueError: the busiest of 168 hours cannot have so much of the week.
    """
    shape = np.outer(BY_WEEKDAY, BY_HOUR).ravel()
    shape /= shape.mean()
    if peak_factor is None:
        return shape
    if not 1 <= peak_factor <= WEEK_HOURS / 2:
        raise ValueError(f"a peak factor is from 1 to {WEEK_HOURS // 2}")
    least, most = 0.0, 1.0
    while _sharpened(shape, most).max() < peak_factor and most < 2**10:
        most *= 2
    for _ in range(60):
        middle = (least + most) / 2
        if _sharpened(shape, middle).max() < peak_factor:
            least = middle
        else:
            most = middle
    return _sharpened(shape, most)


def drawn(requests: int, length: Length, *, days: int = 30, by_hour: Floats, seed: int = 1) -> Load:
    """
    A time whose requests come independently, at a rate that changes from hour to hour.

    A Poisson process with a rate constant within each hour: a Poisson number in each, at moments
    that are spread evenly. `requests` are expected, so a few more or fewer come.
    """
    if requests > MOST_REQUESTS:
        raise ValueError(f"no more than {MOST_REQUESTS:,} requests are played")
    chance = np.random.default_rng(seed)
    hours = days * 24
    rates = np.resize(by_hour, hours)
    counts = chance.poisson(rates / rates.sum() * requests) if requests else np.zeros(hours, int)
    begin = np.repeat(np.arange(hours) * float(HOUR_SECONDS), counts)
    arrivals = begin + chance.uniform(0, HOUR_SECONDS, begin.size)
    arrivals.sort()
    return Load(arrivals, length.draw(arrivals.size, chance), float(hours * HOUR_SECONDS))


def replayed(
    store: LogStore, since: datetime, until: datetime, *, times: int = 1, seed: int = 1
) -> Load:
    """
    The requests that got audio in a time, with the moments they came and the work they were.

    Left out is what kept no worker busy (served again from the result cache), what waits on purpose
    (rows of batches), and what got no audio, whose work is not known.

    Args:
        times: as so many times the traffic: each request again, up to a quarter of an hour away.

    Raises:
        Unanswerable: there is none.
    """
    statement = (
        "SELECT request_id, (duration_ms - coalesce(queue_ms, 0)) / 1e3 FROM finished "
        f"WHERE status IN ({', '.join('?' * len(DELIVERED))}) AND duration_ms IS NOT NULL "
        "AND NOT coalesce(result_cache_hit, false) AND coalesce(source, '') <> 'batch'"
    )
    with store.requests(since, until, FIELDS) as found:
        rows = found.rows(statement, DELIVERED)
    if not rows:
        raise Unanswerable(
            en=f"No request got audio from {since:%Y-%m-%d} to {until:%Y-%m-%d}.",
            zh=f"{since:%Y-%m-%d} 至 {until:%Y-%m-%d} 没有成功的请求。",
        )
    if len(rows) * times > MOST_REQUESTS:
        raise ValueError(f"no more than {MOST_REQUESTS:,} requests are played")
    # The id is made at the door; the line itself is written after the audio was looked at.
    came = _seconds_of([request_id for request_id, _ in rows]) - since.timestamp()
    work = np.maximum([seconds for _, seconds in rows], 0.0)
    seconds = (until - since).total_seconds()
    chance = np.random.default_rng(seed)
    away = chance.uniform(-1, 1, (times, came.size)) * JITTER_SECONDS
    away[0] = 0.0
    arrivals = np.clip(came + away, 0, seconds).ravel()
    order = np.argsort(arrivals, kind="stable")
    return Load(arrivals[order], np.tile(work, times)[order], seconds)


def _seconds_of(request_ids: list[str]) -> Floats:
    """The times in the ids: Crockford's base 32, ten digits of milliseconds."""
    digits = _DIGITS[np.array(request_ids, "S10").view(np.uint8).reshape(-1, 10)]
    seconds: Floats = (digits * 32.0 ** np.arange(9, -1, -1)).sum(axis=1) / 1000
    return seconds


def _sharpened(shape: Floats, power: float) -> Floats:
    sharper: Floats = (shape / shape.max()) ** power  # no power of 1 or less overflows
    sharper /= sharper.mean()
    return sharper


def _lognormal(mean: float, cv: float, count: int, chance: np.random.Generator) -> Floats:
    spread = np.log1p(cv**2)
    return chance.lognormal(np.log(mean) - spread / 2, np.sqrt(spread), count)
