"""
Where the time of an IndexTTS-2 call goes, measured from outside: no line of the model is changed.

    probe = Probe(tts)
    with probe.measure() as measured:
        tts.infer("voice.wav", "Hello.", None)
    measured.stages["acoustic"]

The marks that the model itself sets (`gr_progress`) begin speaker_enc, text_prep, acoustic and
post; wrappers around its methods, as attributes of the one instance, tell emotion_text, vocoder and
the parts of acoustic apart. Works with `indextts.infer_v2` and `indextts.infer_v2_5`: what one of
them lacks is not wrapped. The standard library only at import.
"""

from __future__ import annotations

import functools
import re
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from observability import losses

_SEGMENT = re.compile(r"(\d+)/(\d+)")
_NEEDED = (
    "infer",
    "infer_generator",
    "gr_progress",
    "_set_gr_progress",
    "stop_mel_token",
    "tokenizer",
    "gpt.inference_speech",
    "semantic_codec",
    "s2mel.models.cfm.inference",
    "bigvgan.forward",
)
"""What both versions have and no measurement can do without; `models` is a mapping."""
_TEXT_ARGUMENT = 1
"""Of `inference_speech`: the tokens of the segment, shape (1, n), in both versions."""
_RATE_ARGUMENT = 3
"""Of `_load_and_cut_audio`: given for the emotion's recording only."""


@dataclass(slots=True)
class Measured:
    """
    What is known of one call so far; complete when `infer` has returned or its generator ended.

    `stages` holds seconds by exclusive time: text_prep, emotion_text, speaker_enc, acoustic,
    vocoder and post, of which a call that failed early has only some. What the call took beyond
    their sum is `other`. None stands for what was not reached or what the version cannot tell.
    """

    stages: dict[str, float] = field(default_factory=dict)
    normalize_seconds: float = 0.0
    """The normaliser's part of text_prep."""
    gpt_seconds: float = 0.0
    """The part of acoustic that the GPT took: emotion vector, token loop, latent pass."""
    s2mel_seconds: float = 0.0
    """The part of acoustic that made the spectrogram: semantic layers, length, diffusion."""
    segments: int = 0
    """Pieces of text that were begun."""
    text_tokens: int | None = None
    """Tokens of the text; with 2.5 those of the segments begun, each with its language prefix."""
    unknown_tokens: int | None = None
    """Tokens of the text that the model does not know; None where its tokenizer knows every one."""
    acoustic_tokens: int | None = None
    """Tokens made, without those that say stop."""
    length_limited: bool | None = None
    """Whether a segment ended because of the limit and not because it was finished."""
    speaker_encoded: bool | None = None
    """Whether the speaker's recording was encoded; False: the model had it from a call before."""
    emotion_encoded: bool | None = None
    """The same for the recording that the emotion is taken from."""

    def fields(self) -> dict[str, float | int | bool]:
        """The fields of the canonical event but the stages; what is not known is left out."""
        known: dict[str, float | int | bool | None] = {
            "text_tokens": self.text_tokens,
            "unknown_tokens": self.unknown_tokens,
            "speaker_cache_hit": None if self.speaker_encoded is None else not self.speaker_encoded,
            "emotion_cache_hit": None if self.emotion_encoded is None else not self.emotion_encoded,
            "acoustic_tokens": self.acoustic_tokens,
            "length_limited": self.length_limited,
        }
        if "text_prep" in self.stages:
            known["text_normalize_ms"] = round(self.normalize_seconds * 1000, 3)
        if self.segments:
            known["segments"] = self.segments
            known["acoustic_gpt_ms"] = round(self.gpt_seconds * 1000, 3)
            known["acoustic_s2mel_ms"] = round(self.s2mel_seconds * 1000, 3)
        return {name: value for name, value in known.items() if value is not None}


class _Place(NamedTuple):
    """Where a call is: a stage, a part of it, or outside of all."""

    stage: str | None
    part: str | None = None


