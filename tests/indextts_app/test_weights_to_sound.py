"""
From a stub of ModelScope through the real client and the real IndexTTS-2 to sound that is checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from modelscope_stub import quiet_client, serve_repositories

from indextts_app.engines.base import Task
from indextts_app.model_weights import fetch
from indextts_app.workers.listener import Silence
from indextts_app.workers.worker import EngineSpec, Worker, WorkerUnfit
from observability.audio_check import check_signal

pytestmark = pytest.mark.anyio

TEXTS = {"2": "你好世界，hello world.", "2.5": "今天天气真好。"}


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No login, no network, and no threads that spin against other tests."""
    monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MODELSCOPE_API_TOKEN", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with quiet_client():
        yield


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    """A second of something like a voice, stored as the service stores recordings."""
    time = np.arange(24_000) / 24_000
    tone = sum(np.sin(2 * np.pi * 150 * harmonic * time) / harmonic for harmonic in range(1, 9))
    samples = np.asarray(tone * 4_000 * (1 + np.sin(2 * np.pi * 4 * time)), dtype=np.int16)
    path = tmp_path / f"{hashlib.sha256(samples.tobytes()).hexdigest()}.wav"
    soundfile.write(path, samples, 24_000)
    return path


@pytest.mark.parametrize("version", TEXTS)
async def test_what_modelscope_has_can_be_heard(
    version: str,
    model_python: Path,
    reference: Path,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Fetched, verified, loaded without a network, spoken, and not silent."""
    checkpoint = request.getfixturevalue(
        "tiny_checkpoint" if version == "2" else "tiny_checkpoint_25"
    )
    model = tmp_path / "model"
    with serve_repositories(checkpoint, version) as stub:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", stub.url)
        fetch(model, version)
    worker = Worker(0, _spec(model, version, model_python))
    try:
        can = await worker.start()
        assert can.engine == "indextts2"
        delivery = await worker.work(
            Task("1", TEXTS[version], "reference", "neutral", 1.0, str(reference), seed=1),
            Silence(),
        )
    finally:
        await worker.end("shutdown")
    assert delivery.sample_rate == can.sample_rate == 22_050
    report = check_signal(delivery.samples, delivery.sample_rate)
    assert report.audio_verdict == "ok"


async def test_a_file_that_went_bad_is_never_loaded(
    model_python: Path, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One byte, after the download: the worker names the file and the command, and ends."""
    model = tmp_path / "model"
    with serve_repositories(tiny_checkpoint) as stub:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", stub.url)
        fetch(model, "2")
    content = bytearray((model / "s2mel.pth").read_bytes())
    content[len(content) // 2] ^= 1
    (model / "s2mel.pth").write_bytes(content)
    worker = Worker(0, _spec(model, "2", model_python))
    try:
        with pytest.raises(WorkerUnfit, match=r"s2mel\.pth has other content.*fetch_weights\.py"):
            await worker.start()
    finally:
        await worker.end("shutdown")


def _spec(model: Path, version: str, python: Path) -> EngineSpec:
    options = {"model_dir": str(model), "model_version": version, "device": "cpu"}
    return EngineSpec("indextts2", options, python)
