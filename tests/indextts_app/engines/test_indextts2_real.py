"""
The adapter on the unmodified package `indextts`, with a tiny random checkpoint on the CPU.

The model is loaded three times, about ten seconds each: in a process of its own where a test can
see what it is told, and in a worker for each version. Skipped where the package is not installed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from speaking import LONG, Speaking, Spoken, recording, speaking

from indextts_app import errors
from indextts_app.engines.indextts2 import features
from indextts_app.workers.worker import WorkerUnfit

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[3]
FASTER = {"num_beams": 1}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Another number of threads adds in another order, and rounds otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for recordings."""
    return tmp_path_factory.mktemp("voices")


@pytest.fixture(scope="module")
def direct(model_python: Path, tiny_checkpoint: Path, voices: Path) -> dict[str, Any]:
    """What `engine_in_process.py` found."""
    script = Path(__file__).with_name("engine_in_process.py")
    run = subprocess.run(
        [model_python, script, tiny_checkpoint, recording(voices), recording(voices, 330.0)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    return found


@pytest.fixture(scope="module")
async def two(model_python: Path, tiny_checkpoint: Path, voices: Path) -> AsyncIterator[Speaking]:
    """A worker with IndexTTS-2."""
    async with speaking(model_python, tiny_checkpoint, voices) as worker:
        yield worker


@pytest.fixture(scope="module")
async def two_five(
    model_python: Path, tiny_checkpoint_25: Path, voices: Path
) -> AsyncIterator[Speaking]:
    """A worker with IndexTTS-2.5."""
    async with speaking(model_python, tiny_checkpoint_25, voices, "2.5") as worker:
        yield worker


# --- In one process ------------------------------------------------------------------------------


def test_streamed_segments_are_what_infer_returns(direct: dict[str, Any]) -> None:
    """Sample for sample, silence between segments included."""
    found = direct["streamed_and_whole"]
    assert found["segments"] == 2
    assert found["rate"] == 22_050
    assert found["ours"] == found["whole"]


def test_taking_turns_encodes_each_speaker_once(direct: dict[str, Any]) -> None:
    """A cached voice sounds as it did when it was encoded, and holds no autograd graph."""
    found = direct["alternating_speakers"]
    assert found["encoded"] == [2, 2, 0, 0]
    first, second, *again = found["made"]
    assert again == [first, second]
    assert first != second
    assert found["graphs"] == []


def test_each_emotion_mode_reaches_the_model(direct: dict[str, Any]) -> None:
    """As a vector of its own; a preset is the vector of its name."""
    found = dict(direct["emotion_vectors"])
    assert found.pop("preset") == found["vector"]
    assert len(set(found.values())) == len(found) == 6


def test_sampling_is_what_was_asked(direct: dict[str, Any]) -> None:
    """Also off, which upstream ignores; no limit of `top_k` is none."""
    sampling = {"do_sample": True, "temperature": 0.8, "top_p": 0.8, "top_k": 30, "num_beams": 1}
    assert direct["generation_parameters"]["told"] == {
        "default": sampling,
        "greedy": {
            "do_sample": False,
            "temperature": None,
            "top_p": None,
            "top_k": None,
            "num_beams": 1,
        },
        "no_limit": {**sampling, "top_k": None},
    }


def test_the_language_model_of_emotions_can_be_stopped(direct: dict[str, Any]) -> None:
    """Upstream passes it nothing; it is asked after each token, in its block only."""
    assert direct["emotion_stopping"] == [["StopWhenCancelled"], None]


def test_the_ends_of_every_range_work(direct: dict[str, Any]) -> None:
    """Together as well; the checkpoint makes 39 tokens of every segment."""
    assert direct["generation_parameters"]["tokens"] == [39] * 4
    assert direct["generation_parameters"]["limited"] is True


def test_texts_are_previewed_as_they_are_spoken(direct: dict[str, Any]) -> None:
    """With the request's glossary, for it alone; what nobody can read is refused."""
    found = direct["texts"]
    assert len(found["previewed"]) == found["segments"] > 1
    assert sum(found["previewed"]) == found["tokens"]
    assert found["first"] == "美国航天局有十二个."
    assert found["after"] == "NASA 有十二个."
    assert found["unread"] == ["text", "text"]


def test_the_model_prints_nothing_of_a_request(direct: dict[str, Any]) -> None:
    """It would print the text."""
    assert direct["texts"]["printed"] == ""


def test_stages_and_total_agree_within_one_percent(direct: dict[str, Any]) -> None:
    """Whether or not the voice was encoded already."""
    assert all(0 <= share < 0.01 for share in direct["times"])


# --- In a worker ---------------------------------------------------------------------------------


async def test_the_same_seed_sounds_the_same_in_another_process(
    two: Speaking, direct: dict[str, Any]
) -> None:
    """So that a complaint can be replayed."""
    spoken = await two.speak(controls=FASTER)
    digest = hashlib.sha256(spoken.samples.astype("<i2").tobytes()).hexdigest()[:16]
    assert digest == direct["audio"]


async def test_the_loaded_model_says_what_it_is(two: Speaking, two_five: Speaking) -> None:
    """Versions as installed and loaded, and the limits of its own configuration."""
    said = [
        (one.can.model_version, one.can.engine_version, one.can.device) for one in (two, two_five)
    ]
    assert said == [("2", "2.0.0", "cpu"), ("2.5", "2.0.0", "cpu")]
    assert two.can.features == features.features(model_version="2")


async def test_every_stage_is_told(two: Speaking) -> None:
    """With an emotion from words, all six; the parts of acoustic as well."""
    spoken = await two.speak(emotion_mode="text", emotion_text="开心", controls=FASTER)
    assert set(spoken.stages) == set(two.can.stages)
    assert spoken.notes["acoustic_gpt_ms"] > 0
    assert spoken.notes["acoustic_s2mel_ms"] > 0
    acoustic = spoken.stages["acoustic"] * 1000
    assert spoken.notes["acoustic_gpt_ms"] + spoken.notes["acoustic_s2mel_ms"] <= acoustic + 0.01


async def test_a_request_is_given_up_in_the_token_loop(
    two: Speaking, until: Callable[[Callable[[], object]], Awaitable[None]]
) -> None:
    """At once; the next one on the same process sounds as ever."""
    before = await two.speak(controls=FASTER)
    pid = two.worker.pid
    spoken = Spoken()
    given_up = asyncio.create_task(two.work(two.task(LONG), spoken))
    await until(lambda: "acoustic" in spoken.events)
    given_up.cancel()
    await two.worker.settle()
    assert two.worker.is_free
    assert "vocoder" not in spoken.events
    after = await two.speak(controls=FASTER)
    assert two.worker.pid == pid
    assert after.samples.tobytes() == before.samples.tobytes()


async def test_first_audio_goes_out_before_the_second_segment(two: Speaking) -> None:
    """And a preview is answered meanwhile."""
    task = two.task(LONG, controls={**FASTER, "segment_tokens": 30})
    spoken = Spoken()
    running = asyncio.create_task(two.work(task, spoken))
    segments = await two.worker.preview(task)
    await running
    order = [event for event in spoken.events if event == "audio" or isinstance(event, tuple)]
    assert order[:3] == [(1, len(segments)), "audio", (2, len(segments))]


async def test_a_text_that_must_be_cut_is_not_printed_either(two: Speaking) -> None:
    """Upstream warns about it, and shows it."""
    with structlog.testing.capture_logs() as logs:
        task = two.task("天气真好" * 12, controls={**FASTER, "segment_tokens": 20})
        assert len(await two.worker.preview(task)) > 1
        await two.speak("你好。", controls=FASTER)
    assert "天气" not in json.dumps(logs, ensure_ascii=False)


async def test_25_speaks_every_language_of_its_list(two_five: Speaking) -> None:
    """By letters or by name, and the event says which; nothing of it is printed."""
    with structlog.testing.capture_logs() as logs:
        told = [
            (await two_five.speak(text, controls={**FASTER, **controls})).notes["language"]
            for text, controls in (
                ("机密。", {}),
                ("Confidential.", {}),
                ("こんにちは。", {}),
                ("مرحبا.", {}),
                ("Hola.", {"language": "es"}),
            )
        ]
    assert told == ["zh", "en", "ja", "ar", "es"]
    said = json.dumps(logs, ensure_ascii=False).lower()
    assert "机密" not in said
    assert "confidential" not in said


async def test_25_is_longer_by_its_factor(two_five: Speaking) -> None:
    """And shorter by speed; written readings are read."""
    text = "银<行|HANG2>。"
    usual = await two_five.speak(text, controls=FASTER)
    slow = await two_five.speak(text, controls={**FASTER, "duration_factor": 1.5})
    fast = await two_five.speak(text, controls=FASTER, speed=2.0)
    assert len(slow.samples) / len(usual.samples) == pytest.approx(1.5, abs=0.02)
    assert len(fast.samples) / len(usual.samples) == pytest.approx(0.5, abs=0.02)
    assert "HANG2" in (usual.text or "")


async def test_25_reads_kanji_the_same_each_time(two_five: Speaking) -> None:
    """Upstream's Japanese reader can replace some by chance; it is built not to."""
    task = two_five.task("今日は天気が良いので、公園で友達と昼食を食べました。", controls=FASTER)
    first = await two_five.work(task)
    read = {
        "".join(segment.text for segment in await two_five.worker.preview(task)) for _ in range(8)
    }
    assert read == {first.text}
    assert (await two_five.work(task)).samples.tobytes() == first.samples.tobytes()


async def test_25_cuts_and_previews_alike(two_five: Speaking) -> None:
    """And refuses what it cannot cut."""
    task = two_five.task(LONG, controls={**FASTER, "segment_tokens": 120})
    segments = await two_five.worker.preview(task)
    spoken = await two_five.work(task)
    assert len(segments) == spoken.notes["segments"] == 2
    assert sum(segment.tokens for segment in segments) == spoken.notes["text_tokens"]
    with pytest.raises(errors.InvalidField, match="cannot be cut"):
        await two_five.speak(f"<行|{'XING2 ' * 150}>。")


async def test_a_truncated_file_is_named_and_not_loaded(
    model_python: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """Before the model is imported."""
    folder = tmp_path / "cut"
    shutil.copytree(tiny_checkpoint, folder, copy_function=os.link)
    weights = (folder / "gpt.pth").read_bytes()
    (folder / "gpt.pth").unlink()
    (folder / "gpt.pth").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(WorkerUnfit, match=r"gpt\.pth"):
        async with speaking(model_python, folder, tmp_path):
            pass
