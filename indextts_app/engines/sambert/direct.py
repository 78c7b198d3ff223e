"""
Sambert through `modelscope.pipelines` in this process, its three stages timed from outside.

It needs Python 3.10 and packages that this project does not install (docs/engines.md).
The model is one object that is not safe for two calls at a time; a worker makes one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from indextts_app.engines.base import EngineUnfit, Job, RemoteFailed, Translated
from indextts_app.engines.remote.audio import Heard, decoded

OUTPUT = "output_wav"
"""`OutputKeys.OUTPUT_WAV`: the bytes of a whole WAV file."""


class DirectModel:
    """A loaded pipeline."""

    def __init__(self, model: str) -> None:
        try:
            from modelscope.pipelines import pipeline

            self._pipeline = pipeline(task="text-to-speech", model=model)
        except ImportError as error:
            version = ".".join(map(str, sys.version_info[:2]))
            raise EngineUnfit(
                f"Sambert does not load under Python {version}: {error}. It needs 3.10: "
                "name one in INDEXTTS_WORKER_PYTHON, or set INDEXTTS_SAMBERT_URL to a service "
                "that runs it (docs/engines.md)"
            ) from error
        self._job: Job | None = None
        self._load_seconds = 0.0
        self._tap(self._pipeline.model)

    @property
    def voices(self) -> tuple[str, ...]:
        """The names that the model itself has for its voices."""
        return tuple(self._pipeline.model.voices)

    @property
    def sample_rate(self) -> int:
        """Of all its voices."""
        return int(self._pipeline.model.sample_rate)

    def speak(self, job: Job, text: str, voice: str) -> Heard:
        """What it makes of this text; a file without samples is a failure."""
        self._job, self._load_seconds = job, 0.0
        try:
            answer = self._pipeline(text, voice=voice)
        finally:
            self._job = None
            if self._load_seconds:
                job.note(cold_start=True, model_load_ms=1000 * self._load_seconds)
        content = answer.get(OUTPUT)
        if not isinstance(content, bytes):
            raise RemoteFailed(
                "remote_bad_audio",
                Translated("the pipeline gave no audio.", "管线没有返回音频。"),
            )
        return decoded(content)

    def _tap(self, model: Any) -> None:  # noqa: ANN401
        """The front-end is an object of C, whose methods stay as they are: it gets a cover."""
        model.frontend = _FrontEnd(model.frontend, self._timed)
        for voice in model.voices.values():
            voice.am_forward = self._timed("acoustic", voice.am_forward)
            voice.vocoder_forward = self._timed("vocoder", voice.vocoder_forward)
            voice.load_am = self._loading(voice.load_am)
            voice.load_vocoder = self._loading(voice.load_vocoder)

    def _timed(self, stage: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:  # noqa: ANN401
            if self._job is None:
                return call(*arguments)
            with self._job.stage(stage):
                return call(*arguments)

        return timed

    def _loading(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def loading(*arguments: Any) -> Any:  # noqa: ANN401
            with self._counted():
                return call(*arguments)

        return loading

    @contextmanager
    def _counted(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self._load_seconds += time.perf_counter() - began


class _FrontEnd:
    """Passes everything on, and times the one call that the model makes."""

    def __init__(
        self,
        front_end: Any,  # noqa: ANN401
        timed: Callable[[str, Callable[..., Any]], Callable[..., Any]],
    ) -> None:
        self._front_end = front_end
        self.gen_tacotron_symbols = timed("text_prep", front_end.gen_tacotron_symbols)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._front_end, name)
