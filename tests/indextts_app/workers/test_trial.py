"""Promises of the trial: a task that any engine must be able to do, cloning ones included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pooling import DRILL

from indextts_app.engines.base import Control, Features, Task, Translated
from indextts_app.engines.drill import DrillEngine
from indextts_app.workers.trial import trial_task
from indextts_app.workers.worker import EngineSpec

CAN = DrillEngine().load()
NAME = Translated("Top k", "top k")


def test_an_engine_with_speakers_speaks_with_its_first() -> None:
    """Everything at its default, and no recording even where there is one."""
    plain = Task("self-test", "drill", "steady", "neutral", 1.0)
    assert trial_task(CAN, None) == trial_task(CAN, Path("sample.wav")) == plain


def test_an_engine_that_clones_speaks_with_the_sample() -> None:
    """The built-in recording is its voice; its controls stand at their defaults, its seed at 0."""
    control = Control("top_k", NAME, "integer", default=30)
    clones = replace(
        CAN,
        speakers=(),
        features=Features(reference="voice", seed=True, controls=(control,)),
    )
    assert trial_task(clones, Path("/voices/sample.wav")) == Task(
        "self-test",
        "drill",
        "sample",
        "neutral",
        1.0,
        reference="/voices/sample.wav",
        seed=0,
        controls={"top_k": 30},
    )


CLONING = """
from dataclasses import replace
from indextts_app.engines.drill import DrillEngine
class Own(DrillEngine):
    def load(self):
        return replace(super().load(), speakers=())
    def synthesize(self, job):
        assert job.task.speaker == "sample" and job.task.reference.endswith("sample.wav")
        super().synthesize(type("Job", (), {
            **{name: getattr(job, name) for name in dir(job) if not name.startswith("_")},
            "task": replace(job.task, speaker="steady"),
        }))
"""


@pytest.mark.anyio
async def test_a_worker_that_clones_becomes_ready(
    pools: Any, own: Callable[..., EngineSpec], tmp_path: Path
) -> None:
    """Its self-test is spoken by the sample voice of its spec, and so is the pool's own trial."""
    spec = replace(own(CLONING), sample_voice=tmp_path / "sample.wav")
    async with pools(spec) as pool:
        assert (await pool.run(pool.trial_task())).samples.any()


@pytest.mark.anyio
async def test_before_a_worker_was_ready_there_is_no_trial(pools: Any) -> None:
    """Nobody knows yet what the engine can say."""
    async with pools(DRILL, ready=False) as pool:
        assert pool.trial_task() is None
