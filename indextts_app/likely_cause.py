"""
The likely cause of how a request went, by stated rules, and the next step.

Each rule reads the event's own fields, the shares of its stages and the requests around it; the
thresholds below are the rules. A rule says what is likely, never what is certain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from indextts_app.engines.base import Translated
from observability.events import STAGES
from observability.log_store.questions import DELIVERED, TURNED_AWAY, Neighbours

SLOW_MS: Final = 2_000
"""A request that took longer is asked where its time went; so is one that timed out."""

QUEUE_SHARE: Final = 0.5
SPEAKER_SHARE: Final = 0.4
SPECTROGRAM_SHARE: Final = 0.5
"""On a GPU with room the spectrogram model takes a third of the time; starved, most of it."""

OTHER_SHARE: Final = 0.3
STAGE_SHARE: Final = 0.6
GROWTH_MB: Final = 4.0
"""Lasting growth of a worker's memory a request, as `INDEXTTS_MEMORY_SLOPE_MB` has it."""

REPEATED: Final = 2
"""So many others that ended alike make it the service's matter, not the request's."""

MOST: Final = 3


@dataclass(frozen=True, slots=True)
class Cause:
    """A likely cause by the code of its rule, in words, and the next step."""

    code: str
    text: Translated
    next_step: Translated


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the rules look at."""

    known: Mapping[str, Any]
    times: Mapping[str, float]
    alike: int
    """Others around that ended with the same fault."""
    failed: int
    silent: int
    others: int
    replaced: bool
    """Whether another process was in this worker's slot before or after."""

    def share(self, stage: str) -> float:
        """The stage's share of the whole time."""
        total = self.times.get("total") or 0.0
        return self.times.get(stage, 0.0) / total if total > 0 else 0.0

    @property
    def error(self) -> str:
        """The code of the error, or nothing."""
        return str(self.known.get("error_type", ""))

    @property
    def is_slow(self) -> bool:
        """Whether its time is worth an explanation."""
        return self.times.get("total", 0.0) >= SLOW_MS or self.known.get("status") == "timeout"


Rule = Callable[[Evidence], Cause | None]

EXPLAINS_A_STAGE: Final = frozenset({"memory_pressure", "cold_cache"})
"""Causes that say why a stage took long; that it did need not be said as well."""

EXPLAINS_A_RESTART: Final = frozenset({"worker_died", "workers_die"})
"""Causes that say why a worker was restarted."""


def causes(
    known: Mapping[str, Any], times: Mapping[str, float], neighbours: Neighbours | None
) -> tuple[Cause, ...]:
    """
    At most `MOST` causes, the most telling first; of a sound and quick request, that it was so.

    Args:
        known: the fields of the event.
        times: the story's `stages_ms`.
        neighbours: the requests around it, where they are known.
    """
    evidence = Evidence(
        known=known,
        times=times,
        alike=neighbours.failed_alike if neighbours else 0,
        failed=neighbours.failed if neighbours else 0,
        silent=neighbours.silent if neighbours else 0,
        others=neighbours.requests if neighbours else 0,
        replaced=_replaced(known, neighbours),
    )
    found = {cause.code: cause for rule in RULES if (cause := rule(evidence))}
    if found.keys() & EXPLAINS_A_STAGE:
        found.pop("long_stage", None)
    if found.keys() & EXPLAINS_A_RESTART:
        found.pop("worker_replaced", None)
    return tuple(found.values())[:MOST]


def _replaced(known: Mapping[str, Any], neighbours: Neighbours | None) -> bool:
    """A worker is named slot:pid; another pid in the same slot is a restart in between."""
    slot, colon, pid = str(known.get("worker", "")).partition(":")
    if not colon or neighbours is None:
        return False
    # Every service has a slot 0, and neighbours may be other services' requests.
    own = (line for line in neighbours.lines if line.get("instance") == known.get("instance"))
    seen = (str(line.get("worker", "")).partition(":") for line in own)
    return any(other and there == slot and other != pid for there, _, other in seen)


def _process_died(evidence: Evidence) -> Cause | None:
    if evidence.known.get("status") != "lost":
        return None
    return Cause(
        "process_died",
        Translated(
            "The whole service ended while it worked on this: killed, crashed, or the machine "
            "was restarted.",
            "服务在处理过程中整体退出：被杀、崩溃或机器重启。",
        ),
        Translated(
            "Look at the last lines before the next service.started, and at the kernel's log "
            "(dmesg: out of memory). The user may simply ask again.",
            "请查看下一条 service.started 之前的日志与内核日志（dmesg 中的 OOM）。用户重试即可。",
        ),
    )


