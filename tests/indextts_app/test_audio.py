"""Promises of the containers: they decode back, bear their request_id, and are never half there."""

from __future__ import annotations

import io
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from indextts_app import audio
from indextts_app.engines.base import Samples
from indextts_app.synthesis import AudioFormat

RATE = 22_050
ID = "01K8ZQ3V7M1ABCDEFGHJKMNPQR"


def tone(seconds: float = 1.0) -> Samples:
    moments = np.arange(round(seconds * RATE)) / RATE
    return np.round(8_000 * np.sin(2 * np.pi * 440 * moments)).astype(np.int16)


@pytest.mark.parametrize("kind", AudioFormat)
def test_every_format_decodes_back(kind: AudioFormat) -> None:
    """What comes out is as long as what went in, and sounds the same where nothing is lossy."""
    samples = tone()
    decoded, rate = soundfile.read(
        io.BytesIO(audio.encoded(samples, RATE, kind, ID)), dtype="int16"
    )
    assert rate == RATE
    assert abs(len(decoded) - len(samples)) < RATE / 20
    if kind in (AudioFormat.WAV, AudioFormat.FLAC):
        assert np.array_equal(decoded, samples)
    else:
        loudness = np.sqrt(np.mean(decoded.astype(float) ** 2))
        assert loudness == pytest.approx(8_000 / np.sqrt(2), rel=0.1)


@pytest.mark.parametrize("kind", AudioFormat)
def test_the_file_bears_its_request_id(kind: AudioFormat, tmp_path: Path) -> None:
    """ffprobe reads the id and the promised codec from the file alone."""
    path = tmp_path / f"sound.{kind}"
    audio.stored(audio.encoded(tone(), RATE, kind, ID), path)
    asked = "stream=codec_name:format_tags:stream_tags"
    found = subprocess.run(
        ["ffprobe", "-v", "error", "-show_entries", asked, "-of", "json", path],
        capture_output=True,
        check=True,
    )
    described = json.loads(found.stdout)
    (stream,) = described["streams"]
    tags = {**described["format"].get("tags", {}), **stream.get("tags", {})}
    assert stream["codec_name"] == audio.CODECS[kind]
    assert f"request_id={ID}" in {key.lower(): value for key, value in tags.items()}["comment"]


@pytest.mark.parametrize("kind", AudioFormat)
def test_two_minutes_can_be_encoded(kind: AudioFormat) -> None:
    """The longest audio that a request can ask for breaks no encoder."""
    silence = np.zeros(120 * RATE, np.int16)
    assert soundfile.info(io.BytesIO(audio.encoded(silence, RATE, kind, ID))).duration > 119


def test_a_stored_file_is_whole_and_alone(tmp_path: Path) -> None:
    """The file has its bytes under its final name, and replaces an older one."""
    path = tmp_path / "sound.wav"
    path.write_bytes(b"old")
    audio.stored(b"new", path)
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_nothing_under_the_final_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the bytes cannot be written, neither half a file nor a part of one stays."""

    def full(path: Path, data: bytes) -> int:
        with path.open("wb") as file:
            file.write(data[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        audio.stored(b"a whole file", tmp_path / "sound.wav")
    assert list(tmp_path.iterdir()) == []


def test_the_final_name_appears_only_with_the_last_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until everything is written, the file has another, hidden name that a sweep knows."""
    seen: list[list[str]] = []
    replace = os.replace

    def looked(source: Path, target: Path) -> None:
        seen.append([path.name for path in tmp_path.iterdir()])
        replace(source, target)

    monkeypatch.setattr(os, "replace", looked)
    audio.stored(b"a whole file", tmp_path / "sound.wav")
    assert seen == [[".sound.wav.part"]]
