"""What fails, how often, since when, and the lines of it."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard

from grafana.sources.page import Language, Page, Row
from grafana.sources.panels import (
    PER_MINUTE,
    RED,
    SHARE,
    YELLOW,
    bars,
    graph,
    grid,
    line_numbers,
    line_rates,
    lines,
    link,
    log,
    now,
    number,
    prom,
)
from grafana.sources.queries import (
    ANY_LINE,
    FAILED,
    INSTANCE,
    SPOKEN,
    counted,
    finished,
    increase,
    lines_counted,
    rate,
    share,
)

REQUESTS = "indextts_requests_total"
OUTCOMES = "indextts_outcomes_total"
BY_FAULT = "error_type, error_stage, error_fingerprint"
COLUMNS = (
    "Time", "request_id", "status", "error_type", "error_stage", "speaker", "emotion", "source",
    "user", "text_len", "duration_ms", "instance",
)  # fmt: skip


def page(say: Language) -> Page:
    """The page that an alert opens."""
    failed = finished(failed=True)
    failing = rate(REQUESTS, by="speaker", of=SPOKEN, more=FAILED)
    by_user = lines_counted(failed, by="user, source", window="$__auto")
    silent = finished('| status="degraded"')
    return Page(
        name="failures",
        about=say(
            "What fails now. Click a request_id for the whole of that request.",
            "现在有什么在失败。点击 request_id 查看该请求的全部。",
        ),
        since="now-1h",
        rows=(
            Row(
                (
                    number(
                        say("Failed", "失败数"),
                        now(increase(OUTCOMES, more='outcome="unavailable"')),
                        unit="short",
                        decimals=0,
                    ),
                    number(
                        say("Error share", "错误率"),
                        now(
                            share(
                                increase(OUTCOMES, more='outcome="unavailable"'),
                                increase(OUTCOMES, more='outcome!="excluded"'),
                            )
                        ),
                        unit=SHARE,
                        limits=((YELLOW, 0.05), (RED, 0.1)),
                    ),
                    number(
                        say("Failures in a row", "连续失败"),
                        now(f'max(indextts_consecutive_failures{{{INSTANCE}, engine=~"$engine"}})'),
                        unit="short",
                        limits=((YELLOW, 2), (RED, 5)),
                    ),
                    number(
                        say("Workers replaced", "替换的合成进程"),
                        now(
                            counted("indextts_worker_restarts_total", of=INSTANCE) + " or vector(0)"
                        ),
                        unit="short",
                        decimals=0,
                        limits=((YELLOW, 1), (RED, 3)),
                        links=(link(say("Resources", "资源"), say.to("resources")),),
                    ),
                ),
                height=4,
            ),
            Row(
                (
                    grid(
                        say("Top ten faults", "十大故障"),
                        line_numbers(f"topk(10, {lines_counted(failed, by=BY_FAULT)})"),
                        about=say(
                            "One fault has one fingerprint, whoever met it.",
                            "同因同指纹，无论谁遇到。",
                        ),
                        transform=(
                            ("labelsToFields", {"mode": "columns"}),
                            ("merge", {}),
                            (
                                "organize",
                                {
                                    "excludeByName": {"Time": True},
                                    "renameByName": {"Value #A": say("times", "次数")},
                                },
                            ),
                            ("sortBy", {"sort": [{"field": say("times", "次数"), "desc": True}]}),
                        ),
                        column_links={
                            "error_fingerprint": (
                                link(
                                    say("Only this one, below", "仅看此故障"),
                                    say.to(
                                        "failures",
                                        "var-fingerprint=${__value.text}&${__url_time_range}"
                                        "&${engine:queryparam}&${instance:queryparam}",
                                    ),
                                ),
                            )
                        },
                    ),
                    bars(
                        say("By type", "按类型"),
                        now(
                            counted("indextts_errors_total", by="error_type", of=_OF_ENGINE),
                            "{{error_type}}",
                        ),
                        unit="short",
                        about=say("Refusals included.", "含被拒绝的请求。"),
                    ),
                    bars(
                        say("By stage", "按阶段"),
                        now(
                            counted("indextts_errors_total", by="stage", of=_OF_ENGINE), "{{stage}}"
                        ),
                        unit="short",
                    ),
                ),
                height=9,
                widths=(12, 6, 6),
            ),
            Row(
                (
                    graph(
                        say("Errors by type, over time", "各类错误走势"),
                        prom(
                            f"{rate('indextts_errors_total', by='error_type')} * 60",
                            "{{error_type}}",
                        ),
                        unit=PER_MINUTE,
                        stacked=True,
                        bars=True,
                        links=(say.around("failures"),),
                    ),
                    graph(
                        say("Failures by speaker", "各发音人的失败"),
                        prom(
                            f"topk(10, {failing} * 60) > 0",
                            "{{speaker}}",
                        ),
                        unit=PER_MINUTE,
                        stacked=True,
                        bars=True,
                        links=(say.around("failures"),),
                    ),
                    graph(
                        say("Failures by user (log lines)", "各用户的失败（日志行）"),
                        line_rates(
                            f"topk(10, {by_user})",
                            "{{user}} {{source}}",
                        ),
                        unit="short",
                        stacked=True,
                        bars=True,
                    ),
                ),
            ),
            Row(
                (
                    grid(
                        say("Latest failed requests", "最近失败的请求"),
                        lines(f"{failed} {_FINGERPRINT}", limit=100),
                        transform=(
                            ("extractFields", {"source": "labels", "keepTime": True}),
                            (
                                "organize",
                                {
                                    "includeByName": dict.fromkeys(COLUMNS, True),
                                    "indexByName": {name: at for at, name in enumerate(COLUMNS)},
                                },
                            ),
                        ),
                        column_links={
                            "request_id": (
                                link(
                                    say("This request", "该请求"),
                                    say.to("request", "var-request_id=${__value.text}"),
                                ),
                            )
                        },
                    ),
                ),
                height=9,
                title=say("Requests", "请求"),
            ),
            Row(
                (
                    log(
                        say("Lines of failed requests", "失败请求的日志行"),
                        lines(f"{failed} {_FINGERPRINT}"),
                    ),
                    log(
                        say("Audio that is not sound", "有问题的音频"),
                        lines(
                            f"{silent} | line_format `{{{{.request_id}}}} {{{{.audio_verdict}}}} "
                            "{{.speaker}} {{.emotion}} {{.text_len}} characters`"
                        ),
                    ),
                ),
                height=12,
                widths=(14, 10),
            ),
            Row(
                (
                    log(
                        say("Tracebacks and faults of the service", "堆栈与服务自身的错误"),
                        lines(
                            ANY_LINE.replace("}", ', level=~"error|critical"}')
                            + ' | event!="synthesis.finished"'
                        ),
                    ),
                    log(
                        say("Lines that are no JSON", "非 JSON 的行"),
                        lines(ANY_LINE.replace("}", ', level=""}')),
                        about=say(
                            "Printed by something that died before it could log.",
                            "多为来不及写日志就崩溃的程序所打印。",
                        ),
                    ),
                ),
                height=9,
                widths=(14, 10),
            ),
        ),
        variables=(_fingerprint(say),),
    )


_OF_ENGINE = f'{INSTANCE}, engine=~"$engine"'
_FINGERPRINT = '| error_fingerprint=~"$fingerprint.*"'


def _fingerprint(say: Language) -> dashboard.TextBoxVariable:
    return dashboard.TextBoxVariable("fingerprint").label(say("Fingerprint", "错误指纹"))
