"""
How to ask for the same audio again: as a shell command, or as a request of the service itself.

What is not stored has to be given again. A text is checked against its keyed hash before anything
is asked; a description of an emotion has no hash, so only its length is.
"""

from __future__ import annotations

import hmac
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from indextts_app.engines.base import Translated
from indextts_app.references import Upload
from indextts_app.synthesis import EMOTION_REFERENCE, REFERENCE
from observability import logfmt
from observability.text_facts import facts_of

ADDRESS = "127.0.0.1:7860"
_LISTENS = re.compile(r"(?:\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+):\d{1,5}")
"""The name of an instance that tells where it listens, as it does unless another was set."""


def command(known: Mapping[str, Any]) -> str | None:
    """
    A line for a shell, None where the request never came so far.

    What the service does not store stands in capitals: the text, a description of an emotion, and
    the folder of outputs, where recordings lie until they are swept. A request that came with an
    API key needs one again, which the shell takes from INDEXTTS_API_KEY.
    """
    if "speaker" not in known or "format" not in known:
        return None
    key = ("-H", '"Authorization: Bearer $INDEXTTS_API_KEY"') if "user" in known else ()
    parts = (part for field in _fields(known) for part in ("-F", shlex.quote(field)))
    name = f"{known.get('request_id', 'again')}-again.{known['format']}"
    instance = str(known.get("instance", ""))
    address = instance if _LISTENS.fullmatch(instance) else ADDRESS
    return " ".join(("curl", shlex.quote(f"http://{address}/tts"), *key, *parts, "-o", name))


class NotReplayable(Exception):
    """It cannot be asked for again, and this is why; never holds the text."""

    def __init__(self, en: str, zh: str) -> None:
        super().__init__(en)
        self.message = Translated(en, zh)


@dataclass(frozen=True, slots=True)
class Replay:
    """The same request again: its fields, and the recordings that came with it."""

    asked: Mapping[str, object]
    recordings: Mapping[str, Upload]


SAME_SECONDS, SAME_SECONDS_SHARE = 0.15, 0.02
SAME_LOUDNESS_DB = 1.0


def is_same(then: Mapping[str, Any], seconds: float, rms_dbfs: float) -> bool | None:
    """
    Whether two audios are as long and as loud, so that what was heard can be heard again.

    As long: within 0.15 s or 2 %; as loud: within 1 dB. None where the first one has no audio.
    """
    before, loudness = then.get("audio_seconds"), then.get("rms_dbfs")
    if before is None or loudness is None:
        return None
    near = bool(abs(seconds - before) <= max(SAME_SECONDS, SAME_SECONDS_SHARE * before))
    return near and bool(abs(rms_dbfs - loudness) <= SAME_LOUDNESS_DB)


def is_read_alike(then: Mapping[str, Any], glossary_hash: str | None) -> bool:
    """Whether the glossary has the same readings for the words of the text as it had then."""
    return then.get("glossary_hash") == glossary_hash


def again(
    known: Mapping[str, Any],
    text: str,
    *,
    hash_key: bytes,
    output_dir: Path,
    emotion_text: str = "",
) -> Replay:
    """
    The request that an event tells of, with the text that it does not tell.

    Args:
        known: the fields of the event.
        text: what the user says the text was; line ends and outer white space are forgiven.
        hash_key: key of the text hashes.
        output_dir: below it recordings lie until they are swept.
        emotion_text: the description of an emotion, where the request had one.

    Raises:
        NotReplayable: the text is another one, or something that is needed is gone.
    """
    if "speaker" not in known or "format" not in known:
        raise NotReplayable(
            "This request was refused before its fields were accepted; there is nothing to replay.",
            "该请求在字段校验前即被拒绝，没有可重放的内容。",
        )
    asked: dict[str, object] = {"text": _same_text(known, text, hash_key), **_named_fields(known)}
    if known.get("emotion_mode") == "text" and "emotion_text_len" in known:
        asked["emotion_text"] = _same_emotion_text(known, emotion_text)
    recordings = {
        name: _recording(name, known, output_dir / "references")
        for name, came in (
            (REFERENCE, _came_with_reference(known)),
            (EMOTION_REFERENCE, known.get("emotion_mode") == "reference"),
        )
        if came
    }
    return Replay(asked, recordings)


