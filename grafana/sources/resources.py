"""What the service stands on: GPU, workers, its own process, the host, and the log's way."""

from __future__ import annotations

from grafana.sources.page import Language, Page, Panel, Row
from grafana.sources.panels import (
    BYTES,
    RED,
    SECONDS,
    SHARE,
    YELLOW,
    graph,
    now,
    number,
    prom,
    right_axis,
)
from grafana.sources.queries import INSTANCE, counted, rate

GPU = "{{instance}} GPU {{gpu}}"
WORKER = "{{instance}} {{worker}}"
IDLE = 'node_cpu_seconds_total{mode="idle"}'
REAL_DISKS = 'fstype!~"tmpfs|ramfs|squashfs|overlay"'


def page(say: Language) -> Page:
    """For whoever wonders what runs out, and when."""
    return Page(
        name="resources",
        about=say(
            "GPU memory and its slope, workers, process and host (node exporter), and how the "
            "lines get to Loki. A slope that never falls is a leak.",
            "显存及其斜率、合成进程、服务进程与主机（node exporter），以及日志去往 Loki 的情况。"
            "只升不降即为泄漏。",
        ),
        rows=(
            Row(_gpu(say), title=say("GPU", "显卡")),
            Row(_workers(say), title=say("Workers", "合成进程")),
            Row(_process(say), title=say("The service's process", "服务进程")),
            Row(_files(say), title=say("Audio files", "音频文件")),
            Row(_host(say), title=say("Host", "主机")),
            Row(_log(say), title=say("The log's way, and the watchers", "日志链路与监控自身")),
            Row(_alerts(say), title=say("The alerts' way", "告警链路")),
            Row(_canary(say), title=say("Canary", "巡检")),
        ),
    )


def _gpu(say: Language) -> tuple[Panel, ...]:
    return (
        graph(
            say("GPU memory", "显存"),
            prom(f"indextts_gpu_memory_used_bytes{{{INSTANCE}}}", GPU),
            prom(f"indextts_gpu_memory_total_bytes{{{INSTANCE}}}", f"{say('all', '总量')} {GPU}"),
            unit=BYTES,
        ),
        graph(
            say("Slope of GPU memory, an hour", "显存斜率（每小时）"),
            prom(f"deriv(indextts_gpu_memory_used_bytes{{{INSTANCE}}}[1h]) * 3600", GPU),
            unit=BYTES,
            limits=((RED, 250e6),),
            about=say(
                "How much more an hour would bring, by a straight line through the last hour. "
                "Loading a model is a step and soon over.",
                "按最近一小时的直线拟合，每小时会增加多少。加载模型只是一次跳升。",
            ),
        ).min(-1e9),
        graph(
            say("Load and temperature", "负载与温度"),
            prom(f"indextts_gpu_utilization_ratio{{{INSTANCE}}}", GPU),
            prom(f"indextts_gpu_temperature_celsius{{{INSTANCE}}}", f"°C {GPU}"),
            unit=SHARE,
        ).override_by_query("B", right_axis("celsius")),
    )


def _workers(say: Language) -> tuple[Panel, ...]:
    return (
        graph(
            say("Memory of the workers", "合成进程内存"),
            prom(f"indextts_worker_memory_bytes{{{INSTANCE}}}", WORKER),
            unit=BYTES,
        ),
        graph(
            say("CPU of the workers", "合成进程 CPU"),
            prom(
                f"rate(indextts_worker_cpu_seconds_total{{{INSTANCE}}}[$__rate_interval])", WORKER
            ),
            unit="short",
            about=say("Cores.", "单位：核。"),
        ),
        graph(
            say("Workers, and their restarts", "合成进程数与重启"),
            *(
                prom(
                    f"sum by (instance) (indextts_workers_{kind}{{{INSTANCE}}})",
                    f"{name} {{{{instance}}}}",
                )
                for kind, name in (
                    ("ready", say("loaded", "就绪")),
                    ("busy", say("busy", "忙碌")),
                    ("unloaded", say("unloaded", "已卸载")),
                )
            ),
            prom(
                counted("indextts_worker_restarts_total", by="reason", of=INSTANCE, window="15m"),
                f"{say('restarted', '重启')}: {{{{reason}}}}",
            ),
            unit="short",
        ),
    )


