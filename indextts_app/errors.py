"""
Everything that can go wrong, each with a code, an HTTP status and a message safe to show.

    ServiceError                 500  a fault of the service itself
    ├── Rejected                 refused at the door, the engine was not asked
    │   ├── MalformedRequest     400  the request itself cannot be read
    │   │   └── BatchUnreadable  the same of a table
    │   ├── TooLarge             413  more bytes than may be sent
    │   ├── BatchTooLong         413  more rows than may be
    │   ├── BatchesFull          503  no room for another batch
    │   ├── UnknownBatch         404  no such batch
    │   ├── BatchUnfinished      409  its archive is not whole yet
    │   ├── InvalidField         422  a field that does not fit
    │   │   ├── TextEmpty, TextTooLong, TextUnreadable, TextNotSpeakable, ScriptNotSpoken
    │   │   ├── UnknownField, FieldNotOffered, FieldOfOtherVersion
    │   │   ├── SpeedOutOfRange, EmotionUnclear
    │   │   ├── UnknownChoice    speaker, emotion or format that does not exist
    │   │   ├── RowUnreadable    a row of a table that is no request
    │   │   ├── UnknownPreset    a preset that does not exist
    │   │   ├── ReferenceRefused the recording is no audio, too short, not yours …
    │   │   ├── EmotionReferenceRefused, the same of the emotion's recording
    │   │   └── NameTaken, LibraryFull, StillUsed, NotSupported
    │   ├── KeyNeeded            401  no API key was sent
    │   │   └── KeyUnknown       401  one that is not in force
    │   ├── LoginNeeded          401  for operators who say who they are
    │   ├── Forbidden            403  for operators only
    │   │   ├── KeepingForbidden the same of whatever is kept
    │   │   ├── NameNotOwn       under a name that is not this machine's own
    │   │   └── ForeignSite      another site's page asked for a change
    │   ├── TooManyAttempts      429  wrong passwords or keys from one address
    │   ├── TooManyInFlight      429  as many at a time as one client may have
    │   ├── NotKept              404  no such speaker, preset or term
    │   ├── UnknownRequest       404  no such request_id
    │   ├── UnknownPath          404  nothing is served there
    │   ├── UnknownModel         404  a model that does not run here
    │   ├── MethodNotAllowed     405  another method is
    │   ├── MalformedId          422  not a request_id at all
    │   ├── Crowded              503  too many pages are open
    │   ├── StorageFull          507  no room for the audio
    │   ├── QueueFull            503  try again in a moment
    │   └── NotReady             503  no worker can take it, starting or shutting down
    │       ├── NotFit           the same until the operator has acted
    │       └── CircuitOpen      the engine fails, and is left alone for a while
    ├── DeadlineExceeded         504  took longer than it may
    ├── ClientGone               499  nobody waits for the answer any more
    ├── SynthesisFailed          503  the engine was asked and did not deliver
    │   ├── WorkerDied, ReplicaLost, EngineError, EngineOutOfMemory, NoAudio
    │   ├── EncoderMissing, EncodingFailed
    │   ├── RemoteFailed         the server behind the engine did not: RemoteUnreachable,
    │   │                        RemoteTimeout 504, RemoteBusy, RemoteRefused, RemoteError,
    │   │                        RemoteBadAudio
    │   ├── GivenUp              the service was stopped and could wait no longer
    │   └── StorageFailed        the audio could not be stored
    └── KeepingFailed        503  a speaker, a preset or the glossary could not be stored

Messages say what to do, in English and Chinese, and never hold the user's text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import ClassVar

from observability.events import Status

MAX_CHOICES_SHOWN = 20

_OWN_NAMES: Mapping[str, str] = MappingProxyType({})


class ServiceError(Exception):
    """An error that a user may see; `code` and `status` go to the event as they are."""

    code: ClassVar[str] = "service_error"
    http_status: ClassVar[int] = 500
    status: ClassVar[Status] = "failed"
    retry_after_seconds: int | None = None
    en: ClassVar[str] = "Something went wrong in the service. Try again."
    zh: ClassVar[str] = "服务内部出错，请重试。"

    def __init__(self, **details: object) -> None:
        super().__init__(self.en.format(**details))
        self.details = details

    def message(self, language: str = "en", names: Mapping[str, str] = _OWN_NAMES) -> str:
        """What happened and what to do, in `zh` or else English, fields called by these names."""
        details = {key: _renamed(key, value, names) for key, value in self.details.items()}
        return (self.zh if language == "zh" else self.en).format(**details)


class Rejected(ServiceError):
    """Refused at the door."""

    http_status: ClassVar[int] = 503
    status: ClassVar[Status] = "rejected"


class MalformedRequest(Rejected):
    """The request itself cannot be read."""

    code = "malformed_request"
    http_status = 400
    en = "The request cannot be read: {reason} Send JSON, or multipart form data."
    zh = "请求无法解析：{reason_zh} 请发送 JSON 或 multipart 表单。"


class BatchUnreadable(MalformedRequest):
    """A table that cannot be read as one."""

    code = "batch_unreadable"
    en = "The table cannot be read: {reason}"
    zh = "表格无法读取：{reason_zh}"


class BatchTooLong(Rejected):
    """More rows than may be."""

    code = "batch_too_long"
    http_status = 413
    en = "The table has more than {limit} rows. Split it."
    zh = "表格超过 {limit} 行，请拆分。"


class BatchesFull(Rejected):
    """As many batches are kept, or as much of their audio, as may be."""

    code = "batches_full"
    retry_after_seconds = 60
    en = "No further batch can be taken: {reason} Try again later, or delete a finished one."
    zh = "暂时无法接收新的批量任务：{reason_zh} 请稍后再试，或删除已完成的任务。"


class UnknownBatch(Rejected):
    """No such job, or somebody else's, which is told alike."""

    code = "unknown_batch"
    http_status = 404
    en = (
        "There is no such batch here, or its files were deleted by age. Where several services "
        "share this address, only the one that began it knows it: ask there."
    )
    zh = (
        "此处没有这个批量任务，或其文件已到期删除。若多个服务共用该地址，"
        "只有创建它的服务知道它，请向其查询。"
    )


