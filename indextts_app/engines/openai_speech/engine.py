"""
The engine `openai_speech`: asks a server of the OpenAI speech API, and looks closely at the answer.

What the server does inside nobody tells, so that its whole time is one stage, `engine_http`. It is
always asked for a whole WAV, because a status of 200 says nothing: servers were seen to answer so
with an error in JSON, with samples without a header, and with half a file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urljoin

from indextts_app.engines.base import (
    Capabilities,
    EngineUnfit,
    Job,
    RemoteFailed,
    Speaker,
    Translated,
)
from indextts_app.engines.openai_speech.dialects import DIALECTS
from indextts_app.engines.openai_speech.features import emotions, features
from indextts_app.engines.openai_speech.voices import voices_in
from indextts_app.engines.remote.audio import Heard, check_length, decoded
from indextts_app.engines.remote.call import Caller, shown

KEY_VARIABLE = "INDEXTTS_SPEECH_API_KEY"

SELF_TEST_TEXT = "Hello, 你好。"

_NOTES = {
    "speaker": Translated("Voices of the speech server.", "语音服务器自带的音色。"),
    "emotion": Translated(
        "Asked for in words; how much of it is heard depends on the server's model.",
        "以文字说明请求，效果取决于服务器的模型。",
    ),
}


class OpenAISpeechEngine:
    """
    Speaks with the voices of another server.

    Args:
        url: its base URL, prefix included: https://api.openai.com/v1, http://host:8880/v1.
        dialect: one of `DIALECTS`.
        model: the model to ask for; the dialect's own if empty.
        voices: the voices to offer; those that the server tells if empty.
        format: "wav", or "pcm" for a server that sends samples without a header.
        rate: sample rate of such samples; of a WAV it is read from the file.
        timeout_seconds: longest time of one request.
    """

    def __init__(
        self,
        *,
        url: str = "",
        dialect: str = "openai",
        model: str = "",
        voices: str = "",
        format: str = "wav",  # noqa: A002  # the word of the API
        rate: int = 24_000,
        timeout_seconds: float = 50.0,
    ) -> None:
        self._url = f"{url.rstrip('/')}/"
        self._dialect = DIALECTS[dialect]
        self._model = model or self._dialect.model
        self._configured = tuple(filter(None, (name.strip() for name in voices.split(","))))
        self._format = format
        self._pcm_rate = rate if format == "pcm" else None
        self._timeout_seconds = timeout_seconds
        self._sample_rate = 0

    def load(self) -> Capabilities:
        """Ask the server how it is, which voices it has, and for one sentence; or `EngineUnfit`."""
        if self._url == "/":
            raise EngineUnfit("set INDEXTTS_SPEECH_URL to the base URL of the speech server")
        with ExitStack() as unless_fit:
            can = self._loaded(unless_fit)
            unless_fit.pop_all()
        return can

    def close(self) -> None:
        """Leave the server."""
        self._caller.close()

    def _loaded(self, unless_fit: ExitStack) -> Capabilities:
        key = os.environ.get(KEY_VARIABLE, "")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._caller = Caller(headers, self._timeout_seconds)
        unless_fit.callback(self.close)
        seen = self._health()
        try:
            voices = self._configured or self._listed() or self._dialect.voices
            if not voices:
                raise EngineUnfit(
                    "the speech server names no voices: set INDEXTTS_SPEECH_VOICES to those it has"
                )
            body = self._body(SELF_TEST_TEXT, voices[0], "neutral", 1.0)
            self._sample_rate = self._heard(
                self._caller.post(self._speech_url, body).content
            ).sample_rate
        except RemoteFailed as error:
            raise EngineUnfit(
                f"the speech server at {shown(self._url)} ({seen}): {error}"
            ) from error
        return Capabilities(
            engine="openai_speech",
            engine_version=self._dialect.name,
            model_version=self._model,
            device="remote",
            sample_rate=self._sample_rate,
            speakers=tuple(Speaker(name, Translated(name, name)) for name in voices),
            emotions=emotions(self._dialect.name),
            scripts=(),
            stages=("engine_http",),
            features=features(dialect=self._dialect.name),
            self_test_text=SELF_TEST_TEXT,
            notes=_NOTES,
        )

    def synthesize(self, job: Job) -> None:
        """Have the server speak `job.task`; raises `RemoteFailed` where it does not."""
        task = job.task
        body = self._body(task.text, task.speaker, task.emotion, task.speed)
        answer = self._caller.speak(job, self._speech_url, body)
        heard = self._heard(answer.content)
        check_length(heard, task.text, task.speed if self._dialect.speed else 1.0)
        if heard.sample_rate != self._sample_rate:
            job.sample_rate(heard.sample_rate)
        job.audio(heard.samples)

    @property
    def _speech_url(self) -> str:
        return f"{self._url}audio/speech"

    def _body(self, text: str, voice: str, emotion: str, speed: float) -> dict[str, object]:
        dialect = self._dialect
        body: dict[str, object] = {
            "model": self._model,
            "input": text,
            "voice": voice,
            "response_format": self._format,
            **dialect.extra,
        }
        if dialect.speed:
            body["speed"] = speed
        if dialect.emotion_field and emotion != "neutral":
            body[dialect.emotion_field] = dialect.emotions[emotion]
        return body

    def _heard(self, content: bytes) -> Heard:
        return decoded(content, pcm_rate=self._pcm_rate)

    def _listed(self) -> tuple[str, ...]:
        if self._dialect.voices_path is None:
            return ()
        content = self._caller.get(f"{self._url}{self._dialect.voices_path}").content
        try:
            return voices_in(json.loads(content))
        except ValueError:
            raise RemoteFailed(
                "remote_error",
                Translated("its list of voices is no JSON.", "音色列表不是 JSON。"),
            ) from None

    def _health(self) -> str:
        """What was seen of the server before it was asked to speak, for the reason it is unfit."""
        for url in self._health_urls():
            try:
                self._caller.get(url)
            except RemoteFailed as error:
                if error.code == "remote_busy":
                    return f"{shown(url)} says not yet"
            else:
                return f"{shown(url)} answers"
        return "port open only" if self._caller.is_open(self._url) else "port closed"

    def _health_urls(self) -> Iterator[str]:
        yield from (urljoin(self._url, path) for path in self._dialect.health)
        yield f"{self._url}models"
        if self._dialect.voices_path:
            yield f"{self._url}{self._dialect.voices_path}"
