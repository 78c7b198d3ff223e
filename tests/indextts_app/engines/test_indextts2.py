"""The adapter of IndexTTS-2 and 2.5, in a real worker, with the doubles of the model's packages."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
from speaking import LONG, Speaking, Spoken, recording, speaking

from indextts_app import errors
from indextts_app.engines.base import EMOTIONS, Capabilities
from indextts_app.engines.indextts2 import features
from indextts_app.workers.worker import WorkerUnfit

pytestmark = pytest.mark.anyio

RATE = 22_050
CODE_SAMPLES = {"2": 441, "2.5": 882}


@pytest.fixture(scope="module")
async def two(
    double_python: Path,
    double_weights: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Speaking]:
    """A worker with the double of IndexTTS-2."""
    folder = tmp_path_factory.mktemp("voices")
    async with speaking(double_python, double_weights("2"), folder) as worker:
        yield worker


@pytest.fixture(scope="module")
async def two_five(
    double_python: Path,
    double_weights: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Speaking]:
    """A worker with the double of IndexTTS-2.5."""
    folder = tmp_path_factory.mktemp("voices")
    async with speaking(double_python, double_weights("2.5"), folder, "2.5") as worker:
        yield worker


@pytest.fixture
def started(
    double_python: Path, double_weights: Callable[[str], Path], tmp_path: Path
) -> Callable[..., Any]:
    """`async with started(**options) as worker:`, of its own process, for one test."""

    def start(version: str = "2", **options: Any) -> Any:
        return speaking(double_python, double_weights(version), tmp_path, version, **options)

    return start


# --- What it says of itself ----------------------------------------------------------------------


async def test_what_it_can_do_is_what_the_table_says(two: Speaking) -> None:
    """The loaded engine offers the controls of its version, and names version and device."""
    assert two.can == Capabilities(
        engine="indextts2",
        engine_version="2.0.0+double",
        model_version="2",
        device="cpu",
        sample_rate=RATE,
        speakers=(),
        emotions=EMOTIONS,
        scripts=("CJK", "LATIN"),
        stages=("text_prep", "emotion_text", "speaker_enc", "acoustic", "vocoder", "post"),
        self_test_text="你好。",
        features=features.features(model_version="2"),
        notes=two.can.notes,
    )


async def test_25_offers_its_own_table(two_five: Speaking) -> None:
    """Language, duration and speed; more letters."""
    assert two_five.can.model_version == "2.5"
    assert two_five.can.features == features.features(model_version="2.5")
    assert "HIRAGANA" in two_five.can.scripts


# --- One request ---------------------------------------------------------------------------------


async def test_a_request_is_told_as_it_goes(two: Speaking) -> None:
    """Stages in their order, one segment, then its audio."""
    spoken = await two.speak()
    assert spoken.events == [
        "text_prep",
        "speaker_enc",
        "text_prep",
        "acoustic",
        (1, 1),
        "vocoder",
        "acoustic",
        "audio",
        "post",
    ]
    assert spoken.sample_rate == RATE
    assert set(spoken.stages) == {"text_prep", "speaker_enc", "acoustic", "vocoder", "post"}


async def test_what_came_out_is_in_the_event(two: Speaking) -> None:
    """Segments, tokens, their limits, cache and parts of stages, under the event's names."""
    spoken = await two.speak("Hello there. 你好😀。", controls={"max_mel_tokens": 20})
    timed = {"text_normalize_ms", "acoustic_gpt_ms", "acoustic_s2mel_ms"}
    held = {"speaker_cache_mb", "worker_memory_mb"}
    assert timed | held <= set(spoken.notes)
    assert {k: v for k, v in spoken.notes.items() if k not in timed | held} == {
        "segments": 1,
        "text_tokens": 7,
        "unknown_tokens": 1,
        "text_spoken_len": len(spoken.text or ""),
        "acoustic_tokens": 20,
        "length_limited": True,
        "speaker_cache_hit": True,
        "emotion_cache_hit": True,
        "speaker_cache_evictions": 0,
    }


async def test_stages_and_total_agree(two: Speaking) -> None:
    """What no stage holds is little, although the double does next to nothing."""
    spoken = await two.speak(LONG)
    assert sum(spoken.stages.values()) > 0
    assert min(spoken.stages.values()) >= 0


async def test_the_text_is_told_as_it_is_read(two: Speaking) -> None:
    """Chinese without the blanks between tokens, and without what the model does not know."""
    assert (await two.speak("第1次，你好😀。")).text == "第一次,你好."


