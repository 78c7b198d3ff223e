"""Promises of the stream encoders: bytes as they come, and a file that ffmpeg plays to its end."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from playing import played

from indextts_app.engines.base import Samples
from indextts_app.stream_encoder import STREAMED, stream_encoder
from indextts_app.synthesis import AudioFormat

ID = "01JZ0000000000000000000000"
RATES = (16_000, 22_050, 24_000)


def tone(seconds: float, rate: int) -> Samples:
    """A sine of 220 Hz."""
    return (8_000 * np.sin(2 * np.pi * 220 * np.arange(int(seconds * rate)) / rate)).astype(
        np.int16
    )


def pieces(samples: Samples, size: int) -> list[Samples]:
    """The samples as an engine hands them over."""
    return [samples[start : start + size] for start in range(0, len(samples), size)]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("kind", STREAMED)
def test_what_was_sent_plays_completely(kind: AudioFormat, rate: int) -> None:
    """Right length and right level; FLAC and WAV give back every sample."""
    sent = tone(7.3, rate)
    encoder = stream_encoder(kind, rate, ID)
    data = b"".join([*map(encoder.write, pieces(sent, 5_000)), encoder.close()])
    heard = played(data, rate)
    if kind is AudioFormat.MP3:
        # Nobody told the player of the encoder's delay: 0.1 s of silence around the sound.
        assert len(heard) / rate == pytest.approx(7.35, abs=0.1)
        assert np.abs(heard).max() == pytest.approx(8_000, rel=0.1)
    else:
        np.testing.assert_array_equal(heard, sent)


@pytest.mark.parametrize("kind", STREAMED)
def test_the_sound_goes_out_while_it_comes_in(kind: AudioFormat) -> None:
    """What has been sent after each quarter of a second plays to within that quarter."""
    encoder = stream_encoder(kind, 24_000, ID)
    data = b""
    for number, piece in enumerate(pieces(tone(2, 24_000), 6_000)):
        data += encoder.write(piece)
        if number % 3 == 0:
            assert len(played(data, 24_000, whole=False)) >= number * 6_000


@pytest.mark.parametrize("kind", STREAMED)
def test_the_request_id_stands_in_the_file(kind: AudioFormat, tmp_path: Path) -> None:
    """Where a stored file has it, so that the file alone is enough for a complaint."""
    encoder = stream_encoder(kind, 24_000, ID)
    path = tmp_path / f"audio.{kind.value}"
    path.write_bytes(encoder.write(tone(1, 24_000)) + encoder.close())
    run = subprocess.run(
        ["ffprobe", "-v", "error", "-show_format", "-of", "json", str(path)],
        capture_output=True,
        check=True,
    )
    tags = json.loads(run.stdout)["format"]["tags"]
    assert {name.lower(): value for name, value in tags.items()}["comment"] == f"request_id={ID}"


@pytest.mark.parametrize("kind", STREAMED)
def test_hardly_any_sound_is_a_file_as_well(kind: AudioFormat) -> None:
    """One sample is enough."""
    encoder = stream_encoder(kind, 24_000, ID)
    played(encoder.write(tone(1, 24_000)[:1]) + encoder.close(), 24_000)


def test_a_very_long_piece_is_encoded() -> None:
    """Libsndfile is never given more at once than it can take."""
    encoder = stream_encoder(AudioFormat.MP3, 24_000, ID)
    data = encoder.write(tone(120, 24_000)) + encoder.close()
    assert len(played(data, 24_000)) / 24_000 == pytest.approx(120, abs=0.2)
