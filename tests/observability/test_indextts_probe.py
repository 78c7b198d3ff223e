"""
Promises of `observability.indextts_probe`, held to a double and to the real class.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from model_double import Clock, IndexTTS2Double
from model_environment import MODEL_ENVIRONMENT

from observability import losses
from observability.indextts_probe import Measured, Probe

VOICE, OTHER_VOICE = "voice.wav", "other.wav"
COLD = {
    "speaker_enc": 1 + 10 + 5 + 0.5 + 1 + 10,
    "text_prep": 1 + 3,
    "acoustic": 1 + 30 + 4 + 0.25 + 0.5 + 20 + 0.03125,
    "vocoder": 7,
    "post": 2,
}
ONE_SEGMENT = Measured(
    stages=COLD,
    normalize_seconds=3,
    gpt_seconds=1 + 30 + 4,
    s2mel_seconds=0.25 + 0.5 + 20,
    segments=1,
    text_tokens=3,
    unknown_tokens=0,
    acoustic_tokens=39,
    length_limited=False,
    speaker_encoded=True,
    emotion_encoded=True,
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tts(clock: Clock) -> IndexTTS2Double:
    return IndexTTS2Double(clock)


@pytest.fixture
def probe(tts: IndexTTS2Double, clock: Clock) -> Probe:
    return Probe(tts, clock=clock)


def measured_call(probe: Probe, infer: Callable[..., Any], *args: Any, **kwargs: Any) -> Measured:
    with probe.measure() as measured:
        infer(*args, **kwargs)
    return measured


# --- Where the time goes -------------------------------------------------------------------------


def test_every_second_between_first_mark_and_last_is_in_one_stage(
    probe: Probe, tts: IndexTTS2Double, clock: Clock
) -> None:
    """The stages hold all but what precedes the first mark, and count what was made."""
    began = clock()
    with probe.measure() as measured:
        tts.infer(VOICE, "hello world.", None)
    assert measured == ONE_SEGMENT
    assert clock() - began - sum(measured.stages.values()) == 0.0625


def test_fields_of_the_event_follow_from_it() -> None:
    """Milliseconds and cache hits, under the names of the canonical event."""
    assert ONE_SEGMENT.fields() == {
        "text_tokens": 3,
        "unknown_tokens": 0,
        "speaker_cache_hit": False,
        "emotion_cache_hit": False,
        "acoustic_tokens": 39,
        "length_limited": False,
        "text_normalize_ms": 3000,
        "segments": 1,
        "acoustic_gpt_ms": 35_000,
        "acoustic_s2mel_ms": 20_750,
    }
    assert Measured().fields() == {}


def test_a_speaker_that_the_model_still_has_costs_nothing(
    probe: Probe, tts: IndexTTS2Double
) -> None:
    """The second call of a voice tells of the hit; another emotion's recording is told apart."""
    tts.infer(VOICE, "hello.", None)
    again = measured_call(probe, tts.infer, VOICE, "hello.", None)
    other = measured_call(probe, tts.infer, VOICE, "hello.", None, OTHER_VOICE)
    assert (again.speaker_encoded, again.emotion_encoded) == (False, False)
    assert again.stages["speaker_enc"] == 0
    assert (other.speaker_encoded, other.emotion_encoded) == (False, True)
    assert other.stages["speaker_enc"] == 11


def test_an_emotion_read_out_of_words_is_a_stage_of_its_own(
    probe: Probe, tts: IndexTTS2Double
) -> None:
    """It is not the speaker's time, though it comes after the same mark."""
    measured = measured_call(probe, tts.infer, VOICE, "hello.", None, use_emo_text=True)
    assert measured.stages == {**COLD, "emotion_text": 11}


def test_what_is_unknown_or_too_long_is_counted(probe: Probe, tts: IndexTTS2Double) -> None:
    """Words without a token, and a segment that ended at its limit."""
    measured = measured_call(probe, tts.infer, VOICE, "hello qwxz.", None, max_mel_tokens=20)
    assert (measured.text_tokens, measured.unknown_tokens) == (3, 1)
    assert (measured.acoustic_tokens, measured.length_limited) == (20, True)