class BatchUnfinished(Rejected):
    """A job that is still worked on."""

    code = "batch_unfinished"
    http_status = 409
    retry_after_seconds = 5
    en = "The batch is not finished: {done} of {total} rows are. Ask for the archive when it is."
    zh = "批量任务尚未完成：{total} 行中已完成 {done} 行，请完成后再下载。"


class TooLarge(Rejected):
    """More bytes than may be sent."""

    code = "too_large"
    http_status = 413
    en = "The request is larger than {limit_mb} MB. Send less."
    zh = "请求超过 {limit_mb} MB，请减小后再发送。"


class InvalidField(Rejected):
    """A field that does not fit."""

    code = "invalid_field"
    http_status = 422
    en = "The field '{field}' does not fit: {reason}"
    zh = "字段 '{field}' 不合要求：{reason_zh}"


class TextEmpty(InvalidField):
    """No text, or white space only."""

    code = "text_empty"
    en = "There is no text. Enter between 1 and {limit} characters."
    zh = "没有文本，请输入 1 到 {limit} 个字。"


class TextTooLong(InvalidField):
    """More characters than one request may have."""

    code = "text_too_long"
    en = "The text has {length} characters, at most {limit} are possible. Split it."
    zh = "文本有 {length} 个字，最多 {limit} 个字，请分段合成。"


class TextUnreadable(InvalidField):
    """Control characters or broken Unicode."""

    code = "text_unreadable"
    en = "The text holds characters that are not text (NUL, or half of a character). Remove them."
    zh = "文本含有非文字字符（NUL 或残缺字符），请删除后再试。"


