"""
Promises of the intake of recordings, with the real ffmpeg: an untrusted file in, a short one out.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import wave
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import soundfile

from indextts_app import errors, references

MAX_BYTES = 20_000_000
RATE = 16_000


def recording(path: Path, *, seconds: float = 2.0, rate: int = RATE, channels: int = 1) -> Path:
    """A tone in the container that the name asks for."""
    moments = np.arange(round(seconds * rate)) / rate
    tone = np.round(8_000 * np.sin(2 * np.pi * 220 * moments)).astype(np.int16)
    soundfile.write(path, np.repeat(tone[:, None], channels, axis=1), rate)
    return path


@pytest.fixture
def uploads(tmp_path: Path) -> Path:
    """The folder that uploads are kept in."""
    folder = tmp_path / "uploads"
    folder.mkdir()
    return folder


Intake = Callable[[Path], references.Reference]


@pytest.fixture
def accept(tmp_path: Path, uploads: Path) -> Intake:
    """The intake, with its folder beside the uploads."""
    return lambda upload: references.accept(
        upload, tmp_path / "references", within=uploads, max_bytes=MAX_BYTES
    )


@pytest.fixture(scope="session")
def two_hours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A FLAC of 3 MB that plays for two hours."""
    path = tmp_path_factory.mktemp("long") / "two_hours.flac"
    source = ["-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono", "-t", "7200"]
    encoder = ["-c:a", "flac", "-frame_size", "256", "-compression_level", "0"]
    subprocess.run(["ffmpeg", "-v", "error", *source, *encoder, path], check=True)
    assert 2_500_000 < path.stat().st_size < 4_000_000
    return path


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "ogg"])
def test_a_recording_becomes_24_khz_mono(kind: str, uploads: Path, accept: Intake) -> None:
    """The engine gets one shape, whatever the client's microphone made."""
    taken = accept(recording(uploads / f"voice.{kind}", channels=2, rate=44_100))
    with wave.open(str(taken.path)) as made:
        shape = (made.getnchannels(), made.getframerate(), made.getsampwidth())
    assert shape == (1, references.SAMPLE_RATE, 2)
    assert taken.seconds == pytest.approx(2.0, abs=0.1)


def test_the_same_content_has_the_same_path(uploads: Path, accept: Intake) -> None:
    """A recording that came before is not decoded again; another content is another file."""
    first = accept(recording(uploads / "a.wav"))
    made = first.path.stat().st_ino
    again = accept(recording(uploads / "b.wav"))
    other = accept(recording(uploads / "a.wav", seconds=3.0))
    assert again == first
    assert again.path.stat().st_ino == made
    assert other.path != first.path


def test_names_mean_nothing(uploads: Path, accept: Intake) -> None:
    """Options, quotes, line ends and another container's ending in a name change nothing."""
    for name in ("-version.wav", "-i", "a;rm -rf ~", "a'b\"c\n.wav", "é汉.ogg", "%d.wav", "a.m3u8"):
        plain = recording(uploads / "plain.wav")
        assert accept(plain.rename(uploads / name)).seconds == pytest.approx(2.0, abs=0.01)


def refused(path: Path, accept: Intake) -> errors.ReferenceRefused:
    with pytest.raises(errors.ReferenceRefused) as raised:
        accept(path)
    return raised.value


def test_an_empty_file_is_refused(uploads: Path, accept: Intake) -> None:
    """It says that the file is empty, in both languages."""
    (uploads / "voice.wav").touch()
    error = refused(uploads / "voice.wav", accept)
    assert "empty" in error.message()
    assert "空" in error.message("zh")


def test_a_file_beyond_the_limit_is_refused(uploads: Path, tmp_path: Path) -> None:
    """Larger uploads are not even read."""
    path = recording(uploads / "voice.wav")
    with pytest.raises(errors.ReferenceRefused, match=r"larger than 0\.001 MB"):
        references.accept(path, tmp_path, within=uploads, max_bytes=1_000)


def no_audio(folder: Path) -> dict[str, Path]:
    """Files that are no recordings, whatever they call themselves."""
    whole = recording(folder / "whole.wav")
    contents = {
        "text.wav": b"this is no audio at all" * 100,
        "noise.mp3": np.random.default_rng(1).bytes(50_000),
        "header_only.wav": whole.read_bytes()[:44],
        "cut_header.flac": b"fLaC\0\0",
        "playlist.wav": b"#EXTM3U\n#EXTINF:2,\nwhole.wav\n#EXT-X-ENDLIST\n",
        "concat.wav": b"ffconcat version 1.0\nfile whole.wav\n",
        "session.wav": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 9 RTP/AVP 0\n",
        "picture.wav": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in contents}