def test_segments_add_up(probe: Probe, tts: IndexTTS2Double) -> None:
    """Each segment's time and tokens count; one that was cut short is not forgotten."""
    measured = measured_call(probe, tts.infer, VOICE, "hello. world. hello.", None)
    assert measured == Measured(
        stages={**COLD, "acoustic": 3 * COLD["acoustic"], "vocoder": 21},
        normalize_seconds=3,
        gpt_seconds=3 * ONE_SEGMENT.gpt_seconds,
        s2mel_seconds=3 * ONE_SEGMENT.s2mel_seconds,
        segments=3,
        text_tokens=6,
        unknown_tokens=0,
        acoustic_tokens=3 * 39,
        length_limited=False,
        speaker_encoded=True,
        emotion_encoded=True,
    )


def test_version_25_is_measured_by_the_same_marks(clock: Clock) -> None:
    """It has no layer for latents and a tokenizer that knows every character."""
    tts = IndexTTS2Double(clock, version="2.5")
    measured = measured_call(Probe(tts, clock=clock), tts.infer, VOICE, "hello world.", None, "en")
    assert measured == Measured(
        stages={**COLD, "acoustic": 1 + 30 + 0.125 + 0.5 + 20 + 0.03125},
        normalize_seconds=3,
        gpt_seconds=31,
        s2mel_seconds=20.625,
        segments=1,
        text_tokens=4,
        acoustic_tokens=39,
        length_limited=False,
        speaker_encoded=True,
        emotion_encoded=True,
    )


def test_marks_may_come_again(clock: Clock) -> None:
    """On a small GPU 2.5 makes a text in several runs: their times add up."""
    tts = IndexTTS2Double(clock, version="2.5")
    probe = Probe(tts, clock=clock)
    once = measured_call(probe, tts.infer, OTHER_VOICE, "hello.", None, "en")
    twice = measured_call(probe, tts.infer, VOICE, "hello.", None, "en", low_vram=True)
    assert twice.stages == {
        stage: seconds * (1 if stage == "speaker_enc" else 2)
        for stage, seconds in once.stages.items()
    }
    assert (twice.segments, twice.acoustic_tokens, twice.speaker_encoded) == (2, 78, True)


# --- Streams and threads -------------------------------------------------------------------------


def test_a_stream_is_measured_only_while_it_works(
    probe: Probe, tts: IndexTTS2Double, clock: Clock
) -> None:
    """What its consumer does between two pieces is in no stage, also after the block."""
    with probe.measure() as measured:
        pieces = tts.infer(VOICE, "hello. world.", None, stream_return=True)
    for _ in pieces:
        clock.passes(1000)
    assert measured.stages == {**COLD, "acoustic": 2 * COLD["acoustic"], "vocoder": 14}


def test_a_stream_may_be_consumed_by_several_threads(probe: Probe, tts: IndexTTS2Double) -> None:
    """Each piece may be asked for by another one."""
    with probe.measure() as measured:
        pieces = tts.infer(VOICE, "hello. world.", None, stream_return=True)
    for _ in range(3):
        thread = threading.Thread(target=next, args=(pieces, None))
        thread.start()
        thread.join()
    assert measured.stages == {**COLD, "acoustic": 2 * COLD["acoustic"], "vocoder": 14}


def test_closing_a_stream_closes_the_models(probe: Probe, tts: IndexTTS2Double) -> None:
    """The model's own generator is not left behind."""
    closed: list[bool] = []

    def forever(*_: Any, **__: Any) -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    tts.infer_generator = probe._stepping(forever)
    with probe.measure():
        pieces = tts.infer(VOICE, "hello.", None, stream_return=True)
        assert next(pieces) == 1
    pieces.close()
    assert closed == [True]


def test_calls_of_other_threads_are_not_mixed_in(
    probe: Probe, tts: IndexTTS2Double, clock: Clock
) -> None:
    """A call that nobody measures goes through while another one is measured."""
    with probe.measure() as measured:
        thread = threading.Thread(target=tts.infer, args=(OTHER_VOICE, "hello.", None))
        thread.start()
        thread.join()
        began = clock()
        tts.infer(VOICE, "hello world.", None)
        total = clock() - began
    assert measured == ONE_SEGMENT
    assert sum(measured.stages.values()) == total - 0.0625


