"""
The engine `sambert`: Chinese voices with emotions, asked for over HTTP or run in this process.

Emotion goes into the text as SSML, the only thing about the delivery that the model takes.
"""

from __future__ import annotations

from indextts_app.engines.base import (
    Capabilities,
    EngineUnfit,
    FieldUnusable,
    Job,
    Translated,
)
from indextts_app.engines.remote.audio import Heard
from indextts_app.engines.sambert import voices as tables
from indextts_app.engines.sambert.direct import DirectModel
from indextts_app.engines.sambert.service import SpeechService

SELF_TEST_TEXT = "你好。"

_NOTES = {
    "speaker": Translated("Built-in Chinese voices.", "内置的中文音色。"),
    "emotion": Translated(
        "Learned by the model, asked for as SSML; voices differ in how much they show.",
        "模型学习到的情感，以 SSML 请求；各音色表现程度不同。",
    ),
}


class SambertEngine:
    """
    Speaks with the voices of Sambert-HifiGan.

    Args:
        url: address of the service that runs the model; empty: it is loaded here.
        model: the model's id, for loading it here.
        voices: names of the service's voices, separated by commas.
        text_field, voice_field, audio_field: see `SpeechService`.
        timeout_seconds: longest time of one call of the service.
    """

    def __init__(
        self,
        *,
        url: str = "",
        model: str = tables.DEFAULT_MODEL,
        voices: str = ",".join(tables.DEFAULT_VOICES),
        text_field: str = "text",
        voice_field: str = "voice",
        audio_field: str = "audio",
        timeout_seconds: float = 50.0,
    ) -> None:
        self._url = url
        self._model = model
        self._listed = tuple(filter(None, (name.strip() for name in voices.split(","))))
        self._fields = {
            "text_field": text_field,
            "voice_field": voice_field,
            "audio_field": audio_field,
        }
        self._timeout_seconds = timeout_seconds
        self._voices: dict[str, str] = {}
        self._sample_rate = tables.SAMPLE_RATE

    def load(self) -> Capabilities:
        """Find the service, or load the model; `EngineUnfit` where neither can be."""
        self._back: SpeechService | DirectModel
        if self._url:
            names = self._listed
            if not names:
                raise EngineUnfit(
                    "set INDEXTTS_SAMBERT_VOICES to the names of the service's voices"
                )
            self._back = service = SpeechService(
                url=self._url, **self._fields, timeout_seconds=self._timeout_seconds
            )
            self._sample_rate = service.check(SELF_TEST_TEXT, names[0])
        else:
            self._back = model = DirectModel(self._model)
            names, self._sample_rate = model.voices, model.sample_rate
        self._voices = {tables.speaker_of(name): name for name in names}
        return Capabilities(
            engine="sambert",
            engine_version="http" if self._url else "modelscope",
            model_version=self._model.rpartition("/")[2],
            device="remote" if self._url else "local",
            sample_rate=self._sample_rate,
            speakers=tables.speakers(names),
            emotions=tables.emotions(names),
            scripts=("CJK", "LATIN"),
            stages=("engine_http",) if self._url else ("text_prep", "acoustic", "vocoder"),
            features=tables.FEATURES,
            self_test_text=SELF_TEST_TEXT,
            notes=_NOTES,
        )

    def close(self) -> None:
        """Leave the service, if there is one."""
        if isinstance(self._back, SpeechService):
            self._back.close()

    def synthesize(self, job: Job) -> None:
        """Speak `job.task`; raises `RemoteFailed`, and `FieldUnusable` for a voice's emotion."""
        task = job.task
        voice = self._voices[task.speaker]
        if task.emotion != "neutral" and not tables.has_emotions(voice):
            raise FieldUnusable(
                "emotion",
                Translated(
                    f"the voice '{task.speaker}' has no emotions. Leave it out, or choose another.",
                    f"音色“{task.speaker}”没有情感，请去掉该字段或换一个音色。",
                ),
            )
        intensity = float(task.controls.get(tables.INTENSITY, 1.0))
        heard = self._heard(job, tables.ssml(task.text, task.emotion, intensity), voice)
        if heard.sample_rate != self._sample_rate:
            job.sample_rate(heard.sample_rate)
        job.audio(heard.samples)

    def _heard(self, job: Job, text: str, voice: str) -> Heard:
        return self._back.speak(job, text, voice)
