"""
Promises of a job on the disk: nothing that is done is forgotten, and no text outlives its end.
"""

from __future__ import annotations

import csv
import io
import json
import resource
import stat
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from indextts_app import errors
from indextts_app.batches.archive import archived
from indextts_app.batches.job import ABOUT, RESULTS, ROWS, About, Item, Job
from indextts_app.batches.table import Row

JOB_ID = "01M7YQJX7PTPC1PAJTN75109G2"
ROWS_OF = [
    Row(2, {"text": "first \ud800"}, name="../a b/../文?"),
    Row(3, {}, fault=("it is broken.", "坏了。")),
    Row(4, {"text": "third", "speaker": "two"}),
]


def made(parent: Path, owner: str | None = None) -> Job:
    about = About(JOB_ID, owner, len(ROWS_OF), 1_000.0)
    return Job.create(parent, about, ROWS_OF, {"speaker": "one", "format": "mp3"})


def again(parent: Path) -> Job:
    job = Job.load(parent / JOB_ID)
    assert job
    return job


def item(row: int, file: str | None = None) -> Item:
    return Item(row, row + 1, f"id-{row}", "success", file=file, verdict="ok", seed=3)


def test_rows_are_taken_in_order_with_what_holds_for_all(tmp_path: Path) -> None:
    """A field of the row's own counts more; a broken row comes as the error that it is."""
    job = made(tmp_path)
    first, second, third = (job.take() for _ in range(3))
    assert job.take() is None
    assert first
    assert (first.row, first.line) == (1, 2)
    assert first.asked == {"text": "first \ud800", "speaker": "one", "format": "mp3"}
    assert second
    assert isinstance(second.asked, errors.RowUnreadable)
    assert second.asked.message("zh") == "该行无法解析：坏了。"
    assert third
    assert third.asked == {"text": "third", "speaker": "two", "format": "mp3"}


def test_a_row_that_was_put_back_is_taken_again(tmp_path: Path) -> None:
    """And one that is done, or being worked on, is not."""
    job = made(tmp_path)
    for _ in range(3):
        job.take()
    job.add(item(2))
    job.running[3] = "id-3"
    job.put_back(1)
    taken = job.take()
    assert taken
    assert taken.row == 1
    assert job.take() is None


def test_after_a_crash_what_is_done_is_known_and_the_rest_is_left(tmp_path: Path) -> None:
    """A result that was half written counts as none: its row is done again."""
    job = made(tmp_path, owner="team-a")
    job.add(item(2, "2-x.mp3"), b"sound")
    whole = (job.folder / RESULTS).read_bytes()
    (job.folder / RESULTS).write_bytes(whole + b'{"row": 3, "line"')
    found = again(tmp_path)
    assert found.about == job.about
    assert found.items == {2: item(2, "2-x.mp3")}
    assert (found.folder / RESULTS).read_bytes() == whole
    left = [found.take(), found.take(), found.take()]
    assert [pending and pending.row for pending in left] == [1, 3, None]


