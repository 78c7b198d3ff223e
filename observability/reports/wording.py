"""Every sentence of the printed report, in both languages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

LANGUAGES = ("en", "zh")


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence in both languages."""

    en: str
    zh: str


TEXTS: Mapping[str, Said] = MappingProxyType(
    {
        "html_lang": Said("en", "zh-CN"),
        "title": Said("Speech synthesis in {month}", "{month} 语音合成月报"),
        "made": Said(
            "Counted at {generated} from the service's log. All times are UTC.",
            "根据服务日志统计于 {generated}。所有时间均为 UTC。",
        ),
        "at_a_glance": Said("At a glance", "概览"),
        "glance_requests": Said(
            "The service was asked {requests} times{growth}, and delivered {audio} of audio for "
            "{characters} characters of text.",
            "本月共有 {requests} 次请求{growth}，交付音频 {audio}，合成文本 {characters} 字。",
        ),
        "glance_growth": Said(
            " ({change} on {before}, which had {count})",
            "（{before} 为 {count} 次，{change}）",
        ),
        "glance_available": Said(
            "Of those that it had to answer, {availability} were answered; the target is {target}, "
            "and it was {met}.",
            "应答请求的可用性为 {availability}，目标为 {target}，{met}。",
        ),
        "met": Said("met", "已达标"),
        "missed": Said("missed", "未达标"),
        "glance_speed": Said(
            "Half of the audio was ready within {p50}, 95 of 100 within {p95}, 99 of 100 within "
            "{p99}; {fast} of it came in under 2 s.",
            "一半的音频在 {p50} 内完成，95% 在 {p95} 内，99% 在 {p99} 内；{fast} 不到 2 秒。",
        ),
        "glance_silent": Said(
            "{silent} audio files were delivered with nothing to hear.",
            "有 {silent} 个交付的音频没有声音。",
        ),
        "glance_cost": Said(
            "The GPUs worked {hours} hours; at {price} an hour that is {total}, or {each} for each "
            "audio.",
            "GPU 工作 {hours} 小时，按每小时 {price} 计 {total}，平均每个音频 {each}。",
        ),
        "glance_no_price": Said(
            "The GPUs worked {hours} hours. Say what an hour costs (INDEXTTS_GPU_HOUR_PRICE), and "
            "the cost stands here.",
            "GPU 工作 {hours} 小时。给出每小时价格（INDEXTTS_GPU_HOUR_PRICE）即可得到费用。",
        ),
        "glance_no_gpu": Said(
            "No GPU was used, so nothing is said of its cost.",
            "没有使用 GPU，因此不计算 GPU 费用。",
        ),
        "requests": Said("Requests", "请求数"),
        "share": Said("Share", "占比"),
        "availability": Said("Availability", "可用性"),
        "p50": Said("P50", "P50"),
        "p95": Said("P95", "P95"),
        "p99": Said("P99", "P99"),
        "mean": Said("Mean", "平均"),
        "audio": Said("Audio", "音频时长"),
        "silent": Said("Silent", "静音"),
        "cost": Said("Cost", "费用"),
        "advice": Said("What to do", "建议"),
        "act": Said("To do", "需处理"),
        "fine": Said("Fine", "正常"),
        "advice_note": Said(
            "From stated rules (docs/report.md), the gravest first.",
            "由既定规则得出（见 docs/report.zh.md），最重要的在前。",
        ),
        "usage": Said("Use", "使用情况"),
        "by_day": Said("Requests by day", "每日请求数"),
        "delivered": Said("Delivered", "已交付"),
        "not_delivered": Said("Failed or turned away", "失败或因过载被拒"),
        "excluded": Said("Refused or given up", "参数有误或主动取消"),
        "by_hour": Said(
            "When: weekday and hour (UTC)",
            "何时使用：星期与小时（UTC）",
        ),
        "busiest": Said(
            "Busiest hour of the day: {hour}:00; busiest day: {day} with {requests} requests. "
            "{minutes} minutes had more than {above} requests ({share} of all), the busiest one "
            "{most}, at {at}.",
            "一天中最忙的是 {hour} 点；最忙的一天是 {day}，{requests} 次。"
            "有 {minutes} 分钟超过 {above} 次请求（占全部请求的 {share}），"
            "最忙的一分钟 {most} 次，在 {at}。",
        ),
        "speakers": Said("Speakers", "发音人"),
        "speaker": Said("Speaker", "发音人"),
        "emotions": Said("Emotions", "情感"),
        "users": Said("Users", "用户"),
        "user": Said("User", "用户"),
        "users_some": Said(
            "{shown} of {total} users; {without} requests came without a key or account.",
            "共 {total} 个用户，列出 {shown} 个；{without} 次请求没有密钥或账号。",
        ),
        "users_none": Said(
            "No request carried the name of a key or account.",
            "没有请求带有密钥或账号。",
        ),
        "without_speaker": Said(
            "{count} requests were refused before a speaker was known.",
            "{count} 次请求在确定发音人之前就被拒绝。",
        ),
        "sources": Said("Where requests came from", "请求来源"),
        "characters": Said("Characters", "字数"),
        "gpu_time": Said("GPU time", "GPU 时间"),
        "reliability": Said("Reliability", "可靠性"),
        "status": Said("How requests ended", "请求结果"),
        "status_success": Said("Delivered, sound", "成功"),
        "status_degraded": Said("Delivered, but flawed", "已交付但有瑕疵"),
        "status_failed": Said("Failed", "失败"),
        "status_rejected": Said("Refused", "被拒"),
        "status_timeout": Said("Took too long", "超时"),
        "status_cancelled": Said("Given up by the caller", "被取消"),
        "status_lost": Said("Lost in a crash", "因崩溃丢失"),
        "budget": Said("Error budget", "错误预算"),
        "budget_says": Said(
            "The target of {target} allows {allowed} of {counted} requests to fail; {used} did "
            "({share} of the budget). {days} days were below the target.",
            "目标 {target} 允许 {counted} 次请求中有 {allowed} 次失败；实际 {used} 次"
            "（用掉预算的 {share}）。有 {days} 天低于目标。",
        ),
        "errors": Said("Errors", "错误"),
        "error": Said("Error", "错误"),
        "no_errors": Said("No request ended with an error.", "没有请求以错误结束。"),
        "failed": Said("Failed", "失败"),
        "verdicts": Said(
            "Of what was delivered: {silent} silent, {clipped} clipped, {truncated} cut short, "
            "{wrong_format} in a wrong format.",
            "在已交付的音频中：静音 {silent}，削波 {clipped}，截断 {truncated}，格式不符 "
            "{wrong_format}。",
        ),
        "speed": Said("Speed", "速度"),
        "speed_says": Said(
            "{cps} characters of text for each second of work.",
            "每秒处理 {cps} 字。",
        ),
        "by_week": Said(
            "Where the time goes, week by week (mean ms for each audio)",
            "各周平均耗时构成（每个音频，毫秒）",
        ),
        "week": Said("Week", "周"),
        "stage": Said("Stage", "阶段"),
        "stage_queue": Said("Queue", "排队"),
        "stage_text_prep": Said("Text processing", "文本处理"),
        "stage_emotion_text": Said("Emotion from text", "文字情感识别"),
        "stage_speaker_enc": Said("Reference, voice", "参考音频/音色"),
        "stage_acoustic": Said("Acoustic model", "声学模型"),
        "stage_vocoder": Said("Vocoder", "声码器"),
        "stage_acoustic_vocoder": Said("Acoustic + vocoder", "声学+声码"),
        "stage_engine_http": Said("Other speech server", "外部语音服务器"),
        "stage_post": Said("Post-processing", "后处理"),
        "stage_other": Said("Other", "其余"),
        "money": Said("Cost", "费用"),
        "gpu_hours": Said("GPU hours at work", "GPU 工作小时"),
        "wasted": Said("of which for nothing", "其中未交付的"),
        "price": Said("Price of a GPU hour", "GPU 每小时价格"),
        "total": Said("Total", "合计"),
        "per_synthesis": Said("For each audio", "每个音频"),
        "per_minute": Said("For each minute of audio", "每分钟音频"),
        "per_user": Said("For each user", "每个用户"),
        "money_note": Said(
            "Only the time in which a GPU worked on a request; what an idle rented GPU costs is in "
            "no log line.",
            "只计 GPU 实际处理请求的时间；空闲租用的费用不在日志中。",
        ),
        "caches": Said("Caches", "缓存"),
        "cache_result": Said("Results", "合成结果"),
        "cache_speaker": Said("Encoded speakers", "音色编码"),
        "cache_emotion": Said("Encoded emotions", "情感编码"),
        "hits": Said("Hits", "命中"),
        "lookups": Said("Look-ups", "查询"),
        "versions": Said("Versions compared", "版本对比"),
        "version": Said("Version", "版本"),
        "model": Said("Model", "模型"),
        "days_seen": Said("Days", "日期"),
        "share_failed": Said("Failed", "失败率"),
        "instances": Said("Instances compared", "实例对比"),
        "instance": Said("Instance", "实例"),
        "instance_unknown": Said("not said", "未注明"),
        "of_instances": Said(
            "This whole report counts the requests of {names} only.",
            "本报告仅统计以下实例的请求：{names}。",
        ),
        "trust": Said("Can these figures be trusted?", "这些数字可信吗？"),
        "trust_yes": Said(
            "Yes: each of {started} requests that began has its end, and the other way round.",
            "可信：{started} 个开始的请求都有结束记录，反之亦然。",
        ),
        "trust_no": Said(
            "Not wholly: {unsettled} requests have no end yet, {without} no beginning.",
            "不完全可信：{unsettled} 个请求没有结束记录，{without} 个没有开始记录。",
        ),
        "trust_sum": Said(
            "{started} started + {carried_in} carried in + {without} without a start = {finished} "
            "finished ({lost} of them lost in a crash) + {carried_out} carried out + {unsettled} "
            "unsettled.",
            "开始 {started} + 上月转入 {carried_in} + 缺开始记录 {without} = 结束 {finished}"
            "（其中崩溃丢失 {lost}）+ 转入下月 {carried_out} + 未结束 {unsettled}。",
        ),
        "trust_read": Said(
            "Read from {source}: {files} files, {lines} lines, of which {unreadable} unreadable "
            "and {foreign} of other programs; {duplicates} finished lines came twice and were "
            "counted once.",
            "读取自 {source}：{files} 个文件，{lines} 行，其中 {unreadable} 行无法读取，{foreign} "
            "行属于其他程序；{duplicates} 条结束记录重复，只计一次。",
        ),
        "trust_days": Said(
            "Days without any file or line: {days}.", "没有文件或记录的日期：{days}。"
        ),
        "counted_how": Said("How this is counted", "统计口径"),
        "counted_text": Said(
            "A request belongs to the month in which it finished. Characters, audio and times are "
            "those of delivered audio, sound or flawed. Unavailable are failed, timed-out and lost "
            "requests, and those turned away because the service was full or not ready; requests "
            "refused for a fault of the caller's and those given up are left out of availability. "
            "P95 is the time that 95 of 100 audio files took at most. Weeks are counted from the "
            "first of the month.",
            "请求计入其结束的月份。字数、音频与耗时只统计已交付的音频（成功和有瑕疵）。"
            "不可用包括失败、超时、丢失，以及因服务繁忙或未就绪被拒的请求；"
            "因调用方原因被拒或主动取消的请求不计入可用性。"
            "P95 是 95% 的音频不超过的耗时。周从每月 1 日起算。",
        ),
        "emotion_neutral": Said("neutral", "中性"),
        "emotion_happy": Said("happy", "喜"),
        "emotion_angry": Said("angry", "怒"),
        "emotion_sad": Said("sad", "哀"),
        "emotion_afraid": Said("afraid", "惧"),
        "emotion_disgusted": Said("disgusted", "厌恶"),
        "emotion_melancholic": Said("melancholic", "低落"),
        "emotion_surprised": Said("surprised", "惊喜"),
        "emotion_calm": Said("calm", "平静"),
        "hole_unsettled": Said("{count} requests without an end", "{count} 个请求没有结束记录"),
        "hole_finished_without_start": Said(
            "{count} requests without a beginning", "{count} 个请求没有开始记录"
        ),
        "hole_lines_unreadable": Said("{count} unreadable lines", "{count} 行无法读取"),
        "hole_days_missing": Said("{count} days without a file", "{count} 天没有文件"),
        "source_page": Said("page", "页面"),
        "source_api": Said("API", "接口"),
        "source_batch": Said("batch", "批量"),
        "source_canary": Said("canary", "巡检"),
        "source_replay": Said("replay", "重放"),
        "weekday_0": Said("Monday", "星期一"),
        "weekday_1": Said("Tuesday", "星期二"),
        "weekday_2": Said("Wednesday", "星期三"),
        "weekday_3": Said("Thursday", "星期四"),
        "weekday_4": Said("Friday", "星期五"),
        "weekday_5": Said("Saturday", "星期六"),
        "weekday_6": Said("Sunday", "星期日"),
    }
)

_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip


def say(key: str, language: str, **details: object) -> str:
    """The sentence `key` in `zh`, or else in English, with its details filled in."""
    said = TEXTS[key]
    return (said.zh if language == "zh" else said.en).format(**details)


def say_name(kind: str, name: str, language: str) -> str:
    """The name of a status, a stage or a weekday; one that has none is shown as it is."""
    key = f"{kind}_{name}"
    return say(key, language) if key in TEXTS else name


def say_month(month: str, language: str) -> str:
    """`2026-10` as people write it."""
    year, number = month.split("-")
    if language == "zh":
        return f"{year} 年 {int(number)} 月"
    return f"{_MONTHS[int(number) - 1]} {year}"
