"""Where the time goes: which stage, since when, and how it grows with the text."""

from __future__ import annotations

from grafana.sources.page import Language, Page, Row
from grafana.sources.panels import (
    RED,
    SECONDS,
    YELLOW,
    bars,
    buckets,
    graph,
    heat,
    lines,
    now,
    prom,
    scatter,
)
from grafana.sources.queries import (
    DELIVERED,
    INSTANCE,
    RANGE,
    REQUESTS,
    counted,
    finished,
    mean,
    part_of,
    percentile,
    rate,
    share,
)

DURATION = "indextts_request_duration_seconds"
STAGE = "indextts_stage_duration_seconds"
BY_LENGTH = "indextts_text_length_duration_seconds"
QUEUE = "indextts_queue_seconds"


def page(say: Language) -> Page:
    """For whoever was told that it is slow."""
    links = (say.around("failures"), say.around("resources", 60))
    return Page(
        name="stages",
        about=say(
            "Where the time goes. `other` is what no stage holds, and always shown; an engine that "
            "computes acoustic model and vocoder as one has `acoustic_vocoder` instead of the two.",
            "时间花在哪里。other 是不属于任何阶段的部分，始终显示；声学与声码合一的引擎只有 "
            "acoustic_vocoder 一个阶段。",
        ),
        rows=(
            Row(
                (
                    graph(
                        say("Mean time of a request, by stage", "单个请求的平均耗时（按阶段）"),
                        prom(_mean_of_all(), "{{stage}}"),
                        prom(mean(QUEUE), say("queue", "排队")),
                        unit=SECONDS,
                        stacked=True,
                        links=links,
                    ),
                    bars(
                        say("P95 of each stage, time shown", "各阶段 P95（所示时段）"),
                        now(percentile(0.95, STAGE, by="stage", window=RANGE), "{{stage}}"),
                        now(percentile(0.95, QUEUE, window=RANGE), say("queue", "排队")),
                        unit=SECONDS,
                        limits=((YELLOW, 1), (RED, 3)),
                    ),
                ),
                height=9,
                widths=(16, 8),
            ),
            Row(
                tuple(
                    graph(
                        say(f"{name} of each stage", f"各阶段 {name}"),
                        prom(percentile(q, STAGE, by="stage"), "{{stage}}"),
                        unit=SECONDS,
                        limits=((RED, 3),) if name == "P95" else (),
                        about=say(
                            "The acoustic stage alerts at 3 s.", "声学阶段 P95 超过 3 秒告警。"
                        )
                        if name == "P95"
                        else "",
                        links=links,
                    )
                    for q, name in ((0.5, "P50"), (0.95, "P95"), (0.99, "P99"))
                ),
                title=say("Percentiles", "分位数"),
            ),
            Row(
                (
                    heat(
                        say("How long requests take", "请求耗时分布"),
                        buckets(rate(f"{DURATION}_bucket", by="le", more=DELIVERED)),
                        links=links,
                    ),
                    heat(
                        say("How long the acoustic stage takes", "声学阶段耗时分布"),
                        buckets(
                            rate(f"{STAGE}_bucket", by="le", more='stage=~"acoustic.*"'),
                        ),
                        links=links,
                    ),
                ),
                title=say("Heat maps", "热力图"),
            ),
            Row(
                (
                    bars(
                        say("P95 by characters of text", "P95（按文本字数）"),
                        now(
                            percentile(0.95, BY_LENGTH, by="text_length", window=RANGE),
                            "{{text_length}}",
                        ),
                        unit=SECONDS,
                        limits=((YELLOW, 5), (RED, 8)),
                    ),
                    graph(
                        say("P95 by characters of text, over time", "P95 走势（按文本字数）"),
                        prom(percentile(0.95, BY_LENGTH, by="text_length"), "{{text_length}}"),
                        unit=SECONDS,
                        links=links,
                    ),
                    scatter(
                        say("Each request: characters and time", "每个请求：字数与耗时"),
                        lines(finished('| status=~"success|degraded"'), limit=1000),
                        x="text_len",
                        y="duration_ms",
                        about=say(
                            "The last thousand lines: milliseconds against characters. A curve "
                            "that bends upwards says where texts should be cut.",
                            "最近一千行：耗时（毫秒）对字数。曲线上翘处即应切分文本之处。",
                        ),
                    ),
                ),
                height=9,
                title=say("Latency and text length", "延迟与文本长度"),
            ),
            Row(
                (
                    graph(
                        say("Waiting for a worker", "等待合成进程"),
                        *(
                            prom(percentile(q, QUEUE), name)
                            for q, name in ((0.5, "P50"), (0.95, "P95"), (0.99, "P99"))
                        ),
                        unit=SECONDS,
                        limits=((YELLOW, 3),),
                        links=links,
                    ),
                    graph(
                        say("Characters a second", "每秒合成字数"),
                        prom(
                            share(
                                rate("indextts_characters_total"),
                                rate("indextts_delivered_seconds_total"),
                            ),
                            say("characters a second", "字/秒"),
                        ),
                        unit="short",
                        about=say("From the door to the answer.", "按从进门到应答的时间计。"),
                    ),
                    graph(
                        say("Recordings that were encoded already", "音色缓存命中率"),
                        prom(
                            part_of(
                                rate(
                                    "indextts_speaker_cache_total",
                                    by="recording",
                                    more='result="hit"',
                                ),
                                rate("indextts_speaker_cache_total", by="recording"),
                            ),
                            "{{recording}}",
                        ),
                        prom(
                            f"sum(rate(indextts_speaker_cache_evictions_total{{{REQUESTS}}}"
                            "[$__rate_interval]))",
                            say("forgotten a second", "每秒淘汰"),
                        ),
                        unit="percentunit",
                        about=say(
                            "A miss costs the stage speaker_enc; what is forgotten to make room is "
                            "a miss next time (INDEXTTS_SPEAKER_CACHE_MB).",
                            "未命中需付出 speaker_enc 阶段；为腾空间而淘汰者下次必不命中"
                            "（INDEXTTS_SPEAKER_CACHE_MB）。",
                        ),
                    ),
                ),
            ),
            Row(
                (
                    graph(
                        say("Audio that had been made before", "结果缓存命中率"),
                        prom(
                            part_of(
                                rate("indextts_result_cache_total", more='result="hit"'),
                                rate("indextts_result_cache_total"),
                            ),
                            say("served again", "直接复用"),
                        ),
                        unit="percentunit",
                    ),
                    graph(
                        say("Size of the result cache", "结果缓存占用"),
                        prom(
                            f"sum by (layer) (indextts_result_cache_bytes{{{INSTANCE}}})",
                            "{{layer}}",
                        ),
                        unit="bytes",
                    ),
                    graph(
                        say("Failures of the result cache", "结果缓存故障"),
                        prom(
                            counted(
                                "indextts_result_cache_failures_total",
                                by="layer",
                                of=INSTANCE,
                                window="15m",
                            ),
                            "{{layer}}",
                        ),
                        unit="short",
                        about=say(
                            "The audio is made instead; nobody but this panel notices.",
                            "此时会重新合成，用户无感。",
                        ),
                    ),
                ),
                title=say("Results served again", "结果复用"),
            ),
        ),
    )


def _mean_of_all() -> str:
    """A request without a stage has no time in it, so that the parts add up to the whole."""
    whole = rate(f"{DURATION}_count", more='status!="rejected"')
    return share(rate(f"{STAGE}_sum", by="stage"), f"scalar({whole})")
