"""
The engine `indextts2`: the unmodified IndexTTS-2 or 2.5, one request at a time.

Everything that can be known before the model runs is checked before it runs: upstream finds out
late, after the recordings are encoded, and answers some of it with nothing at all. What a request
costs is measured from outside by `observability.indextts_probe`.
"""

from __future__ import annotations

import gc
import random
import wave
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indextts_app.engines.base import (
    EMOTIONS,
    Capabilities,
    Features,
    FieldUnusable,
    Job,
    Memory,
    ReferenceUnusable,
    Samples,
    Segment,
    Task,
    Translated,
    Value,
)
from indextts_app.engines.indextts2 import features as tables
from indextts_app.engines.indextts2 import generation, loading, weights
from indextts_app.engines.indextts2.device import MB, DeviceMemory
from indextts_app.engines.indextts2.language import AUTO, language_of
from indextts_app.engines.indextts2.speaker_cache import SpeakerCache
from indextts_app.engines.indextts2.text_front_end import Reading, TextFrontEnd
from indextts_app.engines.indextts2.variant import VARIANTS, Variant
from indextts_app.engines.resident import resident_mb

SAMPLE_RATE = 22_050
STAGES = ("text_prep", "emotion_text", "speaker_enc", "acoustic", "vocoder", "post")
ON_DEVICE = ("emotion_text", "speaker_enc", "acoustic", "vocoder")
"""The stages that keep the GPU."""

MIN_REFERENCE_SECONDS = 0.1
"""Less is not enough for one frame of every encoder (tried; 100 samples end in a ValueError)."""

_NOTES = {
    "speaker": Translated(
        "A recording whose voice is imitated; its first 15 seconds are used.",
        "被模仿音色的录音，使用其前 15 秒。",
    ),
    "emotion": Translated(
        "Mixed into the speaker's own; the weight says how much.",
        "混入发音人本来的情感，由权重决定多少。",
    ),
    "reference": Translated(
        "The recording gives the voice, and the emotion where none is chosen.",
        "录音决定音色；未选择情感时也决定情感。",
    ),
}


@dataclass(frozen=True, slots=True)
class _Model:
    """A loaded model with what we put around it."""

    loaded: loading.Loaded
    front_end: TextFrontEnd
    sampling: generation.Sampling
    probe: Any
    cache: SpeakerCache
    memory: DeviceMemory | None
    features: Features
    max_tokens: int
    """Text tokens that a segment may have."""

    @property
    def tts(self) -> Any:  # noqa: ANN401
        """Upstream's own instance."""
        return self.loaded.tts