def _process(say: Language) -> tuple[Panel, ...]:
    return (
        graph(
            say("Memory", "内存"),
            prom(f"indextts_process_resident_memory_bytes{{{INSTANCE}}}", "{{instance}}"),
            prom(
                f"indextts_process_virtual_memory_bytes{{{INSTANCE}}}",
                f"{say('virtual', '虚拟')} {{{{instance}}}}",
            ),
            unit=BYTES,
        ),
        graph(
            "CPU",
            prom(
                f"rate(indextts_process_cpu_seconds_total{{{INSTANCE}}}[$__rate_interval])",
                "{{instance}}",
            ),
            unit="short",
            about=say("Cores, without the workers.", "单位：核，不含合成进程。"),
        ),
        graph(
            say("Open files", "打开的文件"),
            prom(
                f"indextts_process_open_fds{{{INSTANCE}}} / indextts_process_max_fds{{{INSTANCE}}}",
                "{{instance}}",
            ),
            unit=SHARE,
            limits=((RED, 0.8),),
        ),
        number(
            say("Running since", "启动于"),
            now(f"indextts_process_start_time_seconds{{{INSTANCE}}} * 1000", "{{instance}}"),
            unit="dateTimeFromNow",
        ),
    )


def _files(say: Language) -> tuple[Panel, ...]:
    return (
        graph(
            say("Kept, and room left", "已占用与剩余空间"),
            prom(
                f"indextts_outputs_bytes{{{INSTANCE}}}", f"{say('kept', '已占用')} {{{{instance}}}}"
            ),
            prom(
                f"indextts_outputs_free_bytes{{{INSTANCE}}}",
                f"{say('left', '剩余')} {{{{instance}}}}",
            ),
            unit=BYTES,
        ),
        graph(
            say("Files deleted in a quarter of an hour", "每刻钟清理的文件"),
            prom(
                counted("indextts_files_swept_total", by="reason", of=INSTANCE, window="15m"),
                "{{reason}}",
            ),
            unit="short",
            stacked=True,
            bars=True,
        ),
    )


def _host(say: Language) -> tuple[Panel, ...]:
    return (
        graph(
            "CPU",
            prom(
                f"1 - avg by (instance) (rate({IDLE}[$__rate_interval]))",
                "{{instance}}",
            ),
            prom(
                f"node_load5 / on (instance) count by (instance) ({IDLE})",
                f"{say('load a core', '每核负载')} {{{{instance}}}}",
            ),
            unit=SHARE,
        ),
        graph(
            say("Memory", "内存"),
            prom("1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes", "{{instance}}"),
            unit=SHARE,
            limits=((YELLOW, 0.85), (RED, 0.95)),
        ),
        graph(
            say("Disks", "磁盘"),
            prom(
                f"1 - node_filesystem_avail_bytes{{{REAL_DISKS}}} / node_filesystem_size_bytes",
                "{{instance}} {{mountpoint}}",
            ),
            unit=SHARE,
            limits=((YELLOW, 0.75), (RED, 0.95)),
        ),
        graph(
            say("Network", "网络"),
            prom(
                "sum by (instance) (rate(node_network_receive_bytes_total"
                '{device!="lo"}[$__rate_interval]))',
                f"{say('in', '入')} {{{{instance}}}}",
            ),
            prom(
                "sum by (instance) (rate(node_network_transmit_bytes_total"
                '{device!="lo"}[$__rate_interval]))',
                f"{say('out', '出')} {{{{instance}}}}",
            ),
            unit="Bps",
        ),
    )


