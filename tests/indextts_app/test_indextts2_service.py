"""The whole service with the engine `indextts2`, on the doubles of the model's packages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from indextts_app.engines.indextts2.engine import IndexTTS2Engine
from indextts_app.server import _engine_options
from indextts_app.settings import Settings

pytestmark = pytest.mark.anyio


@pytest.fixture
def cloning(
    drill_settings: Callable[..., Settings],
    tmp_path: Path,
    double_python: Path,
    double_weights: Callable[[str], Path],
) -> Settings:
    """Settings of a service with the double of IndexTTS-2."""
    return drill_settings(
        tmp_path,
        engine="indextts2",
        worker_python=double_python,
        model_dir=double_weights("2"),
        device="cpu",
    )


def test_the_engine_takes_every_option_that_the_service_sends(cloning: Settings) -> None:
    """By name; an option that it does not know would end the worker at its start."""
    IndexTTS2Engine(**_engine_options(cloning))  # type: ignore[arg-type]


async def test_a_request_ends_in_one_line_that_tells_it_all(
    cloning: Settings, running: Callable[[Settings], Any]
) -> None:
    """What was asked, where time went, what came out, and what it cost."""
    async with running(cloning) as service:
        asked = {"text": "你好世界。", "emotion": "happy", "seed": 3, "segment_tokens": 40}
        answer = await service.speak(**asked)
        line = await service.log.finished(answer.headers["X-Request-ID"])
        assert answer.status_code == 200
        assert answer.headers["X-Seed"] == "3"
        assert (await service.speak(**asked)).content[-1_000:] == answer.content[-1_000:]
    told = {
        "engine": "indextts2",
        "engine_version": "2.0.0+double",
        "model_version": "2",
        "device": "cpu",
        "speaker": "sample",
        "emotion": "happy",
        "emotion_mode": "preset",
        "emotion_weight": 0.65,
        "seed": 3,
        "controls": "segment_tokens=40",
        "segments": 1,
        "text_tokens": 5,
        "unknown_tokens": 0,
        "acoustic_tokens": 20,
        "length_limited": False,
        "audio_seconds": 0.4,
        "audio_verdict": "ok",
        "status": "success",
        "speaker_cache_hit": True,
    }
    assert {name: line.get(name) for name in told} == told
    stages = ("text_prep", "speaker_enc", "acoustic", "vocoder", "post", "other")
    times = [line[f"stage_{name}_ms"] for name in stages] + [line["queue_ms"]]
    assert sum(times) == pytest.approx(line["duration_ms"], rel=0.01)
