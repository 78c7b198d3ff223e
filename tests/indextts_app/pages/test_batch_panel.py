"""Promises of a batch's panel: what went wrong comes first, nothing is taken for markup."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from indextts_app.batches.job import About, Item, Job
from indextts_app.batches.table import Row, Table
from indextts_app.pages.batch_panel import MOST_ROWS, panel
from indextts_app.underway import Underway

JOB_ID = "01M7YQJX7PTPC1PAJTN75109G2"


def job_of(folder: Path, rows: int) -> Job:
    about = About(JOB_ID, None, rows, 1_000.0)
    return Job.create(folder, about, [Row(n + 2, {"text": "a"}) for n in range(rows)], {})


def shown(html: str) -> list[str]:
    return re.findall(r"<tr><td>(\d+)</td>", html)


def test_rows_without_audio_come_first(tmp_path: Path) -> None:
    """Then those that are being made, then the last that were."""
    job = job_of(tmp_path, 5)
    job.add(Item(1, 2, "id-1", "success", verdict="ok", audio_seconds=1.0))
    job.add(Item(2, 3, "id-2", "success", verdict="ok", audio_seconds=1.0))
    bad = "<b>no</b>"
    job.add(Item(3, 4, "id-3", "failed", error="no_audio", message=bad, message_zh="没有"))
    job.running[4] = "id-4"
    html = panel(job, Underway(), "en")
    assert shown(html) == ["3", "4", "2", "1"]
    assert "<td>3</td><td>4</td>" in html
    assert "&lt;b&gt;no" in html
    assert "<b>no" not in html
    assert "3 of 5 rows, 1 without audio" in html
    assert "archive" not in html
    assert "没有" in panel(job, Underway(), "zh")


def test_an_ended_batch_has_its_archive_and_broken_lines_are_named(tmp_path: Path) -> None:
    """The link is relative, for proxies below another path."""
    job = job_of(tmp_path, 2)
    job.about = job.put_away("finished")
    table = Table((Row(2, {}), Row(7, {}, fault=("no", "否"))))
    html = panel(job, Underway(), "en", unread=table)
    assert f'href="batches/{JOB_ID}/archive"' in html
    assert "Lines that cannot be read: 7." in html


@pytest.mark.parametrize("rows", [MOST_ROWS, MOST_ROWS + 3])
def test_a_large_batch_is_not_shown_whole(tmp_path: Path, rows: int) -> None:
    """The manifest has all of it."""
    job = job_of(tmp_path, rows)
    for row in range(1, rows + 1):
        job.items[row] = Item(row, row + 1, f"id-{row}", "success", audio_seconds=1.0)
    html = panel(job, Underway(), "en")
    assert len(shown(html)) == MOST_ROWS
    assert ("and 3 more" in html) == (rows > MOST_ROWS)
