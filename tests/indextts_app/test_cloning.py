"""
Promises of the whole service with IndexTTS-2's adapter: from a form to what the engine did.

The model is the double in `tests/doubles`: a recording decides its tone, the seed its noise.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
import soundfile
from hollow_weights import write_hollow_weights

from indextts_app.engines.base import Task

if TYPE_CHECKING:
    from conftest import Running

pytestmark = pytest.mark.anyio

DOUBLE = Path(__file__).resolve().parents[1] / "doubles" / "python"
SAD = [0, 0, 0.8, 0, 0, 0, 0, 0]


@pytest.fixture(scope="module", params=["2", "2.5"])
async def service(
    request: pytest.FixtureRequest,
    running: Any,
    drill_settings: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Running]:
    """The service with either version, all weights there, all of them hollow."""
    folder = tmp_path_factory.mktemp("cloning")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DOUBLES_PYTHON", sys.executable)
        settings = drill_settings(
            folder,
            engine="indextts2",
            model_version=request.param,
            model_dir=write_hollow_weights(folder / "weights", request.param),
            worker_python=DOUBLE,
            device="cpu",
            worker_start_seconds=60,
        )
        async with running(settings) as service:
            yield service


def voice(pitch: int, seconds: float = 2.0) -> bytes:
    """A recording of a tone."""
    tone = np.sin(np.arange(round(seconds * 24_000)) * 2 * np.pi * pitch / 24_000) * 8_000
    buffer = io.BytesIO()
    soundfile.write(buffer, tone.astype(np.int16), 24_000, format="WAV")
    return buffer.getvalue()


async def heard(service: Running, answer: httpx.Response) -> tuple[bytes, dict[str, Any]]:
    """The samples of an answer, and its finished line."""
    assert answer.status_code == 200, answer.text
    samples, _ = soundfile.read(io.BytesIO(answer.content), dtype="int16")
    return samples.tobytes(), await service.log.finished(answer.headers["x-request-id"])


async def test_the_sample_speaks_at_once(service: Running) -> None:
    """Without anybody's recording; the self-test has already encoded it."""
    _, line = await heard(service, await service.speak(text="Hello world, this is a test."))
    assert (line["engine"], line["speaker"], line["status"]) == ("indextts2", "sample", "success")
    assert line["speaker_cache_hit"] is True
    assert line["reference_seconds"] == pytest.approx(4.9, abs=0.1)


async def test_the_same_seed_is_the_same_audio(service: Running) -> None:
    """Another one is not; the seed that the service chose can be asked for again."""
    chosen = await service.speak()
    first, line = await heard(service, chosen)
    again, _ = await heard(service, await service.speak(seed=int(chosen.headers["x-seed"])))
    other, _ = await heard(service, await service.speak(seed=line["seed"] ^ 1))
    assert first == again != other


async def test_stored_speakers_are_encoded_once(service: Running) -> None:
    """Alternating between them encodes nothing again; each keeps its own voice."""
    for name, pitch in (("anna", 300), ("bert", 120)):
        answer = await service.client.post(
            "/speakers", data={"name": name}, files={"audio": ("x", voice(pitch))}
        )
        assert answer.status_code == 201, answer.text
    turns = [
        (name, *await heard(service, await service.speak(speaker=name, seed=7)))
        for name in ("anna", "bert") * 2
    ]
    assert [line["speaker_cache_hit"] for _, _, line in turns] == [False, False, True, True]
    sounds = {name: samples for name, samples, _ in turns}
    assert sounds["anna"] != sounds["bert"]
    assert all(samples == sounds[name] for name, samples, _ in turns)
    once = await service.client.post(
        "/tts", data={"text": "hello", "seed": "7"}, files={"reference": ("x", voice(300))}
    )
    samples, line = await heard(service, once)
    assert (samples, line["speaker"]) == (sounds["anna"], "reference")
    assert line["speaker_cache_hit"] is True
    metrics = service.service.metrics.text().decode()
    assert (
        'indextts_speaker_cache_total{engine="indextts2",recording="speaker",result="miss"} 2.0'
        in (metrics)
    )
    for name in ("anna", "bert"):
        assert (await service.client.delete(f"/speakers/{name}")).status_code == 204


@pytest.mark.parametrize(
    "fields",
    [
        {"emotion": "sad"},
        {"emotion_vector": SAD, "emotion_weight": 1.0},
        {"emotion_text": "as sad as can be"},
        {"emotion_mode": "text"},
    ],
    ids=str,
)
async def test_each_emotion_mode_speaks(fields: dict[str, Any], service: Running) -> None:
    """And leaves its traces in the event."""
    _, line = await heard(service, await service.speak(text="I am sad.", **fields))
    assert line["status"] == "success"
    assert line["emotion_weight"] == fields.get("emotion_weight", 0.65)
    assert ("stage_emotion_text_ms" in line) is (line["emotion_mode"] == "text")


