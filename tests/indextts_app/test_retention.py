"""Promises of the sweep: old files go, young ones and the hash key stay."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from indextts_app import retention

NOW = 1_800_000_000.0
DAY = 86_400.0


def put(path: Path, *, age_seconds: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"sound")
    os.utime(path, (NOW - age_seconds, NOW - age_seconds))
    return path


def test_only_what_is_too_old_goes(tmp_path: Path) -> None:
    """Audio, references and uploads beyond the limit are deleted and counted, in any folder."""
    old = [
        put(tmp_path / "old.wav", age_seconds=DAY + 1),
        put(tmp_path / "references" / "old.wav", age_seconds=DAY + 1),
        put(tmp_path / "gradio" / "a" / "old.wav", age_seconds=2 * DAY),
    ]
    young = [
        put(tmp_path / "young.wav", age_seconds=DAY - 1),
        put(tmp_path / "references" / "young.wav", age_seconds=0),
        put(tmp_path / "future.wav", age_seconds=-DAY),
    ]
    assert retention.sweep(tmp_path, keep_seconds=DAY, now=NOW) == 3
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in young)


def test_the_hash_key_stays(tmp_path: Path) -> None:
    """Without its key no text hash of the past could be compared any more."""
    key = put(tmp_path / ".hash_key", age_seconds=1000 * DAY)
    hidden_below = put(tmp_path / "references" / ".old.part", age_seconds=2 * DAY)
    assert retention.sweep(tmp_path, keep_seconds=DAY, now=NOW) == 1
    assert key.exists()
    assert not hidden_below.exists()


def test_a_link_goes_and_what_it_names_stays(tmp_path: Path) -> None:
    """The sweep deletes nothing outside its folder."""
    outside = put(tmp_path / "outside.wav", age_seconds=9 * DAY)
    folder = tmp_path / "outputs"
    folder.mkdir()
    link = folder / "link.wav"
    link.symlink_to(outside)
    os.utime(link, (NOW - 9 * DAY, NOW - 9 * DAY), follow_symlinks=False)
    assert retention.sweep(folder, keep_seconds=DAY, now=NOW) == 1
    assert outside.exists()
    assert not link.is_symlink()


def test_a_file_that_cannot_be_deleted_does_not_stop_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One stubborn file is left for the next sweep."""
    stubborn = put(tmp_path / "a.wav", age_seconds=2 * DAY)
    other = put(tmp_path / "b.wav", age_seconds=2 * DAY)
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path == stubborn:
            raise PermissionError(13, "Permission denied")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    assert retention.sweep(tmp_path, keep_seconds=DAY, now=NOW) == 1
    assert stubborn.exists()
    assert not other.exists()


def test_a_folder_that_does_not_exist_yet_is_empty(tmp_path: Path) -> None:
    """Before the first audio there is nothing to sweep."""
    assert retention.sweep(tmp_path / "outputs", keep_seconds=DAY) == 0
    assert retention.remove_partial(tmp_path / "outputs") == 0


def test_what_a_crash_left_half_done_is_removed(tmp_path: Path) -> None:
    """Whatever is half-written goes at start, finished files and the key do not."""
    half = [
        put(tmp_path / ".01K8.wav.part", age_seconds=0),
        put(tmp_path / "references" / "ab.12.part", age_seconds=0),
        put(tmp_path / "recordings" / ".12.part", age_seconds=0),
        put(tmp_path / "speakers" / ".12.part", age_seconds=0),
        put(tmp_path / "presets" / ".12.part", age_seconds=0),
    ]
    whole = [
        put(tmp_path / "01K8.wav", age_seconds=0),
        put(tmp_path / ".hash_key", age_seconds=0),
        put(tmp_path / "references" / "ab.wav", age_seconds=0),
        put(tmp_path / "speakers" / "anna.json", age_seconds=0),
    ]
    assert retention.remove_partial(tmp_path) == 5
    assert not any(path.exists() for path in half)
    assert all(path.exists() for path in whole)