def _worker_died(evidence: Evidence) -> Cause | None:
    if evidence.error != "worker_died":
        return None
    if evidence.alike >= REPEATED:
        return Cause(
            "workers_die",
            Translated(
                f"Workers died again and again: {evidence.alike} more around it ended so. It "
                "is the machine, the driver or the model, not this text.",
                f"合成进程接连退出：前后另有 {evidence.alike} 个请求同样失败。"
                "问题在机器、驱动或模型，与该文本无关。",
            ),
            Translated(
                "Look at worker.ended and dmesg; fewer workers on the device, or a restart of it.",
                "请查看 worker.ended 与 dmesg；减少该设备上的进程数，或重启设备。",
            ),
        )
    return Cause(
        "worker_died",
        Translated(
            "The process that worked on it was killed or crashed; a new one took over.",
            "处理它的进程被杀或崩溃，已由新进程接替。",
        ),
        Translated(
            "Ask again once. If this text does it again, replay it and report the fingerprint.",
            "重试一次。若同一文本再次出现，请重放并上报错误指纹。",
        ),
    )


def _replica_lost(evidence: Evidence) -> Cause | None:
    if evidence.error != "replica_lost":
        return None
    node = evidence.known.get("node", "?")
    return Cause(
        "replica_lost",
        Translated(
            f"What worked on it was lost: a replica on node {node}, or the node itself.",
            f"处理它的副本（节点 {node}）或整个节点丢失。",
        ),
        Translated(
            "See replica.lost of that minute, then `ray status` and the node's own log. The user "
            "may simply ask again.",
            "请查看当时的 replica.lost，再看 `ray status` 与该节点日志。用户重试即可。",
        ),
    )


def _out_of_memory(evidence: Evidence) -> Cause | None:
    if evidence.error != "out_of_memory":
        return None
    peak = evidence.known.get("gpu_used_peak_mb") or evidence.known.get("gpu_memory_peak_mb")
    at, at_zh = (f" at {peak:,.0f} MB", f"（{peak:,.0f} MB）") if peak else ("", "")
    return Cause(
        "device_full",
        Translated(
            f"The memory of the device was full{at}; {evidence.alike} more around it ended so.",
            f"设备内存已满{at_zh}；前后另有 {evidence.alike} 个请求同样失败。",
        ),
        Translated(
            "A shorter text or fewer workers on the device; INDEXTTS_SELF_HEAL=act gives memory "
            "back between requests.",
            "缩短文本或减少该设备上的进程数；INDEXTTS_SELF_HEAL=act 会在请求间归还显存。",
        ),
    )


def _engine_error(evidence: Evidence) -> Cause | None:
    if evidence.error not in ("engine_error", "synthesis_failed", "no_audio"):
        return None
    stage = evidence.known.get("error_stage", "-")
    if evidence.alike >= REPEATED:
        version = evidence.known.get("model_version", "-")
        return Cause(
            "engine_fails",
            Translated(
                f"The same fault hit {evidence.alike} more around it, in stage {stage}: it is "
                f"the engine or the model ({version}), not this text.",
                f"同一错误还影响了前后 {evidence.alike} 个请求（阶段 {stage}）："
                f"问题在引擎或模型（{version}），与该文本无关。",
            ),
            Translated(
                "Look at the traceback below; was the version changed today? Restart the worker.",
                "请查看下方堆栈；今天是否更换过版本？可重启合成进程。",
            ),
        )
    if not evidence.others:
        return Cause(
            "alone",
            Translated(
                "No other request is known around it, so that nothing tells this request from the "
                "engine as a whole.",
                "前后没有已知的其他请求，无法判断是该请求本身还是引擎整体的问题。",
            ),
            Translated(
                "Replay it with the user's text, and speak another one beside it.",
                "用用户的原文重放，并另合成一段文本作对照。",
            ),
        )
    return Cause(
        "this_request",
        Translated(
            f"Around it {evidence.alike} of {evidence.others} ended so: most "
            "likely something in this text, its recording or its controls.",
            f"前后 {evidence.others} 个请求中仅 {evidence.alike} 个同样失败："
            "多半与该文本、参考音频或参数有关。",
        ),
        Translated(
            "Replay it with the user's text; if it fails again, report fingerprint and text_hash.",
            "用用户的原文重放；若仍失败，请上报错误指纹与 text_hash。",
        ),
    )


