"""Promises of the stream encoders: bytes as they come, and a file that ffmpeg plays to its end."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from playing import played

from indextts_app.engines.base import Samples
from indextts_app.stream_encoder import STREAMED, stream_encoder
from indextts_app.synthesis import AudioFormat
from observability.audio_probe import request_id_of

ID = "01JZ0000000000000000000000"
SLOWER = (AudioFormat.OPUS, AudioFormat.AAC)
RATES = (16_000, 22_050, 24_000)


def tone(seconds: float, rate: int) -> Samples:
    """A sine of 220 Hz."""
    return (8_000 * np.sin(2 * np.pi * 220 * np.arange(int(seconds * rate)) / rate)).astype(
        np.int16
    )


def pieces(samples: Samples, size: int) -> list[Samples]:
    """The samples as an engine hands them over."""
    return [samples[start : start + size] for start in range(0, len(samples), size)]


def listened(data: bytes, kind: AudioFormat, rate: int, *, whole: bool = True) -> Samples:
    """What is heard at this rate; a player has to be told that of bare samples."""
    if kind is not AudioFormat.PCM:
        return played(data, rate, whole=whole)
    head = stream_encoder(AudioFormat.WAV, 24_000, ID).close()
    return played(head + data, rate, whole=whole)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("kind", STREAMED)
def test_what_was_sent_plays_completely(kind: AudioFormat, rate: int) -> None:
    """Right length and right level; FLAC and WAV give back every sample."""
    sent = tone(7.3, rate)
    encoder = stream_encoder(kind, rate, ID)
    data = b"".join([*map(encoder.write, pieces(sent, 5_000)), encoder.close()])
    heard = listened(data, kind, rate)
    if kind not in (AudioFormat.WAV, AudioFormat.FLAC):
        # Nobody told the player of the encoder's delay: 0.1 s of silence around the sound.
        assert len(heard) / rate == pytest.approx(7.35, abs=0.1)
        middle = heard[rate : 6 * rate].astype(float)
        assert np.sqrt(2) * middle.std() == pytest.approx(8_000, rel=0.1)
    else:
        np.testing.assert_array_equal(heard, sent)


@pytest.mark.parametrize("kind", [kind for kind in STREAMED if kind not in SLOWER])
def test_the_sound_goes_out_while_it_comes_in(kind: AudioFormat) -> None:
    """What has been sent after each quarter of a second plays to within that quarter."""
    encoder = stream_encoder(kind, 24_000, ID)
    data = b""
    for number, piece in enumerate(pieces(tone(2, 24_000), 6_000)):
        data += encoder.write(piece)
        if number % 3 == 0:
            heard = listened(data, kind, 24_000, whole=False)
            assert len(heard) >= number * 6_000


@pytest.mark.parametrize("kind", SLOWER)
def test_slower_formats_are_a_second_behind(kind: AudioFormat) -> None:
    """Opus has its pages, and AAC a program of its own that works beside."""
    encoder = stream_encoder(kind, 24_000, ID)
    data = b"".join(map(encoder.write, pieces(tone(30, 24_000), 6_000)))
    until = time.monotonic() + 10
    while len(played(data, 24_000, whole=False)) < 28 * 24_000:
        assert time.monotonic() < until
        data += encoder.write(tone(1, 24_000)[:1])
    encoder.abandon()


@pytest.mark.parametrize("kind", STREAMED)
def test_a_file_that_nobody_needs_leaves_nothing_behind(kind: AudioFormat) -> None:
    """Neither a process nor a thread; and once more does no harm."""
    threads = threading.active_count()
    encoder = stream_encoder(kind, 22_050, ID)
    encoder.write(tone(1, 22_050))
    encoder.abandon()
    encoder.abandon()
    assert threading.active_count() == threads


@pytest.mark.parametrize("kind", [kind for kind in STREAMED if kind is not AudioFormat.PCM])
def test_the_request_id_stands_in_the_file(kind: AudioFormat, tmp_path: Path) -> None:
    """Where a stored file has it, so that the file alone is enough for a complaint."""
    encoder = stream_encoder(kind, 24_000, ID)
    path = tmp_path / f"audio.{kind.value}"
    path.write_bytes(encoder.write(tone(1, 24_000)) + encoder.close())
    assert request_id_of(path) == ID


@pytest.mark.parametrize("kind", STREAMED)
def test_hardly_any_sound_is_a_file_as_well(kind: AudioFormat) -> None:
    """One sample is enough."""
    encoder = stream_encoder(kind, 24_000, ID)
    listened(encoder.write(tone(1, 24_000)[:1]) + encoder.close(), kind, 24_000)


LEAVING = """
import sys, threading, time
import numpy as np
from indextts_app.stream_encoder import stream_encoder
from indextts_app.synthesis import AudioFormat
noise = (np.random.default_rng(0).standard_normal(400_000) * 3_000).astype(np.int16)
for attempt in range(20):
    encoder = stream_encoder(AudioFormat(sys.argv[1]), 22_050, "0" * 26)
    writing = threading.Thread(target=encoder.write, args=(noise,))
    writing.start()
    time.sleep(0.001 * attempt)
    encoder.abandon()
    writing.join()
"""


@pytest.mark.parametrize("kind", [AudioFormat.MP3, AudioFormat.FLAC])
def test_whoever_leaves_while_it_is_encoded_takes_nobody_along(kind: AudioFormat) -> None:
    """A file that is closed while a thread writes to it would end the whole service."""
    done = subprocess.run([sys.executable, "-c", LEAVING, kind.value], check=False)
    assert done.returncode == 0


def test_a_very_long_piece_is_encoded() -> None:
    """Libsndfile is never given more at once than it can take."""
    encoder = stream_encoder(AudioFormat.MP3, 24_000, ID)
    data = encoder.write(tone(120, 24_000)) + encoder.close()
    assert len(played(data, 24_000)) / 24_000 == pytest.approx(120, abs=0.2)