def test_what_a_full_disk_took_a_part_of_is_taken_back(tmp_path: Path) -> None:
    """Else the next result would join it, and a restart forget both and all that follow."""
    job = made(tmp_path)
    job.add(item(1))
    whole = (job.folder / RESULTS).read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 9, hard))
    try:
        with pytest.raises(OSError, match=r"No space|too large"):
            job.add(item(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (job.folder / RESULTS).read_bytes() == whole
    assert job.items == {1: item(1)}
    job.add(item(3))
    assert again(tmp_path).items == {1: item(1), 3: item(3)}


def test_results_may_be_told_while_others_come(tmp_path: Path) -> None:
    """Rows are kept by threads, while whoever asks counts those that there are."""
    job = made(tmp_path)
    job.add(item(1))
    for one in job.results:
        job.add(replace(one, row=2))
    assert job.counts == {"success": 2}


def test_the_texts_are_for_the_service_alone_and_go_with_the_end(tmp_path: Path) -> None:
    """Only its user may read them, and only while they are needed; nothing else holds them."""
    job = made(tmp_path)
    mode = stat.S_IMODE((job.folder / ROWS).stat().st_mode)
    assert (mode, stat.S_IMODE(job.folder.stat().st_mode)) == (0o600, 0o700)
    job.put_away("finished")
    assert not (job.folder / ROWS).exists()
    assert "first" not in "".join(p.read_text() for p in job.folder.iterdir() if p.is_file())
    assert again(tmp_path).has_ended


def test_texts_that_a_crash_left_behind_go_at_the_next_start(tmp_path: Path) -> None:
    """The process died between the end and the deletion."""
    job = made(tmp_path)
    rows = (job.folder / ROWS).read_bytes()
    job.put_away("cancelled")
    (job.folder / ROWS).write_bytes(rows)
    assert again(tmp_path).about.state == "cancelled"
    assert not (job.folder / ROWS).exists()


def test_a_folder_that_is_no_job_is_none(tmp_path: Path) -> None:
    """Whatever is wrong with it."""
    job = made(tmp_path)
    (job.folder / ROWS).unlink()
    assert Job.load(job.folder) is None
    (job.folder / ABOUT).write_text("{")
    assert Job.load(job.folder) is None
    assert Job.load(tmp_path) is None


def test_a_job_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    """It is refused, and the caller is told."""
    (tmp_path / "file").write_text("")
    with pytest.raises(errors.StorageFailed):
        made(tmp_path / "file")


def test_a_file_is_named_by_its_row_and_by_the_name_that_was_given(tmp_path: Path) -> None:
    """In the order of the table, and never as a path."""
    job = made(tmp_path)
    first, _, third = (job.take() for _ in range(3))
    assert first
    assert third
    assert job.file_name(first, "id-1", "mp3") == "1-a b..文.mp3"
    assert job.file_name(third, "id-3", "wav") == "3-id-3.wav"
    for long in ("a", "文", "\U00020bb7"):
        name = job.file_name(replace(third, name=long * 300), "id-3", "flac")
        assert name.startswith(f"3-{long}{long}")
        (tmp_path / name).write_bytes(b"fits")


def test_the_archive_holds_the_audio_and_a_manifest_of_every_row(tmp_path: Path) -> None:
    """Rows without audio are in the manifest, and one whose file is gone breaks nothing."""
    job = made(tmp_path)
    stored = tmp_path / "stored.mp3"
    stored.write_bytes(b"sound" * 100_000)
    job.add(item(1, "1-a.mp3"), stored)
    job.add(Item(2, 3, "id-2", "rejected", error="row_unreadable", message="m", message_zh="z"))
    job.put_away("cancelled")
    archive = zipfile.ZipFile(io.BytesIO(b"".join(archived(job))))
    assert archive.testzip() is None
    assert archive.namelist() == ["1-a.mp3", "manifest.csv"]
    assert archive.read("1-a.mp3") == b"sound" * 100_000
    text = archive.read("manifest.csv").decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["row"] for row in rows] == ["1", "2", "3"]
    assert [row["status"] for row in rows] == ["success", "rejected", "not_asked"]
    assert (rows[0]["file"], rows[0]["request_id"], rows[0]["seed"]) == ("1-a.mp3", "id-1", "3")
    assert (rows[1]["line"], rows[1]["error"]) == ("3", "row_unreadable")
    (job.folder / "audio/1-a.mp3").unlink()
    assert zipfile.ZipFile(io.BytesIO(b"".join(archived(job)))).namelist() == ["manifest.csv"]


def test_what_is_deleted_while_it_is_sent_is_sent_whole(tmp_path: Path) -> None:
    """It goes afterwards, and is not sent again."""
    job = made(tmp_path)
    for row in (1, 2):
        job.add(item(row, f"{row}.mp3"), b"sound" * 100_000)
    sending = archived(job)
    begun = next(sending)
    job.remove()
    archive = zipfile.ZipFile(io.BytesIO(begun + b"".join(sending)))
    assert archive.namelist() == ["1.mp3", "2.mp3", "manifest.csv"]
    assert not job.folder.exists()
    with pytest.raises(FileNotFoundError):
        next(archived(job))


def test_the_time_that_is_left_goes_by_the_last_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two rows 4 s apart, so that the third will take 4 s as well; half a second has passed."""
    job = made(tmp_path)
    moments = iter([10.0, 14.0, 14.5])
    monkeypatch.setattr("indextts_app.batches.job.time.monotonic", lambda: next(moments))
    assert job.remaining_seconds() is None
    job.add(item(1))
    assert job.remaining_seconds() is None
    job.add(item(2))
    assert job.remaining_seconds() == 3.5
    assert json.loads((job.folder / RESULTS).read_text().splitlines()[1])["row"] == 2