async def test_each_segment_is_handed_over_as_it_is_made(two: Speaking) -> None:
    """Each one's audio is there before the next is begun, and silence only between them."""
    spoken = await two.speak(LONG, controls={"segment_tokens": 20, "interval_silence_ms": 100})
    order = [event for event in spoken.events if event == "audio" or isinstance(event, tuple)]
    assert order == [(1, 3), "audio", (2, 3), "audio", (3, 3), "audio"]
    speech = spoken.notes["acoustic_tokens"] * CODE_SAMPLES["2"]
    assert len(spoken.samples) == speech + 2 * (RATE // 10)
    assert spoken.samples[-10:].any()


async def test_segments_follow_without_silence_if_there_is_to_be_none(two: Speaking) -> None:
    """Upstream hands over a list in the place of the silence then."""
    spoken = await two.speak(LONG, controls={"segment_tokens": 20, "interval_silence_ms": 0})
    assert len(spoken.samples) == spoken.notes["acoustic_tokens"] * CODE_SAMPLES["2"]


async def test_early_segments_stay_short_if_they_are_to(two: Speaking) -> None:
    """The first sound comes sooner."""
    usual, quick = (
        await two.speak(LONG),
        await two.speak(LONG, controls={"quick_streaming_tokens": 600}),
    )
    assert usual.notes["segments"] < quick.notes["segments"]


# --- Seed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"emotion_mode": "vector", "emotion_vector": (0.5,) * 8, "controls": {"emotion_random": 1}},
    ],
    ids=["plain", "random_emotion"],
)
async def test_the_same_seed_gives_the_same_audio(two: Speaking, asked: dict[str, Any]) -> None:
    """Whether or not the recordings were encoded already, and whatever was spoken before."""
    cold = await two.speak(reference=recording(Path(two.voice).parent, 440.0), **asked)
    await two.speak(seed=99, **asked)
    warm = await two.speak(reference=recording(Path(two.voice).parent, 440.0), **asked)
    other = await two.speak(reference=recording(Path(two.voice).parent, 440.0), **asked, seed=2)
    assert warm.notes["speaker_cache_hit"]
    assert np.array_equal(cold.samples, warm.samples)
    assert not np.array_equal(cold.samples, other.samples)


# --- Speakers ------------------------------------------------------------------------------------


async def test_alternating_speakers_are_encoded_once(two: Speaking) -> None:
    """Each keeps its voice, and its place in the cache."""
    first = await two.speak()
    other = await two.speak(reference=two.other_voice)
    again = await two.speak()
    assert again.notes["speaker_cache_hit"]
    assert again.notes["emotion_cache_hit"]
    assert np.array_equal(first.samples, again.samples)
    assert not np.array_equal(first.samples, other.samples)


async def test_a_cache_without_room_keeps_the_current_speaker_only(
    started: Callable[..., Any],
) -> None:
    """And says how many had to go."""
    async with started(speaker_cache_mb=0) as worker:
        await worker.speak()
        assert (await worker.speak()).notes["speaker_cache_hit"]
        other = await worker.speak(reference=worker.other_voice)
        assert other.notes["speaker_cache_evictions"] == 2
        assert not (await worker.speak()).notes["speaker_cache_hit"]


async def test_speakers_can_be_dropped(two: Speaking) -> None:
    """The memory is given back, and the next request encodes again."""
    await two.speak()
    memory = await two.worker.relieve("drop_speakers")
    assert memory is not None
    assert memory.speakers_mb == 0
    assert memory.worker_mb > 10
    assert not (await two.speak()).notes["speaker_cache_hit"]


# --- Emotions ------------------------------------------------------------------------------------


