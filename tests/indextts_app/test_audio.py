"""Promises of the containers: they decode back, bear their request_id, and are never half there."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from playing import played

from indextts_app import audio, errors
from indextts_app.engines.base import Samples
from indextts_app.synthesis import AudioFormat

RATE = 22_050
ID = "01K8ZQ3V7M1ABCDEFGHJKMNPQR"


def tone(seconds: float = 1.0) -> Samples:
    moments = np.arange(round(seconds * RATE)) / RATE
    return np.round(8_000 * np.sin(2 * np.pi * 440 * moments)).astype(np.int16)


def heard(data: bytes, kind: AudioFormat) -> Samples:
    """What ffmpeg plays, at the file's own rate."""
    if kind is AudioFormat.PCM:
        return np.frombuffer(data, "<i2").astype(np.int16)
    return played(data, audio.rate_of(kind, RATE))


@pytest.mark.parametrize("kind", AudioFormat)
def test_every_format_decodes_back(kind: AudioFormat) -> None:
    """What comes out is as long as what went in, and sounds the same where nothing is lossy."""
    samples = tone()
    decoded = heard(audio.encoded(samples, RATE, kind, ID), kind)
    assert len(decoded) / audio.rate_of(kind, RATE) == pytest.approx(1, abs=0.1)
    if kind in (AudioFormat.WAV, AudioFormat.FLAC):
        assert np.array_equal(decoded, samples)
    else:
        loudness = np.sqrt(np.mean(decoded[2_000:-4_000].astype(float) ** 2))
        assert loudness == pytest.approx(8_000 / np.sqrt(2), rel=0.1)


@pytest.mark.parametrize("kind", [AudioFormat.OPUS, AudioFormat.PCM])
@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 24_000, 44_100, 48_000])
def test_opus_and_pcm_have_24_khz_whatever_the_engines_rate(kind: AudioFormat, rate: int) -> None:
    """A second stays a second and a tone its pitch; samples at 24 kHz are not touched."""
    moments = np.arange(rate) / rate
    samples = np.round(8_000 * np.sin(2 * np.pi * 440 * moments)).astype(np.int16)
    decoded = heard(audio.encoded(samples, rate, kind, ID), kind)
    assert audio.rate_of(kind, rate) == 24_000
    assert len(decoded) == pytest.approx(24_000, abs=500)
    pitch = np.abs(np.fft.rfft(decoded[:24_000], 24_000)).argmax()
    assert pitch == pytest.approx(440, abs=1)
    if kind is AudioFormat.PCM and rate == 24_000:
        assert np.array_equal(decoded, samples)


@pytest.mark.parametrize("kind", [kind for kind in AudioFormat if kind is not AudioFormat.PCM])
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
    rate = audio.rate_of(kind, RATE)
    assert len(heard(audio.encoded(silence, RATE, kind, ID), kind)) / rate > 119


def test_aac_without_ffmpeg_is_refused_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one format that needs a program says so; all others work without it."""
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(errors.EncoderMissing, match="Choose another format"):
        audio.encoded(tone(), RATE, AudioFormat.AAC, ID)
    assert audio.encoded(tone(), RATE, AudioFormat.OPUS, ID)


def test_an_ffmpeg_that_fails_is_no_empty_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it ends at once or only with an error."""
    for script in ("exit 1", "cat >/dev/null; exit 1"):
        program = tmp_path / "ffmpeg"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        with monkeypatch.context() as patched:
            patched.setenv("PATH", str(tmp_path), prepend=os.pathsep)
            with pytest.raises(errors.EncodingFailed):
                audio.encoded(tone(9), RATE, AudioFormat.AAC, ID)


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