class IndexTTS2Engine:
    """
    Speaks with the voice of a recording, in segments that are handed over as they are made.

    Args:
        model_dir: folder of the weights, in the layout of `weights`.
        model_version: "2" or "2.5".
        device: "auto", "cpu", "cuda", "cuda:N", "xpu" or "mps".
        half_precision: 16-bit weights, on a GPU only.
        emotion_from_text: whether to load the language model of the mode `text`.
        cuda_kernel, deepspeed, accel, torch_compile: upstream's own accelerations.
        speaker_cache_mb: memory for encoded recordings; 0 keeps those of the last request only.
    """

    def __init__(
        self,
        *,
        model_dir: str = "checkpoints",
        model_version: str = "2",
        device: str = "auto",
        half_precision: bool = False,
        emotion_from_text: bool = True,
        cuda_kernel: bool = False,
        deepspeed: bool = False,
        accel: bool = False,
        torch_compile: bool = False,
        speaker_cache_mb: float = 512.0,
    ) -> None:
        self._model_dir = Path(model_dir)
        self._cache_bytes = speaker_cache_mb * MB
        self._asked = loading.Loading(
            version=model_version,
            device=device,
            half_precision=half_precision,
            emotion_from_text=emotion_from_text,
            cuda_kernel=cuda_kernel,
            deepspeed=deepspeed,
            accel=accel,
            torch_compile=torch_compile,
        )
        self._variant: Variant = VARIANTS[model_version]
        self._loaded: _Model | None = None

    @property
    def _model(self) -> _Model:
        assert self._loaded is not None  # noqa: S101  # nobody asks before `load` has returned
        return self._loaded

    def load(self) -> Capabilities:
        """
        Check the weights, load them, and say what can be asked.

        Raises:
            EngineUnfit: weights, packages or the device are not as they should be; what to do.
        """
        asked = self._asked
        checked = weights.verified(
            self._model_dir, asked.version, emotion_from_text=asked.emotion_from_text
        )
        loaded = loading.load(asked, checked)
        self._loaded = model = self._around(loaded)
        own_version = getattr(loaded.tts, "model_version", None) or asked.version
        return Capabilities(
            engine="indextts2",
            engine_version=metadata.version("indextts"),
            model_version=str(own_version).removesuffix(".0")[:20],
            device=loaded.device,
            sample_rate=SAMPLE_RATE,
            speakers=(),
            emotions=EMOTIONS,
            scripts=self._variant.scripts,
            stages=STAGES,
            self_test_text=self._variant.self_test_text,
            features=model.features,
            notes=_NOTES,
        )

    def _around(self, loaded: loading.Loaded) -> _Model:
        # In a function: the service's own engines must not need this library to be imported.
        from observability.indextts_probe import Probe

        tts, asked = loaded.tts, self._asked
        front_end = TextFrontEnd(tts, self._variant)
        sampling = generation.Sampling(tts.gpt)
        max_tokens = int(tts.gpt.text_pos_embedding.emb.num_embeddings) - 2
        table = tables.features(
            model_version=asked.version,
            emotion_from_text=asked.emotion_from_text,
            accel=asked.accel,
        )
        on_cuda = loaded.device.startswith("cuda")
        return _Model(
            loaded=loaded,
            front_end=front_end,
            sampling=sampling,
            probe=Probe(tts),
            cache=SpeakerCache(tts, self._cache_bytes),
            memory=DeviceMemory(loaded.torch, loaded.device) if on_cuda else None,
            features=tables.fitted(
                table,
                max_mel_tokens=int(tts.cfg.gpt.max_mel_tokens),
                max_text_tokens=max_tokens,
            ),
            max_tokens=max_tokens,
        )

    def synthesize(self, job: Job) -> None:
        """
        Speak `job.task`, a segment at a time.

        The same seed gives the same samples, on the same kind of device and with the same number
        of threads: others add in another order, and round otherwise.

        Raises:
            FieldUnusable, ReferenceUnusable: before the model is touched, where it can be known.
            Cancelled: as soon as the current token or diffusion step is done.
            OutOfMemory: on the device; its cache is empty again.
            SystemExit: the GPU does not answer this process any more.
        """
        task, model = job.task, self._model
        values = self._values(task)
        with job.stage("text_prep"):
            _check_recordings(task)
            reading = self._read(task, values)
            _check_reading(reading, model.max_tokens)
        job.note(
            segments=len(reading.segments),
            text_tokens=reading.tokens,
            unknown_tokens=reading.unknown_tokens,
            text_spoken_len=len(reading.text),
        )
        job.spoken(reading.text)
        arguments = {**self._arguments(task, values), **generation.parameters(values)}
        if "lang" in arguments:
            job.note(language=arguments["lang"])
        model.sampling.on = bool(values.get("do_sample", True))
        with self._reading_terms(task, values):
            failure = self._speak(job, arguments, reading, values)
        if failure is not None:
            # Only now: the frames of the error held what the device is to give back.
            gc.collect()
            self.empty_cache()
            raise failure

    def _speak(
        self,
        job: Job,
        arguments: Mapping[str, Any],
        reading: Reading,
        values: Mapping[str, Value],
    ) -> BaseException | None:
        """The task done; or what the model's error means for the request."""
        with self._cached(job), self._memory_noted(job):
            try:
                self._infer(job, arguments, reading, values)
            except (RuntimeError, MemoryError) as error:
                meaning = generation.meaning_of(error, values)
                if meaning is None and generation.loses_device(error):
                    return SystemExit(f"the GPU is lost to this process: {str(error)[:200]}")
                if meaning is None:
                    raise
                return meaning
        return None

    def _infer(
        self,
        job: Job,
        arguments: Mapping[str, Any],
        reading: Reading,
        values: Mapping[str, Value],
    ) -> None:
        model, task = self._model, job.task
        stopping = self._stopping(job)
        silence = np.zeros(int(SAMPLE_RATE * int(values["interval_silence_ms"]) / 1000), np.int16)
        estimator = model.tts.s2mel.models["cfm"].estimator

        def seed() -> None:
            self._seed(task.seed)

        def entered(stage: str) -> None:
            job.check_cancelled()
            if model.memory:
                model.memory.sample()
            job.entered(stage)

        # Seeded twice: here for what is drawn while emotions are read, and once more when the
        # recordings are encoded, which draws as well, but only where they are not cached.
        seed()
        with (
            model.loaded.torch.no_grad(),
            generation.checking_each_step(estimator, job.check_cancelled),
            generation.stopped_by(getattr(model.tts, "qwen_emo", None), stopping),
            model.probe.measure(
                on_stage=entered, on_segment=job.segment, on_text_prep=seed
            ) as measured,
        ):
            try:
                pieces = model.tts.infer(
                    spk_audio_prompt=task.reference,
                    text=task.text,
                    output_path=None,
                    stream_return=True,
                    stopping_criteria=stopping,
                    **arguments,
                )
                for number, samples in enumerate(_speech(pieces)):
                    # In one piece, which is one message.
                    job.audio(np.concatenate((silence, samples)) if number else samples)
            finally:
                for stage, seconds in measured.stages.items():
                    job.spent(stage, seconds)
                job.note(**measured.fields())
                job.note(
                    text_normalize_ms=round(
                        (reading.normalize_seconds + measured.normalize_seconds) * 1000, 3
                    )
                )
                if model.memory:
                    on_device = (measured.stages.get(name, 0.0) for name in ON_DEVICE)
                    job.note(gpu_seconds=sum(on_device))

    def _seed(self, seed: int | None) -> None:
        if seed is None:
            return
        self._model.loaded.torch.manual_seed(seed)
        # Upstream draws an emotion's sample from the module `random`; with a generator of its own
        # nobody else's draws come in between.
        vars(self._model.loaded.module)["random"] = random.Random(seed)  # noqa: S311

    def _stopping(self, job: Job) -> Any:  # noqa: ANN401
        from transformers import StoppingCriteriaList

        return StoppingCriteriaList([generation.StopWhenCancelled(job.check_cancelled)])

    @contextmanager
    def _cached(self, job: Job) -> Iterator[None]:
        cache, task = self._model.cache, job.task
        hits = cache.install(task.reference or "", _emotion_recording(task))
        job.note(speaker_cache_hit=hits.speaker, emotion_cache_hit=hits.emotion)
        try:
            yield
        finally:
            job.note(speaker_cache_evictions=cache.collect(), speaker_cache_mb=cache.size / MB)

    @contextmanager
    def _memory_noted(self, job: Job) -> Iterator[None]:
        memory = self._model.memory
        if memory is None:
            yield
            return
        job.note(**memory.begin())
        try:
            yield
        finally:
            job.note(**memory.end())

    def preview(self, task: Task) -> tuple[Segment, ...]:
        """The segments that `synthesize` would speak; beside a running synthesis as well."""
        return self._read(task, self._values(task)).segments

    def memory(self) -> Memory:
        """What the process holds, the device's part of it, and the encoded recordings."""
        model = self._model
        return Memory(
            worker_mb=resident_mb(),
            allocated_mb=model.memory.allocated_mb if model.memory else None,
            reserved_mb=model.memory.reserved_mb if model.memory else None,
            speakers_mb=model.cache.size / MB,
        )

    def empty_cache(self) -> None:
        """Give back what the allocator of a CUDA device keeps for later."""
        if self._model.memory:
            self._model.loaded.torch.cuda.empty_cache()

    def drop_speakers(self) -> None:
        """Forget every encoded recording; a CUDA device's allocator lets go of them as well."""
        self._model.cache.clear()
        self.empty_cache()

    def _values(self, task: Task) -> Mapping[str, Value]:
        defaults = {control.name: control.default for control in self._model.features.controls}
        return {**defaults, **task.controls}

    def _read(self, task: Task, values: Mapping[str, Value]) -> Reading:
        how: dict[str, Any] = {"max_text_tokens_per_segment": values["segment_tokens"]}
        if self._variant.by_language:
            how["lang"] = _language(task, values)
            how["text_normalization"] = values["text_normalization"]
        if self._variant.quick_streaming:
            how["quick_streaming_tokens"] = values["quick_streaming_tokens"]
        with self._reading_terms(task, values):
            return self._model.front_end.read(task.text, **how)

    @contextmanager
    def _reading_terms(self, task: Task, values: Mapping[str, Value]) -> Iterator[None]:
        """Texts of this thread are read by the request's glossary, where the model has one."""
        if "use_glossary" not in values:
            yield
            return
        glossary = task.glossary if values["use_glossary"] else None
        with self._model.front_end.using(glossary):
            yield

    def _arguments(self, task: Task, values: Mapping[str, Value]) -> dict[str, Any]:
        """The arguments of `infer` beside the generation parameters."""
        arguments: dict[str, Any] = {
            **self._emotion(task),
            "use_random": values["emotion_random"],
            "interval_silence": values["interval_silence_ms"],
            "max_text_tokens_per_segment": values["segment_tokens"],
        }
        if self._variant.quick_streaming:
            arguments["more_segment_before"] = values["quick_streaming_tokens"]
        if self._variant.by_language:
            arguments["lang"] = _language(task, values)
            arguments["text_normalization"] = values["text_normalization"]
            arguments["duration_factor"] = float(values["duration_factor"]) / task.speed
        return arguments

    def _emotion(self, task: Task) -> dict[str, Any]:
        """
        What `infer` is told of the emotion, as the official page does it (`webui.py`, gen_single).

        Weights are biased and scaled by upstream's own rule; what the language model reads out of
        a text is taken as it is, clamped by upstream to 0 to 1.2 each.
        """
        weight = {"emo_alpha": task.emotion_weight}
        if task.emotion_mode == "reference":
            return {**weight, "emo_audio_prompt": task.emotion_reference}
        if task.emotion_mode == "text":
            return {**weight, "use_emo_text": True, "emo_text": task.emotion_text or None}
        vector = task.emotion_vector
        if task.emotion_mode == "preset" and task.emotion != EMOTIONS[0]:
            vector = tuple(float(name == task.emotion) for name in EMOTIONS[1:])
        if task.emotion_mode in ("preset", "vector") and vector is not None:
            scaled = self._model.tts.normalize_emo_vec(list(vector), apply_bias=True)
            return {**weight, "emo_vector": scaled}
        return {}


