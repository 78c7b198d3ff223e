"""The month in numbers, for whoever pays for it; scripts/monthly_report.py is exact."""

from __future__ import annotations

from grafana.sources.page import Language, Page, Row
from grafana.sources.panels import (
    SECONDS,
    SHARE,
    bars,
    graph,
    line_numbers,
    now,
    number,
    pie,
    prom,
)
from grafana.sources.queries import (
    DELIVERED,
    SPOKEN,
    counted,
    finished,
    increase,
    increase_from,
    lines_counted,
    share,
)

DURATION = "indextts_request_duration_seconds"
REQUESTS = "indextts_requests_total"


def page(say: Language) -> Page:
    """Thirty days by default; choose `Previous month` for a month."""
    delivered = f"{DURATION}_count"
    quick = f"{DURATION}_bucket"
    return Page(
        name="usage",
        about=say(
            "Usage by day, speaker, emotion and user. Numbers are Prometheus' estimates; for those "
            "of a bill, which lose and double nothing, run scripts/monthly_report.py.",
            "按日、发音人、情感、用户的用量。数字为 Prometheus 估算；"
            "需要不漏不重的账目请运行 scripts/monthly_report.py。",
        ),
        since="now-30d",
        refresh="",
        rows=(
            Row(
                (
                    number(
                        say("Requests", "请求数"),
                        now(increase(f"{DURATION}_count")),
                        unit="short",
                        decimals=1,
                    ),
                    number(
                        say("Characters spoken", "合成字数"),
                        now(counted("indextts_characters_total")),
                        unit="short",
                        decimals=1,
                    ),
                    number(
                        say("Audio delivered", "交付音频时长"),
                        now(counted("indextts_audio_seconds_total")),
                        unit=SECONDS,
                        decimals=1,
                    ),
                    number(
                        say("Size of the files", "音频文件大小"),
                        now(counted("indextts_audio_bytes_total", of=_OF_ENGINE)),
                        unit="bytes",
                        decimals=1,
                    ),
                    number(
                        say("Time on the GPU", "GPU 用时"),
                        now(increase("indextts_gpu_seconds_total")),
                        unit=SECONDS,
                        decimals=1,
                    ),
                    number(
                        say("Answered within 2 s", "2 秒内应答"),
                        now(
                            share(
                                increase(quick, more=f'{DELIVERED}, le="2.0"'),
                                increase(delivered, more=DELIVERED),
                            )
                        ),
                        unit=SHARE,
                        decimals=1,
                    ),
                ),
                height=4,
            ),
            Row(
                (
                    graph(
                        say("Requests a day, by outcome", "每日请求（按结果）"),
                        prom(
                            increase_from(f"{DURATION}_count", by="status", window="1d"),
                            "{{status}}",
                            step="1d",
                        ),
                        unit="short",
                        stacked=True,
                        bars=True,
                        ahead=True,
                    ),
                    graph(
                        say("Audio a day", "每日音频时长"),
                        prom(
                            increase_from("indextts_audio_seconds_total", by="engine", window="1d"),
                            "{{engine}}",
                            step="1d",
                        ),
                        unit=SECONDS,
                        stacked=True,
                        bars=True,
                        ahead=True,
                    ),
                ),
                height=9,
            ),
            Row(
                (
                    bars(
                        say("Top speakers", "发音人排行"),
                        now(f"topk(15, {counted(REQUESTS, by='speaker')})", "{{speaker}}"),
                        unit="short",
                    ),
                    pie(
                        say("Emotions", "情感"),
                        now(counted(REQUESTS, by="emotion"), "{{emotion}}"),
                        unit="short",
                    ),
                    pie(
                        say("Where from", "来源"),
                        now(counted(REQUESTS, by="source"), "{{source}}"),
                        unit="short",
                    ),
                    bars(
                        say("Top users (log lines)", "用户排行（日志行）"),
                        line_numbers(
                            f"topk(15, {lines_counted(finished(), by='user')})", "{{user}}"
                        ),
                        unit="short",
                        about=say(
                            "By API key or account; without a name: all that gave none.",
                            "按接口密钥或账号；无名者为未提供的请求。",
                        ),
                    ),
                ),
                height=10,
            ),
            Row(
                (
                    graph(
                        say("Requests an hour", "每小时请求"),
                        prom(
                            increase_from(f"{DURATION}_count", window="1h"),
                            say("requests", "请求"),
                            step="1h",
                        ),
                        unit="short",
                        bars=True,
                        ahead=True,
                        links=(say.around("overview", 120),),
                    ),
                    bars(
                        say("GPU time by user (log lines)", "各用户 GPU 用时（日志行）"),
                        line_numbers(
                            "topk(15, sum by (user) (sum_over_time("
                            f'{finished()} | unwrap gpu_seconds | __error__="" [$__range])))',
                            "{{user}}",
                        ),
                        unit=SECONDS,
                    ),
                ),
                height=9,
                widths=(16, 8),
            ),
        ),
    )


_OF_ENGINE = SPOKEN.rpartition(", ")[0]