def _log(say: Language) -> tuple[Panel, ...]:
    return (
        graph(
            say("Lines lost by the service", "服务丢失的日志行"),
            prom(
                f"sum by (instance, sink) (increase(indextts_lines_lost_total{{{INSTANCE}}}[15m]))",
                "{{sink}} {{instance}}",
            ),
            unit="short",
            limits=((RED, 1),),
        ),
        graph(
            say("How far the shipper is behind", "采集落后"),
            prom(
                "sum by (job, instance) (promtail_file_bytes_total - promtail_read_bytes_total)"
                " or sum by (job, instance) "
                "(loki_source_file_file_bytes_total - loki_source_file_read_bytes_total)",
                "{{job}} {{instance}}",
            ),
            unit=BYTES,
            limits=((RED, 1e6),),
        ),
        graph(
            say("Files that ffprobe looked at", "ffprobe 检查"),
            prom(f"{rate('indextts_probes_total', by='result', of=INSTANCE)}", "{{result}}"),
            unit="cps",
            stacked=True,
            about=say(
                "backlog: more came than ffprobe can follow; the signal was judged all the same.",
                "backlog：文件多到 ffprobe 跟不上；信号检查照常。",
            ),
        ),
        graph(
            say("Who answers Prometheus, and how fast", "抓取是否成功、耗时"),
            prom("scrape_duration_seconds", "{{job}} {{instance}}"),
            prom("up", f"{say('answers', '应答')} {{{{job}}}} {{{{instance}}}}"),
            unit=SECONDS,
        ).override_by_query("B", right_axis("short", highest=1)),
    )


def _alerts(say: Language) -> tuple[Panel, ...]:
    return (
        graph(
            say("Alerts that wait for a receiver", "等待送达的告警"),
            prom("indextts_alert_relay_waiting_groups", "{{receiver}}"),
            prom(
                "indextts_alert_relay_waiting_seconds",
                f"{say('for', '已等待')} {{{{receiver}}}}",
            ),
            unit="short",
        ).override_by_query("B", right_axis(SECONDS)),
        graph(
            say("Notifications and deliveries in a quarter of an hour", "每刻钟的通知与送达"),
            prom(
                "sum by (status) (increase(indextts_alert_relay_notifications_total[15m]))",
                f"{say('came in', '收到')}: {{{{status}}}}",
            ),
            prom(
                "sum by (receiver, status) (increase(indextts_alert_relay_deliveries_total[15m]))",
                "{{receiver}}: {{status}}",
            ),
            unit="short",
        ),
        graph(
            say("Since the dead man's switch was heard", "距上次失联开关信号"),
            prom("indextts_alert_relay_heartbeat_age_seconds", "{{instance}}"),
            unit=SECONDS,
            limits=((RED, 900),),
        ),
        graph(
            say("Time of a delivery, P95", "送达耗时 P95"),
            prom(
                "histogram_quantile(0.95, sum by (le, receiver) "
                "(rate(indextts_alert_relay_delivery_seconds_bucket[15m])))",
                "{{receiver}}",
            ),
            unit=SECONDS,
        ),
    )


def _canary(say: Language) -> tuple[Panel, ...]:
    return (
        graph(
            say("Answers, and drift", "应答与漂移"),
            prom("indextts_canary_up", f"{say('answers', '应答')} {{{{canary}}}}"),
            prom("indextts_canary_drift", f"{say('drift', '漂移')} {{{{canary}}}}"),
            unit="short",
        ),
        graph(
            say("Time of its request, and since", "巡检耗时与距上次"),
            prom("indextts_canary_duration_seconds", "{{canary}}"),
            prom(
                "time() - indextts_canary_last_run_timestamp_seconds",
                f"{say('since', '距上次')} {{{{canary}}}}",
            ),
            unit=SECONDS,
        ),
        graph(
            say("Beside the golden audio", "与基准音频相比"),
            prom("indextts_canary_stoi", f"{say('intelligibility', '可懂度')} {{{{canary}}}}"),
            prom("indextts_canary_audio_ratio", f"{say('length', '时长比')} {{{{canary}}}}"),
            prom(
                "indextts_canary_silence_change_seconds",
                f"{say('longest silence, s', '最长静音差（秒）')} {{{{canary}}}}",
            ),
            unit="short",
        ).min(-2),
        graph(
            say("Distance to the golden audio", "与基准音频的距离"),
            prom(
                "indextts_canary_mel_cepstral_distance_decibels",
                f"{say('spectrum', '频谱')} {{{{canary}}}}",
            ),
            prom(
                "indextts_canary_loudness_change_decibels",
                f"{say('loudness', '响度')} {{{{canary}}}}",
            ),
            unit="dB",
        ).min(-20),
    )
