"""
The report of a month, counted in DuckDB from whatever keeps the lines.

A request belongs to the month in which it finished, in UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from observability.events import STATUSES, VERDICTS
from observability.log_store.questions import (
    Filter,
    LogStore,
    Note,
    Requests,
)
from observability.log_store.sums import CACHES, FIELDS
from observability.reports import advice
from observability.reports.arithmetic import part_of, ratio, rounded, share
from observability.reports.figures import (
    CONTRACT_VERSION,
    CacheRow,
    Cost,
    DayRow,
    EmotionRow,
    ErrorRow,
    Growth,
    InstanceRow,
    Latency,
    Report,
    Slo,
    SourceRow,
    SpeakerRow,
    Terms,
    VersionRow,
    WeekRow,
)
from observability.reports.month import Month
from observability.reports.scans import (
    MAX_ROWS,
    NO_QUANTILES,
    WEEK_DAYS,
    Sums,
    Times,
    day_number,
    groups_of,
    priced,
    quantiles_of,
    reconciled,
    times_of,
    users_of,
)


def report(
    store: LogStore,
    month: Month,
    *,
    terms: Terms | None = None,
    instances: Sequence[str] = (),
    now: datetime | None = None,
) -> Report:
    """
    The report of a month from whatever keeps the lines, of all instances or of those named.

    Raises:
        Unanswerable: the source is away.
    """
    now = now or datetime.now(UTC)
    with store.requests(month.since, month.until, FIELDS, instances=instances) as requests:
        known = figures(requests, month, terms=terms, now=now)
    return with_growth(replace(known, of_instances=tuple(instances)), store)


def with_growth(known: Report, store: LogStore) -> Report:
    """The same report beside the month before, where there was one."""
    before = Month.parse(known.month).before
    asked = Filter(since=before.since, until=before.until, instance=known.of_instances)
    counted = store.counts(asked).total
    if counted.requests:
        known = replace(
            known,
            growth=Growth(
                month=str(before),
                requests=counted.requests,
                change=share(known.requests - counted.requests, counted.requests),
                p95_ms=rounded(counted.p95_ms, 3),
                share_failed=rounded(counted.share_failed, 6),
            ),
        )
    return replace(known, advice=advice.advised(known))


def figures(
    requests: Requests, month: Month, *, terms: Terms | None = None, now: datetime
) -> Report:
    """The report of a month from its requests, without growth and advice."""
    terms = terms or Terms()
    groups = groups_of(requests, month)
    times = times_of(requests, month)
    quantiles = quantiles_of(requests, month)
    (all_of_it,) = groups["all"] or [Sums()]
    by_status: dict[str, int] = dict.fromkeys(STATUSES, 0)
    for row in groups["outcome"]:
        by_status[row.status or ""] = by_status.get(row.status or "", 0) + row.requests
    total = all_of_it.requests
    gpu_hours = all_of_it.gpu_seconds / 3600
    speakers = [row for row in groups["speaker"] if row.speaker is not None]
    emotions = [row for row in groups["emotion"] if row.emotion is not None]
    users, users_total, named = users_of(requests, total, terms)
    days, slo = _days(times, month, terms.slo)
    reading = requests.reading
    return Report(
        contract_version=CONTRACT_VERSION,
        month=str(month),
        generated_at=now.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        complete=now >= month.until,
        notes=(*_notes(month, now, total), *(note for note in reading.notes if not _is_ours(note))),
        of_instances=(),
        requests=total,
        growth=None,
        by_status={status: count for status, count in by_status.items() if status},
        sources=tuple(
            SourceRow(
                source=row.source or "", requests=row.requests, share=part_of(row.requests, total)
            )
            for row in _largest(groups["source"], lambda row: row.source)
            if row.source is not None
        ),
        speakers=tuple(
            SpeakerRow(
                speaker=row.speaker or "",
                requests=row.requests,
                share=part_of(row.requests, total),
                delivered=row.delivered,
                failed=row.failed,
                silent=row.silent,
                characters=row.characters,
                audio_seconds=round(row.audio_seconds, 3),
                p95_ms=quantiles["speaker"].get((row.speaker,), NO_QUANTILES)[1],
            )
            for row in _largest(speakers, lambda row: row.speaker)
        ),
        requests_without_speaker=total - sum(row.requests for row in speakers),
        emotions=tuple(
            EmotionRow(
                emotion=row.emotion or "",
                requests=row.requests,
                share=part_of(row.requests, total),
                delivered=row.delivered,
                failed=row.failed,
            )
            for row in _largest(emotions, lambda row: row.emotion)
        ),
        requests_without_emotion=total - sum(row.requests for row in emotions),
        users=users,
        users_total=users_total,
        requests_without_user=total - named,
        hours=tuple(sum(day[hour] for day in times.weekday_hours) for hour in range(24)),
        weekdays=tuple(sum(day) for day in times.weekday_hours),
        weekday_hours=tuple(tuple(day) for day in times.weekday_hours),
        busy_minutes=times.busy(total),
        days=days,
        characters=all_of_it.characters,
        audio_seconds=round(all_of_it.audio_seconds, 3),
        silent_audio=all_of_it.silent,
        verdicts=_verdicts(groups["outcome"]),
        errors=_errors(groups["outcome"], total),
        availability=share(slo.counted - slo.unavailable, slo.counted),
        slo=slo,
        share_under_2s=share(all_of_it.fast, all_of_it.delivered),
        latency_ms=_latency(all_of_it, quantiles["all"].get((), NO_QUANTILES)),
        chars_per_second=ratio(
            all_of_it.characters, (all_of_it.duration_ms - all_of_it.queue_ms) / 1000, 3
        ),
        stages_ms=all_of_it.mean_stages(),
        queue_ms=ratio(all_of_it.queue_ms, all_of_it.delivered, 3),
        weeks=_weeks(groups["week"], quantiles["week"], month),
        gpu_hours=round(gpu_hours, 6),
        cost=_cost(all_of_it, terms, users_total),
        caches=_caches(groups["caches"]),
        versions=_versions(groups["version"], quantiles["version"], total),
        instances=_instances(groups["instance"], quantiles["instance"], total),
        advice=(),
        reconciliation=reconciled(requests, total, by_status["lost"], reading),
    )


def _notes(month: Month, now: datetime, total: int) -> Iterable[Note]:
    if now < month.since:
        yield Note(
            "future",
            f"{month} has not begun (it is {now:%Y-%m-%d} UTC): there is nothing to report.",
            f"{month} 尚未开始（现在是 {now:%Y-%m-%d} UTC），没有可报告的内容。",
        )
    elif now < month.until:
        yield Note(
            "unfinished",
            f"{month} is not over: the figures are of its first days, until {now:%Y-%m-%d %H:%M} "
            "UTC, and will change.",
            f"{month} 尚未结束：以下数字只到 {now:%Y-%m-%d %H:%M} UTC，之后还会变化。",
        )
    if not total and now >= month.since:
        yield Note(
            "empty",
            f"No request finished in {month}. Either nobody asked, or these are not the logs of "
            "the service.",
            f"{month} 没有任何已结束的请求：要么无人使用，要么这不是该服务的日志。",
        )


def _is_ours(note: Note) -> bool:
    """Whether `_notes` says the same, in the words of a month."""
    return note.code in ("future", "unfinished")


def _days(times: Times, month: Month, target: float) -> tuple[tuple[DayRow, ...], Slo]:
    rows = []
    for day in month.days:
        counts = times.days.get(day_number(day), (0,) * 8)
        requests, delivered, unavailable, excluded, silent, characters = map(int, counts[:6])
        rows.append(
            DayRow(
                day=day.isoformat(),
                requests=requests,
                delivered=delivered,
                unavailable=unavailable,
                excluded=excluded,
                silent=silent,
                availability=share(requests - excluded - unavailable, requests - excluded),
                characters=characters,
                audio_seconds=round(float(counts[6]), 3),
                busiest_minute_requests=int(counts[7]),
            )
        )
    excluded = sum(row.excluded for row in rows)
    unavailable = sum(row.unavailable for row in rows)
    counted = sum(row.requests for row in rows) - excluded
    allowed = counted * (1 - target)
    return tuple(rows), Slo(
        target=target,
        counted=counted,
        excluded=excluded,
        unavailable=unavailable,
        allowed=round(allowed, 3),
        budget_left=share(allowed - unavailable, allowed),
        met=(counted - unavailable) / counted >= target if counted else None,
        days_below=sum(row.availability is not None and row.availability < target for row in rows),
    )


def _weeks(
    groups: Iterable[Sums],
    quantiles: Mapping[tuple[object, ...], tuple[float | None, ...]],
    month: Month,
) -> tuple[WeekRow, ...]:
    known = {row.week: row for row in groups}
    rows = []
    for week in range(-(-len(month.days) // WEEK_DAYS)):
        days = month.days[week * WEEK_DAYS : (week + 1) * WEEK_DAYS]
        sums = known.get(week, Sums())
        p50, p95, _ = quantiles.get((week,), NO_QUANTILES)
        rows.append(
            WeekRow(
                first_day=days[0].isoformat(),
                last_day=days[-1].isoformat(),
                delivered=sums.delivered,
                mean_ms=ratio(sums.duration_ms, sums.delivered, 3),
                p50_ms=p50,
                p95_ms=p95,
                queue_ms=ratio(sums.queue_ms, sums.delivered, 3),
                stages_ms=sums.mean_stages(),
            )
        )
    return tuple(rows)


def _versions(
    groups: Iterable[Sums],
    quantiles: Mapping[tuple[object, ...], tuple[float | None, ...]],
    total: int,
) -> tuple[VersionRow, ...]:
    rows = []
    for sums in groups:
        found = quantiles.get((sums.engine, sums.version, sums.model_version), NO_QUANTILES)
        rows.append(
            VersionRow(
                version=sums.version,
                engine=sums.engine,
                model_version=sums.model_version,
                first_day=_day(sums.first_day).isoformat(),
                last_day=_day(sums.last_day).isoformat(),
                requests=sums.requests,
                share=part_of(sums.requests, total),
                delivered=sums.delivered,
                failed=sums.failed,
                share_failed=part_of(sums.failed, sums.requests),
                p50_ms=found[0],
                p95_ms=found[1],
            )
        )
    return tuple(
        sorted(
            rows,
            key=lambda row: (
                row.first_day,
                row.last_day,
                row.version or "",
                row.engine or "",
                row.model_version or "",
            ),
        )
    )


def _instances(
    groups: Iterable[Sums],
    quantiles: Mapping[tuple[object, ...], tuple[float | None, ...]],
    total: int,
) -> tuple[InstanceRow, ...]:
    rows = []
    for sums in _largest(groups, lambda row: row.instance):
        p50, p95, _ = quantiles.get((sums.instance,), NO_QUANTILES)
        rows.append(
            InstanceRow(
                instance=sums.instance,
                first_day=_day(sums.first_day).isoformat(),
                last_day=_day(sums.last_day).isoformat(),
                requests=sums.requests,
                share=part_of(sums.requests, total),
                delivered=sums.delivered,
                failed=sums.failed,
                share_failed=part_of(sums.failed, sums.requests),
                audio_seconds=round(sums.audio_seconds, 3),
                gpu_seconds=round(sums.gpu_seconds, 3),
                p50_ms=p50,
                p95_ms=p95,
            )
        )
    return tuple(rows)


def _verdicts(outcomes: Iterable[Sums]) -> dict[str, int]:
    counts = dict.fromkeys(VERDICTS, 0)
    for row in outcomes:
        if row.delivered and row.audio_verdict:
            counts[row.audio_verdict] = counts.get(row.audio_verdict, 0) + row.delivered
    return counts


def _errors(outcomes: Iterable[Sums], total: int) -> tuple[ErrorRow, ...]:
    counts: dict[tuple[str, str], int] = {}
    for row in outcomes:
        if row.error_type:
            key = row.error_type, row.status or ""
            counts[key] = counts.get(key, 0) + row.requests
    return tuple(
        ErrorRow(error_type=key[0], status=key[1], requests=count, share=part_of(count, total))
        for key, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:MAX_ROWS]
    )


def _caches(groups: Iterable[Sums]) -> tuple[CacheRow, ...]:
    rows = []
    told = list(groups)
    for place, cache in enumerate(CACHES):
        hits = sum(row.requests for row in told if row.hits[place] is True)
        lookups = hits + sum(row.requests for row in told if row.hits[place] is False)
        if lookups:
            rows.append(
                CacheRow(cache=cache, lookups=lookups, hits=hits, share=part_of(hits, lookups))
            )
    return tuple(rows)


def _latency(sums: Sums, quantiles: Sequence[float | None]) -> Latency:
    p50, p95, p99 = quantiles
    return Latency(p50=p50, p95=p95, p99=p99, mean=ratio(sums.duration_ms, sums.delivered, 3))


def _cost(sums: Sums, terms: Terms, users: int) -> Cost:
    gpu_hours = sums.gpu_seconds / 3600
    total = priced(gpu_hours, terms)
    price = terms.gpu_hour_price
    exact = None if price is None else gpu_hours * price
    return Cost(
        currency=terms.currency,
        gpu_hour_price=price,
        total=total,
        per_synthesis=ratio(exact, sums.delivered, 6),
        per_audio_minute=ratio(exact, sums.audio_seconds / 60, 6),
        per_user=ratio(exact, users, 4),
        wasted_gpu_hours=round(sums.gpu_seconds_wasted / 3600, 6),
    )


def _largest(rows: Iterable[Sums], name: Callable[[Sums], str | None]) -> list[Sums]:
    return sorted(rows, key=lambda row: (-row.requests, name(row) or ""))[:MAX_ROWS]


def _day(number: int) -> date:
    return date(1970, 1, 1) + timedelta(days=number)
