"""Every sentence of the operations page, in both languages."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import gradio as gr
from gradio.i18n import I18nData

from indextts_app.engines.base import Translated
from indextts_app.pages.labels import CHINESE_LOCALES
from indextts_app.pages.texts import LANGUAGES, browser_key

TEXTS: Mapping[str, Translated] = MappingProxyType(
    {
        "title": Translated("Operations", "运维"),
        "subtitle": Translated(
            "What happened to a request, what fails now, how the service is, what a month was.",
            "查请求、看故障、看现状、出月报。",
        ),
        "logout": Translated("Log out", "退出登录"),
        "to_page": Translated("To the synthesis page", "返回合成页面"),
        # Logging in.
        "login": Translated("Log in", "登录"),
        "login_more": Translated(
            "This is for operators: the account of INDEXTTS_OPERATIONS_USER.",
            "仅限运维人员，使用 INDEXTTS_OPERATIONS_USER 的账号。",
        ),
        "user": Translated("Name", "用户名"),
        "password": Translated("Password", "密码"),
        "login_wrong": Translated("Name or password is wrong.", "用户名或密码错误。"),
        # A request.
        "tab_request": Translated("Request", "请求"),
        "wanted": Translated("request_id, or the client's own id", "请求编号，或客户端自带的编号"),
        "wanted_hint": Translated(
            "Paste it as it is; O/0, I/L/1 and case are forgiven",
            "直接粘贴即可，O/0、I/L/1 与大小写不影响",
        ),
        "look_up": Translated("Look up", "查询"),
        "file": Translated("or drop the audio file here", "或将音频文件拖到此处"),
        "idle": Translated("Nothing looked up yet", "尚未查询"),
        "idle_more": Translated(
            "An id, or an audio file that the service made, is enough for the whole story.",
            "凭编号，或本服务生成的音频文件，即可查到全部经过。",
        ),
        "not_found": Translated("Not found", "未找到"),
        "no_answer": Translated("No answer", "无法作答"),
        "status_success": Translated("Delivered", "已交付"),
        "status_degraded": Translated("Flawed", "有瑕疵"),
        "status_failed": Translated("Failed", "失败"),
        "status_rejected": Translated("Refused", "被拒"),
        "status_timeout": Translated("Timed out", "超时"),
        "status_cancelled": Translated("Cancelled", "已取消"),
        "status_lost": Translated("Lost", "丢失"),
        "status_running": Translated("Running", "进行中"),
        "status_not_asked": Translated("Not asked", "未受理"),
        "causes": Translated("Likely cause", "可能原因"),
        "advice": Translated("What to do", "处理建议"),
        "asked": Translated("What was asked", "请求内容"),
        "came_out": Translated("What came out", "产出"),
        "outcome": Translated("How it ended", "结果"),
        "machine": Translated("Worker and memory", "进程与内存"),
        "times": Translated("Where the time went", "耗时分布"),
        "no_times": Translated("No times are known of it.", "没有耗时记录。"),
        "around": Translated("Around it", "前后情况"),
        "around_unknown": Translated(
            "The log could not be asked for others.", "无法从日志查询前后请求。"
        ),
        "this_one": Translated("this one", "本请求"),
        "seconds_before": Translated("{seconds:g} s before", "前 {seconds:g} 秒"),
        "seconds_after": Translated("{seconds:g} s after", "后 {seconds:g} 秒"),
        "also": Translated("Others with this client id", "同一客户端编号的其他请求"),
        "lines": Translated("Log lines ({count})", "日志行（{count}）"),
        "command": Translated("To ask again from a shell", "用命令行重新合成"),
        "logql": Translated("The same in Loki (LogQL)", "等价的 LogQL"),
        "copy": Translated("Copy", "复制"),
        "copied": Translated("Copied", "已复制"),
        "yes": Translated("yes", "是"),
        "no": Translated("no", "否"),
        # Fields whose description does not begin with their name.
        "field_status": Translated("status", "结果"),
        "field_source": Translated("source", "来源"),
        "field_audio_verdict": Translated("verdict", "音频判定"),
        "field_text_script": Translated("script", "文字种类"),
        "field_emotion_mode": Translated("emotion from", "情感来源"),
        "field_rtf": Translated("real-time factor", "实时率"),
        "field_error_message": Translated("message", "错误说明"),
        "field_request_id": Translated("request_id", "请求编号"),
        "field_worker": Translated("worker (slot or replica:pid)", "工作进程（序号或副本:PID）"),
        # Replay.
        "replay": Translated("Replay: the same again", "重放：原样再合成一次"),
        "replay_text": Translated("The user's text, exactly", "用户原文（须完全一致）"),
        "replay_text_hint": Translated(
            "Texts are not stored: it is checked against its keyed hash, and never logged",
            "文本不留存：此处与其带密钥哈希核对，且不写入日志",
        ),
        "replay_emotion": Translated(
            "Description of the emotion, if there was one", "情感描述（如有）"
        ),
        "replay_run": Translated("Replay", "重放"),
        "replay_first": Translated("Look a request up first.", "请先查询一个请求。"),
        "replay_refused": Translated("Not replayed", "未重放"),
        "replay_failed": Translated("The replay failed", "重放失败"),
        "replay_done": Translated("Replayed", "已重放"),
        "replay_old": Translated("Then", "原请求"),
        "replay_new": Translated("Now", "重放"),
        "replay_audio": Translated("The replay's audio", "重放的音频"),
        "replay_same": Translated(
            "Same length and loudness: what was heard then can be heard again.",
            "时长与响度一致：可以复现当时的声音。",
        ),
        "replay_other": Translated(
            "It came out differently: length or loudness is not what it was.",
            "结果不同：时长或响度与当时不一致。",
        ),
        "replay_no_old": Translated(
            "The first one delivered no audio; this one did.", "原请求没有音频，这次有。"
        ),
        "replay_glossary": Translated(
            "The glossary has changed: some words of this text are read differently now.",
            "术语词汇表已变更：该文本中有些词的读法与当时不同。",
        ),
        "audio_seconds": Translated("Length", "时长"),
        "rms_dbfs": Translated("Loudness", "响度"),
        "audio_verdict": Translated("Verdict", "判定"),
        "duration_ms": Translated("Took", "耗时"),
        "model_version": Translated("Model", "模型版本"),
        # Failures.
        "tab_failures": Translated("Failures", "故障"),
        "window": Translated("Time", "时间范围"),
        "window_15m": Translated("15 min", "15 分钟"),
        "window_1h": Translated("1 h", "1 小时"),
        "window_24h": Translated("24 h", "24 小时"),
        "window_7d": Translated("7 days", "7 天"),
        "by": Translated("By", "按"),
        "by_type": Translated("Type", "类型"),
        "by_stage": Translated("Stage", "阶段"),
        "by_speaker": Translated("Speaker", "发音人"),
        "by_version": Translated("Version", "版本"),
        "by_instance": Translated("Instance", "实例"),
        "source": Translated("Lines from", "日志来源"),
        "source_files": Translated("this service's files", "本服务的文件"),
        "source_loki": Translated("Loki", "Loki"),
        "refresh": Translated("Refresh", "刷新"),
        "all_requests": Translated("Requests", "请求"),
        "failed": Translated("Failed", "失败"),
        "share": Translated("Share", "占比"),
        "silent_audio": Translated("Silent audio", "静音音频"),
        "p95": Translated("P95", "P95"),
        "nothing_failed": Translated("Nothing failed in this time.", "该时段内没有失败的请求。"),
        "no_requests": Translated(
            "No request finished in this time.", "该时段内没有已结束的请求。"
        ),
        "not_known": Translated("not known", "未知"),
        "failures_by": Translated("Failed requests by {what}", "失败请求（按{what}）"),
        "drill_hint": Translated("Click a row to see its lines.", "点击一行查看日志。"),
        "drilled": Translated(
            "{what} {value}: the newest {shown} of {total}",
            "{what} {value}：最新 {shown} 条，共 {total} 条",
        ),
        "silent_lines": Translated("Delivered, but silent", "已交付但静音"),
        "slowest": Translated("Slowest delivered", "最慢的已交付请求"),
        "column_time": Translated("Time (UTC)", "时间（UTC）"),
        "column_request": Translated("Request", "请求编号"),
        "column_status": Translated("Status", "结果"),
        "column_error": Translated("Error", "错误"),
        "column_stage": Translated("Stage", "阶段"),
        "column_speaker": Translated("Speaker", "发音人"),
        "column_took": Translated("Took", "耗时"),
        "column_worker": Translated("Worker", "进程"),
        # Live.
        "tab_live": Translated("Live", "实时"),
        "healthy": Translated("Answering", "正常服务"),
        "unhealthy": Translated("Not answering: {reason}", "不可用：{reason}"),
        "rate": Translated("Requests a minute", "每分钟请求"),
        "last_minutes": Translated("last {minutes} min", "近 {minutes} 分钟"),
        "share_failed": Translated("Failed", "失败占比"),
        "in_flight": Translated("In flight", "处理中"),
        "queue": Translated("Queue", "排队"),
        "workers": Translated("Workers busy", "忙碌进程"),
        "workers_of": Translated("of {ready} ready, {all} in all", "就绪 {ready}，共 {all}"),
        "worker_memory": Translated("Worker memory", "进程内存"),
        "gpu": Translated("GPU {index}", "GPU {index}"),
        "no_gpu": Translated("no GPU on this machine", "本机没有 GPU"),
        "p50": Translated("P50", "P50"),
        "p99": Translated("P99", "P99"),
        "requests_chart": Translated(
            "Requests finished, by half minute", "已结束的请求（每半分钟）"
        ),
        "latency_chart": Translated(
            "P95 of delivered audio, by half minute", "已交付音频的 P95（每半分钟）"
        ),
        "delivered": Translated("delivered", "已交付"),
        "not_delivered": Translated("failed", "失败"),
        "turned_away": Translated("refused or cancelled", "被拒或取消"),
        "updated": Translated(
            "{time} UTC, every {seconds:g} s", "{time} UTC，每 {seconds:g} 秒刷新"
        ),
        "no_log": Translated("The log could not be asked.", "无法查询日志。"),
        # The report.
        "tab_report": Translated("Report", "月报"),
        "month": Translated("Month (UTC)", "月份（UTC）"),
        "show_report": Translated("Show", "查看"),
        "report_idle": Translated(
            "Choose a month. A large one takes some seconds.", "请选择月份，数据多时需几秒。"
        ),
        "download": Translated("Download", "下载"),
        "report_frame": Translated("Report of {month}", "{month} 月报"),
    }
)


def say(key: str, language: str, **details: object) -> str:
    """The sentence `key` in `zh`, or else in English, with its details filled in."""
    translated = TEXTS[key]
    return (translated.zh if language == "zh" else translated.en).format(**details)


def say_name(kind: str, name: str, language: str) -> str:
    """The name of a status or a column; one that has none is shown as it is."""
    key = f"{kind}_{name}"
    return say(key, language) if key in TEXTS else name


def label(key: str) -> I18nData:
    """A sentence that the browser puts into its own language."""
    return I18nData(browser_key(key))


def translations() -> gr.I18n:
    """Everything that can be said on the page, for the browser to choose from."""
    tables = {
        language: {browser_key(key): getattr(text, language) for key, text in TEXTS.items()}
        for language in LANGUAGES
    }
    return gr.I18n(en=tables["en"], **dict.fromkeys(CHINESE_LOCALES, tables["zh"]))
