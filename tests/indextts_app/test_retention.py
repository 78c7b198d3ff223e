"""Promises of the sweep: old files go, young ones and the hash key stay."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from indextts_app import retention
from indextts_app.retention import EMPTY_SECONDS, YOUNG_SECONDS, SteadyClock, Swept

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
    assert retention.sweep(tmp_path, keep_seconds=DAY, now=NOW) == Swept(3, 0, 15)
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in young)


def test_the_hash_key_stays(tmp_path: Path) -> None:
    """Without its key no text hash of the past could be compared any more."""
    key = put(tmp_path / ".hash_key", age_seconds=1000 * DAY)
    hidden_below = put(tmp_path / "references" / ".old.part", age_seconds=2 * DAY)
    assert retention.sweep(tmp_path, keep_seconds=DAY, now=NOW).old == 1
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
    assert retention.sweep(folder, keep_seconds=DAY, now=NOW).old == 1
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
    assert retention.sweep(tmp_path, keep_seconds=DAY, now=NOW).old == 1
    assert stubborn.exists()
    assert not other.exists()


def test_a_folder_that_does_not_exist_yet_is_empty(tmp_path: Path) -> None:
    """Before the first audio there is nothing to sweep."""
    assert retention.sweep(tmp_path / "outputs", keep_seconds=DAY) == Swept(0, 0, 0)
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


def test_where_there_is_too_much_the_oldest_go(tmp_path: Path) -> None:
    """Down to nine tenths, so that not every further file costs a sweep."""
    files = [put(tmp_path / f"{age}.wav", age_seconds=age) for age in range(100, 0, -10)]
    # Five bytes each: 50, of which 40 may stay, so that 36 are aimed at.
    swept = retention.sweep(tmp_path, keep_seconds=DAY, max_bytes=40, now=NOW)
    assert swept == Swept(old=0, surplus=3, bytes_left=35)
    assert [path.exists() for path in files] == [False] * 3 + [True] * 7
    again = retention.sweep(tmp_path, keep_seconds=DAY, max_bytes=40, now=NOW)
    assert again == Swept(0, 0, 35)


def test_nothing_goes_that_is_in_use_or_just_made(tmp_path: Path) -> None:
    """Whoever listens to it hears it to its end; there may be too much for a while."""
    playing = put(tmp_path / "gradio" / "playing.wav", age_seconds=2 * DAY)
    fresh = put(tmp_path / "fresh.wav", age_seconds=YOUNG_SECONDS - 1)
    other = put(tmp_path / "other.wav", age_seconds=YOUNG_SECONDS + 1)
    swept = retention.sweep(
        tmp_path, keep_seconds=DAY, max_bytes=1, now=NOW, in_use={"playing.wav"}
    )
    assert swept == Swept(old=0, surplus=1, bytes_left=10)
    assert playing.exists()
    assert fresh.exists()
    assert not other.exists()


def test_two_names_of_a_file_are_one_file(tmp_path: Path) -> None:
    """The page's link to an audio takes no room, and goes with it."""
    audio = put(tmp_path / "a.wav", age_seconds=2 * DAY)
    (tmp_path / "gradio").mkdir()
    link = tmp_path / "gradio" / "a.wav"
    os.link(audio, link)
    young = put(tmp_path / "young.wav", age_seconds=0)
    swept = retention.sweep(tmp_path, keep_seconds=DAY, max_bytes=1_000, now=NOW)
    assert swept == Swept(old=2, surplus=0, bytes_left=5)
    assert list(tmp_path.rglob("*.wav")) == [young]


def test_empty_folders_do_not_pile_up(tmp_path: Path) -> None:
    """Gradio makes one for each upload; one that is about to be filled stays."""
    for name, age in (("old", EMPTY_SECONDS + 1), ("young", 0.0)):
        folder = tmp_path / "gradio" / name
        folder.mkdir(parents=True)
        os.utime(folder, (NOW - age, NOW - age))
    retention.sweep(tmp_path, keep_seconds=DAY, now=NOW)
    assert [path.name for path in (tmp_path / "gradio").iterdir()] == ["young"]


class TestSteadyClock:
    """Files grow older by the time that passes, not by what the wall clock is set to."""

    def clock(self) -> tuple[SteadyClock, list[float]]:
        """A clock that keeps files for a day; the wall's time and the time that passed."""
        times = [NOW, 0.0]
        return SteadyClock(DAY, lambda: times[0], lambda: times[1]), times

    def test_it_goes_with_the_wall_clock(self) -> None:
        """As long as nobody sets it."""
        clock, times = self.clock()
        assert clock() == NOW
        times[:] = [NOW + 3600, 3600]
        assert clock() == NOW + 3600

    @pytest.mark.parametrize("jump", [3600.0, 365 * DAY])
    def test_a_jump_forward_makes_nothing_older(self, jump: float) -> None:
        """A file that was made a minute ago is a minute old."""
        clock, times = self.clock()
        times[:] = [NOW + 60 + jump, 60]
        assert clock() == NOW + 60
        times[:] = [NOW + 120 + jump, 120]
        assert clock() == NOW + 120

    def test_a_jump_back_makes_nothing_older(self) -> None:
        """What is written from then on bears the earlier time."""
        clock, times = self.clock()
        times[:] = [NOW + 60 - 3600, 60]
        assert clock() == NOW + 60 - 3600

    def test_the_wall_is_believed_again_in_the_end(self) -> None:
        """A machine that booted with a wrong clock deletes old files all the same."""
        clock, times = self.clock()
        times[:] = [NOW + 365 * DAY, 60]
        assert clock() == NOW + 60
        times[:] = [NOW + 366 * DAY + 2, 60 + DAY + 2]
        assert clock() == NOW + 366 * DAY + 2
