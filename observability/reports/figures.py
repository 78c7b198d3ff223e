"""
The figures of a month: one dataclass, whose fields are the JSON contract.

Latencies, characters and audio are over what was delivered (`success` and `degraded`). Shares are
between 0 and 1; None stands where there is nothing to divide by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from observability.log_store.questions import Note

CONTRACT_VERSION = 1

DEFAULT_SLO = 0.995


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Calls beside the month before; `change` is a share (0.2 = a fifth more), None from none."""

    month: str
    requests: int
    change: float | None
    p95_ms: float | None
    share_failed: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakerRow:
    """A speaker; `share` is of all requests of the month."""

    speaker: str
    requests: int
    share: float
    delivered: int
    failed: int
    silent: int
    characters: int
    audio_seconds: float
    p95_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EmotionRow:
    """An emotion; `share` is of all requests of the month."""

    emotion: str
    requests: int
    share: float
    delivered: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRow:
    """An account or key; `cost` is None without a price."""

    user: str
    requests: int
    share: float
    delivered: int
    failed: int
    characters: int
    audio_seconds: float
    gpu_seconds: float
    cost: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRow:
    """Where requests came from: page, api, batch, canary or replay."""

    source: str
    requests: int
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRow:
    """A code of an error with the status it led to; `share` is of all requests."""

    error_type: str
    status: str
    requests: int
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DayRow:
    """A day of the month, whether or not anything was asked on it."""

    day: str
    requests: int
    delivered: int
    unavailable: int
    excluded: int
    silent: int
    availability: float | None
    characters: int
    audio_seconds: float
    busiest_minute_requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WeekRow:
    """
    Seven days counted from the first of the month, the last row shorter.

    `stages_ms` are means over delivered audio; a stage that a request did not have counts as
    nothing, so that queue and stages add up to `mean_ms`.
    """

    first_day: str
    last_day: str
    delivered: int
    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    queue_ms: float | None
    stages_ms: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRow:
    """A version of service and model; the order is that of their first day."""

    version: str | None
    engine: str | None
    model_version: str | None
    first_day: str
    last_day: str
    requests: int
    share: float
    delivered: int
    failed: int
    share_failed: float
    p50_ms: float | None
    p95_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRow:
    """One of several services; `instance` is None where the lines do not say which wrote them."""

    instance: str | None
    first_day: str
    last_day: str
    requests: int
    share: float
    delivered: int
    failed: int
    share_failed: float
    audio_seconds: float
    gpu_seconds: float
    p50_ms: float | None
    p95_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BusyMinutes:
    """Minutes with more than `above` requests, and the busiest one of the month."""

    above: int
    minutes: int
    share_of_requests: float | None
    most_requests: int
    busiest: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Milliseconds from the door to the answer over delivered audio, linearly interpolated."""

    p50: float | None
    p95: float | None
    p99: float | None
    mean: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """
    The target of availability, and what is left of what may go wrong under it.

    Counted are all requests but those given up by their caller and those refused for a fault of
    the caller's (`excluded`). Unavailable are failed, timeout, lost, and those turned away
    (`TURNED_AWAY`). `budget_left` is a share of `allowed`, below zero where it was overdrawn.
    """

    target: float
    counted: int
    excluded: int
    unavailable: int
    allowed: float
    budget_left: float | None
    met: bool | None
    days_below: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What the GPU's time cost while it worked; idle time is in no line. None without a price."""

    currency: str
    gpu_hour_price: float | None
    total: float | None
    per_synthesis: float | None
    per_audio_minute: float | None
    per_user: float | None
    wasted_gpu_hours: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRow:
    """How often a cache had what was looked up; counted where the line says."""

    cache: str
    lookups: int
    hits: int
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What a stated rule says, with the figures that it rests on."""

    code: str
    kind: Literal["act", "fine"]
    figures: Mapping[str, str | float | int | None]
    en: str
    zh: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """
    Whether the figures can be trusted.

    started + carried_in + finished_without_start = finished + carried_out + unsettled. Carried
    requests cross an edge of the month within `SETTLING`. `lost` finished lines are among
    `finished`: a crash swallowed their end, and the next start wrote it. Unsettled ones have no
    finished line until then: they still run, wait for the next start, or took longer. `balanced`
    says that none is unsettled and none without its start.
    """

    started: int
    finished: int
    lost: int
    unsettled: int
    carried_in: int
    carried_out: int
    finished_without_start: int
    balanced: bool
    source: str
    files: int
    lines_read: int
    lines_unreadable: int
    lines_foreign: int
    duplicates: int
    days_missing: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A month in figures; `docs/report.md` describes every field."""

    contract_version: int
    month: str
    generated_at: str
    complete: bool
    notes: tuple[Note, ...]

    of_instances: tuple[str, ...]
    """The instances whose requests alone are counted; none means all."""

    requests: int
    growth: Growth | None
    by_status: Mapping[str, int]
    sources: tuple[SourceRow, ...]
    speakers: tuple[SpeakerRow, ...]
    requests_without_speaker: int
    emotions: tuple[EmotionRow, ...]
    requests_without_emotion: int
    users: tuple[UserRow, ...]
    users_total: int
    requests_without_user: int

    hours: tuple[int, ...]
    weekdays: tuple[int, ...]
    weekday_hours: tuple[tuple[int, ...], ...]
    busy_minutes: BusyMinutes
    days: tuple[DayRow, ...]

    characters: int
    audio_seconds: float
    silent_audio: int
    verdicts: Mapping[str, int]
    errors: tuple[ErrorRow, ...]
    availability: float | None
    slo: Slo

    share_under_2s: float | None
    latency_ms: Latency
    chars_per_second: float | None
    stages_ms: Mapping[str, float]
    queue_ms: float | None
    weeks: tuple[WeekRow, ...]

    gpu_hours: float
    cost: Cost
    caches: tuple[CacheRow, ...]
    versions: tuple[VersionRow, ...]
    instances: tuple[InstanceRow, ...]

    advice: tuple[Advice, ...]
    reconciliation: Reconciliation

    def document(self) -> dict[str, Any]:
        """The report as the JSON contract: plain dictionaries, lists, strings and numbers."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the reader decides, and the logs do not say."""

    slo: float = DEFAULT_SLO
    gpu_hour_price: float | None = None
    currency: str = "CNY"

    def __post_init__(self) -> None:
        if not 0 < self.slo < 1:
            raise ValueError("the target of availability lies between 0 and 1")