async def test_an_emotion_from_a_recording(service: Running) -> None:
    """Its encoding is kept as well."""
    hits = []
    for _ in range(2):
        answer = await service.client.post(
            "/tts",
            data={"text": "hello", "emotion_weight": "0.5"},
            files={"emotion_reference": ("x", voice(500))},
        )
        _, line = await heard(service, answer)
        hits.append(line["emotion_cache_hit"])
        assert (line["speaker"], line["emotion_mode"]) == ("sample", "reference")
    assert hits == [False, True]


async def test_segments_are_shown_as_they_are_spoken(service: Running) -> None:
    """The preview and the event of the same request count the same."""
    asked = {"text": "One sentence. And another one. And a third. " * 3, "segment_tokens": 20}
    shown = (await service.client.post("/segments", json=asked)).json()["segments"]
    assert len(shown) > 1
    _, line = await heard(service, await service.speak(**asked))
    assert line["segments"] == len(shown)
    assert line["text_tokens"] == sum(segment["tokens"] for segment in shown)


async def test_a_limit_that_was_hit_is_told(service: Running) -> None:
    """The answer says so, and what to do is in the story."""
    text = "a rather long sentence that never seems to come to any end at all " * 5
    answer = await service.speak(text=text, max_mel_tokens=50)
    _, line = await heard(service, answer)
    assert line["length_limited"] is True
    assert "length_limited" in answer.headers["x-hints"]


async def test_what_only_one_version_has(service: Running) -> None:
    """Pace and language in 2.5, the glossary in 2."""
    newer = service.service.settings.model_version == "2.5"
    slow = await service.speak(duration_factor=2.0, seed=7)
    glossary = await service.client.put("/glossary/hello", json={"en": "good day to you"})
    if newer:
        longer, line = await heard(service, slow)
        plain, _ = await heard(service, await service.speak(seed=7))
        assert len(longer) > 1.5 * len(plain)
        assert line["controls"] == "duration_factor=2"
        assert glossary.json()["error"] == "not_supported"
        _, line = await heard(service, await service.speak(language="es"))
        assert line["language"] == "es"
    else:
        assert slow.json()["error"] == "field_of_other_version"
        assert "IndexTTS-2.5" in slow.json()["message"]
        assert glossary.status_code == 200
        read, _ = await heard(service, await service.speak(seed=7))
        plain, _ = await heard(service, await service.speak(seed=7, use_glossary=False))
        assert len(read) > len(plain)


async def test_bad_input_does_not_touch_the_model(service: Running) -> None:
    """Each is refused before a worker has it, and the next request is served."""
    worker = service.service.pool.pids()
    for fields in (
        {"emotion_vector": [0.1] * 7},
        {"emotion_vector": [0.375] * 8},
        {"temprature": 0.5},
        {"top_k": -1},
        {"seed": -1},
    ):
        answer = await service.speak(**fields)
        assert answer.status_code == 422
        line = await service.log.finished(answer.headers["x-request-id"])
        assert (line["status"], "worker" in line) == ("rejected", False)
    assert (await service.speak()).status_code == 200
    assert service.service.pool.pids() == worker


async def test_a_recording_is_not_swept_while_its_request_waits(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the queue is, and however full the disk; afterwards it may go."""
    pool, storage = service.service.pool, service.service.storage
    run, in_use = pool.run, []

    def watched(task: Task, *given: Any, **named: Any) -> Any:
        assert task.reference
        in_use.append(Path(task.reference).name in storage._in_use)
        return run(task, *given, **named)

    monkeypatch.setattr(pool, "run", watched)
    answer = await service.client.post(
        "/tts", data={"text": "hello"}, files={"reference": ("x", voice(222))}
    )
    assert (answer.status_code, in_use) == (200, [True])
    assert not storage._in_use


async def test_many_at_once_do_not_mix(service: Running) -> None:
    """Each gets its own voice, emotion and seed, whoever comes in between."""
    asked = [{"seed": seed, "emotion": emotion} for seed in (1, 2) for emotion in ("sad", "calm")]
    alone = [(await heard(service, await service.speak(**fields)))[0] for fields in asked]
    answers = await asyncio.gather(*(service.speak(**fields) for fields in asked))
    together = [(await heard(service, answer))[0] for answer in answers]
    assert together == alone
    assert len(set(alone)) == len(asked)
