"""
Advice from stated rules: what fired with its figures, and where little did, what is fine.

Each rule reads the figures of one report and says `act`, `fine`, or nothing where it does not
apply. The thresholds below are the rules; `docs/report.md` states them in words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from observability.log_store.questions import TURNED_AWAY
from observability.reports.figures import Advice, Report, SpeakerRow, VersionRow
from observability.reports.numbers import amount, change, count, milliseconds, percent
from observability.reports.wording import Said, say, say_name

FEWEST, MOST = 3, 5

MIN_REQUESTS: Final = 100
"""With fewer, a share or a percentile of a group is an accident."""

SLOW_SPEAKER: Final = 1.5
SLOW_P95_MS: Final = 3_000
SILENT_SHARE: Final = 0.005
ONE_ERROR_SHARE: Final = 0.3
FAILED_SHARE: Final = 0.01
TURNED_AWAY_SHARE: Final = 0.01
QUEUE_SHARE: Final = 0.1
CACHE_SHARE: Final = 0.5
WORSE_P95: Final = 0.15
WORSE_FAILED: Final = 0.01
STAGE_GROWTH: Final = 0.25
WASTED_SHARE: Final = 0.05
CHARS_PER_SECOND: Final = 8
GROWTH: Final = 0.2
UNREADABLE_SHARE: Final = 0.001

Rule = Callable[[Report], Advice | None]


def advised(report: Report) -> tuple[Advice, ...]:
    """
    Three to five pieces: what calls for an act, the gravest first, then what was found fine.

    A month without requests gets the one piece that says where to look.
    """
    if not report.requests:
        return (_nothing(report),)
    found = [advice for rule in RULES if (advice := rule(report))]
    acts = [advice for advice in found if advice.kind == "act"][:MOST]
    fine = [advice for advice in found if advice.kind == "fine"]
    return (*acts, *fine[: max(FEWEST - len(acts), 0)])


def _act(code: str, en: str, zh: str, **figures: str | float | None) -> Advice:
    return Advice(code=code, kind="act", figures=figures, en=en, zh=zh)


def _fine(code: str, en: str, zh: str, **figures: str | float | None) -> Advice:
    return Advice(code=code, kind="fine", figures=figures, en=en, zh=zh)


def _nothing(report: Report) -> Advice:
    return _act(
        "empty",
        f"There is nothing to advise on for {report.month}. If requests are expected, check that "
        "the service writes to this log folder (INDEXTTS_LOG_DIR).",
        f"{report.month} 没有可供建议的数据。若本应有请求，请检查服务是否写入该日志目录"
        "（INDEXTTS_LOG_DIR）。",
        requests=0,
    )


def _trust(report: Report) -> Advice | None:
    """Whether the rest can be believed comes before everything else."""
    known = report.reconciliation
    missing = len(known.days_missing)
    unreadable = known.lines_unreadable / known.lines_read if known.lines_read else 0.0
    unsettled = known.unsettled if report.complete else 0
    figures = {
        "unsettled": unsettled,
        "finished_without_start": known.finished_without_start,
        "lines_unreadable": known.lines_unreadable,
        "days_missing": missing,
    }
    if unsettled or known.finished_without_start or missing or unreadable > UNREADABLE_SHARE:
        return _act(
            "incomplete_log",
            f"The log is not whole: {', '.join(_holes(figures, 'en'))}. Look for full disks, "
            "restarts and deleted files before using these figures for bills.",
            f"日志不完整：{'，'.join(_holes(figures, 'zh'))}。"
            "在用这些数字计费之前，请先检查磁盘是否写满、服务是否重启、文件是否被删。",
            **figures,
        )
    return _fine(
        "incomplete_log",
        f"The log is whole: each of the {count(known.started)} requests that began has its end.",
        f"日志完整：开始的 {count(known.started)} 个请求都有结束记录。",
        **figures,
    )


def _holes(figures: Mapping[str, int], language: str) -> list[str]:
    return [
        say(f"hole_{name}", language, count=count(number))
        for name, number in figures.items()
        if number
    ]


def _availability(report: Report) -> Advice | None:
    slo = report.slo
    if report.availability is None or slo.met is None:
        return None
    figures: dict[str, str | float | None] = {
        "availability": report.availability,
        "target": slo.target,
        "unavailable": slo.unavailable,
        "days_below": slo.days_below,
    }
    if slo.met:
        return _fine(
            "availability",
            f"Availability is {percent(report.availability)}, above the target of "
            f"{percent(slo.target)}; {percent(slo.budget_left)} of the error budget is left.",
            f"可用性为 {percent(report.availability)}，达到目标 {percent(slo.target)}；"
            f"错误预算还剩 {percent(slo.budget_left)}。",
            **figures,
        )
    cause = next(
        (row for row in report.errors if row.status in _BAD or _away(row.error_type)), None
    )
    main_en = (
        f" The most frequent cause is {cause.error_type} ({count(cause.requests)})."
        if cause
        else ""
    )
    main_zh = f"最常见的原因是 {cause.error_type}（{count(cause.requests)} 次）。" if cause else ""
    return _act(
        "availability",
        f"Availability was {percent(report.availability)}, below the target of "
        f"{percent(slo.target)}: {count(slo.unavailable)} requests went without an answer, and "
        f"{slo.days_below} days were below it.{main_en} Mend that cause first, and hold back "
        "releases until it is.",
        f"可用性为 {percent(report.availability)}，低于目标 {percent(slo.target)}："
        f"{count(slo.unavailable)} 个请求没有得到结果，有 {slo.days_below} 天不达标。{main_zh}"
        "请先解决该原因，在此之前暂缓发布。",
        **figures,
        error_type=cause.error_type if cause else None,
    )


_BAD = ("failed", "timeout", "lost")


def _away(error_type: str) -> bool:
    return error_type in TURNED_AWAY


def _one_error(report: Report) -> Advice | None:
    failed = sum(report.by_status.get(status, 0) for status in _BAD)
    if not failed:
        return _fine("one_error", "Not one request failed.", "没有任何请求失败。", failed=0)
    share_failed = failed / report.requests
    counts: dict[str, int] = {}
    for row in report.errors:
        if row.status in _BAD:
            counts[row.error_type] = counts.get(row.error_type, 0) + row.requests
    if not counts:
        return None
    worst = max(counts, key=lambda name: (counts[name], name))
    share = counts[worst] / failed
    figures: dict[str, str | float | None] = {
        "failed": failed,
        "share_failed": round(share_failed, 6),
        "error_type": worst,
        "share_of_failures": round(share, 6),
    }
    if share_failed >= FAILED_SHARE and share >= ONE_ERROR_SHARE:
        return _act(
            "one_error",
            f"{percent(share_failed)} of the requests failed, and {percent(share)} of those with "
            f"one error: {worst}. One repair mends most of them; scripts/triage.py --error-type "
            f"{worst} shows where it happens.",
            f"{percent(share_failed)} 的请求失败，其中 {percent(share)} 是同一个错误：{worst}。"
            f"修好它就解决了大部分失败；用 scripts/triage.py --error-type {worst} 查看发生位置。",
            **figures,
        )
    if share_failed < FAILED_SHARE:
        return _fine(
            "one_error",
            f"{percent(share_failed)} of the requests failed, less than {percent(FAILED_SHARE)}.",
            f"{percent(share_failed)} 的请求失败，低于 {percent(FAILED_SHARE)}。",
            **figures,
        )
    return None


def _silent(report: Report) -> Advice | None:
    delivered = sum(report.by_status.get(status, 0) for status in ("success", "degraded"))
    if not delivered:
        return None
    share = report.silent_audio / delivered
    if share <= SILENT_SHARE:
        return _fine(
            "silent_audio",
            f"{count(report.silent_audio)} of {count(delivered)} audio files were silent, at most "
            f"{percent(SILENT_SHARE)}.",
            f"{count(delivered)} 个音频中有 {count(report.silent_audio)} 个静音，"
            f"不超过 {percent(SILENT_SHARE)}。",
            silent_audio=report.silent_audio,
            share=round(share, 6),
        )
    worst = max(report.speakers, key=lambda row: (row.silent, row.speaker), default=None)
    name = worst.speaker if worst else None
    return _act(
        "silent_audio",
        f"{count(report.silent_audio)} audio files ({percent(share)}) were delivered with nothing "
        f"to hear, most of them of the speaker {name}. Listen to its reference recording, and "
        "restart the workers if the model version is new.",
        f"{count(report.silent_audio)} 个音频（{percent(share)}）交付后没有声音，"
        f"其中发音人 {name} 最多。请试听其参考音频；若模型版本刚更新，请重启合成进程。",
        silent_audio=report.silent_audio,
        share=round(share, 6),
        speaker=name,
    )


def _versions(report: Report) -> Advice | None:
    """The newest version beside the one before it, of the same engine."""
    enough = [row for row in report.versions if row.delivered >= MIN_REQUESTS]
    if len(enough) < 2:
        return None
    new = enough[-1]
    old = next((row for row in reversed(enough[:-1]) if row.engine == new.engine), None)
    if old is None or old.p95_ms is None or new.p95_ms is None:
        return None
    slower = new.p95_ms / old.p95_ms - 1
    more_failures = new.share_failed - old.share_failed
    figures: dict[str, str | float | None] = {
        "old": _named(old),
        "new": _named(new),
        "p95_change": round(slower, 6),
        "share_failed_change": round(more_failures, 6),
    }
    compared_en = (
        f"P95 {milliseconds(old.p95_ms)} → {milliseconds(new.p95_ms)} ({change(slower)}), failures "
        f"{percent(old.share_failed)} → {percent(new.share_failed)}"
    )
    compared_zh = (
        f"P95 {milliseconds(old.p95_ms)} → {milliseconds(new.p95_ms)}（{change(slower)}），"
        f"失败率 {percent(old.share_failed)} → {percent(new.share_failed)}"
    )
    if slower >= WORSE_P95 or more_failures >= WORSE_FAILED:
        return _act(
            "worse_version",
            f"Version {_named(new)} is worse than {_named(old)}: {compared_en}. Find out what "
            "changed, or go back until it is known.",
            f"版本 {_named(new)} 不如 {_named(old)}：{compared_zh}。请查明改动，或先回退。",
            **figures,
        )
    return _fine(
        "worse_version",
        f"Version {_named(new)} is no worse than {_named(old)}: {compared_en}.",
        f"版本 {_named(new)} 不比 {_named(old)} 差：{compared_zh}。",
        **figures,
    )


def _named(row: VersionRow) -> str:
    """The service's version and the model's, as far as known."""
    return " / ".join(filter(None, (row.version, row.model_version))) or "?"


def _slow_speaker(report: Report) -> Advice | None:
    overall = report.latency_ms.p95
    known = [row for row in report.speakers if row.delivered >= MIN_REQUESTS and row.p95_ms]
    if not overall or len(known) < 2:
        return None
    slowest: SpeakerRow = max(known, key=lambda row: (row.p95_ms or 0, row.speaker))
    factor = (slowest.p95_ms or 0) / overall
    figures: dict[str, str | float | None] = {
        "speaker": slowest.speaker,
        "p95_ms": slowest.p95_ms,
        "overall_p95_ms": overall,
        "factor": round(factor, 3),
    }
    if factor >= SLOW_SPEAKER:
        return _act(
            "slow_speaker",
            f"{slowest.speaker} is slow: its P95 is {milliseconds(slowest.p95_ms)}, "
            f"{amount(factor, 1)} times that of all ({milliseconds(overall)}), over "
            f"{count(slowest.delivered)} audio files. Shorten its reference recording, or give it "
            "a faster GPU.",
            f"{slowest.speaker} 偏慢：P95 为 {milliseconds(slowest.p95_ms)}，"
            f"是整体（{milliseconds(overall)}）的 {amount(factor, 1)} 倍，"
            f"共 {count(slowest.delivered)} 个音频。请缩短其参考音频，或换用更快的 GPU。",
            **figures,
        )
    return _fine(
        "slow_speaker",
        f"No speaker stands out as slow: the slowest, {slowest.speaker}, has a P95 of "
        f"{milliseconds(slowest.p95_ms)} beside {milliseconds(overall)} of all.",
        f"没有明显偏慢的发音人：最慢的 {slowest.speaker} P95 为 {milliseconds(slowest.p95_ms)}，"
        f"整体为 {milliseconds(overall)}。",
        **figures,
    )


def _latency(report: Report) -> Advice | None:
    p95 = report.latency_ms.p95
    if p95 is None:
        return None
    if p95 <= SLOW_P95_MS:
        return _fine(
            "latency",
            f"95% of the answers came within {milliseconds(p95)}, the goal is "
            f"{milliseconds(SLOW_P95_MS)}.",
            f"95% 的请求在 {milliseconds(p95)} 内完成，目标是 {milliseconds(SLOW_P95_MS)}。",
            p95_ms=p95,
        )
    times = {"queue": report.queue_ms or 0.0, **report.stages_ms}
    longest = max(times, key=lambda stage: times[stage])
    share = times[longest] / (sum(times.values()) or 1)
    named = _stage(longest)
    return _act(
        "latency",
        f"5% of the answers took longer than {milliseconds(p95)}; the goal is "
        f"{milliseconds(SLOW_P95_MS)}. Most of the time, {percent(share)}, goes into "
        f"{named.en}: " + _FASTER.get(longest, _FASTER["acoustic"])[0],
        f"5% 的请求超过 {milliseconds(p95)}，目标是 {milliseconds(SLOW_P95_MS)}。"
        f"时间主要（{percent(share)}）花在{named.zh}："
        + _FASTER.get(longest, _FASTER["acoustic"])[1],
        p95_ms=p95,
        stage=longest,
        share=round(share, 6),
    )


_FASTER: Final = {
    "queue": ("add workers (INDEXTTS_WORKERS).", "请增加合成进程（INDEXTTS_WORKERS）。"),
    "speaker_enc": (
        "raise INDEXTTS_SPEAKER_CACHE_MB, so that recordings are read once.",
        "请调大 INDEXTTS_SPEAKER_CACHE_MB，让参考音频只处理一次。",
    ),
    "post": ("look at the disk of INDEXTTS_OUTPUT_DIR.", "请检查 INDEXTTS_OUTPUT_DIR 的磁盘。"),
    "acoustic": (
        "use half precision or a faster GPU, and shorter texts.",
        "请使用半精度或更快的 GPU，并缩短文本。",
    ),
}


def _stage(name: str) -> Said:
    return Said(say_name("stage", name, "en"), say_name("stage", name, "zh"))


def _capacity(report: Report) -> Advice | None:
    """Turned away, or waiting: both mean that there are too few workers at some minutes."""
    turned_away = sum(row.requests for row in report.errors if row.error_type == "queue_full")
    share = turned_away / report.requests
    mean = report.latency_ms.mean
    waiting = (report.queue_ms or 0.0) / mean if mean else 0.0
    busy = report.busy_minutes
    figures: dict[str, str | float | None] = {
        "turned_away": turned_away,
        "queue_share": round(waiting, 6),
        "busy_minutes": busy.minutes,
        "most_requests": busy.most_requests,
    }
    if share >= TURNED_AWAY_SHARE or waiting >= QUEUE_SHARE:
        return _act(
            "capacity",
            f"There were too few workers at the busy times: {count(turned_away)} requests were "
            f"turned away and {percent(waiting)} of the time was spent waiting. "
            f"{count(busy.minutes)} minutes had more than {busy.above} requests, the busiest "
            f"{count(busy.most_requests)}. Add workers for those hours.",
            f"繁忙时段合成进程不足：{count(turned_away)} 个请求被拒，"
            f"{percent(waiting)} 的时间在排队。"
            f"有 {count(busy.minutes)} 分钟超过 {busy.above} 次请求，最多一分钟 "
            f"{count(busy.most_requests)} 次。请在这些时段增加进程。",
            **figures,
        )
    return _fine(
        "capacity",
        f"The workers kept up: {count(turned_away)} requests were turned away, "
        f"{percent(waiting)} of the time was spent waiting, and the busiest minute had "
        f"{count(busy.most_requests)} requests.",
        f"处理能力充足：{count(turned_away)} 个请求被拒，{percent(waiting)} 的时间在排队，"
        f"最繁忙的一分钟有 {count(busy.most_requests)} 次请求。",
        **figures,
    )


def _stage_trend(report: Report) -> Advice | None:
    """The first full week beside the last one, stage by stage."""
    weeks = [row for row in report.weeks if row.delivered >= MIN_REQUESTS]
    if len(weeks) < 2 or not weeks[0].mean_ms:
        return None
    first, last = weeks[0], weeks[-1]
    grown = {
        stage: last.stages_ms.get(stage, 0.0) - spent
        for stage, spent in first.stages_ms.items()
        # What is a twentieth of the whole may double and nobody notices.
        if spent >= (first.mean_ms or 0) / 20
    }
    worst = max(grown, key=lambda stage: grown[stage] / first.stages_ms[stage], default=None)
    if worst is None:
        return None
    before, after = first.stages_ms[worst], last.stages_ms.get(worst, 0.0)
    growth = after / before - 1
    named = _stage(worst)
    figures: dict[str, str | float | None] = {
        "stage": worst,
        "first_week_ms": before,
        "last_week_ms": after,
        "change": round(growth, 6),
    }
    if growth >= STAGE_GROWTH:
        return _act(
            "stage_trend",
            f"{named.en} got slower in the course of the month: {milliseconds(before)} in "
            f"the first week, {milliseconds(after)} in the last ({change(growth)}). Compare the "
            "versions and the lengths of texts of these weeks, and look at the GPU's memory.",
            f"{named.zh}阶段在本月变慢：第一周 {milliseconds(before)}，"
            f"最后一周 {milliseconds(after)}（{change(growth)}）。"
            "请比较这两周的版本和文本长度，并查看显存。",
            **figures,
        )
    return _fine(
        "stage_trend",
        "No stage got much slower in the course of the month; "
        f"{named.en} changed most ({change(growth)}).",
        f"本月没有阶段明显变慢，变化最大的是{named.zh}（{change(growth)}）。",
        **figures,
    )


def _speaker_cache(report: Report) -> Advice | None:
    row = next((row for row in report.caches if row.cache == "speaker"), None)
    if row is None or row.lookups < MIN_REQUESTS:
        return None
    figures: dict[str, str | float | None] = {"lookups": row.lookups, "share": row.share}
    if row.share < CACHE_SHARE:
        return _act(
            "speaker_cache",
            f"Only {percent(row.share)} of the speakers were found encoded already. Raise "
            "INDEXTTS_SPEAKER_CACHE_MB, or save recordings that come again as speakers.",
            f"音色缓存命中率只有 {percent(row.share)}。请调大 INDEXTTS_SPEAKER_CACHE_MB，"
            "或把常用的参考音频保存为发音人。",
            **figures,
        )
    return _fine(
        "speaker_cache",
        f"{percent(row.share)} of the speakers were found encoded already.",
        f"音色缓存命中率为 {percent(row.share)}。",
        **figures,
    )


def _wasted(report: Report) -> Advice | None:
    if not report.gpu_hours:
        return None
    share = report.cost.wasted_gpu_hours / report.gpu_hours
    figures: dict[str, str | float | None] = {
        "wasted_gpu_hours": report.cost.wasted_gpu_hours,
        "share": round(share, 6),
    }
    if share >= WASTED_SHARE:
        return _act(
            "wasted_gpu",
            f"{percent(share)} of the GPU's time ({amount(report.cost.wasted_gpu_hours)} hours) "
            "went into requests that delivered nothing. Refuse earlier: a lower limit of text, a "
            "shorter time-out.",
            f"{percent(share)} 的 GPU 时间（{amount(report.cost.wasted_gpu_hours)} 小时）"
            "花在没有交付的请求上。请尽早拒绝：降低文本上限，缩短超时。",
            **figures,
        )
    return _fine(
        "wasted_gpu",
        f"{percent(share)} of the GPU's time went into requests that delivered nothing.",
        f"{percent(share)} 的 GPU 时间花在没有交付的请求上。",
        **figures,
    )


def _throughput(report: Report) -> Advice | None:
    speed = report.chars_per_second
    if speed is None:
        return None
    if speed < CHARS_PER_SECOND:
        return _act(
            "throughput",
            f"{amount(speed, 1)} characters were made in a second of work, the goal is "
            f"{CHARS_PER_SECOND}. Half precision (INDEXTTS_HALF_PRECISION) or a faster GPU helps.",
            f"每秒处理 {amount(speed, 1)} 字，目标是 {CHARS_PER_SECOND} 字。"
            "可启用半精度（INDEXTTS_HALF_PRECISION）或换用更快的 GPU。",
            chars_per_second=speed,
        )
    return _fine(
        "throughput",
        f"{amount(speed, 1)} characters were made in a second of work, more than the goal of "
        f"{CHARS_PER_SECOND}.",
        f"每秒处理 {amount(speed, 1)} 字，超过目标 {CHARS_PER_SECOND} 字。",
        chars_per_second=speed,
    )


def _growth(report: Report) -> Advice | None:
    grown = report.growth
    if grown is None or grown.change is None or not report.complete or grown.change < GROWTH:
        return None
    return _act(
        "growth",
        f"Calls grew by {percent(grown.change)} over {grown.month}, from {count(grown.requests)} "
        f"to {count(report.requests)}. Plan workers and GPUs for as much again next month.",
        f"调用量比 {grown.month} 增长 {percent(grown.change)}，从 {count(grown.requests)} 次到 "
        f"{count(report.requests)} 次。请按同样的增幅规划下月的进程与 GPU。",
        requests_before=grown.requests,
        change=grown.change,
    )


RULES: tuple[Rule, ...] = (
    _trust,
    _availability,
    _silent,
    _one_error,
    _versions,
    _slow_speaker,
    _latency,
    _capacity,
    _stage_trend,
    _speaker_cache,
    _wasted,
    _throughput,
    _growth,
)
"""In the order of their weight."""
