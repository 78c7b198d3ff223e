"""Promises of a file under another request_id: the same sound, and no trace of the first id."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from playing import played

from indextts_app import audio
from indextts_app.synthesis import AudioFormat
from indextts_app.tags import retagged
from observability.audio_probe import request_id_of

OLD, NEW = "01K8ZQ3V7M1ABCDEFGHJKMNPQR", "01M7YQJX7PTPC1PAJTN75109G2"
SAMPLES = np.round(8_000 * np.sin(np.arange(66_150) / 9)).astype(np.int16)


@pytest.mark.parametrize("kind", AudioFormat)
def test_only_the_tags_change(kind: AudioFormat, tmp_path: Path) -> None:
    """ffprobe reads the new id, ffmpeg plays it without complaint, and the old one is nowhere."""
    first = audio.encoded(SAMPLES, 22_050, kind, OLD)
    second = retagged(first, OLD, NEW)
    assert len(second) == len(first)
    assert OLD[:12].encode() not in second
    if kind is AudioFormat.PCM:
        assert second == first
        return
    path = tmp_path / f"sound.{kind.value}"
    path.write_bytes(second)
    assert request_id_of(path) == NEW
    assert np.array_equal(played(second, 24_000), played(first, 24_000))
    assert retagged(second, NEW, OLD) == first


def test_an_id_of_another_length_is_refused() -> None:
    """It would move the sound."""
    with pytest.raises(ValueError):
        retagged(b"", OLD, "short")


@pytest.mark.parametrize(
    "data", [b"", b"request_id=", b"OggS", b"request_id=01K8ZQ3", b"x" * 9_999]
)
def test_whatever_it_is_given_it_comes_back_as_long(data: bytes) -> None:
    """Sound that happens to look like a tag, or is cut short, breaks nothing."""
    assert len(retagged(data, OLD, NEW)) == len(data)