def _overload(evidence: Evidence) -> Cause | None:
    if evidence.error == "queue_full" or (
        evidence.is_slow and evidence.share("queue") >= QUEUE_SHARE
    ):
        waited = evidence.times.get("queue", 0.0) / 1000
        return Cause(
            "queue",
            Translated(
                f"Too much was asked at once: it waited {waited:.1f} s for a worker "
                f"({evidence.share('queue'):.0%} of its time), {evidence.others} more finished "
                "around it.",
                f"并发过多：排队 {waited:.1f} 秒（占 {evidence.share('queue'):.0%}），"
                f"前后另有 {evidence.others} 个请求。",
            ),
            Translated(
                "More workers (INDEXTTS_WORKERS) where the device has room, or spread the load.",
                "设备有余量时增加 INDEXTTS_WORKERS，或错峰使用。",
            ),
        )
    return None


def _spectrogram(evidence: Evidence) -> Cause | None:
    spent = evidence.known.get("acoustic_s2mel_ms", 0.0)
    total = evidence.times.get("total", 0.0)
    if not (evidence.is_slow and total and spent / total >= SPECTROGRAM_SHARE):
        return None
    return Cause(
        "memory_pressure",
        Translated(
            f"The spectrogram model took {spent / total:.0%} of the time, which it does when the "
            "GPU is short of memory or shared with others.",
            f"频谱模型（s2mel）占用 {spent / total:.0%} 的时间，通常是显存吃紧或 GPU 被他人占用。",
        ),
        Translated(
            "Compare gpu_used_peak_mb with the card; see who else uses it (nvidia-smi).",
            "请对照显卡容量查看 gpu_used_peak_mb，并用 nvidia-smi 查看占用者。",
        ),
    )


def _cold_cache(evidence: Evidence) -> Cause | None:
    share = evidence.share("speaker_enc")
    is_cold = evidence.known.get("speaker_cache_hit") is not True
    if not (evidence.is_slow and share >= SPEAKER_SHARE and is_cold):
        return None
    return Cause(
        "cold_cache",
        Translated(
            f"Encoding the speaker took {share:.0%} of the time: this worker met the recording "
            "for the first time, or had forgotten it.",
            f"音色编码占用 {share:.0%} 的时间：该进程首次遇到此录音，或缓存已被淘汰。",
        ),
        Translated(
            "The next request with this speaker is quicker. If it is always so, raise "
            "INDEXTTS_SPEAKER_CACHE_MB.",
            "该发音人的下一次请求会更快；若总是如此，请调大 INDEXTTS_SPEAKER_CACHE_MB。",
        ),
    )


def _overloaded_machine(evidence: Evidence) -> Cause | None:
    share = evidence.share("other")
    if not (evidence.is_slow and share >= OTHER_SHARE and evidence.error != "queue_full"):
        return None
    if evidence.error and evidence.known.get("status") != "timeout":
        return None
    return Cause(
        "machine_busy",
        Translated(
            f"{share:.0%} of the time lies in no stage: the machine itself was busy, swapping, or "
            "a worker was being started.",
            f"{share:.0%} 的时间不属于任何阶段：机器繁忙、内存换页，或进程正在启动。",
        ),
        Translated(
            "Look at CPU, memory and worker.ready lines of that minute.",
            "请查看当时的 CPU、内存与 worker.ready 日志。",
        ),
    )


def _one_stage(evidence: Evidence) -> Cause | None:
    stages = [name for name in STAGES if name != "other"]
    stage = max(stages, key=evidence.share)
    if not (evidence.is_slow and evidence.share(stage) >= STAGE_SHARE):
        return None
    length = evidence.known.get("text_len")
    of, of_zh = (f" for {length} characters", f"（文本 {length} 字）") if length else ("", "")
    return Cause(
        "long_stage",
        Translated(
            f"Stage {stage} took {evidence.share(stage):.0%} of the time{of}.",
            f"阶段 {stage} 占用 {evidence.share(stage):.0%} 的时间{of_zh}。",
        ),
        Translated(
            "Compare with others of this length: a long text takes long; where only this stage "
            "has grown, look at the device.",
            "请与同等长度的请求比较：长文本本就耗时；若只有该阶段变慢，请检查设备。",
        ),
    )


def _silent(evidence: Evidence) -> Cause | None:
    if evidence.known.get("audio_verdict") != "silent":
        return None
    if evidence.silent >= REPEATED:
        return Cause(
            "worker_silent",
            Translated(
                f"{evidence.silent} more around it came out silent: a worker or the "
                "model is in a bad state, not this text.",
                f"前后另有 {evidence.silent} 个请求也是静音：进程或模型状态异常，与该文本无关。",
            ),
            Translated(
                "Restart the worker of this request, then replay it.",
                "请重启处理该请求的进程，再重放该请求。",
            ),
        )
    return Cause(
        "only_this_silent",
        Translated(
            "Few if any others came out silent: most likely this text with this seed or recording.",
            "并非大量静音：多半与该文本、种子或参考音频有关。",
        ),
        Translated(
            "Replay it: silent again means that it can be reproduced and reported; otherwise "
            "another seed helps.",
            "请重放：若仍静音即可稳定复现，请上报；否则换一个种子即可。",
        ),
    )


