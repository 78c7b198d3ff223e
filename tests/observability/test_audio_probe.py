"""
Promises of `observability.audio_probe`, with the real ffprobe.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from observability import audio_probe
from observability.audio_probe import ProbeReport, judge_file, probe, request_id_of

RATE = 22_050
ID = "01K8ZQ3V7M1ABCDEFGHJKMNPQR"
FORMATS = {
    "wav": ("WAV", "PCM_16", "pcm_s16le"),
    "flac": ("FLAC", "PCM_16", "flac"),
    "mp3": ("MP3", "MPEG_LAYER_III", "mp3"),
    "ogg": ("OGG", "VORBIS", "vorbis"),
}


def write(
    folder: Path, kind: str, *, seconds: float = 2.0, comment: str = f"request_id={ID}"
) -> Path:
    container, subtype, _ = FORMATS[kind]
    path = folder / f"sound.{kind}"
    with soundfile.SoundFile(path, "w", RATE, 1, subtype, format=container) as file:
        if comment:
            file.comment = comment
        noise = np.random.default_rng(1).normal(0, 3_000, round(seconds * RATE))
        file.write(noise.astype(np.int16))
    return path


def test_a_file_is_described_in_full(tmp_path: Path) -> None:
    """The whole report of a WAV file is what was written."""
    path = write(tmp_path, "wav")
    report = probe(path)
    assert report.probe_ms > 0
    assert replace(report, probe_ms=0.0) == ProbeReport(
        probe_ok=True,
        probe_error=None,
        probe_ms=0.0,
        audio_bytes=path.stat().st_size,
        codec="pcm_s16le",
        container="wav",
        sample_rate=RATE,
        channels=1,
        duration_seconds=2.0,
        tags={"comment": f"request_id={ID}"},
    )


@pytest.mark.parametrize("kind", FORMATS)
def test_a_whole_file_is_ok_and_knows_its_request(tmp_path: Path, kind: str) -> None:
    """In every container the file is judged ok and gives its request id back, whatever its case."""
    path = write(tmp_path, kind, comment=f"REQUEST_ID={ID.lower()}")
    codec = FORMATS[kind][2]
    report = probe(path)
    assert judge_file(report, codec=codec, sample_rate=RATE, channels=1, seconds=2.0) == "ok"
    assert request_id_of(path) == ID


@pytest.mark.parametrize("kind", FORMATS)
def test_a_broken_off_file_is_truncated_whatever_its_header_claims(
    tmp_path: Path, kind: str
) -> None:
    """Half of a file is found to be about half as long, also where the header tells all of it."""
    path = write(tmp_path, kind, seconds=6.0)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    report = probe(path)
    codec = FORMATS[kind][2]
    assert report.duration_seconds == pytest.approx(3.0, abs=1.0)  # a page of Ogg is lost whole
    assert judge_file(report, codec=codec, sample_rate=RATE, channels=1, seconds=6.0) == "truncated"


def test_a_header_without_sound_is_truncated(tmp_path: Path) -> None:
    """A WAV file that ends after its header lasts no time at all."""
    path = write(tmp_path, "wav")
    header = path.read_bytes()
    path.write_bytes(header[: header.index(b"data") + 8])
    report = probe(path)
    assert judge_file(report, codec="pcm_s16le", sample_rate=RATE, channels=1, seconds=2.0) != "ok"


GOOD = ProbeReport(True, None, 50.0, 1_000, "mp3", "mp3", RATE, 1, 10.0)


@pytest.mark.parametrize(
    ("report", "verdict"),
    [
        (GOOD, "ok"),
        (replace(GOOD, codec="flac"), "wrong_format"),
        (replace(GOOD, sample_rate=24_000), "wrong_format"),
        (replace(GOOD, channels=2), "wrong_format"),
        (replace(GOOD, duration_seconds=9.81), "ok"),
        (replace(GOOD, duration_seconds=9.79), "truncated"),
        (replace(GOOD, duration_seconds=12.0), "ok"),
        (replace(GOOD, duration_seconds=None), "truncated"),
        (ProbeReport(False, "unreadable", 50.0, 10), "wrong_format"),
        (ProbeReport(False, "not_a_file", 0.0), "wrong_format"),
        (ProbeReport(False, "unavailable", 1.0, 1_000), "ok"),
        (ProbeReport(False, "timeout", 5_000.0, 1_000), "ok"),
    ],
)
def test_each_file_verdict_has_its_reason(report: ProbeReport, verdict: str) -> None:
    """Another format is wrong, missing sound is truncated, and not knowing is no verdict."""
    assert judge_file(report, codec="mp3", sample_rate=RATE, channels=1, seconds=10.0) == verdict


def test_opus_is_not_blamed_for_its_rate() -> None:
    """Opus always decodes at 48 kHz, whatever rate went in."""
    report = replace(GOOD, codec="opus", sample_rate=48_000)
    assert judge_file(report, codec="opus", sample_rate=RATE, channels=1, seconds=10.0) == "ok"


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    """A missing file, a folder, a link, a pipe and an impossible name are not_a_file at once."""
    pipe, link = tmp_path / "pipe.wav", tmp_path / "link.wav"
    os.mkfifo(pipe)
    link.symlink_to(write(tmp_path, "wav"))
    for path in (tmp_path / "missing.wav", tmp_path, link, pipe, tmp_path / "a\0b.wav"):
        report = probe(path)
        assert replace(report, probe_ms=0.0) == ProbeReport(False, "not_a_file", 0.0)
        assert report.probe_ms < 100


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"error": "overloaded"}',
        b"#EXTM3U\n#EXTINF:2,\nsound.flac\n",
        b"ffconcat version 1.0\nfile sound.flac\n",
        b"v=0\r\nm=audio 5004 RTP/AVP 0\r\nc=IN IP4 127.0.0.1\r\n",
        bytes(range(256)) * 16,
    ],
)
def test_what_is_no_audio_is_unreadable(tmp_path: Path, content: bytes) -> None:
    """Error bodies, playlists and noise named .wav are unreadable, and no other file is opened."""
    write(tmp_path, "flac")
    path = tmp_path / "fake.wav"
    path.write_bytes(content)
    report = probe(path)
    assert replace(report, probe_ms=0.0) == ProbeReport(False, "unreadable", 0.0, len(content))
    assert request_id_of(path) is None


@pytest.mark.parametrize(
    "name", ["-version.wav", "http:--a.wav", "a b;$(id)'\"%d.wav", "concat:a|b", "声音.wav"]
)
def test_a_file_name_is_only_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Names that look like options, addresses or shell are opened as the files they are."""
    write(tmp_path, "wav").rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert request_id_of(Path(name)) == ID