async def test_each_emotion_mode_changes_the_audio(two: Speaking) -> None:
    """And a preset is its vector; a text without a description is read for one itself."""
    sad = (0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    asked: dict[str, dict[str, Any]] = {
        "speaker": {},
        "preset": {"emotion_mode": "preset", "emotion": "sad"},
        "vector": {"emotion_mode": "vector", "emotion_vector": sad},
        "half": {"emotion_mode": "vector", "emotion_vector": sad, "emotion_weight": 0.5},
        "reference": {"emotion_mode": "reference", "emotion_reference": two.other_voice},
        "described": {"emotion_mode": "text", "emotion_text": "very angry"},
        "itself": {"emotion_mode": "text"},
    }
    made = {name: (await two.speak(**what)).samples.tobytes() for name, what in asked.items()}
    assert made.pop("preset") == made["vector"]
    assert len(set(made.values())) == len(made)


async def test_reading_an_emotion_out_of_words_is_a_stage(two: Speaking) -> None:
    """Of its own, apart from encoding the speaker."""
    assert "emotion_text" in (await two.speak(emotion_mode="text", emotion_text="sad")).stages


# --- Text ----------------------------------------------------------------------------------------


async def test_a_glossary_is_used_for_its_request_only(two: Speaking) -> None:
    """And not at all where its switch is off."""
    glossary = {"NASA": {"en": "nah sah"}}
    read = await two.speak("Hello NASA.", glossary=glossary)
    off = await two.speak("Hello NASA.", glossary=glossary, controls={"use_glossary": False})
    after = await two.speak("Hello NASA.")
    assert (read.text, off.text, after.text) == (
        "HELLO NAH SAH .",
        "HELLO NASA .",
        "HELLO NASA .",
    )


@pytest.mark.parametrize("version", ["2", "2.5"])
async def test_a_preview_shows_the_segments_that_are_spoken(
    version: str, two: Speaking, two_five: Speaking
) -> None:
    """The same number, the same tokens, the same text."""
    worker = {"2": two, "2.5": two_five}[version]
    task = worker.task(LONG, controls={"segment_tokens": 40})
    segments = await worker.worker.preview(task)
    spoken = await worker.work(task)
    assert len(segments) == spoken.notes["segments"] > 1
    assert sum(segment.tokens for segment in segments) == spoken.notes["text_tokens"]
    squeezed = "".join(segment.text for segment in segments).replace(" ", "")
    assert squeezed == (spoken.text or "").replace(" ", "")


async def test_a_preview_is_made_beside_a_synthesis(
    started: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    until: Callable[[Callable[[], object]], Awaitable[None]],
) -> None:
    """With another glossary, and neither disturbs the other."""
    monkeypatch.setenv("DOUBLE_TOKEN_SECONDS", "0.01")
    async with started() as worker:
        spoken, alone = Spoken(), await worker.speak("NASA says hello.")
        running = asyncio.create_task(worker.work(worker.task("NASA says hello."), spoken))
        await until(lambda: (1, 1) in spoken.events)
        task = worker.task("NASA is here.", glossary={"NASA": {"en": "nah sah"}})
        (segment,) = await worker.worker.preview(task)
        assert not running.done()
        assert segment.text == "NAH SAH IS HERE ."
        assert np.array_equal((await running).samples, alone.samples)


async def test_nothing_of_the_text_is_printed(two_five: Speaking) -> None:
    """Not by the model either, which prints what a text became."""
    with structlog.testing.capture_logs() as logs:
        await two_five.speak("Confidential 机密。")
    said = json.dumps(logs, ensure_ascii=False).lower()
    assert "confidential" not in said
    assert "机密" not in said


# --- 2.5 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "language"),
    [("你好。", "zh"), ("Hello.", "en"), ("用 Python 写。", "zhen"), ("こんにちは。", "ja")],
)
async def test_25_is_told_the_language_of_the_letters(
    two_five: Speaking, text: str, language: str
) -> None:
    """And the event says which."""
    assert (await two_five.speak(text)).notes["language"] == language


async def test_25_speaks_the_language_that_is_named(two_five: Speaking) -> None:
    """Spanish cannot be told from its letters."""
    spoken = await two_five.speak("Hola.", controls={"language": "es"})
    assert spoken.notes["language"] == "es"


async def test_25_is_slower_by_its_factor_and_faster_by_speed(two_five: Speaking) -> None:
    """Both at once cancel out."""
    usual = await two_five.speak()
    slow = await two_five.speak(controls={"duration_factor": 2.0})
    both = await two_five.speak(controls={"duration_factor": 2.0}, speed=2.0)
    assert len(slow.samples) == 2 * len(usual.samples) == 2 * len(both.samples)


# --- What cannot be done -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error", "names"),
    [
        ({"reference": None}, errors.InvalidField, "speaker"),
        ({"reference": "/nowhere.wav"}, errors.ReferenceRefused, "no longer there"),
        ({"reference": "noise"}, errors.ReferenceRefused, "cannot be read"),
        ({"reference": "short"}, errors.ReferenceRefused, "0.05 s"),
        ({"emotion_mode": "reference"}, errors.InvalidField, "emotion_reference"),
        (
            {"emotion_mode": "reference", "emotion_reference": "short"},
            errors.ReferenceRefused,
            "0.05 s",
        ),
        ({"text": "😀😀"}, errors.InvalidField, "text"),
        ({"text": "  "}, errors.InvalidField, "text"),
    ],
)
async def test_what_cannot_be_done_is_refused_before_the_model_is_touched(
    two: Speaking,
    tmp_path: Path,
    changes: dict[str, Any],
    error: type[errors.ServiceError],
    names: str,
) -> None:
    """With the field and a way out, in both languages."""
    (tmp_path / "noise.wav").write_bytes(b"not a recording")
    files = {"noise": str(tmp_path / "noise.wav"), "short": recording(tmp_path, seconds=0.05)}
    changes = {name: files.get(str(value), value) for name, value in changes.items()}
    spoken = Spoken()
    with pytest.raises(error) as raised:
        await two.work(two.task(**changes), spoken)
    assert names in raised.value.message()
    assert raised.value.message("zh") != raised.value.message()
    assert set(spoken.events) <= {"text_prep"}