# --- Who listens ---------------------------------------------------------------------------------


def test_stages_and_segments_are_told_as_they_begin(probe: Probe, tts: IndexTTS2Double) -> None:
    """In their order, the return from the vocoder too; the text's beginning once."""
    told: list[object] = []
    with probe.measure(
        on_stage=told.append,
        on_segment=lambda number, count: told.append((number, count)),
        on_text_prep=lambda: told.append("seed"),
    ):
        tts.infer(VOICE, "hello. world.", None, use_emo_text=True)
    assert told == [
        *("speaker_enc", "emotion_text", "speaker_enc", "text_prep", "seed"),
        *("acoustic", (1, 2), "vocoder", "acoustic", (2, 2), "vocoder", "acoustic", "post"),
    ]


def test_an_error_leaves_the_stage_that_it_happened_in(
    probe: Probe, tts: IndexTTS2Double, clock: Clock
) -> None:
    """The time until then is booked, the exception goes on, and the next call is whole."""
    tts.bigvgan.breaks = RuntimeError("CUDA out of memory")
    stages: list[str] = []
    with pytest.raises(RuntimeError), probe.measure(on_stage=stages.append) as measured:
        tts.infer(VOICE, "hello world.", None)
    assert stages[-1] == "vocoder"
    assert measured.stages == {
        **{stage: COLD[stage] for stage in ("speaker_enc", "text_prep", "vocoder")},
        "acoustic": COLD["acoustic"] - 0.03125,
    }
    tts.bigvgan.breaks = None
    again = measured_call(probe, tts.infer, OTHER_VOICE, "hello world.", None)
    assert again == ONE_SEGMENT


def test_a_listener_may_end_the_call(probe: Probe, tts: IndexTTS2Double) -> None:
    """What it raises goes through the model, as a cancellation does."""

    def cancelled(_: int, __: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError), probe.measure(on_segment=cancelled) as measured:
        tts.infer(VOICE, "hello world.", None)
    assert measured.acoustic_tokens is None


@pytest.mark.parametrize("when", ["before", "after"])
def test_who_else_listens_to_the_marks_goes_on_hearing_them(when: str, clock: Clock) -> None:
    """The official page sets `gr_progress` at every request."""
    tts = IndexTTS2Double(clock)
    heard: list[float] = []

    def progress(value: float, desc: str) -> None:
        heard.append(value)

    if when == "before":
        tts.gr_progress = progress
    probe = Probe(tts, clock=clock)
    tts.gr_progress = progress
    assert measured_call(probe, tts.infer, VOICE, "hello world.", None) == ONE_SEGMENT
    assert heard == [0, 0.1, 0.2, 0.9]


def test_the_device_is_waited_for_at_each_change_of_the_stage(
    tts: IndexTTS2Double, clock: Clock
) -> None:
    """And nowhere else: nine methods in and out, four marks, in and out of the generator."""
    waits: list[float] = []
    probe = Probe(tts, clock=clock, synchronize=lambda: waits.append(clock()))
    tts.infer(VOICE, "hello.", None)
    assert waits == []
    measured_call(probe, tts.infer, VOICE, "hello.", None)
    methods = ("normalize", "merge_emovec", "inference_speech", "forward", "gpt_layer")
    methods += ("length_regulator", "cfm", "bigvgan")
    steps = 2  # the result, and the end
    assert len(waits) == 2 * len(methods) + 4 + 2 * steps


def test_a_language_model_that_is_loaded_later_is_measured(
    probe: Probe, tts: IndexTTS2Double, clock: Clock
) -> None:
    """Version 2.5 loads it where it is asked for."""
    tts.qwen_emo.inference = lambda _text: clock.passes(50)
    later, tts.qwen_emo = tts.qwen_emo, None
    tts.infer(VOICE, "hello.", None)
    with probe.measure():
        pass
    tts.qwen_emo = later
    measured = measured_call(probe, tts.infer, VOICE, "hello.", None, use_emo_text=True)
    assert measured.stages["emotion_text"] == 50


