"""Promises of the speakers: recordings by content, names for people, ids for machines."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from indextts_app import errors, references
from indextts_app.kept_files import Recordings
from indextts_app.references import Reference
from indextts_app.speakers import SpeakerStore

MAX_SPEAKERS = 5


def recording(folder: Path, *, level: int = 1_000) -> Reference:
    """A second of something, as `references.accept` would have made it."""
    samples = np.full(references.SAMPLE_RATE, level, "<i2").tobytes()
    sha256 = hashlib.sha256(samples).hexdigest()
    path = folder / f"{sha256}.wav"
    references.write(path, samples)
    return references.read(path, sha256)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where speakers are kept."""
    return tmp_path / "kept"


def opened(folder: Path) -> SpeakerStore:
    return SpeakerStore(
        folder / "speakers", Recordings(folder / "recordings"), max_speakers=MAX_SPEAKERS
    )


def test_the_sample_is_always_there(folder: Path) -> None:
    """Clear speech of a few seconds, without a single file; it is written when it is needed."""
    store = opened(folder)
    (sample,) = store.all()
    assert store.offered()[0].id == sample.id == "sample"
    assert 4 <= sample.seconds <= 5
    assert not folder.exists()
    made = store.sample()
    assert (made.sha256, made.seconds) == (sample.sha256, pytest.approx(sample.seconds, abs=1e-3))
    assert made.path.name == f"{sample.sha256}.wav"
    samples, rate = soundfile.read(made.path)
    assert (rate, samples.ndim) == (references.SAMPLE_RATE, 1)
    assert 0.05 < np.sqrt(np.mean(samples**2)) < 0.5
    assert np.abs(samples).max() < 1
    assert store.sample() == made


def test_the_sample_is_there_after_it_was_deleted_by_hand(folder: Path) -> None:
    """Nothing that people do to the folder takes the engine's self-test away."""
    store = opened(folder)
    shutil.rmtree(store.sample().path.parent)
    assert store.sample().path.exists()


def test_a_speaker_is_kept(folder: Path, tmp_path: Path) -> None:
    """With its recording, under its content's hash; whoever opens the folder anew finds it."""
    store = opened(folder)
    voice = recording(tmp_path)
    made = store.add(" 旁白 ", "calm,\nmale", voice)
    assert (made.id, made.name.zh, made.description) == (
        f"voice-{voice.sha256[:8]}",
        "旁白",
        "calm,\nmale",
    )
    assert (made.sha256, made.seconds) == (voice.sha256, 1.0)
    kept = folder / "recordings" / f"{voice.sha256}.wav"
    assert kept.read_bytes() == voice.path.read_bytes()
    assert opened(folder).all() == store.all()
    assert opened(folder).find(made.id) == made
    assert [speaker.id for speaker in store.offered()] == ["sample", made.id]


def test_the_same_recording_is_stored_once(folder: Path, tmp_path: Path) -> None:
    """Two names for one voice are two speakers with one file."""
    store = opened(folder)
    voice = recording(tmp_path)
    assert store.add("Anna", "", voice).sha256 == store.add("Bertha", "", voice).sha256
    assert store.add("旁白", "", voice).id != store.add("解说", "", voice).id
    assert len(list((folder / "recordings").iterdir())) == 1


@pytest.mark.parametrize(
    "name", ["Anna", " ANNA", "sample", "Reference", "none", "Sample (synthetic voice)"]
)
def test_a_name_that_exists_is_refused(name: str, folder: Path, tmp_path: Path) -> None:
    """Whatever its case; so are the words that mean something else."""
    store = opened(folder)
    store.add("anna", "", recording(tmp_path))
    with pytest.raises(errors.NameTaken, match="Choose another name"):
        store.add(name, "", recording(tmp_path))


def test_there_is_a_limit(folder: Path, tmp_path: Path) -> None:
    """Each is a label of the metrics; the built-in one does not count."""
    store = opened(folder)
    for number in range(MAX_SPEAKERS):
        store.add(f"voice {number}", "", recording(tmp_path))
    with pytest.raises(errors.LibraryFull, match="5 speakers"):
        store.check_room("one more")
    store.remove("voice-0")
    store.add("one more", "", recording(tmp_path))


def test_a_speaker_is_forgotten(folder: Path, tmp_path: Path) -> None:
    """For good; one that is not there, or is built in, says so."""
    store = opened(folder)
    store.add("Anna", "", recording(tmp_path))
    store.remove("anna")
    assert opened(folder).all() == store.all() == opened(folder / "another").all()
    for unknown in ("anna", "../speakers/anna", ""):
        with pytest.raises(errors.NotKept):
            store.remove(unknown)
    with pytest.raises(errors.StillUsed, match="built in"):
        store.remove("sample")


def test_a_disk_that_is_full_changes_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator reads which folder it is; no half file and no speaker is left."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    store = opened(folder)
    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(errors.KeepingFailed, match="INDEXTTS_SPEAKER_DIR"):
            store.add("Anna", "", recording(tmp_path))
    assert [speaker.id for speaker in store.all()] == ["sample"]
    assert list((folder / "speakers").iterdir()) == []
    store.add("Anna", "", recording(tmp_path))


def test_what_is_spoilt_is_passed_over(folder: Path, tmp_path: Path) -> None:
    """A broken file, a foreign one, and a speaker without a recording do not stop the start."""
    store = opened(folder)
    store.add("Anna", "", recording(tmp_path))
    lost = store.add("Lost", "", recording(tmp_path, level=2_000))
    (folder / "recordings" / f"{lost.sha256}.wav").unlink()
    good = json.loads((folder / "speakers" / "anna.json").read_text("utf-8"))
    for name, content in {
        "broken": "{",
        "list": "[]",
        "nothing": "{}",
        "no-name": json.dumps({**good, "name": "a\nb"}),
        "no-length": json.dumps({**good, "seconds": "long"}),
        "no-hash": json.dumps({**good, "sha256": "../../etc/passwd"}),
        "Not An Id": json.dumps(good),
        "sample": json.dumps(good),
    }.items():
        (folder / "speakers" / f"{name}.json").write_text(content, "utf-8")
    (folder / "speakers" / ".0123.part").touch()
    assert [speaker.id for speaker in opened(folder).all()] == ["sample", "anna"]


def test_many_at_once_make_each_only_once(folder: Path, tmp_path: Path) -> None:
    """Of those who want the same name one gets it, and the limit holds."""
    store = opened(folder)
    voice = recording(tmp_path)
    at_once = threading.Barrier(8)

    def make(number: int) -> bool:
        at_once.wait()
        try:
            store.add(f"voice {number % 4}", "", voice)
        except errors.NameTaken:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(make, range(8))) == 4
    assert len(opened(folder).all()) == 5
    assert not list(folder.rglob("*.part"))
