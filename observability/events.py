"""
The canonical event: the only place where a field of the log line is named.

The line, the metrics, the look-up and the table in `docs/events.md` follow from it, and tests
hold each of them against it. Keys are flat and carry their unit (`_ms`, `_seconds`, `_bytes`,
`_dbfs`); a field that is not known is absent, never null and never zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

Status = Literal["success", "degraded", "failed", "rejected", "timeout", "cancelled", "lost"]
STATUSES: tuple[Status, ...] = (
    "success",
    "degraded",
    "failed",
    "rejected",
    "timeout",
    "cancelled",
    "lost",
)
VERDICTS = ("ok", "silent", "clipped", "truncated", "wrong_format")
STAGES = (
    "text_prep",
    "emotion_text",
    "speaker_enc",
    "acoustic",
    "vocoder",
    "acoustic_vocoder",
    "engine_http",
    "post",
    "other",
)
"""Stages of the canonical event, in the order of the work; `other` is what none of them holds."""

HINTS = ("unknown_tokens", "reference_truncated", "length_limited")
"""Fields that, where they are true or not zero, tell of an audio that could have been better."""

PARTS: Mapping[str, str] = MappingProxyType(
    {
        "acoustic_gpt": "acoustic",
        "acoustic_s2mel": "acoustic",
        "engine_http_connect": "engine_http",
        "engine_http_first_byte": "engine_http",
        "engine_http_download": "engine_http",
    }
)
"""Times (`<part>_ms`) that a stage's own is made of, each with that stage."""

Scalar = str | int | float | bool