@pytest.mark.parametrize(
    "name",
    [
        "text.wav",
        "noise.mp3",
        "header_only.wav",
        "cut_header.flac",
        "playlist.wav",
        "concat.wav",
        "session.wav",
        "picture.wav",
    ],
)
def test_what_is_no_recording_is_refused(
    name: str, uploads: Path, accept: Intake, tmp_path: Path
) -> None:
    """No playlist, list of files or broken header is followed, and nothing half done stays."""
    began = time.perf_counter()
    refused(no_audio(uploads)[name], accept)
    assert time.perf_counter() - began < 2
    assert list((tmp_path / "references").glob("*.part")) == []


def test_nothing_that_a_file_names_is_fetched(uploads: Path, accept: Intake) -> None:
    """Playlists, lists and session descriptions point at a server that nobody asks."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        host = f"127.0.0.1:{server.getsockname()[1]}"
        for number, content in enumerate(
            (
                f"#EXTM3U\n#EXTINF:2,\nhttp://{host}/voice.wav\n#EXT-X-ENDLIST\n",
                f"#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=http://{host}/key\n#EXTINF:2,\nwhole.wav\n",
                f"ffconcat version 1.0\nfile http://{host}/voice.wav\n",
                f"v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 {host}\nm=audio 9 RTP/AVP 0\n",
                f"<?xml version='1.0'?><MPD><BaseURL>http://{host}/</BaseURL></MPD>",
                f"[playlist]\nFile1=http://{host}/voice.wav\n",
            )
        ):
            path = uploads / f"{number}.wav"
            path.write_text(content)
            refused(path, accept)
        with pytest.raises(TimeoutError):
            server.accept()


def test_a_video_without_sound_is_refused(uploads: Path, accept: Intake) -> None:
    """A picture track alone is no recording."""
    path = uploads / "video.mp4"
    picture = ["-f", "lavfi", "-i", "color=s=16x16:d=1", "-c:v", "mpeg4"]
    subprocess.run(["ffmpeg", "-v", "error", *picture, path], check=True)
    refused(path, accept)


@pytest.mark.parametrize("level", [0, 15])
def test_a_silent_recording_is_refused(level: int, uploads: Path, accept: Intake) -> None:
    """Digital silence and a muted microphone's noise; whoever speaks softly is let in."""
    noise = np.random.default_rng(0).integers(-level, level + 1, 5 * RATE).astype(np.int16)
    soundfile.write(uploads / "silent.wav", noise, RATE)
    with pytest.raises(errors.ReferenceRefused, match=r"silent: .* -60 dBFS\. Check") as refused:
        accept(uploads / "silent.wav")
    assert "没有声音" in refused.value.message("zh")
    noise[RATE : RATE + 400] += 100
    soundfile.write(uploads / "soft.wav", noise, RATE)
    assert accept(uploads / "soft.wav").seconds == pytest.approx(5.0, abs=0.1)


def test_too_little_sound_is_refused(uploads: Path, accept: Intake) -> None:
    """It says how much there is and how much is needed, each time it comes."""
    for _ in range(2):
        error = refused(recording(uploads / "click.wav", seconds=0.05), accept)
        assert "0.05 s" in error.message()
        assert "0.5 s" in error.message()


def not_uploaded(uploads: Path, outside: Path) -> dict[str, Path]:
    """Paths that no upload has."""
    os.mkfifo(uploads / "pipe.wav")
    (uploads / "link.wav").symlink_to(outside)
    (uploads / "folder.wav").mkdir()
    (uploads / "linked").symlink_to(outside.parent)
    return {
        "outside": outside,
        "dots": uploads / ".." / outside.name,
        "passwd": Path("/etc/passwd"),
        "device": Path("/dev/zero"),
        "absent": uploads / "absent.wav",
        "pipe": uploads / "pipe.wav",
        "link": uploads / "link.wav",
        "folder": uploads / "folder.wav",
        "linked folder": uploads / "linked" / outside.name,
        "nul": uploads / "a\0b",
    }


