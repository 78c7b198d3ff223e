"""Is it well, how much comes, how fast is it, and what is different since when."""

from __future__ import annotations

from grafana.sources.page import Language, Page, Panel, Row
from grafana.sources.panels import (
    BYTES,
    GREEN,
    PER_MINUTE,
    RED,
    SECONDS,
    SHARE,
    YELLOW,
    graph,
    grid,
    link,
    now,
    number,
    prom,
    right_axis,
    rows,
)
from grafana.sources.queries import (
    ANSWERS,
    DELIVERED,
    INSTANCE,
    RANGE,
    WINDOW,
    alerts,
    by_model_version,
    error_share,
    increase,
    percentile,
    rate,
    share,
)

DURATION = "indextts_request_duration_seconds"
OUTCOMES = "indextts_outcomes_total"
VERDICTS = "indextts_audio_verdicts_total"


def page(say: Language) -> Page:
    """The first page to open, and the one to leave on the wall."""
    failures, stages = say.around("failures"), say.around("stages")
    return Page(
        name="overview",
        about=say(
            "Is it well, how much comes, how fast is it. Availability counts as in the monthly "
            "report.",
            "服务是否正常、有多少请求、有多快。可用性口径与月报一致。",
        ),
        rows=(
            Row(_glance(say), height=4, widths=(4, 4, 3, 3, 3, 3, 4)),
            Row(
                (
                    graph(
                        say("Requests by outcome", "各结果的请求"),
                        prom(f"{rate(f'{DURATION}_count', by='status')} * 60", "{{status}}"),
                        unit=PER_MINUTE,
                        stacked=True,
                        links=(failures,),
                    ),
                    graph(
                        say("Error share", "错误率"),
                        prom(error_share("$__rate_interval"), say("error share", "错误率")),
                        unit=SHARE,
                        limits=((YELLOW, 0.05), (RED, 0.1)),
                        about=say(
                            "Alerts at 5 % (and three times what it was an hour before) and 10 %.",
                            "5%（且为一小时前的三倍）与 10% 告警。",
                        ),
                        links=(failures,),
                    ),
                    graph(
                        say("Errors by type", "各类错误"),
                        prom(
                            f"{rate('indextts_errors_total', by='error_type')} * 60 > 0",
                            "{{error_type}}",
                        ),
                        unit=PER_MINUTE,
                        stacked=True,
                        links=(failures,),
                    ),
                ),
                title=say("Traffic", "流量"),
            ),
            Row(
                (
                    graph(
                        say("Latency", "延迟"),
                        *(
                            prom(percentile(q, DURATION, more=DELIVERED), name)
                            for q, name in ((0.5, "P50"), (0.95, "P95"), (0.99, "P99"))
                        ),
                        unit=SECONDS,
                        limits=((YELLOW, 5), (RED, 8)),
                        about=say(
                            "From the door to the answer, of requests that got audio.",
                            "从进门到应答，仅计得到音频的请求。",
                        ),
                        links=(stages, failures),
                    ),
                    graph(
                        say("Real-time factor", "实时率"),
                        *(
                            prom(percentile(q, "indextts_realtime_factor"), name)
                            for q, name in ((0.5, "P50"), (0.95, "P95"))
                        ),
                        unit="short",
                        limits=((RED, 1),),
                        about=say(
                            "Seconds of work for a second of audio; above 1 it is slower than "
                            "speech.",
                            "合成一秒音频所需的秒数；大于 1 即慢于说话。",
                        ),
                        links=(stages,),
                    ),
                    graph(
                        say("First sound", "首个声音"),
                        *(
                            prom(percentile(q, "indextts_first_audio_seconds"), name)
                            for q, name in ((0.5, "P50"), (0.95, "P95"))
                        ),
                        unit=SECONDS,
                        links=(stages,),
                    ),
                ),
                title=say("Speed", "速度"),
            ),
            Row(
                (
                    graph(
                        say("Queue and workers", "队列与合成进程"),
                        *(
                            prom(f"sum(indextts_{metric}{{{INSTANCE}}})", name)
                            for metric, name in (
                                ("queue_depth", say("waiting", "排队")),
                                ("queue_limit", say("may wait", "队列上限")),
                                ("in_flight", say("in flight", "处理中")),
                                ("workers_busy", say("busy workers", "忙碌进程")),
                                ("workers_ready", say("loaded workers", "就绪进程")),
                                ("breaker_open", say("open breakers", "熔断")),
                            )
                        ),
                        unit="short",
                    ),
                    graph(
                        say("Audio that is not sound", "有问题的音频"),
                        prom(
                            f"""{rate(VERDICTS, by="verdict", more='verdict!="ok"')} * 60""",
                            "{{verdict}}",
                        ),
                        unit=PER_MINUTE,
                        stacked=True,
                        links=(failures,),
                    ),
                    graph(
                        say("GPU memory and load", "显存与负载"),
                        prom(
                            f"indextts_gpu_memory_used_bytes{{{INSTANCE}}}",
                            "{{instance}} GPU {{gpu}}",
                        ),
                        prom(
                            f"indextts_gpu_utilization_ratio{{{INSTANCE}}}",
                            say("load", "负载") + " {{instance}} GPU {{gpu}}",
                        ),
                        unit=BYTES,
                        links=(say.around("resources", 60),),
                    ).override_by_query("B", right_axis(SHARE, highest=1)),
                ),
                title=say("Queue, audio, GPU", "队列、音频、显卡"),
            ),
            Row(_instances(say), title=say("Each instance", "各实例"), widths=(12, 6, 6)),
            Row(
                (
                    graph(
                        say("Error share by model version", "各模型版本的错误率"),
                        prom(
                            share(
                                _versions('outcome="unavailable"'),
                                _versions('outcome!="excluded"'),
                            ),
                            "{{model_version}}",
                        ),
                        unit=SHARE,
                    ),
                    graph(
                        say("P95 by model version", "各模型版本的 P95"),
                        prom(_version_p95(), "{{model_version}}"),
                        unit=SECONDS,
                    ),
                    grid(
                        say("What is running", "正在运行"),
                        rows(f'indextts_build_info{{{INSTANCE}, engine=~"$engine"}}'),
                        transform=(("organize", {"excludeByName": dict.fromkeys(_NOISE, True)}),),
                    ),
                    grid(
                        say("Alerts that fire", "正在触发的告警"),
                        rows(alerts("alertname, severity, instance, engine")),
                        transform=(
                            ("organize", {"excludeByName": dict.fromkeys(("Time", "Value"), True)}),
                        ),
                    ),
                ),
                title=say("Versions and alerts", "版本与告警"),
            ),
        ),
    )