class TextNotSpeakable(InvalidField):
    """Nothing in the text can be said aloud."""

    code = "text_not_speakable"
    en = "The text has no letters or digits to read aloud. Add some words."
    zh = "文本中没有可朗读的文字或数字，请补充内容。"


class ScriptNotSpoken(InvalidField):
    """Letters that the engine in use cannot read."""

    code = "script_not_spoken"
    en = "The engine '{engine}' cannot read {scripts} letters. It reads: {spoken}."
    zh = "引擎“{engine}”不能朗读 {scripts} 文字，可朗读：{spoken}。"


class UnknownField(InvalidField):
    """A field that does not exist; it is not repeated, because it would stand in the log."""

    code = "unknown_field"
    en = "A field of the request is not known here.{meant} Known are: {known}."
    zh = "请求中有未知字段。{meant_zh}可用字段：{known}。"

    def __init__(self, *, known: str, meant: str | None = None) -> None:
        super().__init__(
            known=known,
            meant=f" Did you mean '{meant}'?" if meant else "",
            meant_zh=f"是否想写 '{meant}'？" if meant else "",
        )


class FieldNotOffered(InvalidField):
    """A field that exists, but not for the engine in use."""

    code = "field_not_offered"
    en = "The engine '{engine}' has no use for '{field}'. Leave it out. It takes: {known}."
    zh = "引擎“{engine}”不使用 '{field}'，请去掉。可用字段：{known}。"


class FieldOfOtherVersion(FieldNotOffered):
    """A control that another version of the engine in use has."""

    code = "field_of_other_version"
    en = "'{field}' is a control of {other}; version {version} is in use here. Leave it out."
    zh = "'{field}' 是 {other} 的参数，当前使用的是 {version}，请去掉。"


class EmotionUnclear(InvalidField):
    """Two sources of emotion, or none where one is needed."""

    code = "emotion_unclear"
    en = "The emotion is not clear: {reason}"
    zh = "情感不明确：{reason_zh}"


class SpeedOutOfRange(InvalidField):
    """A pace that is no number, or outside what can be spoken."""

    code = "speed_out_of_range"
    en = "The speed must be a number from {lowest} to {highest}, 1.0 being the speaker's own."
    zh = "speed 须为 {lowest} 到 {highest} 之间的数，1.0 为发音人本来的语速。"


class UnknownChoice(InvalidField):
    """A speaker, emotion or format that does not exist."""

    code = "unknown_choice"
    en = "There is no such {field}. Choose one of: {choices}."
    zh = "没有这个 {field}，可选：{choices}。"

    def __init__(self, field: str, choices: tuple[str, ...]) -> None:
        shown = ", ".join(choices[:MAX_CHOICES_SHOWN])
        more = "" if len(choices) <= MAX_CHOICES_SHOWN else " …"
        super().__init__(field=field, choices=shown + more)


class UnknownSpeaker(UnknownChoice):
    """A speaker that the engine does not have."""

    code = "unknown_speaker"


class UnknownEmotion(UnknownChoice):
    """An emotion outside the closed list."""

    code = "unknown_emotion"


class UnknownFormat(UnknownChoice):
    """A format that is not made here."""

    code = "unknown_format"


class RowUnreadable(InvalidField):
    """A row of a table that is no request."""

    code = "row_unreadable"
    en = "The row cannot be read: {reason}"
    zh = "该行无法解析：{reason_zh}"


class ReferenceRefused(InvalidField):
    """A reference recording that cannot be used; `reason` and `reason_zh` say why."""

    code = "reference_refused"
    en = "The reference recording cannot be used: {reason}"
    zh = "参考音频无法使用：{reason_zh}"


class EmotionReferenceRefused(InvalidField):
    """As `ReferenceRefused`, of the recording that the emotion is taken from."""

    code = "emotion_reference_refused"
    en = "The emotion's recording cannot be used: {reason}"
    zh = "情感参考音频无法使用：{reason_zh}"