_OUTSIDE = _Place(None)
_NORMALIZE = _Place("text_prep", "normalize")
_GPT = _Place("acoustic", "gpt")
_S2MEL = _Place("acoustic", "s2mel")


class _Measurement:
    """Books the time since the last switch to the place before it: none is lost or doubled."""

    def __init__(
        self,
        clock: Callable[[], float],
        synchronize: Callable[[], None],
        on_stage: Callable[[str], None],
        on_segment: Callable[[int, int], None],
        on_text_prep: Callable[[], None],
    ) -> None:
        self.measured = Measured()
        self.place = _OUTSIDE
        self.reads_emotion = False
        self._clock = clock
        self._synchronize = synchronize
        self._on_stage = on_stage
        self._on_segment = on_segment
        self._on_text_prep = on_text_prep
        self._told: str | None = None
        self._since = clock()

    def go(self, place: _Place, *, synchronize: bool = True) -> _Place:
        """Be there from now on; returns where it was."""
        if synchronize:
            self._synchronize()
        before, now = self.place, self._clock()
        self._book(before, now - self._since)
        self.place, self._since = place, now
        if place.stage and place.stage != self._told:
            self._told = place.stage
            self._on_stage(place.stage)
        return before

    def _book(self, place: _Place, seconds: float) -> None:
        measured = self.measured
        if place.stage:
            measured.stages[place.stage] = measured.stages.get(place.stage, 0.0) + seconds
        if place.part:
            name = f"{place.part}_seconds"
            setattr(measured, name, getattr(measured, name) + seconds)

    def mark(self, value: float, desc: str) -> None:
        """A mark of the model's progress: 0, 0.1, one between 0.2 and 0.9 a segment, 0.9."""
        if value <= 0:
            self.go(_Place("speaker_enc"))
        elif value < 0.2:
            self.go(_Place("text_prep"))
            self.measured.speaker_encoded = bool(self.measured.speaker_encoded)
            self.measured.emotion_encoded = bool(self.measured.emotion_encoded)
            self._on_text_prep()
        elif value < 0.9:
            self.go(_Place("acoustic"))
            self.measured.segments += 1
            if found := _SEGMENT.search(desc):
                self._on_segment(int(found[1]), int(found[2]))
        else:
            self.go(_Place("post"))


class _Heard(NamedTuple):
    """A call of one of the model's methods."""

    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    result: Any


_Hear = Callable[[_Measurement, _Heard], None]


def _nothing(*_: object) -> None:
    """What is called where nobody listens."""


def check(tts: Any) -> None:  # noqa: ANN401
    """
    Return if the calls of this object can be measured.

    Raises:
        TypeError: it is no IndexTTS2, or lacks what is measured by; names all of it.
    """
    lacks = ", ".join(path for path in _NEEDED if not _has(tts, path))
    if lacks:
        name = type(tts).__name__
        raise TypeError(
            f"{name} is no IndexTTS2 of indextts.infer_v2 or infer_v2_5, it lacks {lacks}; make "
            f"one of those. {name} 缺少 {lacks}，不是 indextts.infer_v2 或 infer_v2_5 的 "
            "IndexTTS2，请换用。"
        )


def _has(owner: Any, path: str) -> bool:  # noqa: ANN401
    for name in path.split("."):
        try:
            # A mapping of modules has methods as well, but none of these names.
            owner = getattr(owner, name) if hasattr(owner, name) else owner[name]
        except (LookupError, TypeError):
            return False
    return True