@pytest.mark.parametrize(
    "kind",
    [
        "outside",
        "dots",
        "passwd",
        "device",
        "absent",
        "pipe",
        "link",
        "folder",
        "linked folder",
        "nul",
    ],
)
def test_only_what_was_uploaded_is_opened(
    kind: str, uploads: Path, accept: Intake, tmp_path: Path
) -> None:
    """A guessed path, a link or a pipe is refused at once, with the same words for each."""
    outside = recording(tmp_path / "secret.wav")
    error = refused(not_uploaded(uploads, outside)[kind], accept)
    assert error.details["reason"] == "it was not uploaded."


def test_two_hours_in_3_mb_are_refused_at_the_cost_of_their_beginning(
    two_hours: Path, tmp_path: Path
) -> None:
    """What unpacks to a gigabyte is not decoded for it; the refusal says what to send."""
    before = psutil.Process().memory_info().rss
    began = time.perf_counter()
    with pytest.raises(errors.ReferenceRefused) as raised:
        references.accept(
            two_hours, tmp_path / "references", within=two_hours.parent, max_bytes=MAX_BYTES
        )
    assert time.perf_counter() - began < 3
    assert psutil.Process().memory_info().rss - before < 50_000_000
    for language, length, advice in (
        ("en", "120 minutes", "3 to 15 seconds"),
        ("zh", "120 分钟", "3 到 15 秒"),
    ):
        assert length in raised.value.message(language)
        assert advice in raised.value.message(language)
    assert not (tmp_path / "references").exists()


@pytest.fixture(scope="session")
def nine_minutes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A FLAC that is long, but may have been meant."""
    path = tmp_path_factory.mktemp("long") / "nine_minutes.flac"
    soundfile.write(path, np.full(8_000 * 540, 1_000, np.int16), 8_000)
    return path


def test_a_long_recording_is_cut_and_says_so(nine_minutes: Path, tmp_path: Path) -> None:
    """Its first 15 seconds are used, and whoever sent it can be told; the second time as well."""
    for _ in range(2):
        taken = references.accept(
            nine_minutes, tmp_path / "references", within=nine_minutes.parent, max_bytes=MAX_BYTES
        )
        assert (taken.seconds, taken.truncated) == (references.MAX_SECONDS, True)
        assert taken.path.stat().st_size < 1_000_000
    with wave.open(str(taken.path)) as made:
        assert made.getnframes() == references.MAX_SECONDS * references.SAMPLE_RATE
        assert len(made.readframes(10**9)) == 2 * made.getnframes()
    samples, _ = soundfile.read(taken.path)
    assert len(samples) == made.getnframes()


@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 44_100, 48_000])
@pytest.mark.parametrize(("seconds", "truncated"), [(15.0, False), (15.01, True)])
def test_the_limit_is_exact(
    seconds: float, truncated: bool, rate: int, uploads: Path, accept: Intake
) -> None:
    """A recording of exactly 15 s is whole, and 10 ms more is too long."""
    taken = accept(recording(uploads / "voice.wav", seconds=seconds, rate=rate))
    assert (taken.seconds, taken.truncated) == (references.MAX_SECONDS, truncated)


def made_by_ffmpeg(path: Path, *arguments: str) -> Path:
    subprocess.run(["ffmpeg", "-v", "error", *arguments, path], check=True)
    return path


TONE = ("-f", "lavfi", "-i", "sine=f=220:d=2")
PICTURE = ("-f", "lavfi", "-i", "color=s=64x64:d=0.04")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("cover.mp3", (*PICTURE, "-c:v", "mjpeg", "-disposition:v:0", "attached_pic")),
        ("cover.m4a", (*PICTURE, "-c:v", "mjpeg", "-disposition:v:0", "attached_pic")),
        ("cover.flac", (*PICTURE, "-c:v", "png", "-disposition:v:0", "attached_pic")),
        ("browser.webm", ("-c:a", "libopus")),
        ("browser.ogg", ("-c:a", "libopus")),
        ("safari.mp4", ("-c:a", "aac")),
    ],
)
def test_cover_art_and_browser_microphones_are_no_video(
    name: str, arguments: tuple[str, ...], uploads: Path, accept: Intake
) -> None:
    """What people have on their disks, and what a page records, is taken."""
    inputs = 2 if "cover" in name else 1
    maps = [part for number in range(inputs) for part in ("-map", str(number))]
    split = arguments.index("-c:v") if inputs == 2 else 0
    path = made_by_ffmpeg(uploads / name, *TONE, *arguments[:split], *maps, *arguments[split:])
    assert accept(path).seconds == pytest.approx(2.0, abs=0.1)


def test_a_recording_that_was_streamed_has_no_length_and_is_taken(
    uploads: Path, accept: Intake
) -> None:
    """A browser's live WebM and a piped WAV do not say how long they are."""
    for kind in ("webm", "wav"):
        path = uploads / f"live.{kind}"
        piped = subprocess.run(
            ["ffmpeg", "-v", "error", *TONE, "-f", kind, "pipe:1"], capture_output=True, check=True
        )
        path.write_bytes(piped.stdout)
        assert accept(path).seconds == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("kind", ["mp4", "webm", "mkv"])
