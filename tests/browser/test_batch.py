"""Promises of a batch on the page, kept in a real browser with the drill engine."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import pytest
from visiting import OpenPage, Site, Visit, soon

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=document.title='owned'>"


def upload(visitor: Visit, path: Path) -> None:
    """Hand in a table, and wait until the page has it."""
    if not visitor.page.locator("#batch-begin").is_visible():
        visitor.open("batch")
    visitor.page.locator("#batch-file input[type=file]").set_input_files(path)
    visitor.page.locator("#batch-file").get_by_text(path.suffix).first.wait_for()


def states(visitor: Visit) -> list[str | None]:
    """Of the rows, in the order in which they are shown."""
    badges = visitor.page.locator("#batch-panel [data-state]").all()
    return [badge.get_attribute("data-state") for badge in badges]


def test_a_table_becomes_an_archive(visit: OpenPage, drill: Site, tmp_path: Path) -> None:
    """Rows with their states, broken ones by line, the archive to download; in one's language."""
    table = tmp_path / "t.csv"
    table.write_text(
        f"文本,发音人,名称\n第一句。,,one\n第二句。,silent,\n第三句。,nobody,\n{HOSTILE},a,b,c\n",
        encoding="gb18030",
    )
    visitor = visit(drill, "zh-CN")
    page = visitor.page
    upload(visitor, table)
    visitor.choose("format", "mp3")
    page.click("#batch-begin")
    page.locator("#batch-panel").get_by_text("已完成 4 / 4 行，2 行无音频").wait_for()
    assert sorted(map(str, states(visitor))) == ["degraded", "rejected", "rejected", "success"]
    assert "无法解析的行：5" in page.locator("#batch-panel").inner_text()
    with page.expect_download() as download:
        page.click("#batch-panel .download")
    archive = zipfile.ZipFile(download.value.path())
    assert min(archive.namelist()) == "1-one.mp3"
    text = archive.read("manifest.csv").decode("utf-8-sig")
    assert [row["line"] for row in csv.DictReader(io.StringIO(text))] == ["2", "3", "4", "5"]
    job_id = page.locator("#batch-panel .request-id code").inner_text()
    soon(lambda: len(drill.lines(event="synthesis.finished", job_id=job_id)) == 4)
    assert not [path for path in drill.folder.rglob("*.csv") if path.is_file()]
    assert page.title() != "owned"


def test_a_batch_is_there_again_with_the_next_visit_and_can_be_ended(
    visit: OpenPage, drill: Site, tmp_path: Path
) -> None:
    """It is this browser's, and goes on whether anybody watches or not."""
    table = tmp_path / "t.jsonl"
    table.write_text('{"text": "one"}\n' + '{"text": "two", "speaker": "slow"}\n' * 9)
    visitor = visit(drill, "en-US")
    page = visitor.page
    upload(visitor, table)
    page.click("#batch-begin")
    page.locator("#batch-panel").get_by_text("1 of 10 rows").wait_for()
    job_id = page.locator("#batch-panel .request-id code").inner_text()
    again = visit(drill, "en-US")
    again.open("batch")
    again.page.locator("#batch-panel").get_by_text(job_id).wait_for()
    again.page.click("#batch-end")
    for one in (again, visitor):
        one.page.locator("#batch-panel strong", has_text="Cancelled").wait_for()
        one.page.locator("#batch-end").wait_for(state="hidden")
    assert "cancelled" in states(visitor)


def test_what_is_no_table_is_told(visit: OpenPage, drill: Site, tmp_path: Path) -> None:
    """With what would be one."""
    table = tmp_path / "t.txt"
    table.write_text("nothing\n")
    visitor = visit(drill, "en-US")
    visitor.open("batch")
    visitor.page.get_by_role("button", name="Begin batch").click()
    visitor.page.get_by_text("there is none yet. Upload it first.").wait_for()
    upload(visitor, table)
    visitor.page.click("#batch-begin")
    visitor.page.get_by_text("its first line must name the columns").wait_for()