class UnknownPreset(InvalidField):
    """A preset that does not exist."""

    code = "unknown_preset"
    en = "There is no such preset. GET /presets lists those that exist."
    zh = "没有这个预设，可用预设见 GET /presets。"


class NameTaken(InvalidField):
    """A name that another one bears already."""

    code = "name_taken"
    en = "There is a {kind} of this name already. Choose another name, or delete that one first."
    zh = "已有同名的{kind_zh}，请换一个名称，或先删除原有的。"


class LibraryFull(InvalidField):
    """As many are kept as may be."""

    code = "library_full"
    en = "{limit} {kind} are kept already, and no more may be. Delete some first."
    zh = "已保存 {limit} 个{kind_zh}，达到上限，请先删除一些。"


class StillUsed(InvalidField):
    """Something that cannot be deleted, because something else needs it."""

    code = "still_used"
    en = "It cannot be deleted: {reason}"
    zh = "无法删除：{reason_zh}"


class NotSupported(InvalidField):
    """Something that the engine in use cannot do."""

    code = "not_supported"
    en = "The engine '{engine}' cannot do this: {reason}"
    zh = "引擎“{engine}”不支持：{reason_zh}"


class Forbidden(Rejected):
    """For operators only."""

    code = "forbidden"
    http_status = 403
    en = "This is for operators, from the addresses in {setting} only."
    zh = "仅限运维人员，从 {setting} 所列地址访问。"


class KeyNeeded(Rejected):
    """For whoever has an API key; `challenge` goes into `WWW-Authenticate`."""

    code = "key_needed"
    http_status = 401
    challenge: ClassVar[str] = 'Bearer realm="indextts"'
    en = (
        "An API key is needed. Send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'; "
        "the operator makes one with scripts/api_key.py."
    )
    zh = (
        "需要 API 密钥，请以 'Authorization: Bearer 密钥' 或 'X-API-Key: 密钥' 发送；"
        "密钥由运维人员用 scripts/api_key.py 生成。"
    )


class KeyUnknown(KeyNeeded):
    """An API key that is not in force."""

    code = "key_unknown"
    challenge = 'Bearer realm="indextts", error="invalid_token"'
    en = "This API key is not known here, or was revoked. Check it, or ask the operator for one."
    zh = "API 密钥无效或已被吊销，请检查，或向运维人员申请。"


class LoginNeeded(Rejected):
    """For operators who say who they are; `challenge` goes into `WWW-Authenticate`."""

    code = "login_needed"
    http_status = 401
    challenge: ClassVar[str] = 'Basic realm="operations", charset="UTF-8"'
    en = (
        "This is for operators. Log in with INDEXTTS_OPERATIONS_USER and its password, "
        "in a browser at /operations."
    )
    zh = "仅限运维人员，请用 INDEXTTS_OPERATIONS_USER 及其密码登录（浏览器请先打开 /operations）。"


class TooManyAttempts(Rejected):
    """So many wrong secrets came from one address that it hears nothing else for a while."""

    code = "too_many_attempts"
    http_status = 429
    retry_after_seconds = 60
    en = "Too many wrong passwords or keys came from your address. Try again in {minutes} minutes."
    zh = "来自你的地址的错误密码或密钥过多，请 {minutes} 分钟后再试。"


class TooManyInFlight(Rejected):
    """As many requests of this client are on their way as it may have at a time."""

    code = "too_many_in_flight"
    http_status = 429
    retry_after_seconds = 2
    en = "{limit} of your requests are on their way, and no more may be at a time. Wait for one."
    zh = "你已有 {limit} 个请求正在处理，达到同时上限，请等其中一个完成后再试。"