_NOISE = ("Time", "Value", "__name__", "job")


def _glance(say: Language) -> tuple[Panel, ...]:
    owed = increase(OUTCOMES, more='outcome!="excluded"')
    broken = 'verdict=~"silent|truncated|wrong_format"'
    # Ninety days are kept, so that thirty can be asked for.
    spent = share(
        increase(OUTCOMES, more='outcome="unavailable"', window="30d"),
        increase(OUTCOMES, more='outcome!="excluded"', window="30d"),
    )
    return (
        number(
            say("Availability", "可用性"),
            now(share(increase(OUTCOMES, more='outcome="available"'), owed)),
            unit=SHARE,
            decimals=2,
            base=RED,
            limits=((YELLOW, 0.99), (GREEN, 0.995)),
            links=(link(say("Failures", "失败"), say.to("failures")),),
        ),
        number(
            say("Error budget left, 30 days", "30 天错误预算余额"),
            now(
                f"1 - ({spent}) / on () "
                f"(1 - min(last_over_time(indextts_slo_objective_ratio{{{INSTANCE}}}[1h])))"
            ),
            unit=SHARE,
            decimals=0,
            base=RED,
            limits=((YELLOW, 0.01), (GREEN, 0.25)),
            about=say(
                "Of INDEXTTS_SLO_PERCENT; below zero it is overdrawn.",
                "按 INDEXTTS_SLO_PERCENT 计；小于零即已透支。",
            ),
        ),
        number(
            say("Requests", "请求数"),
            now(increase(f"{DURATION}_count")),
            unit="short",
            decimals=0,
            links=(link(say("Usage", "用量"), say.to("usage")),),
        ),
        number(
            "P95",
            now(percentile(0.95, DURATION, more=DELIVERED, window=RANGE)),
            unit=SECONDS,
            limits=((YELLOW, 5), (RED, 8)),
            links=(link(say("Stages", "各阶段"), say.to("stages")),),
        ),
        number(
            say("Silent or broken", "静音或损坏"),
            now(share(increase(VERDICTS, more=broken), increase(VERDICTS))),
            unit=SHARE,
            decimals=2,
            limits=((YELLOW, 0.005), (RED, 0.05)),
            links=(link(say("Failures", "失败"), say.to("failures")),),
        ),
        number(
            say("Failures in a row", "连续失败"),
            now(f'max(indextts_consecutive_failures{{{INSTANCE}, engine=~"$engine"}})'),
            unit="short",
            limits=((YELLOW, 2), (RED, 5)),
        ),
        number(
            say("Instances that answer", "有应答的实例"),
            now(f"sum({ANSWERS}) / count({ANSWERS})"),
            unit=SHARE,
            base=RED,
            limits=((GREEN, 1),),
            about=say(
                "Of those chosen above; one that does not answer counts in any case.",
                "按上方所选实例计；无应答的实例总会计入。",
            ),
        ),
    )