async def test_a_piece_that_cannot_be_cut_is_refused(two_five: Speaking) -> None:
    """Upstream would index past its table, and answer with nothing."""
    annotated = f"<行|{'X' * 700}>。"
    with pytest.raises(errors.InvalidField, match="cannot be cut"):
        await two_five.speak(annotated)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("out_of_memory", errors.EngineOutOfMemory),
        ("no_token", errors.InvalidField),
        ("not_finite", errors.EngineError),
    ],
)
async def test_what_goes_wrong_in_the_model_has_its_name(
    started: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    error: type[errors.ServiceError],
) -> None:
    """And what was measured until then is told as well."""
    monkeypatch.setenv("DOUBLE_FAULT", fault)
    async with started() as worker:
        spoken = Spoken()
        with pytest.raises(error), structlog.testing.capture_logs():
            await worker.work(worker.task(), spoken)
        assert "acoustic" in spoken.stages
        assert spoken.notes["speaker_cache_hit"] is False


async def test_a_process_that_lost_its_gpu_ends(
    started: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every later request of it would fail; the pool starts another."""
    monkeypatch.setenv("DOUBLE_FAULT", "device_lost")
    async with started() as worker:
        with pytest.raises(errors.WorkerDied), structlog.testing.capture_logs():
            await worker.speak()
        assert await worker.worker.ended == "exit_1"


async def test_a_model_that_says_nothing_delivers_nothing(
    started: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which the service answers with an error of its own."""
    monkeypatch.setenv("DOUBLE_FAULT", "nothing")
    async with started() as worker:
        assert not len((await worker.speak()).samples)


async def test_a_request_is_given_up_within_a_token(
    started: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    until: Callable[[Callable[[], object]], Awaitable[None]],
) -> None:
    """The same process speaks the next one, as if nothing had been."""
    monkeypatch.setenv("DOUBLE_TOKEN_SECONDS", "0.05")
    async with started() as worker:
        spoken = Spoken()
        given_up = asyncio.create_task(worker.work(worker.task(LONG), spoken))
        await until(lambda: "acoustic" in spoken.events)
        given_up.cancel()
        await worker.worker.settle()
        assert worker.worker.is_free
        assert "vocoder" not in spoken.events
        again = await worker.speak("Hi.")
        assert again.notes["speaker_cache_hit"]
        assert len(again.samples) == again.notes["acoustic_tokens"] * CODE_SAMPLES["2"]


async def test_reading_an_emotion_is_given_up_within_a_token(
    started: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    until: Callable[[Callable[[], object]], Awaitable[None]],
) -> None:
    """Its language model may make 32,768 tokens, which would take minutes."""
    monkeypatch.setenv("DOUBLE_TOKEN_SECONDS", "0.05")
    async with started() as worker:
        spoken, task = Spoken(), worker.task("Hi.", emotion_mode="text", emotion_text="sad")
        given_up = asyncio.create_task(worker.work(task, spoken))
        await until(lambda: "emotion_text" in spoken.events)
        given_up.cancel()
        await worker.worker.settle()
        assert worker.worker.is_free
        assert "acoustic" not in spoken.events
        assert len((await worker.speak("Hi.")).samples)


# --- What cannot be loaded -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"device": "cuda"}, "There is no device 'cuda' .* built without CUDA .* INDEXTTS_DEVICE"),
        ({"device": "mps"}, "There is no device 'mps'"),
        ({"deepspeed": True}, "INDEXTTS_DEEPSPEED needs the package deepspeed"),
        ({"accel": True}, "INDEXTTS_ACCEL needs the package flash_attn"),
        ({"cuda_kernel": True}, "INDEXTTS_CUDA_KERNEL needs an NVIDIA GPU"),
        ({"model_dir": "/nowhere"}, "no folder /nowhere .* Fetch them"),
    ],
)
async def test_what_is_not_there_is_named_at_the_start(
    started: Callable[..., Any], options: dict[str, Any], says: str
) -> None:
    """With what to do about it."""
    with pytest.raises(WorkerUnfit, match=says):
        async with started(**options):
            pass


async def test_too_little_memory_for_the_weights_is_said(
    started: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what needs less."""
    monkeypatch.setenv("DOUBLE_LOAD_FAULT", "out_of_memory")
    with pytest.raises(WorkerUnfit, match=r"not enough memory on cpu .* INDEXTTS_HALF_PRECISION"):
        async with started():
            pass


async def test_an_interpreter_without_the_package_is_named(
    double_weights: Callable[[str], Path], tmp_path: Path
) -> None:
    """With the script that installs it, and the setting that names the right one."""
    with pytest.raises(
        WorkerUnfit,
        match=r"indextts is not installed for .*setup_indextts2.sh.*INDEXTTS_WORKER_PYTHON",
    ):
        async with speaking(Path(sys.executable), double_weights("2"), tmp_path):
            pass
