"""The short synthesis that proves that a worker can speak."""

from __future__ import annotations

from pathlib import Path

from indextts_app.engines.base import Capabilities, Task

REQUEST_ID = "self-test"
SAMPLE_SPEAKER = "sample"


def trial_task(can: Capabilities, sample_voice: Path | None) -> Task:
    """
    The engine's own sentence with everything at its default, the same each time.

    Spoken by the first speaker, or, where each voice is a recording, by `sample_voice`; an engine
    that lacks both says why it cannot speak.
    """
    cloned = not can.speakers and sample_voice is not None
    return Task(
        request_id=REQUEST_ID,
        text=can.self_test_text,
        speaker=can.speakers[0].id if can.speakers else SAMPLE_SPEAKER,
        emotion=can.emotions[0],
        speed=1.0,
        reference=str(sample_voice) if cloned else None,
        seed=0 if can.features.seed else None,
        controls={control.name: control.default for control in can.features.controls},
    )