def _speech(pieces: Iterator[Any]) -> Iterator[Samples]:
    """
    The segments' samples, as upstream itself makes 16-bit numbers of them.

    After each segment upstream yields silence (or a list, where there is to be none), after the
    last one too; that which belongs between segments is put there by the caller.
    """
    for number, piece in enumerate(pieces):
        if number % 2:
            continue
        wave_form: NDArray[np.float32] = piece.numpy()[0]
        if not np.isfinite(wave_form).all():
            raise FloatingPointError("the vocoder's samples are not finite")
        yield wave_form.astype(np.int16)


def _language(task: Task, values: Mapping[str, Value]) -> str:
    language = str(values["language"])
    return language_of(task.text) if language == AUTO else language


def _emotion_recording(task: Task) -> str:
    """The recording that the model encodes for the emotion: the speaker's, where there is none."""
    if task.emotion_mode == "reference" and task.emotion_reference:
        return task.emotion_reference
    return task.reference or ""


def _check_recordings(task: Task) -> None:
    if task.reference is None:
        raise FieldUnusable(
            "speaker",
            Translated(
                "IndexTTS-2 speaks with the voice of a recording. Choose a speaker, or send a "
                "reference.",
                "IndexTTS-2 以录音的音色说话，请选择发音人或上传参考音频。",
            ),
        )
    _check_recording(task.reference)
    if task.emotion_mode == "reference":
        if task.emotion_reference is None:
            raise FieldUnusable(
                "emotion_reference",
                Translated(
                    "emotion mode 'reference' needs a second recording. Send one, or choose "
                    "another mode.",
                    "情感模式“reference”需要第二段录音，请上传或改用其他模式。",
                ),
            )
        _check_recording(task.emotion_reference)