def _truncated(evidence: Evidence) -> Cause | None:
    if evidence.known.get("audio_verdict") != "truncated":
        return None
    if evidence.known.get("length_limited"):
        return Cause(
            "token_limit",
            Translated(
                "A segment hit the limit of acoustic tokens, so that its end is missing.",
                "有一段触及声学 Token 上限，结尾缺失。",
            ),
            Translated(
                "Raise max_mel_tokens, or lower segment_tokens.",
                "请调大 max_mel_tokens 或调小 segment_tokens。",
            ),
        )
    return Cause(
        "ended_early",
        Translated(
            "The model ended before the text did, which long sentences and rare words provoke.",
            "模型提前收尾，长句和生僻词容易触发。",
        ),
        Translated("Replay it; then split the text.", "请重放，然后把文本分段。"),
    )


def _clipped(evidence: Evidence) -> Cause | None:
    if evidence.known.get("audio_verdict") != "clipped":
        return None
    return Cause(
        "too_loud",
        Translated(
            "The signal is over the limit: the reference is too loud, or the emotion too strong.",
            "信号过载：参考音频过响，或情感权重过大。",
        ),
        Translated(
            "A quieter recording, or a smaller emotion_weight.",
            "请换较轻的录音，或减小 emotion_weight。",
        ),
    )


def _restarted(evidence: Evidence) -> Cause | None:
    if not evidence.replaced:
        return None
    return Cause(
        "worker_replaced",
        Translated(
            f"Around it another process was in its worker's slot ({evidence.known['worker']}): "
            "the worker was restarted then.",
            f"前后该槽位（{evidence.known['worker']}）换过进程：合成进程当时被重启。",
        ),
        Translated(
            "See worker.ended and worker.recycled of that minute for the reason.",
            "原因请见当时的 worker.ended 与 worker.recycled 日志。",
        ),
    )


def _growth(evidence: Evidence) -> Cause | None:
    slope = evidence.known.get("memory_slope_mb")
    if not isinstance(slope, int | float) or slope < GROWTH_MB:
        return None
    return Cause(
        "memory_grows",
        Translated(
            f"The worker's memory grew by {slope:.1f} MB a request.",
            f"合成进程内存每次请求增长 {slope:.1f} MB。",
        ),
        Translated(
            "INDEXTTS_SELF_HEAL=act restarts it in time, between two requests.",
            "INDEXTTS_SELF_HEAL=act 会在两次请求之间及时重启它。",
        ),
    )


def _asked_wrong(evidence: Evidence) -> Cause | None:
    refused = evidence.known.get("status") == "rejected"
    if not refused or evidence.error in TURNED_AWAY:
        return None
    return Cause(
        "asked_wrong",
        Translated(
            "What was asked cannot be done; the service did as it should.",
            "请求本身无法满足，服务行为正常。",
        ),
        Translated("Tell the user what the message says.", "请把错误说明告知用户。"),
    )


def _not_ready(evidence: Evidence) -> Cause | None:
    if evidence.error not in ("not_ready", "not_fit"):
        return None
    return Cause(
        "not_ready",
        Translated(
            "No worker could take it: the service was starting or stopping, or its engine failed "
            "to load.",
            "没有可用进程：服务正在启动、停止，或引擎加载失败。",
        ),
        Translated(
            "See worker.unfit and service.started of that minute.",
            "请查看当时的 worker.unfit 与 service.started 日志。",
        ),
    )


def _nothing(evidence: Evidence) -> Cause | None:
    is_good = evidence.known.get("status") in DELIVERED and not evidence.is_slow
    if not is_good or evidence.known.get("audio_verdict", "ok") != "ok" or evidence.error:
        return None
    return Cause(
        "nothing_wrong",
        Translated(
            "The log knows of nothing wrong: it was quick, and the signal is sound.",
            "日志中没有异常：耗时正常，信号正常。",
        ),
        Translated(
            "If the user hears something else, ask for the file and replay the request.",
            "若用户听到的不同，请索取文件并重放该请求。",
        ),
    )


RULES: tuple[Rule, ...] = (
    _process_died,
    _worker_died,
    _replica_lost,
    _out_of_memory,
    _engine_error,
    _not_ready,
    _asked_wrong,
    _silent,
    _truncated,
    _clipped,
    _overload,
    _cold_cache,
    _spectrogram,
    _overloaded_machine,
    _one_stage,
    _restarted,
    _growth,
    _nothing,
)
"""In the order in which their causes are told."""