@pytest.mark.parametrize("comment", ["", "made by hand", "request_id=", "request_id=123", "01K8"])
def test_other_comments_are_no_request_ids(tmp_path: Path, comment: str) -> None:
    """A comment without a whole request id gives None."""
    assert request_id_of(write(tmp_path, "wav", comment=comment)) is None


def programs(folder: Path, *names: str) -> Path:
    folder.mkdir()
    for name in names:
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    return folder


@pytest.mark.parametrize("present", [(), ("timeout", "nice", "prlimit"), ("ffprobe", "nice")])
def test_without_its_programs_the_probe_is_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, present: tuple[str, ...]
) -> None:
    """Where ffprobe or timeout is missing the report says so, and nothing else."""
    path = write(tmp_path, "wav")
    monkeypatch.setenv("PATH", str(programs(tmp_path / "bin", *present)))
    report = probe(path)
    assert replace(report, probe_ms=0.0) == ProbeReport(
        False, "unavailable", 0.0, path.stat().st_size
    )


def test_without_prlimit_the_probe_still_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """prlimit, which not every system has, is used only where it is."""
    path = write(tmp_path, "wav")
    monkeypatch.setenv("PATH", str(programs(tmp_path / "bin", "ffprobe", "timeout", "nice")))
    assert probe(path).probe_ok


def test_a_hanging_ffprobe_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the timeout the report says so, and the process is gone, not a zombie."""
    path = write(tmp_path, "wav")
    fakes = tmp_path / "bin"
    fakes.mkdir()
    fake = fakes / "ffprobe"
    fake.write_text(f"#!/bin/sh\necho $$ > '{tmp_path}/pid'\nexec sleep 60\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fakes}:{os.environ['PATH']}")
    report = probe(path, timeout_seconds=0.3)
    assert replace(report, probe_ms=0.0) == ProbeReport(False, "timeout", 0.0, path.stat().st_size)
    assert report.probe_ms < 2_000
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.fixture
def _script_without_run_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    script = tmp_path / "ffprobe.sh"
    script.write_bytes(audio_probe._WRAPPER.read_bytes())
    script.chmod(0o644)
    monkeypatch.setattr(audio_probe, "_WRAPPER", script)
    audio_probe._executable_wrapper.cache_clear()
    yield
    audio_probe._executable_wrapper.cache_clear()


@pytest.mark.usefixtures("_script_without_run_bit")
def test_a_lost_run_bit_does_not_matter(tmp_path: Path) -> None:
    """A checkout that lost the script's run bit probes all the same."""
    assert probe(write(tmp_path, "wav")).probe_ok