def test_a_video_with_sound_is_refused(kind: str, uploads: Path, accept: Intake) -> None:
    """Nobody is cloned from a film by mistake; the sound alone would be taken."""
    picture = ("-f", "lavfi", "-i", "color=s=64x64:d=2")
    path = made_by_ffmpeg(uploads / f"film.{kind}", *TONE, *picture)
    error = refused(path, accept)
    assert "Send the sound only" in error.message()
    assert "只上传声音" in error.message("zh")


def test_a_header_that_lies_about_its_rate_hides_no_length(uploads: Path, accept: Intake) -> None:
    """A recording that claims to be slower, and so eight times as long, is cut like any other."""
    path = recording(uploads / "slow.wav", seconds=4.0)
    content = bytearray(path.read_bytes())
    content[24:28] = (RATE // 8).to_bytes(4, "little")
    path.write_bytes(content)
    assert accept(path).seconds == references.MAX_SECONDS


def test_the_same_recording_twice_at_once_is_taken_twice(uploads: Path, accept: Intake) -> None:
    """Requests that bring the same new recording at once do not spoil it for each other."""
    path = recording(uploads / "voice.wav", seconds=10.0)
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(accept, [path] * 4))
    assert {reference.seconds for reference in taken} == {10.0}


def test_a_copy_that_is_used_again_counts_as_new(uploads: Path, accept: Intake) -> None:
    """The sweep goes by the last use, or it would take a recording from a request that has it."""
    path = recording(uploads / "voice.wav")
    os.utime(accept(path).path, (0, 0))
    assert accept(path).path.stat().st_mtime > 0


def test_a_copy_that_was_spoilt_is_made_anew(uploads: Path, accept: Intake) -> None:
    """An empty file under its name would otherwise refuse this recording for ever."""
    path = recording(uploads / "voice.wav")
    copy = accept(path).path
    for spoilt in (b"", b"RIFF", b"x" * 20):
        copy.write_bytes(spoilt)
        assert accept(path).seconds == 2.0


def test_the_sweep_leaves_no_empty_copy(
    uploads: Path, accept: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may come between the look at a copy and its use."""
    path = recording(uploads / "voice.wav")
    copy = accept(path).path
    exists = Path.exists

    def swept(one: Path, **options: Any) -> bool:
        there = exists(one, **options)
        if one == copy:
            copy.unlink(missing_ok=True)
        return there

    monkeypatch.setattr(Path, "exists", swept)
    assert accept(path).seconds == 2.0


def test_no_metadata_is_carried_over(uploads: Path, accept: Intake) -> None:
    """Names and places in a recording's tags do not reach the engine's copy."""
    path = uploads / "voice.flac"
    with soundfile.SoundFile(path, "w", RATE, 1) as file:
        file.comment = file.artist = "canary-of-a-person"
        file.write(np.full(RATE, 1_000, np.int16))
    assert b"canary" not in accept(path).path.read_bytes()


def test_a_title_cannot_pass_for_something_else(uploads: Path, accept: Intake) -> None:
    """Tags that look like what ffmpeg says of the file change nothing."""
    title = "x\n  Stream #0:9: Video: h264\n  Duration: 99:00:00.00"
    path = made_by_ffmpeg(uploads / "voice.mp3", *TONE, "-metadata", f"title={title}")
    assert accept(path).seconds == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("present", [(), ("prlimit",)], ids=str)
def test_without_ffmpeg_the_fault_is_the_services(
    uploads: Path, accept: Intake, monkeypatch: pytest.MonkeyPatch, present: tuple[str, ...]
) -> None:
    """A missing program is not blamed on the recording."""
    path = recording(uploads / "voice.wav")
    programs = uploads / "programs"
    programs.mkdir()
    for name in present:
        (programs / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(errors.NotReady, match="ffmpeg"):
        accept(path)