class KeepingForbidden(Forbidden):
    """Who may speak may not change what everybody is offered."""

    code = "keeping_forbidden"
    en = (
        "What is kept takes storage and is offered to everybody (a speaker becomes a label of the "
        "metrics too), so it may be changed from the addresses in {setting} only."
    )
    zh = (
        "保存的内容占用存储并提供给所有人（发音人还会成为指标标签），"
        "仅限从 {setting} 所列地址修改。"
    )


class NameNotOwn(Forbidden):
    """Under a name that anybody could have pointed at this machine, nobody is let in unasked."""

    code = "name_not_own"
    en = (
        "Without a password operators are let in at localhost and at IP addresses only. "
        "Set INDEXTTS_OPERATIONS_PASSWORD to use another name."
    )
    zh = (
        "未设置密码时，运维人员只能用 localhost 或 IP 地址访问。"
        "如需使用域名，请设置 INDEXTTS_OPERATIONS_PASSWORD。"
    )


class ForeignSite(Forbidden):
    """Another site's page had a browser ask for a change, from its visitor's address."""

    code = "foreign_site"
    en = (
        "Another site's page asked for this in your name, and nothing was changed. "
        "Use this service's own page, or a client that is no browser."
    )
    zh = "该修改由其他网站的页面以你的名义发起，已拒绝。请使用本服务的页面，或非浏览器客户端。"


class NotKept(Rejected):
    """No such speaker, preset or term."""

    code = "not_kept"
    http_status = 404
    en = "There is no such {kind}. {where} lists those that exist."
    zh = "没有这个{kind_zh}，现有的见 {where}。"


class UnknownRequest(Rejected):
    """No such request_id; `reason` and `reason_zh` say in what way."""

    code = "unknown_request"
    http_status = 404
    en = "{reason}"
    zh = "{reason_zh}"


class UnknownPath(Rejected):
    """A path that nothing is served at."""

    code = "not_found"
    http_status = 404
    en = "There is nothing here. The API is described at /docs."
    zh = "此处没有内容，接口说明见 /docs。"


class UnknownModel(Rejected):
    """A model that does not run here."""

    code = "model_not_found"
    http_status = 404
    en = "There is no such model. Send one of: {models}."
    zh = "没有这个模型，可用：{models}。"

    def __init__(self, *, models: str) -> None:
        super().__init__(models=models, field="model")


class MethodNotAllowed(Rejected):
    """A path that answers to other methods."""

    code = "method_not_allowed"
    http_status = 405
    en = "This address answers to {allow} only. The API is described at /docs."
    zh = "该地址只接受 {allow}，接口说明见 /docs。"


class MalformedId(Rejected):
    """Not a request_id at all."""

    code = "malformed_request_id"
    http_status = 422
    en = "{reason}"
    zh = "{reason_zh}"


class QueueFull(Rejected):
    """As many requests wait as may wait."""

    code = "queue_full"
    retry_after_seconds = 2
    en = "{waiting} requests are waiting already. Try again in a few seconds."
    zh = "已有 {waiting} 个请求在排队，请过几秒再试。"


class Crowded(Rejected):
    """As many pages are open as may be."""

    code = "crowded"
    retry_after_seconds = 30
    en = "Too many pages of this service are open. Close some, or come back in a while."
    zh = "打开本服务的页面过多，请关闭一些，或稍后再来。"


class StorageFull(Rejected):
    """There is no room for the audio, so it is not made."""

    code = "storage_full"
    http_status = 507
    retry_after_seconds = 60
    en = "The storage for audio is full, so none is made. The operator must free space."
    zh = "音频存储空间已满，暂停合成。请联系运维人员清理空间。"


class NotReady(Rejected):
    """No worker can take the request now; `seconds` tells when one may."""

    code = "not_ready"
    en = "The service cannot take requests now: {reason} Try again in {seconds} seconds."
    zh = "服务暂时无法接收请求：{reason_zh} 请过 {seconds} 秒再试。"

    def __init__(self, *, reason: str, reason_zh: str, seconds: float = 5) -> None:
        self.retry_after_seconds = max(math.ceil(seconds), 1)
        super().__init__(reason=reason, reason_zh=reason_zh, seconds=self.retry_after_seconds)


