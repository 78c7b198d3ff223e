"""
Promises about what comes from another server: audio is taken in every shape, and nothing else is.
"""

from __future__ import annotations

import io
from contextlib import suppress

import numpy as np
import pytest
import soundfile
from contract_servers import HTML, RATE, open_ended, tone, wav
from hypothesis import given
from hypothesis import strategies as st

from indextts_app.engines.base import RemoteFailed
from indextts_app.engines.remote.audio import Heard, check_length, decoded

SAMPLES = tone("hello")
EXPECTED = np.frombuffer(SAMPLES, "<i2")


def encoded(kind: str, subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    # As floats, because whole numbers would go into a file of floats as they are.
    soundfile.write(buffer, EXPECTED / 32_768, RATE, format=kind, subtype=subtype)
    return buffer.getvalue()


def refusal(data: bytes, pcm_rate: int | None = None) -> str:
    with pytest.raises(RemoteFailed) as failed:
        decoded(data, pcm_rate=pcm_rate)
    assert failed.value.code == "remote_bad_audio"
    assert failed.value.reason.zh
    return failed.value.reason.en


@pytest.mark.parametrize(
    "data",
    [
        wav(SAMPLES),
        open_ended(wav(SAMPLES), 0xFFFFFFFF),
        open_ended(wav(SAMPLES), 0x7FFFF000),
        open_ended(wav(SAMPLES), 0),
        wav(np.repeat(EXPECTED, 2).tobytes(), channels=2),
        encoded("WAV", "PCM_24"),
        encoded("WAV", "FLOAT"),
        encoded("FLAC"),
    ],
)
def test_whole_audio_is_taken_sample_by_sample(data: bytes) -> None:
    """Sent at once or while it was made, in one channel or two, of any width."""
    heard = decoded(data)
    assert heard.sample_rate == RATE
    assert np.array_equal(heard.samples, EXPECTED)


@pytest.mark.parametrize("kind", ["OGG", "MP3"])
def test_a_server_that_sends_another_format_is_understood(kind: str) -> None:
    """It was asked for WAV, and some send what they always do."""
    heard = decoded(encoded(kind))
    assert heard.sample_rate == RATE
    assert len(heard.samples) == pytest.approx(len(EXPECTED), rel=0.2)


@pytest.mark.parametrize(
    ("kind", "subtype", "said"),
    [
        ("MP3", None, "its MP3 was cut short: "),
        ("OGG", "VORBIS", "its Ogg was cut short: the last page is missing."),
        ("OGG", "OPUS", "its Ogg was cut short: the last page is missing."),
        ("FLAC", None, "its audio cannot be decoded."),
    ],
)
@pytest.mark.parametrize("share", [0.6, 0.9])
def test_half_a_file_is_none(kind: str, subtype: str | None, said: str, share: float) -> None:
    """What is there of it can be decoded, and would pass for speech."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(1).normal(0, 0.1, 8 * RATE)
    soundfile.write(buffer, noise, RATE, format=kind, subtype=subtype)
    data = buffer.getvalue()
    decoded(data)
    assert refusal(data[: int(len(data) * share)]).startswith(said)


def test_a_file_that_does_not_say_how_long_it_is_is_refused() -> None:
    """A FLAC that was made into a pipe: libsndfile finds no end of it."""
    data = bytearray(encoded("FLAC"))
    # The count of samples in STREAMINFO: 36 bits (RFC 9639, 8.2).
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    assert refusal(bytes(data)) == "its audio cannot be decoded."


def test_samples_that_are_no_numbers_are_refused() -> None:
    """A model that broke down: as sound they would be silence, or a click."""
    buffer = io.BytesIO()
    broken = EXPECTED / 32_768
    broken[7] = np.nan
    soundfile.write(buffer, broken, RATE, format="WAV", subtype="FLOAT")
    assert refusal(buffer.getvalue()) == "some of its samples are no numbers."


def test_samples_without_a_header_are_taken_only_where_that_is_configured() -> None:
    """Their rate is nowhere in them."""
    assert np.array_equal(decoded(SAMPLES, pcm_rate=16_000).samples, EXPECTED)
    assert decoded(SAMPLES, pcm_rate=16_000).sample_rate == 16_000
    assert decoded(wav(SAMPLES), pcm_rate=16_000).sample_rate == RATE
    assert "set the format to pcm" in refusal(SAMPLES)
    assert "odd number" in refusal(SAMPLES[:-1], 16_000)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "nothing at all"),
        (b'{"status_code": 500}', "with text"),
        ('{"detail": "没有这个音色"}'.encode() * 20, "with text"),
        (HTML, "with text"),
        (wav(b""), "no samples"),
        (wav(SAMPLES)[:44], "0% of the samples"),
        (wav(SAMPLES)[:20_000], "42% of the samples"),
        (wav(SAMPLES)[:30], "no samples"),
        (wav(SAMPLES, 200_000), "200000 Hz cannot be"),
        (b"fLaC" + bytes(40), "cannot be decoded"),
    ],
)
def test_what_is_no_whole_audio_is_refused_with_what_it_is(data: bytes, said: str) -> None:
    """Whatever its status and its content type claim."""
    assert said in refusal(data)


@pytest.mark.parametrize("rate", [None, 24_000])
@given(st.binary(max_size=200) | st.binary(max_size=99).map(lambda tail: wav(SAMPLES)[:36] + tail))
def test_no_bytes_end_in_anything_else(rate: int | None, data: bytes) -> None:
    """They are audio with samples, or refused with a reason."""
    with suppress(RemoteFailed):
        heard = decoded(data, pcm_rate=rate)
        assert len(heard.samples)
        assert heard.sample_rate > 0


def test_audio_that_is_far_too_long_is_refused() -> None:
    """Samples at a wrong rate, or noise; the slowest speech is not."""
    minute = Heard(np.ones(60 * RATE, np.int16), RATE)
    check_length(minute, "a" * 20, 1.0)
    check_length(minute, "a" * 10, 0.5)
    with pytest.raises(RemoteFailed, match="60 s of audio cannot be 10 characters"):
        check_length(minute, "a" * 10, 1.0)
