"""
Sambert through the HTTP service it runs in, because its packages need an older Python.

Nobody has standardised that service: its path, the names of its fields, and whether it answers
with the audio itself or with JSON around it are configuration.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from urllib.parse import urljoin, urlsplit

from indextts_app.engines.base import EngineUnfit, Job, RemoteFailed, Translated
from indextts_app.engines.remote.audio import Heard, check_length, decoded
from indextts_app.engines.remote.call import Caller, shown


class SpeechService:
    """
    One service with Sambert behind it.

    Args:
        url: the whole address that text is posted to.
        text_field, voice_field: names of the fields of the JSON body.
        audio_field: where the audio is in a JSON answer, as base64, data URL or address, with dots
            between the names of objects in objects; it is not looked at where the audio comes as
            it is. An address is fetched from the same server only.
        timeout_seconds: longest time of one call.
    """

    def __init__(
        self,
        *,
        url: str,
        text_field: str,
        voice_field: str,
        audio_field: str,
        timeout_seconds: float,
    ) -> None:
        self._url = url
        self._text_field = text_field
        self._voice_field = voice_field
        self._audio_field = audio_field
        self._caller = Caller({}, timeout_seconds)

    def check(self, text: str, voice: str) -> int:
        """Have it speak once; its sample rate, or `EngineUnfit` with the reason."""
        try:
            content = self._caller.post(self._url, self._body(text, voice)).content
            return self._heard(content, None).sample_rate
        except RemoteFailed as error:
            open_port = self._caller.is_open(self._url)
            seen = "port open only" if open_port else "port closed"
            self.close()
            raise EngineUnfit(
                f"the Sambert service at {shown(self._url)} ({seen}): {error}"
            ) from error

    def close(self) -> None:
        """Leave the service."""
        self._caller.close()

    def speak(self, job: Job, text: str, voice: str) -> Heard:
        """What it makes of this text; raises `RemoteFailed` where that is no audio."""
        answer = self._caller.speak(job, self._url, self._body(text, voice))
        heard = self._heard(answer.content, job)
        check_length(heard, job.task.text, job.task.speed)
        return heard

    def _body(self, text: str, voice: str) -> Mapping[str, object]:
        return {self._text_field: text, self._voice_field: voice}

    def _heard(self, content: bytes, job: Job | None) -> Heard:
        if content[:1] in (b"{", b"["):
            content = self._unwrapped(content, job)
        return decoded(content)

    def _unwrapped(self, content: bytes, job: Job | None) -> bytes:
        try:
            found: object = json.loads(content)
        except ValueError:
            raise _bad("its JSON is broken.", "JSON 不完整。") from None
        for name in self._audio_field.split("."):
            found = found.get(name) if isinstance(found, dict) else None
        if not isinstance(found, str) or not found:
            raise _bad(
                f"its JSON has no audio at '{self._audio_field}'. It may be an error, or another "
                "name: INDEXTTS_SAMBERT_AUDIO_FIELD.",
                f"JSON 的 '{self._audio_field}' 处没有音频：可能是错误信息，"
                "或字段名不同（INDEXTTS_SAMBERT_AUDIO_FIELD）。",
            )
        # MPEG audio in base64 begins with two slashes.
        if found.startswith(("http://", "https://", "/")) and not found.startswith("//"):
            return self._fetched(found, job)
        return _from_base64(found.partition("base64,")[2] or found)

    def _fetched(self, address: str, job: Job | None) -> bytes:
        """From the same server only: an answer must not make us ask others."""
        url = urljoin(self._url, address)
        if urlsplit(url)[:2] != urlsplit(self._url)[:2]:
            raise _bad(
                "its audio is said to be on another server, which is not asked.",
                "它给出的音频地址在另一台服务器上，不予请求。",
            )
        return self._caller.get(url, job).content


def _from_base64(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise _bad("its base64 is broken.", "base64 无法解码。") from None


def _bad(en: str, zh: str) -> RemoteFailed:
    return RemoteFailed("remote_bad_audio", Translated(en, zh))