class NotFit(NotReady):
    """Something is missing or damaged on this machine, which no waiting mends."""

    code = "not_fit"
    en = "The service cannot take requests: {reason} The operator must see to it."
    zh = "服务无法接收请求：{reason_zh} 请联系运维人员处理。"

    def __init__(self, *, reason: str, reason_zh: str) -> None:
        # It is tried again all the same, and may be mended without a restart.
        super().__init__(reason=reason, reason_zh=reason_zh, seconds=30)


class CircuitOpen(NotReady):
    """The engine failed again and again, and nothing is asked of it until it has been tried."""

    code = "circuit_open"

    def __init__(self, *, seconds: float) -> None:
        super().__init__(
            reason="the engine failed several times in a row and is being restarted.",
            reason_zh="引擎连续多次失败，正在重启。",
            seconds=max(seconds, 5),
        )


class DeadlineExceeded(ServiceError):
    """The request took longer than it may."""

    code = "deadline_exceeded"
    http_status = 504
    status = "timeout"
    en = "The audio was not complete within {seconds:g} s, so it was stopped. Send a shorter text."
    zh = "{seconds:g} 秒内未能完成合成，已停止。请缩短文本。"


class ClientGone(ServiceError):
    """Nobody waits for the answer any more."""

    code = "client_gone"
    http_status = 499
    status = "cancelled"
    en = "The request was cancelled."
    zh = "请求已取消。"


class SynthesisFailed(ServiceError):
    """The engine was asked and did not deliver; `origin` is where, for the fingerprint."""

    code = "synthesis_failed"
    http_status = 503
    retry_after_seconds = 1
    en = "The engine could not make this audio. Try again; if it stays, report the request_id."
    zh = "引擎未能合成该音频，请重试；若仍失败，请反馈请求编号。"

    def __init__(self, *, origin: str | None = None, **details: object) -> None:
        super().__init__(**details)
        self.origin = origin


class EngineError(SynthesisFailed):
    """The engine raised an error."""

    code = "engine_error"


class EngineOutOfMemory(SynthesisFailed):
    """The device had no memory left."""

    code = "out_of_memory"
    en = "The device ran out of memory for this request. Try a shorter text."
    zh = "设备内存不足，请缩短文本后重试。"


class WorkerDied(SynthesisFailed):
    """The worker process ended in the middle of the request."""

    code = "worker_died"
    en = "The worker process stopped during this request; a new one takes over. Try again."
    zh = "合成进程中途退出，新的进程正在接替，请重试。"


class ReplicaLost(SynthesisFailed):
    """What a cluster worked on it with is lost, and it could not be begun anew, or not again."""

    code = "replica_lost"
    retry_after_seconds = 5
    en = "The machine that worked on this request was lost. Send it again in a moment."
    zh = "处理该请求的机器或引擎副本已丢失，请稍后重新发送。"


class GivenUp(SynthesisFailed):
    """The service was stopped, and its grace was over before the audio was complete."""

    code = "given_up"
    retry_after_seconds = 10
    en = "The service was stopped before the audio was complete. Send it again in a moment."
    zh = "服务在合成完成之前被停止，请稍后重新发送。"


class NoAudio(SynthesisFailed):
    """The engine finished without a single sample."""

    code = "no_audio"
    en = "The engine found nothing to say in this text. Change the text."
    zh = "引擎没有从文本中读出任何声音，请修改文本。"


class EncoderMissing(SynthesisFailed):
    """The program that makes this format is not there."""

    code = "encoder_missing"
    en = "AAC needs ffmpeg, which is not installed here. Choose another format."
    zh = "AAC 需要 ffmpeg，本机未安装，请选择其他格式。"