def test_results_of_another_shape_are_a_loss_and_no_failure(
    tts: IndexTTS2Double, clock: Clock
) -> None:
    """A later version may return something else; the synthesis does not care."""
    before = losses.lost().get("probe", 0)
    tts.gpt.inference_speech = lambda *_: ("codes", None)
    measured = measured_call(Probe(tts, clock=clock), tts.infer, VOICE, "hello.", None)
    assert measured.acoustic_tokens is None
    assert losses.lost()["probe"] == before + 1


def test_an_object_without_marks_is_refused() -> None:
    """With what to do about it."""
    with pytest.raises(TypeError, match="infer_v2_5"):
        Probe(object())


# --- The real class ------------------------------------------------------------------------------

REAL = """
import contextlib, json, sys, time
from pathlib import Path
from tiny_model import load, write_recording
from observability.indextts_probe import Probe

checkpoint, version, folder = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
tts = load(checkpoint, version)
language = {} if version == "2" else {"lang": "en"}
voice = str(write_recording(folder / "voice.wav"))
probe = Probe(tts)

def call(text, **asked):
    stages, segments, began = [], [], time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr), probe.measure(
        on_stage=stages.append, on_segment=lambda *told: segments.append(told)
    ) as measured:
        result = tts.infer(voice, text, None, **language, **asked)
        if asked.get("stream_return"):
            result = list(result)
    total = time.perf_counter() - began
    return {
        "total": total, "stages": measured.stages, "gpt": measured.gpt_seconds,
        "s2mel": measured.s2mel_seconds, "fields": measured.fields(), "told": stages,
        "segments": segments,
    }

print(json.dumps({
    "cold": call("HELLO WORLD."),
    "warm": call("HELLO WORLD. HELLO WORLD.", max_text_tokens_per_segment=4),
    "words": call("HELLO WORLD.", use_emo_text=True, emo_text="sad"),
    "stream": call("HELLO WORLD.", stream_return=True),
    "short": call("HELLO WORLD.", max_mel_tokens=20),
}))
"""


def real_calls(python: Path, checkpoint: Path, version: str, folder: Path) -> dict[str, Any]:
    run = subprocess.run(
        [python, "-W", "ignore", "-c", REAL, checkpoint, version, folder],
        env={**os.environ, **MODEL_ENVIRONMENT},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    calls: dict[str, Any] = json.loads(run.stdout)
    return calls


@pytest.mark.parametrize("version", ["2", "2.5"])
def test_stages_of_the_real_class_and_other_are_the_total(
    version: str, model_python: Path, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Within 1 %; what was called and what was made is told as it was."""
    fixture = {"2": "tiny_checkpoint", "2.5": "tiny_checkpoint_25"}[version]
    calls = real_calls(model_python, request.getfixturevalue(fixture), version, tmp_path)
    for call in calls.values():
        stages = call["stages"]
        assert sum(stages.values()) == pytest.approx(call["total"], rel=0.01)
        assert set(stages) - {"emotion_text"} == set(COLD)
        assert 0.9 * stages["acoustic"] <= call["gpt"] + call["s2mel"] <= stages["acoustic"]
    cold, warm, short = calls["cold"], calls["warm"], calls["short"]
    assert cold["fields"]["speaker_cache_hit"] is False
    assert warm["fields"]["speaker_cache_hit"] is True
    assert warm["stages"]["speaker_enc"] < cold["stages"]["speaker_enc"] / 10
    count = warm["fields"]["segments"]
    assert count > 1
    assert warm["segments"] == [[number + 1, count] for number in range(count)]
    assert warm["fields"]["acoustic_tokens"] == 39 * count
    assert calls["words"]["stages"]["emotion_text"] > 0
    assert cold["told"] == ["speaker_enc", "text_prep", "acoustic", "vocoder", "acoustic", "post"]
    assert (cold["fields"]["length_limited"], short["fields"]["length_limited"]) == (False, True)
    assert ("unknown_tokens" in cold["fields"]) is (version == "2")
