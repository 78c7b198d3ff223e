"""Promises of what is kept for good: files are whole, recordings stay while they are in use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from indextts_app import errors, kept_files, references
from indextts_app.kept_files import Recordings

SAMPLES = np.full(references.SAMPLE_RATE, 1_000, "<i2").tobytes()
ONE, OTHER = "1" * 64, "2" * 64


@pytest.fixture
def recordings(tmp_path: Path) -> Recordings:
    """Two recordings in a folder."""
    store = Recordings(tmp_path / "recordings")
    for sha256 in (ONE, OTHER):
        store.put(sha256, SAMPLES)
    return store


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    """Chinese stays readable on the disk, and what is no Unicode becomes a question mark."""
    path = tmp_path / "new" / "file.json"
    kept_files.write(path, {"name": "旁白", "half": "\ud800"})
    assert "旁白" in path.read_text("utf-8")
    assert kept_files.read(path) == {"name": "旁白", "half": "?"}
    assert [one.name for one in path.parent.iterdir()] == ["file.json"]


def test_what_is_not_there_is_nothing(tmp_path: Path) -> None:
    """Neither a missing file nor a missing folder is an error, nor deleting what is gone."""
    assert kept_files.read(tmp_path / "no" / "file.json") is None
    kept_files.remove(tmp_path / "no" / "file.json")


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "file").touch()
    with pytest.raises(errors.KeepingFailed, match="INDEXTTS_SPEAKER_DIR"):
        kept_files.write(tmp_path / "file" / "x.json", {})
    with pytest.raises(errors.KeepingFailed):
        Recordings(tmp_path / "file").put(ONE, SAMPLES)


def test_a_recording_is_found_by_its_hash(recordings: Recordings) -> None:
    """With its length; one that is not there is None."""
    found = recordings.find(ONE)
    assert found is not None
    assert (found.sha256, found.seconds, found.truncated) == (ONE, 1.0, False)
    assert recordings.find("3" * 64) is None


def test_what_nobody_refers_to_is_deleted(recordings: Recordings) -> None:
    """What is still wanted stays."""
    recordings.keep_only({OTHER})
    assert recordings.find(ONE) is None
    assert recordings.find(OTHER) is not None


def test_a_recording_in_use_is_deleted_afterwards(recordings: Recordings) -> None:
    """A request that was let in still finds the voice of a speaker that was just forgotten."""
    with recordings.borrowed(ONE) as outer, recordings.borrowed(ONE):
        assert outer is not None
        recordings.keep_only(set())
        assert outer.path.exists()
        assert recordings.find(OTHER) is None
    assert not outer.path.exists()


def test_a_recording_that_cannot_be_deleted_is_no_fault_of_its_reader(
    recordings: Recordings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its audio is delivered all the same; the file goes after the next one who reads it."""

    def held(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    with capture_logs() as lines, monkeypatch.context() as patched, recordings.borrowed(ONE):
        recordings.keep_only({OTHER})
        patched.setattr(Path, "unlink", held)
    assert [line["event"] for line in lines] == ["library.not_deleted"]
    with recordings.borrowed(ONE) as again:
        assert again is not None
    assert recordings.find(ONE) is None


def test_a_recording_that_is_wanted_again_stays(recordings: Recordings) -> None:
    """Somebody made a new speaker of it while the old one's last request ran."""
    with recordings.borrowed(ONE) as found:
        assert found is not None
        recordings.keep_only(set())
        recordings.keep(found)
    assert recordings.find(ONE) is not None


def test_a_cut_recording_stays_one(recordings: Recordings, tmp_path: Path) -> None:
    """That it was longer is known of every copy."""
    path = tmp_path / f"{'3' * 64}.wav"
    references.write(path, SAMPLES * 16)
    recordings.keep(references.read(path, path.stem))
    found = recordings.find(path.stem)
    assert found is not None
    assert (found.seconds, found.truncated) == (references.MAX_SECONDS, True)
