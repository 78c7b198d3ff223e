"""
The story of one request for a support person: asked, time, outcome, what it means, what to do.

The look-up's API, `scripts/request.py` and the operations page all tell this one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from indextts_app import likely_cause, replay
from indextts_app.engines.base import Translated
from indextts_app.hints import hints_of
from indextts_app.likely_cause import Cause
from observability.events import PARTS, Event, field_names
from observability.log_store.questions import Neighbours

EVENT = "synthesis"

STATUS = {
    "success": Translated("Delivered, and the audio is sound.", "已交付，音频正常。"),
    "degraded": Translated("Delivered, but the audio is flawed.", "已交付，但音频有问题。"),
    "failed": Translated("Failed, no audio was delivered.", "失败，没有交付音频。"),
    "rejected": Translated(
        "Refused at the door, the engine was not asked.", "入口即被拒，未合成。"
    ),
    "timeout": Translated("Stopped because it took too long.", "耗时过长，已停止。"),
    "cancelled": Translated(
        "Given up before it was done: its user left, its batch was cancelled, or the service was "
        "stopping.",
        "中途取消：用户离开、批量任务被取消，或服务正在停止。",
    ),
    "lost": Translated("The service died while working on it.", "服务在处理中途退出。"),
    "running": Translated("Not finished: it still runs.", "尚未结束，仍在处理。"),
    "not_asked": Translated(
        "Turned away before anything was asked, or something other than speech; see its lines.",
        "在请求合成之前即被拒绝，或与合成无关，详见日志行。",
    ),
}

HEARD = {
    "ok": Translated(
        "It sounds as it should: neither silent, nor distorted, nor cut short.",
        "听感正常：无静音、无失真、无截断。",
    ),
    "silent": Translated(
        "The file plays, but there is nothing to hear.", "文件可播放，但没有声音。"
    ),
    "clipped": Translated(
        "It sounds harsh and crackling, because the signal is over the limit.",
        "声音刺耳、爆音，信号过载。",
    ),
    "truncated": Translated(
        "It ends too early: a part of the text cannot be heard.", "提前结束，部分文本没有读出。"
    ),
    "wrong_format": Translated(
        "The file is not what was asked for (sample rate, channels or codec), so it may play too "
        "fast, too slow or not at all.",
        "文件格式与要求不符（采样率、声道或编码），可能变速或无法播放。",
    ),
}
"""What each verdict on the audio means for the ear."""

VERDICTS = {
    "silent": Translated(
        "Ask for the text again, try another speaker; if it repeats, restart the worker and "
        "report the model version.",
        "请重新合成或换发音人；若反复出现，请重启合成进程并上报模型版本。",
    ),
    "clipped": Translated(
        "Lower the volume of the reference, or try another emotion.",
        "请降低参考音频音量或更换情感。",
    ),
    "truncated": Translated("Ask again; split a long text.", "请重新合成，长文本请分段。"),
    "wrong_format": Translated("Check engine and model version.", "请检查引擎与模型版本。"),
}
"""What to do about an audio that was judged so."""

ADVICE = {
    "service_error": Translated("Look at the traceback below.", "请查看下方的错误堆栈。"),
    "synthesis_failed": Translated("Look at the traceback below.", "请查看下方的错误堆栈。"),
    "malformed_request": Translated(
        "The client sent something that is neither JSON nor a form; its author must mend it.",
        "客户端发送的既不是 JSON 也不是表单，请客户端开发者修正。",
    ),
    "too_large": Translated("Send a smaller recording or text.", "请减小录音或文本。"),
    "invalid_field": Translated("Correct the field that the message names.", "请修正所述字段。"),
    "unknown_field": Translated("Leave the field out.", "请去掉该字段。"),
    "field_not_offered": Translated(
        "Leave the field out, or use the engine that has it (INDEXTTS_ENGINE).",
        "请去掉该字段，或换用支持它的引擎（INDEXTTS_ENGINE）。",
    ),
    "field_of_other_version": Translated(
        "Leave the field out, or use the version that has it (INDEXTTS_MODEL_VERSION).",
        "请去掉该字段，或换用支持它的版本（INDEXTTS_MODEL_VERSION）。",
    ),
    "emotion_unclear": Translated(
        "Send one source of emotion: a name, a recording, weights or a description.",
        "情感只保留一种来源：名称、录音、权重或描述。",
    ),
    "unknown_preset": Translated("Choose from GET /presets.", "请从 GET /presets 中选择。"),
    "name_taken": Translated("Choose another name.", "请换一个名称。"),
    "library_full": Translated(
        "Delete what is no longer used; INDEXTTS_MAX_SPEAKERS allows more speakers.",
        "请删除不再使用的内容；INDEXTTS_MAX_SPEAKERS 可调大发音人上限。",
    ),
    "still_used": Translated("Delete what needs it first.", "请先删除使用它的内容。"),
    "not_supported": Translated(
        "Use an engine that can do it (INDEXTTS_ENGINE=indextts2).",
        "请换用支持的引擎（INDEXTTS_ENGINE=indextts2）。",
    ),
    "not_kept": Translated("Choose from what is listed.", "请从列表中选择。"),
    "speed_out_of_range": Translated("Choose 0.5 to 2.0.", "请选择 0.5 到 2.0。"),
    "text_empty": Translated("Enter a text.", "请输入文本。"),
    "remote_failed": Translated(
        "Look at the server behind the engine.", "请检查引擎后端的语音服务器。"
    ),
    "remote_unreachable": Translated(
        "See whether the server behind the engine runs, at INDEXTTS_SPEECH_URL or "
        "INDEXTTS_SAMBERT_URL, and read its own log.",
        "请确认后端服务器正在运行（INDEXTTS_SPEECH_URL 或 INDEXTTS_SAMBERT_URL），并查看它的日志。",
    ),
    "remote_timeout": Translated(
        "See what the server behind the engine is busy with; INDEXTTS_REMOTE_TIMEOUT_SECONDS "
        "allows more time.",
        "请查看后端服务器在忙什么；INDEXTTS_REMOTE_TIMEOUT_SECONDS 可放宽时限。",
    ),
    "remote_busy": Translated(
        "Wait; if it stays, the server behind the engine needs more capacity, or is still loading.",
        "请稍候；若持续如此，后端服务器需要扩容，或仍在加载。",
    ),
    "remote_refused": Translated(
        "Check the speaker, the model's name and the API key against the server behind the engine.",
        "请核对发音人、模型名与 API 密钥是否与后端服务器一致。",
    ),
    "remote_error": Translated(
        "Read the log of the server behind the engine, at the time of this request.",
        "请查看后端服务器在该时刻的日志。",
    ),
    "remote_bad_audio": Translated(
        "Check the dialect and the format against the server behind the engine: docs/engines.md.",
        "请核对方言与格式设置是否与后端服务器相符：docs/engines.zh.md。",
    ),
    "text_too_long": Translated(
        "Split the text, or raise INDEXTTS_MAX_LONG_TEXT_CHARS.",
        "请分段，或调大 INDEXTTS_MAX_LONG_TEXT_CHARS。",
    ),
    "text_unreadable": Translated(
        "Type the text anew; it was copied from a damaged source.", "请重新输入，原文已损坏。"
    ),
    "text_not_speakable": Translated("Add words to the symbols.", "请补充可朗读的文字。"),
    "script_not_spoken": Translated(
        "Use an engine that reads this language.", "请使用支持该语言的引擎。"
    ),
    "unknown_choice": Translated("Choose from the list in the message.", "请从列表中选择。"),
    "unknown_speaker": Translated("Choose from GET /speakers.", "请从 GET /speakers 中选择。"),
    "unknown_emotion": Translated("Choose from GET /speakers.", "请从 GET /speakers 中选择。"),
    "unknown_format": Translated(
        "Choose from the formats of GET /speakers.", "请从 GET /speakers 的 formats 中选择。"
    ),
    "reference_refused": Translated(
        "Record 3 to 15 seconds of clear speech and send it as WAV.",
        "请录制 3 到 15 秒清晰语音，保存为 WAV 后上传。",
    ),
    "emotion_reference_refused": Translated(
        "Record 3 to 15 seconds of speech with that emotion and send it as WAV.",
        "请录制 3 到 15 秒带有该情感的语音，保存为 WAV 后上传。",
    ),
    "keeping_forbidden": Translated(
        "Ask an operator, or add the address to INDEXTTS_OPERATIONS_ALLOW.",
        "请联系运维人员，或将地址加入 INDEXTTS_OPERATIONS_ALLOW。",
    ),
    "forbidden": Translated("Ask an operator.", "请联系运维人员。"),
    "name_not_own": Translated(
        "Use the IP address, or set INDEXTTS_OPERATIONS_PASSWORD.",
        "请改用 IP 地址访问，或设置 INDEXTTS_OPERATIONS_PASSWORD。",
    ),
    "foreign_site": Translated(
        "Another site's page tried to change what is kept, through an operator's browser; nothing "
        "was changed. Find out which page was open.",
        "其他网站的页面试图借运维人员的浏览器修改保存内容，已拒绝。请查明当时打开的页面。",
    ),
    "key_needed": Translated(
        "The client must send its API key; scripts/api_key.py makes one.",
        "客户端须发送 API 密钥，可用 scripts/api_key.py 生成。",
    ),
    "key_unknown": Translated(
        "The key was mistyped or revoked: scripts/api_key.py list tells which are in force.",
        "密钥输错或已吊销，有效密钥可用 scripts/api_key.py list 查看。",
    ),
    "too_many_in_flight": Translated(
        "The client asks for more at a time than INDEXTTS_MAX_PER_CLIENT allows: it should wait "
        "for its answers, or the limit be raised.",
        "该客户端的并发超过 INDEXTTS_MAX_PER_CLIENT，应等待应答，或调大上限。",
    ),
    "login_needed": Translated(
        "Log in with INDEXTTS_OPERATIONS_USER and its password.",
        "请用 INDEXTTS_OPERATIONS_USER 及其密码登录。",
    ),
    "too_many_attempts": Translated(
        "Wait ten minutes. If nobody of yours tried, somebody else does: see operations.refused.",
        "请等十分钟。若并非自己人尝试，则有人在猜密码：请查看 operations.refused 日志。",
    ),
    "not_found": Translated("Check the address.", "请核对地址。"),
    "method_not_allowed": Translated("Use a method that Allow names.", "请使用 Allow 所列的方法。"),
    "unknown_request": Translated("Check the id.", "请核对编号。"),
    "malformed_request_id": Translated("Check the id.", "请核对编号。"),
    "row_unreadable": Translated(
        "Mend the row: its line stands in the manifest of the batch.",
        "请修改该行；行号见批量任务的清单。",
    ),
    "batch_unreadable": Translated("Mend the table as the message says.", "请按提示修改表格。"),
    "batch_too_long": Translated(
        "Split the table, or raise INDEXTTS_MAX_BATCH_ROWS.",
        "请拆分表格，或调大 INDEXTTS_MAX_BATCH_ROWS。",
    ),
    "batches_full": Translated(
        "Wait for a batch to end, delete one, or raise INDEXTTS_MAX_BATCHES or "
        "INDEXTTS_BATCH_MAX_MB.",
        "请等待任务结束或删除任务，或调大 INDEXTTS_MAX_BATCHES、INDEXTTS_BATCH_MAX_MB。",
    ),
    "unknown_batch": Translated("Check the id and the API key.", "请核对编号与 API 密钥。"),
    "batch_unfinished": Translated("Wait until it is finished.", "请等待完成。"),
    "queue_full": Translated(
        "Too many at once. If it happens often, add workers (INDEXTTS_WORKERS).",
        "并发过多。若经常发生，请增加 INDEXTTS_WORKERS。",
    ),
    "crowded": Translated(
        "Pages are left open by the hundred; INDEXTTS_MAX_CONNECTIONS allows more.",
        "有大量页面长期打开；INDEXTTS_MAX_CONNECTIONS 可调大上限。",
    ),
    "storage_full": Translated(
        "Free space on the disk of INDEXTTS_OUTPUT_DIR, or keep less there: "
        "INDEXTTS_OUTPUT_KEEP_HOURS, INDEXTTS_OUTPUT_MAX_MB.",
        "请清理 INDEXTTS_OUTPUT_DIR 所在磁盘，或调小 INDEXTTS_OUTPUT_KEEP_HOURS、"
        "INDEXTTS_OUTPUT_MAX_MB。",
    ),
    "not_ready": Translated(
        "The service was starting, stopping, or loading its engine again. Try again.",
        "服务正在启动、停止或重新加载引擎，请重试。",
    ),
    "not_fit": Translated(
        "The engine did not start, or a program is missing: mend what the message names, see the "
        "worker.unfit lines of that minute.",
        "引擎未能启动，或缺少程序：请按错误说明修复，并查看当时的 worker.unfit 日志。",
    ),
    "circuit_open": Translated(
        "The engine failed several times in a row, and a trial as well: see the breaker.opened "
        "line of that minute for the reason. Requests are taken again once a trial succeeds.",
        "引擎连续失败且试合成也失败，原因见当时的 breaker.opened 日志；试合成成功后恢复接收请求。",
    ),
    "deadline_exceeded": Translated(
        "Look at the times above: most of it in one stage points to the engine (error_stage names "
        "it), most of it in the queue to too few workers. Where texts of that length take longer "
        "here, raise INDEXTTS_TIMEOUT_SECONDS.",
        "请看上面的耗时：多在某一阶段则问题在引擎（见 error_stage），多在排队则进程不足。"
        "若本机合成这样长的文本本就需要更久，请调大 INDEXTTS_TIMEOUT_SECONDS。",
    ),
    "client_gone": Translated("Nothing to do.", "无需处理。"),
    "cancelled": Translated(
        "Nothing to do if the user left; if service.stopped follows, ask again.",
        "若是用户离开则无需处理；若随后有 service.stopped，请重试。",
    ),
    "engine_error": Translated(
        "The engine failed; its traceback is in the lines below. Ask again once, then report the "
        "fingerprint.",
        "引擎报错，堆栈见下方日志。可重试一次，仍失败请上报错误指纹。",
    ),
    "out_of_memory": Translated(
        "The device was full. Shorter text; if it repeats, fewer workers on this device.",
        "设备内存不足。请缩短文本；若反复出现，请减少该设备上的进程数。",
    ),
    "worker_died": Translated(
        "The worker process was killed or crashed (see worker.ended); a new one has taken over. "
        "Ask again. If it repeats, look at the kernel's log for the OOM killer.",
        "合成进程被杀或崩溃（见 worker.ended），新进程已接替，请重试；若反复，请查内核 OOM 日志。",
    ),
    "replica_lost": Translated(
        "The replica or the machine of the cluster that worked on it was lost, and it could not be "
        "begun anew: some of its audio was out, or the second one was lost as well. Ask again; "
        "`node` and `replica` say where to look.",
        "集群中处理它的副本或机器丢失，且无法重新开始：部分音频已输出，或第二个副本也丢失。"
        "请重试；`node` 与 `replica` 指明位置。",
    ),
    "given_up": Translated(
        "The service was stopped, and the request took longer than its grace. Ask again; where "
        "that happens at each release, raise INDEXTTS_SHUTDOWN_SECONDS.",
        "服务被停止，而该请求未能在宽限时间内完成。请重试；若每次发布都会发生，"
        "请调大 INDEXTTS_SHUTDOWN_SECONDS。",
    ),
    "no_audio": Translated(
        "The text holds nothing that this engine can say. Change the text.",
        "该引擎无法从文本读出声音，请修改文本。",
    ),
    "model_not_found": Translated(
        "One service speaks with one engine: send its name, as GET /v1/models tells it.",
        "一个服务只用一个引擎，请发送 GET /v1/models 所列的名称。",
    ),
    "encoder_missing": Translated(
        "Install ffmpeg (Debian: apt-get install ffmpeg), or ask for another format.",
        "请安装 ffmpeg（Debian：apt-get install ffmpeg），或换一种格式。",
    ),
    "encoding_failed": Translated(
        "ffmpeg did not make the file: ask again, or for another format. If it repeats, run "
        "`ffmpeg -encoders | grep aac` on this machine.",
        "ffmpeg 未能生成文件，请重试或换一种格式；若反复，"
        "请在本机运行 `ffmpeg -encoders | grep aac`。",
    ),
    "storage_failed": Translated(
        "Free space in INDEXTTS_OUTPUT_DIR.", "请清理 INDEXTTS_OUTPUT_DIR 的空间。"
    ),
    "keeping_failed": Translated(
        "Free space in INDEXTTS_SPEAKER_DIR, and check that the service may write there.",
        "请清理 INDEXTTS_SPEAKER_DIR 的空间，并确认服务有写权限。",
    ),
    "process_died": Translated(
        "The whole service stopped in the middle of it. Ask again; look at what ended the service "
        "just before the next service.started line.",
        "整个服务中途退出。请重试，并查看下一条 service.started 之前的退出原因。",
    ),
}


NEIGHBOUR_FIELDS = (
    "request_id",
    "timestamp",
    "status",
    "error_type",
    "error_stage",
    "audio_verdict",
    "speaker",
    "duration_ms",
    "queue_ms",
    "worker",
    "instance",
)
"""What is told of another request around the one that is asked about."""


@dataclass(frozen=True, slots=True)
class Around:
    """
    The other requests that finished within `seconds` of this one.

    `requests`, `failed`, `failed_alike` and `silent` count all of them; `lines` holds the
    `NEIGHBOUR_FIELDS` of the nearest, in the order of time.
    """

    seconds: float
    requests: int
    failed: int
    failed_alike: int
    silent: int
    summary: Translated
    lines: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Story:
    """What is known of one request; absent is what was never measured."""

    request_id: str
    status: str
    asked: Mapping[str, Any]
    stages_ms: Mapping[str, float]
    """Queue, stages and other in the order of the work, and `total`, their sum."""
    parts_ms: Mapping[str, float]
    """What is known of the parts of stages, which are in the stages' own times."""
    came_out: Mapping[str, Any]
    outcome: Mapping[str, Any]
    machine: Mapping[str, Any]
    """Worker, device and memory at that moment."""
    meaning: Translated
    heard: Translated | None
    """What the verdict on the audio means for the ear; None without one."""
    around: Around | None
    """None where nobody looked, or the log could not be asked."""
    causes: tuple[Cause, ...]
    """Likely causes with the next step, the most telling first."""
    advice: tuple[Translated, ...]
    replay: str | None
    """A shell command that asks for the same again; what is not stored stands in CAPITALS."""
    lines: tuple[Mapping[str, Any], ...]
    also: tuple[str, ...] = ()
    """Other requests that bear the same id of a client's own, where the story was found by one."""

    @property
    def known(self) -> Mapping[str, Any]:
        """Every field of the event that is known, the finished line's first."""
        return known_of(self.lines)


