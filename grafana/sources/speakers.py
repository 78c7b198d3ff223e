"""Who is asked for, with which emotion, how well each goes, and how fast."""

from __future__ import annotations

from grafana.sources.page import Language, Page, Row
from grafana.sources.panels import (
    GREEN,
    PER_MINUTE,
    RED,
    SECONDS,
    SHARE,
    YELLOW,
    bars,
    graph,
    grid,
    line_numbers,
    link,
    now,
    pie,
    prom,
    rows,
)
from grafana.sources.queries import (
    INSTANCE,
    SPOKEN,
    counted,
    finished,
    lines_percentile,
    part_of,
    rate,
    share,
)

REQUESTS = "indextts_requests_total"
SPENT = "indextts_delivered_seconds_total"
OWED = 'status!~"rejected|cancelled"'
HEARD = 'status=~"success|degraded"'
GOOD = 0.95
_OF_ENGINE = f'{INSTANCE}, engine=~"$engine"'


def page(say: Language) -> Page:
    """For choosing a speaker and an emotion, and for finding the one that broke."""
    return Page(
        name="speakers",
        about=say(
            "Use, success and speed of each speaker and emotion. Percentiles are exact, from the "
            "log lines; all else is from the metrics.",
            "每个发音人与情感的用量、成功率与速度。分位数由日志行精确计算，其余来自指标。",
        ),
        since="now-24h",
        rows=(
            *(
                _row(say, label, title)
                for label, title in (
                    ("speaker", say("Speakers", "发音人")),
                    ("emotion", say("Emotions", "情感")),
                )
            ),
            Row(
                (
                    graph(
                        say("Requests over time, by speaker", "各发音人请求走势"),
                        prom(
                            f"topk(10, {rate(REQUESTS, by='speaker', of=SPOKEN)} * 60)",
                            "{{speaker}}",
                        ),
                        unit=PER_MINUTE,
                        stacked=True,
                        links=(say.around("failures"),),
                    ),
                    graph(
                        say("Mean latency over time, by emotion", "各情感平均延迟走势"),
                        prom(
                            share(
                                rate(SPENT, by="emotion", of=SPOKEN),
                                rate(REQUESTS, by="emotion", of=SPOKEN, more=HEARD),
                            ),
                            "{{emotion}}",
                        ),
                        unit=SECONDS,
                        links=(say.around("stages"),),
                    ),
                ),
                title=say("Over time", "走势"),
            ),
            Row(
                (
                    grid(
                        say("Each pair of speaker and emotion", "发音人与情感的每种组合"),
                        rows(counted(REQUESTS, by="speaker, emotion")),
                        rows(
                            part_of(
                                counted(REQUESTS, by="speaker, emotion", more=HEARD),
                                counted(REQUESTS, by="speaker, emotion", more=OWED),
                            )
                        ),
                        rows(
                            share(
                                counted(SPENT, by="speaker, emotion"),
                                counted(REQUESTS, by="speaker, emotion", more=HEARD),
                            )
                        ),
                        transform=(
                            ("merge", {}),
                            (
                                "organize",
                                {
                                    "excludeByName": {"Time": True},
                                    "renameByName": {
                                        "Value #A": (requests := say("requests", "请求数")),
                                        "Value #B": (success := say("success", "成功率")),
                                        "Value #C": (latency := say("mean latency", "平均延迟")),
                                    },
                                },
                            ),
                            ("sortBy", {"sort": [{"field": requests, "desc": True}]}),
                        ),
                        units={requests: "short", success: SHARE, latency: SECONDS},
                        column_links={
                            "speaker": (
                                link(
                                    say("Its failures", "其失败"),
                                    say.to(
                                        "failures",
                                        "var-speaker=${__value.text}&${__url_time_range}"
                                        "&${engine:queryparam}&${instance:queryparam}",
                                    ),
                                ),
                            )
                        },
                    ),
                    bars(
                        say("Hints that users were given", "给用户的提示"),
                        now(
                            counted("indextts_hints_total", by="hint", of=_OF_ENGINE),
                            "{{hint}}",
                        ),
                        unit="short",
                        about=say(
                            "Delivered audio that could have been better: tokens that the model "
                            "does not know, a recording that was cut, a segment at its limit.",
                            "已交付但本可更好：不认识的 Token、被截断的录音、达到上限的分段。",
                        ),
                    ),
                ),
                height=10,
                widths=(17, 7),
            ),
        ),
    )


def _row(say: Language, label: str, title: str) -> Row:
    legend = f"{{{{{label}}}}}"
    delivered, owed = (counted(REQUESTS, by=label, more=more) for more in (HEARD, OWED))
    taken = share(counted(SPENT, by=label), delivered)
    sounds = finished(f'| status=~"success|degraded" | {label}!=""')
    return Row(
        (
            pie(
                say("Use", "用量"),
                now(f"topk(12, {counted(REQUESTS, by=label)})", legend),
                unit="short",
            ),
            bars(
                say("Success share", "成功率"),
                now(f"bottomk(12, {part_of(delivered, owed)} >= 0)", legend),
                unit=SHARE,
                base=RED,
                limits=((YELLOW, 0.9), (GREEN, GOOD)),
                about=say("The lowest twelve.", "最低的十二个。"),
            ),
            bars(
                say("Mean latency", "平均延迟"),
                now(
                    f"topk(12, {taken})",
                    legend,
                ),
                unit=SECONDS,
                limits=((YELLOW, 5), (RED, 8)),
                about=say("The highest twelve.", "最高的十二个。"),
            ),
            bars(
                say("P95 latency (log lines)", "P95 延迟（日志行）"),
                line_numbers(
                    f"topk(12, {lines_percentile(0.95, sounds, 'duration_ms', by=label)})", legend
                ),
                unit="ms",
                limits=((YELLOW, 5000), (RED, 8000)),
            ),
        ),
        height=9,
        title=title,
    )