def _same_text(known: Mapping[str, Any], text: str, hash_key: bytes) -> str:
    expected = known.get("text_hash")
    if not isinstance(expected, str):
        raise NotReplayable(
            "The log has no hash of this request's text, so that no text can be checked.",
            "日志中没有该请求的文本哈希，无法核对文本。",
        )
    unified = text.replace("\r\n", "\n")
    for reading in dict.fromkeys((text, unified, unified.strip(), f"{unified.strip()}\n")):
        if hmac.compare_digest(facts_of(reading, hash_key).text_hash, expected):
            return reading
    raise NotReplayable(
        f"This is not the text of that request: it had {known.get('text_len', '?')} characters, "
        f"this has {len(text)}, and its hash differs. Every character counts, punctuation too.",
        f"文本与原请求不符：原文 {known.get('text_len', '?')} 字，此处 {len(text)} 字，且哈希不同。"
        "每个字符（含标点）都须一致。",
    )


def _same_emotion_text(known: Mapping[str, Any], emotion_text: str) -> str:
    if len(emotion_text) == known["emotion_text_len"]:
        return emotion_text
    raise NotReplayable(
        f"This request described its emotion in {known['emotion_text_len']} characters, which are "
        f"not stored; {len(emotion_text)} were given. Give that description as well.",
        f"该请求用 {known['emotion_text_len']} 字描述情感，描述未留存；"
        f"现给出 {len(emotion_text)} 字。请一并填写原描述。",
    )


def _recording(name: str, known: Mapping[str, Any], folder: Path) -> Upload:
    path = folder / f"{known.get(f'{name}_hash')}.wav"
    if path.is_file():
        return Upload(path, folder)
    raise NotReplayable(
        f"The recording that came with it ({name}) has been deleted; it is kept as long as audio.",
        f"该请求所附录音（{name}）已删除，其保存期与音频相同。",
    )


def _named_fields(known: Mapping[str, Any]) -> dict[str, object]:
    """The fields of the request beside text and recordings, typed as JSON has them."""
    mode = known.get("emotion_mode")
    asked: dict[str, object] = {"format": known["format"]}
    if known["speaker"] != REFERENCE:
        asked["speaker"] = known["speaker"]
    if mode == "preset":
        asked["emotion"] = known.get("emotion")
    elif mode == "vector":
        asked["emotion_vector"] = [
            float(weight) for weight in str(known.get("emotion_vector", "")).split(",")
        ]
    elif mode == "text" and "emotion_text_len" not in known:
        asked["emotion_mode"] = "text"
    for name in ("emotion_weight", "seed"):
        if name in known:
            asked[name] = known[name]
    if known.get("speed", 1) != 1:
        asked["speed"] = known["speed"]
    for name, value in logfmt.pairs(known.get("controls", "")).items():
        asked[name] = _typed(value)
    return asked


def _typed(value: str) -> object:
    try:
        return json.loads(value)
    except ValueError:
        return value


def _fields(known: Mapping[str, Any]) -> Iterator[str]:
    yield "text=THE_TEXT"
    if known["speaker"] != REFERENCE:
        yield f"speaker={known['speaker']}"
    if _came_with_reference(known):
        yield _file(REFERENCE, known)
    yield from _emotion(known)
    if known.get("speed", 1) != 1:
        yield f"speed={known['speed']:g}"
    yield f"format={known['format']}"
    if "seed" in known:
        yield f"seed={known['seed']}"
    for name, value in logfmt.pairs(known.get("controls", "")).items():
        yield f"{name}={value}"


def _emotion(known: Mapping[str, Any]) -> Iterator[str]:
    mode = known.get("emotion_mode")
    if mode == "preset":
        yield f"emotion={known.get('emotion')}"
    elif mode == "vector":
        yield f"emotion_vector=[{known.get('emotion_vector', '')}]"
    elif mode == "reference":
        yield _file(EMOTION_REFERENCE, known)
    elif mode == "text":
        yield "emotion_text=THE_EMOTION" if "emotion_text_len" in known else "emotion_mode=text"
    if "emotion_weight" in known:
        yield f"emotion_weight={known['emotion_weight']:g}"


def _came_with_reference(known: Mapping[str, Any]) -> bool:
    """A stored speaker has a recording as well, which must not be sent beside its id."""
    return known["speaker"] == REFERENCE or (
        "reference_truncated" in known
        and "reference_hash" in known
        and "emotion_reference_hash" not in known
    )


def _file(name: str, known: Mapping[str, Any]) -> str:
    return f"{name}=@OUTPUT_DIR/references/{known.get(f'{name}_hash')}.wav"