def _field(group: str, help_en: str, help_zh: str, *, trusted: bool = False) -> Any:  # noqa: ANN401
    """
    A field that may be absent.

    `trusted` marks what the service made itself (ids, hashes), so that redaction does not take
    a run of digits in it for a phone number.
    """
    return field(
        default=None, metadata={"group": group, "en": help_en, "zh": help_zh, "trusted": trusted}
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """
    One thing that happened to one request; sinks only format it.

    `event` is `<name>.started` or `<name>.finished`. `extra` holds fields that are not of this
    schema, from a decorated function outside speech synthesis; they stand flat in the line.
    """

    event: str

    request_id: str = _field("identity", "ULID of the request", "请求编号（ULID）", trusted=True)
    instance: str | None = _field(
        "identity",
        "which of several services wrote the line; every line says so",
        "写下该行的服务实例（每行都有）",
    )
    client_request_id: str | None = _field(
        "identity", "the client's own X-Request-ID", "客户端自带的 X-Request-ID"
    )
    trace_id: str | None = _field(
        "identity",
        "trace that the request belongs to, from traceparent or its own",
        "所属链路（来自 traceparent 或自建）",
        trusted=True,
    )
    span_id: str | None = _field(
        "identity",
        "span of the request itself, where one is sent",
        "本请求在链路中的 span（如有）",
        trusted=True,
    )
    parent_span_id: str | None = _field(
        "identity", "span of the caller", "调用方的 span", trusted=True
    )
    source: str | None = _field(
        "identity",
        "page, api, batch, canary or replay",
        "来源：页面、接口、批量、巡检或重放",
    )
    job_id: str | None = _field(
        "identity", "batch that the request is an item of", "所属批量任务的编号", trusted=True
    )
    user: str | None = _field(
        "identity",
        "name of the API key or account, where one is used",
        "接口密钥或账号的名称（如有）",
    )
    client_ip: str | None = _field(
        "identity", "client address, last part masked", "客户端地址（末段隐去）"
    )

    engine: str | None = _field("asked", "engine that was asked", "合成引擎")
    engine_version: str | None = _field("asked", "version of the engine", "引擎版本")
    model_version: str | None = _field("asked", "version of the model or voice data", "模型版本")
    speaker: str | None = _field("asked", "speaker, from the engine's list", "发音人")
    emotion: str | None = _field("asked", "emotion, from the closed list", "情感")
    emotion_mode: str | None = _field(
        "asked",
        "where the emotion comes from: speaker, preset, reference, vector or text",
        "情感来源：发音人、预设、参考音频、权重或文字描述",
    )
    emotion_weight: float | None = _field(
        "asked", "how much of the emotion is mixed in, 0 to 1", "情感权重（0 到 1）"
    )
    emotion_vector: str | None = _field(
        "asked", "the eight weights as sent, comma-separated", "八维情感权重（逗号分隔）"
    )
    emotion_text_len: int | None = _field(
        "asked", "characters of the emotion's description", "情感描述字数"
    )
    language: str | None = _field("asked", "language that the text is read in", "朗读语言")
    seed: int | None = _field(
        "asked", "seed of the random numbers: the same again gives the same audio", "随机种子"
    )
    controls: str | None = _field(
        "asked",
        "the engine's own controls where not at their default, as logfmt",
        "非默认的引擎参数",
    )
    glossary_hash: str | None = _field(
        "asked",
        "keyed hash of the glossary's terms in the text and their readings",
        "文本所含术语及其读法的带密钥哈希",
        trusted=True,
    )
    preset: str | None = _field("asked", "saved preset that the request began with", "所用预设")
    speed: float | None = _field("asked", "pace, 1.0 = the speaker's own", "语速倍率")
    format: str | None = _field("asked", "container asked for", "音频格式")
    text_len: int | None = _field("asked", "characters of text", "文本字数")
    text_script: str | None = _field("asked", "zh, en, mixed or other", "文字种类")
    text_hash: str | None = _field(
        "asked", "keyed hash of the text, which is never stored", "文本的带密钥哈希", trusted=True
    )
    reference_hash: str | None = _field(
        "asked", "content hash of the reference recording", "参考音频的内容哈希", trusted=True
    )
    reference_seconds: float | None = _field(
        "asked", "length of the reference as used", "参考音频时长"
    )
    reference_truncated: bool | None = _field(
        "asked", "whether the recording was longer than is used", "参考音频是否被截断"
    )
    emotion_reference_hash: str | None = _field(
        "asked", "content hash of the emotion's recording", "情感参考音频的内容哈希", trusted=True
    )
    emotion_reference_seconds: float | None = _field(
        "asked", "length of the emotion's recording as used", "情感参考音频时长"
    )

    duration_ms: float | None = _field(
        "time", "from the door to the answer", "总耗时：从进门到应答"
    )
    queue_ms: float | None = _field("time", "waited for a worker", "排队耗时")
    stage_text_prep_ms: float | None = _field("time", "normalising, phonemes", "文本处理耗时")
    text_normalize_ms: float | None = _field(
        "time", "the normaliser's part of text_prep", "其中文本规整耗时"
    )
    stage_emotion_text_ms: float | None = _field(
        "time", "reading an emotion out of words", "从文字判断情感的耗时"
    )
    stage_speaker_enc_ms: float | None = _field(
        "time", "reading the reference recording", "参考音频处理耗时"
    )
    stage_acoustic_ms: float | None = _field("time", "acoustic model", "声学模型耗时")
    acoustic_gpt_ms: float | None = _field(
        "time", "the token model's part of acoustic", "其中 GPT 耗时"
    )
    acoustic_s2mel_ms: float | None = _field(
        "time", "the spectrogram model's part of acoustic", "其中 s2mel 耗时"
    )
    stage_vocoder_ms: float | None = _field("time", "vocoder", "声码器耗时")
    stage_acoustic_vocoder_ms: float | None = _field(
        "time",
        "acoustic model and vocoder where the engine computes them as one",
        "声学与声码合一的引擎：两者合计耗时",
    )
    stage_engine_http_ms: float | None = _field(
        "time",
        "the request to another speech server, whose own stages nobody tells",
        "请求外部语音服务器的耗时（其内部阶段不可见）",
    )
    engine_http_connect_ms: float | None = _field(
        "time", "the connection's part of engine_http", "其中建立连接的耗时"
    )
    engine_http_first_byte_ms: float | None = _field(
        "time", "until the server began to answer", "其中等待首字节的耗时"
    )
    engine_http_download_ms: float | None = _field(
        "time", "from its first byte to its last", "其中下载的耗时"
    )
    model_load_ms: float | None = _field(
        "time",
        "loading a speaker's weights, which its first request waits for",
        "首次加载音色权重的耗时",
    )
    stage_post_ms: float | None = _field(
        "time", "container, tags, file, signal check", "后处理耗时：封装、标签、写盘、信号检查"
    )
    stage_other_ms: float | None = _field(
        "time", "duration minus queue and stages", "其余耗时：总耗时减排队与各阶段"
    )
    first_audio_ms: float | None = _field(
        "time", "from the door to the engine's first sound", "首个声音的耗时"
    )

    text_spoken_len: int | None = _field(
        "came_out", "characters after numbers were written out", "规整后的字数"
    )
    segments: int | None = _field("came_out", "pieces that the text was cut into", "分段数")
    text_tokens: int | None = _field("came_out", "tokens of the text", "文本 Token 数")
    unknown_tokens: int | None = _field(
        "came_out",
        "tokens that the model does not know; they may be skipped or garbled",
        "模型不认识、可能漏读或读错的 Token 数",
    )
    acoustic_tokens: int | None = _field("came_out", "acoustic tokens made", "声学 Token 数")
    length_limited: bool | None = _field(
        "came_out", "whether a segment hit the limit of acoustic tokens", "是否触及长度上限"
    )
    streamed: bool | None = _field(
        "came_out", "whether audio went out before all of it was made", "是否流式输出"
    )
    audio_seconds: float | None = _field("came_out", "length of the audio", "音频时长")
    audio_bytes: int | None = _field("came_out", "size of the file", "音频大小")
    sample_rate: int | None = _field("came_out", "samples a second", "采样率")
    channels: int | None = _field("came_out", "channels", "声道数")
    codec: str | None = _field("came_out", "codec that ffprobe names", "编码（ffprobe 所见）")
    rtf: float | None = _field(
        "came_out", "duration_ms without queue over audio_seconds", "实时率（不含排队）"
    )
    chars_per_second: float | None = _field(
        "came_out", "characters a second of work", "每秒合成字数"
    )

    audio_verdict: str | None = _field(
        "verdict", "ok, silent, clipped, truncated, wrong_format", "音频判定"
    )
    rms_dbfs: float | None = _field("verdict", "loudness", "响度（RMS）")
    peak_dbfs: float | None = _field("verdict", "highest sample", "峰值")
    clipped_ratio: float | None = _field("verdict", "share of clipped samples", "削波占比")
    silence_ratio: float | None = _field("verdict", "share of silent time", "静音占比")
    longest_silence_seconds: float | None = _field("verdict", "longest silence", "最长静音")
    probe_ok: bool | None = _field("verdict", "whether ffprobe could read it", "ffprobe 能否读取")
    probe_error: str | None = _field(
        "verdict", "why ffprobe gave no answer", "ffprobe 未能作答的原因"
    )
    probe_ms: float | None = _field(
        "verdict", "time of ffprobe, beside the answer", "ffprobe 耗时（不计入应答）"
    )

    status: Status | None = _field(
        "outcome",
        "success, degraded, failed, rejected, timeout, cancelled, lost",
        "结果：成功、有瑕疵、失败、被拒、超时、取消、丢失",
    )
    error_type: str | None = _field("outcome", "code of the error", "错误代码")
    error_message: str | None = _field(
        "outcome", "up to 100 characters, no user text", "错误说明（至多 100 字，不含用户文本）"
    )
    error_stage: str | None = _field(
        "outcome", "stage that was running when it ended badly", "出错时所在阶段"
    )
    error_fingerprint: str | None = _field(
        "outcome", "same fault, same fingerprint", "错误指纹：同因同纹", trusted=True
    )

    device: str | None = _field("cost", "device that the engine ran on", "运行设备")
    gpu_seconds: float | None = _field("cost", "time on the GPU", "占用 GPU 的秒数")
    gpu_memory_before_mb: float | None = _field(
        "cost", "GPU memory in tensors before", "此前已分配显存"
    )
    gpu_memory_peak_mb: float | None = _field(
        "cost", "GPU memory in tensors at the most", "峰值已分配显存"
    )
    gpu_memory_after_mb: float | None = _field(
        "cost", "GPU memory in tensors after", "此后已分配显存"
    )
    gpu_reserved_before_mb: float | None = _field(
        "cost", "GPU memory held by the allocator before", "此前分配器保留显存"
    )
    gpu_reserved_peak_mb: float | None = _field(
        "cost", "GPU memory held by the allocator at the most", "峰值分配器保留显存"
    )
    gpu_reserved_after_mb: float | None = _field(
        "cost", "GPU memory held by the allocator after", "此后分配器保留显存"
    )
    gpu_used_before_mb: float | None = _field(
        "cost", "GPU memory in use on the card (NVML) before", "此前整卡已用显存（NVML）"
    )
    gpu_used_peak_mb: float | None = _field(
        "cost",
        "GPU memory in use on the card (NVML), the highest seen between stages",
        "整卡已用显存峰值（NVML，阶段间采样）",
    )
    gpu_used_after_mb: float | None = _field(
        "cost", "GPU memory in use on the card (NVML) after", "此后整卡已用显存（NVML）"
    )
    worker_memory_mb: float | None = _field(
        "cost", "memory of the worker process afterwards", "合成进程内存"
    )
    memory_slope_mb: float | None = _field(
        "cost",
        "growth of the worker's memory a request, over its recent ones",
        "近期每次请求的内存增长",
    )
    cold_start: bool | None = _field(
        "cost",
        "whether the speaker's weights were loaded for this request",
        "是否为冷启动（现加载音色权重）",
    )
    result_cache_hit: bool | None = _field(
        "cost",
        "whether the audio was made before, and is served again; absent: not looked up",
        "结果缓存是否命中（未查缓存时没有该字段）",
    )
    result_of: str | None = _field(
        "cost",
        "request_id of the synthesis whose audio was served again",
        "缓存命中时，最初合成该音频的请求编号",
        trusted=True,
    )
    speaker_cache_hit: bool | None = _field(
        "cost", "whether the speaker was encoded already", "音色缓存是否命中"
    )
    emotion_cache_hit: bool | None = _field(
        "cost", "whether the emotion's recording was encoded already", "情感参考缓存是否命中"
    )
    speaker_cache_evictions: int | None = _field(
        "cost", "recordings that were forgotten to make room", "为腾出空间而淘汰的缓存数"
    )
    speaker_cache_mb: float | None = _field(
        "cost", "memory of the encoded recordings afterwards", "音色缓存占用"
    )
    worker: str | None = _field("cost", "worker that did it: slot and pid", "工作进程：序号与 PID")
    node: str | None = _field("cost", "machine of the cluster that did it", "执行请求的集群节点")
    replica: str | None = _field(
        "cost", "replica of the engine on that machine", "该节点上的引擎副本"
    )
    retries: int | None = _field(
        "cost",
        "times that it was begun anew because its replica was lost; absent: never",
        "因副本丢失而重新开始的次数（没有则无该字段）",
    )
    retry_cause: str | None = _field(
        "cost",
        "what was lost: replica_lost, node_lost or gateway_lost",
        "重试原因：副本、节点或网关丢失",
    )

    extra: Mapping[str, Scalar] = field(default_factory=dict)

    began_at: float | None = field(default=None, compare=False)
    """When the call began, in seconds since 1970, for sinks that place it in time; no field."""

    @classmethod
    def build(
        cls, event: str, known: Mapping[str, Scalar | None], *, began_at: float | None = None
    ) -> Event:
        """An event of these fields; what the schema does not name goes to `extra`."""
        schema = field_names()
        return cls(
            event=event,
            began_at=began_at,
            **{key: value for key, value in known.items() if key in schema},  # type: ignore[arg-type]
            extra={
                key: value
                for key, value in known.items()
                if key not in schema and value is not None
            },
        )

    def line(self) -> dict[str, Scalar]:
        """The flat fields of the log line, absent ones left out, in the order of the schema."""
        known = {name: getattr(self, name) for name in field_names()}
        line: dict[str, Scalar] = {"event": self.event}
        line |= {name: value for name, value in known.items() if value is not None}
        return {**line, **self.extra, **line}

    def stages_ms(self) -> dict[str, float]:
        """The measured stages and `other`, in the order of the work."""
        measured = {
            key.removeprefix("stage_").removesuffix("_ms"): value
            for key, value in self.line().items()
            if key.startswith("stage_") and key.endswith("_ms")
        }
        in_order = [name for name in STAGES if name in measured]
        in_order += [name for name in measured if name not in STAGES]
        return {name: float(measured[name]) for name in in_order}


@cache
def field_names() -> dict[str, Mapping[str, Any]]:
    """Every field of the schema with its group, its help in both languages, and its trust."""
    return {item.name: item.metadata for item in fields(Event) if "group" in item.metadata}


@cache
def trusted_fields() -> frozenset[str]:
    """The fields whose strings the service made itself."""
    return frozenset(name for name, meta in field_names().items() if meta["trusted"])