def _instances(say: Language) -> tuple[Panel, ...]:
    """What the sums above hide: one instance that is ill among many that are well."""
    names = {
        "Value #A": say("answers", "有应答"),
        "Value #B": (ready := say("loaded workers", "就绪进程")),
        "Value #C": (waiting := say("waiting", "排队")),
        "Value #D": (requests := say("requests a minute", "每分钟请求")),
        "Value #E": (errors := say("error share", "错误率")),
        "Value #F": (slow := "P95"),
    }
    only = say.to("overview", "var-instance=${__value.text}&${__url_time_range}")
    return (
        grid(
            say("Each instance", "各实例"),
            rows(f"max by (instance) {ANSWERS}"),
            rows(f"sum by (instance) (indextts_workers_ready{{{INSTANCE}}})"),
            rows(f"sum by (instance) (indextts_queue_depth{{{INSTANCE}}})"),
            rows(f"{rate(f'{DURATION}_count', by='instance', window='5m')} * 60"),
            rows(_instance_errors("5m")),
            rows(percentile(0.95, DURATION, by="instance", more=DELIVERED, window="5m")),
            about=say("Of the last five minutes.", "最近五分钟。"),
            transform=(
                ("merge", {}),
                ("organize", {"excludeByName": {"Time": True}, "renameByName": names}),
            ),
            units={ready: "short", waiting: "short", requests: "short", errors: SHARE, slow: "s"},
            column_links={"instance": (link(say("Only this one", "仅看此实例"), only),)},
        ),
        graph(
            say("Waiting, by instance", "各实例排队"),
            prom(f"sum by (instance) (indextts_queue_depth{{{INSTANCE}}})", "{{instance}}"),
            unit="short",
            stacked=True,
            about=say(
                "One long queue beside empty ones: the balancer sends unevenly.",
                "一个很长、其余为空：负载均衡分配不均。",
            ),
        ),
        graph(
            say("Error share, by instance", "各实例错误率"),
            prom(_instance_errors(WINDOW), "{{instance}}"),
            unit=SHARE,
            limits=((YELLOW, 0.05), (RED, 0.1)),
        ),
    )


def _instance_errors(window: str) -> str:
    return share(
        rate(OUTCOMES, by="instance", more='outcome="unavailable"', window=window),
        rate(OUTCOMES, by="instance", more='outcome!="excluded"', window=window),
    )


def _versions(outcome: str) -> str:
    inner = rate(OUTCOMES, by="instance", more=outcome)
    return f"sum by (model_version) ({by_model_version(inner)})"


def _version_p95() -> str:
    inner = rate(f"{DURATION}_bucket", by="instance, le", more=DELIVERED)
    summed = f"sum by (le, model_version) ({by_model_version(inner)})"
    return f"histogram_quantile(0.95, {summed})"