class EncodingFailed(SynthesisFailed):
    """The audio was made, and could not be put into its format."""

    code = "encoding_failed"
    en = "The audio could not be encoded. Try again, or choose another format."
    zh = "音频编码失败，请重试或选择其他格式。"


class RemoteFailed(SynthesisFailed):
    """The server that the engine asks did not deliver; `reason` and `reason_zh` say why."""

    code = "remote_failed"
    en = "The speech server behind this service did not deliver: {reason}"
    zh = "本服务后端的语音服务器未能完成合成：{reason_zh}"

    def __init__(
        self, *, reason: str, reason_zh: str, retry_after_seconds: int | None = None
    ) -> None:
        super().__init__(origin="remote", reason=reason, reason_zh=reason_zh)
        if retry_after_seconds is not None:
            self.retry_after_seconds = retry_after_seconds


class RemoteUnreachable(RemoteFailed):
    """No connection to it, or one that broke before the answer was whole."""

    code = "remote_unreachable"
    retry_after_seconds = 5


class RemoteTimeout(RemoteFailed):
    """No whole answer in the time that it has."""

    code = "remote_timeout"
    http_status = 504
    status = "timeout"


class RemoteBusy(RemoteFailed):
    """It has no room now, or is still loading; it may say when to come back."""

    code = "remote_busy"
    retry_after_seconds = 5


class RemoteRefused(RemoteFailed):
    """It refused the request, or the key that it came with."""

    code = "remote_refused"


class RemoteError(RemoteFailed):
    """It answered with a fault of its own."""

    code = "remote_error"


class RemoteBadAudio(RemoteFailed):
    """Its answer claims to be audio and is none, or not whole."""

    code = "remote_bad_audio"


def remote_failed(code: str, **details: object) -> RemoteFailed:
    """The error of one of the faults in `engines.base.REMOTE_FAULTS`."""
    kinds: dict[str, type[RemoteFailed]] = {
        kind.code: kind for kind in RemoteFailed.__subclasses__()
    }
    return kinds.get(code, RemoteFailed)(**details)  # type: ignore[arg-type]


class StorageFailed(SynthesisFailed):
    """The audio could not be stored."""

    code = "storage_failed"
    en = "The audio could not be stored. The operator must free space in the output folder."
    zh = "音频无法保存，请运维人员清理输出目录的空间。"


class KeepingFailed(ServiceError):
    """A speaker, a preset or the glossary could not be stored, or deleted."""

    code = "keeping_failed"
    http_status = 503
    en = "It could not be stored ({reason}). The operator must look at INDEXTTS_SPEAKER_DIR."
    zh = "无法保存（{reason}），请运维人员检查 INDEXTTS_SPEAKER_DIR。"


def _renamed(key: str, value: object, names: Mapping[str, str]) -> object:
    """The value of a detail, where it names fields (one, a list, a guess) by these names."""
    if not names or not isinstance(value, str):
        return value
    if key in ("field", "known"):
        return ", ".join(names.get(name, name) for name in value.split(", "))
    if key in ("meant", "meant_zh"):
        for name, other in names.items():
            value = value.replace(f"'{name}'", f"'{other}'")
    return value


def tree(root: type[ServiceError] = ServiceError) -> Iterator[type[ServiceError]]:
    """Every error class, `root` first."""
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


def of(code: str, details: Mapping[str, object], **attributes: object) -> ServiceError:
    """The error of this code, as it was raised elsewhere; an unknown one is a failed synthesis."""
    kind = {kind.code: kind for kind in tree()}.get(code, SynthesisFailed)
    # Not by its own constructor, which may take other words than it keeps.
    error = kind.__new__(kind)
    ServiceError.__init__(error, **details)
    for name, value in attributes.items():
        if value is not None:
            setattr(error, name, value)
    return error


def codes() -> frozenset[str]:
    """The closed set of error codes, for metrics."""
    return frozenset(error.code for error in tree())