def known_of(lines: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The fields of a request's finished line, and those of its started one that it lacks."""
    started = next((line for line in lines if line.get("event") == f"{EVENT}.started"), {})
    finished = next((line for line in lines if line.get("event") == f"{EVENT}.finished"), {})
    return {**started, **finished}


def told(
    request_id: str,
    lines: Sequence[Mapping[str, Any]],
    neighbours: Neighbours | None = None,
    *,
    seconds: float = 60.0,
) -> Story:
    """The story that the lines of one request tell, and the neighbours within so many seconds."""
    known = known_of(lines)
    # Of a request that was let in there is a started line at least.
    status = str(known.get("status", "running" if known else "not_asked"))
    times = _times(known)
    return Story(
        request_id=request_id,
        status=status,
        asked=_group(known, "identity") | _group(known, "asked"),
        stages_ms=times,
        parts_ms={part: known[f"{part}_ms"] for part in PARTS if f"{part}_ms" in known},
        came_out=_group(known, "came_out") | _group(known, "verdict"),
        outcome=_group(known, "outcome"),
        machine=_group(known, "cost"),
        meaning=STATUS.get(status, STATUS["running"]),
        heard=HEARD.get(str(known.get("audio_verdict"))),
        around=None if neighbours is None else _around(neighbours, seconds),
        causes=likely_cause.causes(known, times, neighbours),
        advice=tuple(_advice(known)),
        replay=replay.command(known),
        lines=tuple(lines),
    )


def _around(neighbours: Neighbours, seconds: float) -> Around:
    found = neighbours
    if not found.requests:
        summary = Translated(
            f"No other request finished within {seconds:g} s of it.",
            f"前后 {seconds:g} 秒内没有其他请求结束。",
        )
    else:
        summary = Translated(
            f"Other requests within {seconds:g} s: {found.requests}. Of these {found.failed} "
            f"failed, {found.failed_alike} had this one's error; {found.silent} came out silent.",
            f"前后 {seconds:g} 秒内另有 {found.requests} 个请求：{found.failed} 个失败，"
            f"{found.failed_alike} 个错误与此相同；{found.silent} 个静音。",
        )
    return Around(
        seconds=seconds,
        requests=found.requests,
        failed=found.failed,
        failed_alike=found.failed_alike,
        silent=found.silent,
        summary=summary,
        lines=tuple(
            {name: line[name] for name in NEIGHBOUR_FIELDS if name in line} for line in found.lines
        ),
    )


def _group(known: Mapping[str, Any], group: str) -> dict[str, Any]:
    return {
        name: known[name]
        for name, meta in field_names().items()
        if meta["group"] == group and name in known
    }


def _times(known: Mapping[str, Any]) -> dict[str, float]:
    if "duration_ms" not in known:
        return {}
    event = Event.build(f"{EVENT}.finished", {**_group(known, "time"), "request_id": ""})
    queue = {} if event.queue_ms is None else {"queue": event.queue_ms}
    return {**queue, **event.stages_ms(), "total": known["duration_ms"]}


def _advice(known: Mapping[str, Any]) -> Iterator[Translated]:
    if advice := VERDICTS.get(str(known.get("audio_verdict"))):
        yield advice
    if error_type := known.get("error_type"):
        yield ADVICE.get(str(error_type), ADVICE["service_error"])
    for hint in hints_of(known):
        yield hint.text