def _check_recording(path: str) -> None:
    try:
        with wave.open(path) as file:
            seconds = file.getnframes() / file.getframerate()
    except FileNotFoundError:
        raise ReferenceUnusable(
            Translated(
                "the recording is no longer there. Send it again.", "录音已不存在，请重新上传。"
            )
        ) from None
    except (OSError, EOFError, wave.Error, ZeroDivisionError):
        raise ReferenceUnusable(
            Translated("the recording cannot be read. Send another.", "录音无法读取，请换一个。")
        ) from None
    if seconds < MIN_REFERENCE_SECONDS:
        raise ReferenceUnusable(
            Translated(
                f"the recording has only {seconds:.2f} s. Three seconds or more of speech are "
                "needed for a likeness.",
                f"录音只有 {seconds:.2f} 秒，至少需要三秒语音才能相似。",
            )
        )


def _check_reading(reading: Reading, max_tokens: int) -> None:
    if not any(character.isalnum() for character in reading.text):
        raise FieldUnusable(
            "text",
            Translated(
                "the model knows none of its characters. Write it in the letters of the language.",
                "模型不认识其中任何字符，请用该语言的文字书写。",
            ),
        )
    longest = max(segment.tokens for segment in reading.segments)
    if longest > max_tokens:
        # Upstream would index past the end of a table, and return nothing.
        raise FieldUnusable(
            "text",
            Translated(
                f"a piece of it that cannot be cut has {longest} tokens, and the model takes "
                f"{max_tokens}. Put in punctuation, shorten a written pronunciation, or lower "
                "segment_tokens.",
                f"其中一段无法切分的文字有 {longest} 个 Token，而模型至多 {max_tokens} 个。"
                "请加标点、缩短读音标注或调低 segment_tokens。",
            ),
        )