class Probe:
    """
    Measures the calls of one IndexTTS2 instance; installed once, it costs nothing between them.

    Each thread that measures has its own measurement. Where the model runs on a GPU its work is
    waited for at every switch of the stage, so that a stage holds what it started; the 25 steps of
    the diffusion and the token loop are left alone.

    Args:
        tts: an instance of `IndexTTS2`, of `indextts.infer_v2` or `indextts.infer_v2_5`.
        clock: seconds that never go back.
        synchronize: waits for the device; by default `torch.cuda.synchronize` for a CUDA device,
            its like for another accelerator, and nothing on a CPU.

    Raises:
        TypeError: see `check`; the object is as it was.
    """

    def __init__(
        self,
        tts: Any,  # noqa: ANN401  # a class of a package that is not installed here
        *,
        clock: Callable[[], float] = time.perf_counter,
        synchronize: Callable[[], None] | None = None,
    ) -> None:
        check(tts)
        self._tts = tts
        self._clock = clock
        self._synchronize = synchronize or _synchronizer(str(getattr(tts, "device", "cpu")))
        self._local = threading.local()
        self._emotion_text: object = None
        self._install()

    @contextmanager
    def measure(
        self,
        *,
        on_stage: Callable[[str], None] = _nothing,
        on_segment: Callable[[int, int], None] = _nothing,
        on_text_prep: Callable[[], None] = _nothing,
    ) -> Iterator[Measured]:
        """
        Measure the call of `infer` that this thread makes inside the block.

        A generator that `infer` returned there is measured until it ends, wherever it is consumed,
        and only while it works: what its consumer does between two pieces is in no stage.

        An exception that a callback raises goes through the model and ends the call.

        Args:
            on_stage: told the stage at every change of it.
            on_segment: told the number of the segment that begins, from 1, and how many there are.
            on_text_prep: called when the recordings are read, before any random number is drawn for
                the text; the place to set a seed.
        """
        self._watch_emotion_text()
        running = _Measurement(self._clock, self._synchronize, on_stage, on_segment, on_text_prep)
        with self._as_running(running):
            yield running.measured

    def _running(self) -> _Measurement | None:
        return getattr(self._local, "running", None)

    @contextmanager
    def _as_running(self, running: _Measurement) -> Iterator[None]:
        before, self._local.running = self._running(), running
        try:
            yield
        finally:
            self._local.running = before

    def _install(self) -> None:
        tts = self._tts
        models = tts.s2mel.models
        tokenizer = tts.tokenizer
        tts._set_gr_progress = self._marking(tts._set_gr_progress)
        tts.infer_generator = self._stepping(tts.infer_generator)

        self._listen(tts, "_load_and_cut_audio", _hear_recording)
        self._listen(tts, "get_emb", _hear_encoded)
        if hasattr(tokenizer, "convert_tokens_to_ids"):
            unknown = getattr(tokenizer, "unk_token_id", None)
            self._listen(tokenizer, "convert_tokens_to_ids", functools.partial(_hear_ids, unknown))
            hear_codes = functools.partial(_hear_codes, tts.stop_mel_token, False)
        else:
            hear_codes = functools.partial(_hear_codes, tts.stop_mel_token, True)

        self._watch(getattr(tts, "normalizer", None), "normalize", _NORMALIZE)
        self._watch(getattr(tts, "text_process", None), "normalize", _NORMALIZE)
        self._watch(tts.gpt, "merge_emovec", _GPT)
        self._watch(tts.gpt, "inference_speech", _GPT, hear_codes)
        self._watch(tts.gpt, "forward", _GPT)
        self._watch(tts.semantic_codec, "decode", _S2MEL)
        for layer in ("gpt_layer", "length_regulator"):
            if layer in models:
                self._watch(models[layer], "forward", _S2MEL)
        self._watch(models["cfm"], "inference", _S2MEL)
        self._watch(tts.bigvgan, "forward", _Place("vocoder"))

    def _watch_emotion_text(self) -> None:
        """Its language model may be loaded later than the rest, or again."""
        emotion_text = getattr(self._tts, "qwen_emo", None)
        if emotion_text is not self._emotion_text:
            self._emotion_text = emotion_text
            self._watch(emotion_text, "inference", _Place("emotion_text"))

    def _marking(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Hears the marks; whoever else listens, then or later, goes on hearing them."""

        @functools.wraps(function)
        def marked(value: float, desc: str) -> Any:  # noqa: ANN401
            if running := self._running():
                running.mark(value, desc)
            return function(value, desc)

        return marked

    def _stepping(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Measures a generator while it works and not while it waits for its consumer."""

        @functools.wraps(function)
        def stepped(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            generator = function(*args, **kwargs)
            running = self._running()
            return generator if running is None else self._steps(running, generator)

        return stepped

    def _steps(
        self, running: _Measurement, generator: Generator[Any, None, Any]
    ) -> Generator[Any, None, Any]:
        inside = _OUTSIDE
        try:
            while True:
                with self._as_running(running):
                    outside = running.go(inside)
                    try:
                        piece = next(generator)
                    except StopIteration as end:
                        running.go(outside)
                        return end.value
                    except BaseException:  # raised again; the device may not answer any more
                        running.go(outside, synchronize=False)
                        raise
                    inside = running.go(outside)
                yield piece
        finally:
            generator.close()

    def _listen(self, owner: object, name: str, hear: _Hear) -> None:
        """Tell of the calls of a method; their time stays where it is."""
        function = getattr(owner, name, None)
        if function is None:
            return

        @functools.wraps(function)
        def listened(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            result = function(*args, **kwargs)
            if running := self._running():
                _tell(hear, running, _Heard(args, kwargs, result))
            return result

        setattr(owner, name, listened)

    def _watch(self, owner: object, name: str, place: _Place, hear: _Hear | None = None) -> None:
        """
        Book the time of a method to its place; a part only while its stage is on.

        Where the method raises, the place is left as it is: that is where it happened.
        """
        function = getattr(owner, name, None)
        if function is None:
            return

        @functools.wraps(function)
        def watched(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            running = self._running()
            if running is None or (place.part and running.place.stage != place.stage):
                return function(*args, **kwargs)
            before = running.go(place)
            result = function(*args, **kwargs)
            if hear:
                _tell(hear, running, _Heard(args, kwargs, result))
            running.go(before)
            return result

        setattr(owner, name, watched)


def _tell(hear: _Hear, running: _Measurement, heard: _Heard) -> None:
    try:
        hear(running, heard)
    except Exception:  # noqa: BLE001  # an edge: the model's own types are read here
        losses.count("probe")


def _hear_recording(running: _Measurement, heard: _Heard) -> None:
    rate = heard.kwargs.get("sr") or heard.args[_RATE_ARGUMENT:]
    running.reads_emotion = bool(rate)


def _hear_encoded(running: _Measurement, _: _Heard) -> None:
    if running.reads_emotion:
        running.measured.emotion_encoded = True
    else:
        running.measured.speaker_encoded = True


def _hear_ids(unknown: int | None, running: _Measurement, heard: _Heard) -> None:
    # Later each segment's tokens are converted once more.
    if running.place.stage == "text_prep":
        ids: list[int] = heard.result
        measured = running.measured
        measured.text_tokens = (measured.text_tokens or 0) + len(ids)
        if unknown is not None:
            measured.unknown_tokens = (measured.unknown_tokens or 0) + ids.count(unknown)


def _hear_codes(stop: int, counts_text: bool, running: _Measurement, heard: _Heard) -> None:
    measured = running.measured
    (codes,) = heard.result[0]
    finished = len(codes) > 0 and int(codes[-1]) == stop
    measured.acoustic_tokens = (measured.acoustic_tokens or 0) + len(codes) - finished
    measured.length_limited = bool(measured.length_limited) or not finished
    if counts_text:
        # The last one stands for the end of the text.
        tokens = int(heard.args[_TEXT_ARGUMENT].shape[-1]) - 1
        measured.text_tokens = (measured.text_tokens or 0) + tokens


def _synchronizer(device: str) -> Callable[[], None]:
    kind = device.partition(":")[0]
    if kind == "cpu":
        return _nothing
    import torch

    if kind == "cuda":
        return functools.partial(torch.cuda.synchronize, device)
    synchronize: Callable[[], None] | None = getattr(
        getattr(torch, kind, None), "synchronize", None
    )
    return synchronize or _nothing
