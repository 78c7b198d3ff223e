"""The page stands alone, says what the figures say, and escapes what the log holds."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from month_of_lines import NOW, SINCE, drawn, kept, request

from observability.reports import wording
from observability.reports.figures import Report
from observability.reports.html_page import html_page
from observability.reports.month import Month
from observability.reports.monthly import report

VOID = {"meta", "br", "hr", "img", "link"}


class Balanced(HTMLParser):
    """Notes every tag, and that each that is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def parsed(page: str) -> Balanced:
    tree = Balanced()
    tree.feed(page)
    assert tree.open == []
    return tree


@pytest.mark.parametrize("language", wording.LANGUAGES)
def test_it_stands_alone(language: str, month_report: Report) -> None:
    """No script, no address to load anything from, and well-formed."""
    page = html_page(month_report, language)
    tree = parsed(page)
    assert not tree.tags & {"script", "link", "img", "iframe", "object"}
    assert not tree.attributes & {"src", "href", "onclick", "onload"}
    assert set(re.findall(r"https?://[^\"' )]+", page)) == {"http://www.w3.org/2000/svg"}
    assert "url(" not in page
    assert page.startswith("<!DOCTYPE html>")
    assert len(page) < 200_000


def test_it_says_the_figures(month_report: Report) -> None:
    """What the JSON holds is read on the page, as people write it."""
    page = html_page(month_report, "en")
    assert "<title>Speech synthesis in October 2026</title>" in page
    assert "asked 1,500 times (+400.0% on September 2026, which had 300)" in page
    for piece in month_report.advice:
        assert piece.en.split(",")[0].split("(")[0] in page
    for row in month_report.speakers:
        assert row.speaker in page
    assert "EUR" in page
    assert "小明" in page


def test_it_speaks_chinese(month_report: Report) -> None:
    """Every sentence of its own; names of stages, statuses, emotions and days as well."""
    page = html_page(month_report, "zh")
    assert '<html lang="zh-CN">' in page
    for word in ("2026 年 10 月", "声学模型", "已交付但有瑕疵", "星期三", "中性", "错误预算"):
        assert word in page
    text = re.sub(r"<style>.*?</style>|<[^>]+>", "", page, flags=re.DOTALL)
    assert "Requests" not in text
    assert "Delivered" not in text


def test_names_are_text_and_nothing_else(tmp_path: Path) -> None:
    """A speaker or a user that looks like markup is shown, not obeyed."""
    evil = "<script>alert(1)</script>\"'&"
    lines = request(
        SINCE, status="success", duration_ms=5.0, speaker=evil, user=evil, emotion=evil,
        version=evil, source=evil, audio_verdict="ok",
    )  # fmt: skip
    made = report(kept(tmp_path, lines), Month(2026, 10), now=NOW)
    for language in wording.LANGUAGES:
        page = html_page(made, language)
        assert "script" not in parsed(page).tags
        assert "&lt;script&gt;alert(1)" in page


@pytest.mark.parametrize("language", wording.LANGUAGES)
def test_a_month_that_says_little_has_its_page(language: str, tmp_path: Path) -> None:
    """Empty, future and unfinished months say so at the top, before any figure."""
    store = kept(tmp_path, drawn(4, 30))
    for month, code in ((Month(2026, 8), "empty"), (Month(2027, 1), "future")):
        made = report(store, month, now=NOW)
        page = html_page(made, language)
        parsed(page)
        note = next(note for note in made.notes if note.code == code)
        assert (note.zh if language == "zh" else note.en).split("：")[0].split(":")[0] in page
        assert "<rect" not in page
    unfinished = report(store, Month(2026, 10), now=SINCE.replace(day=20))
    page = html_page(unfinished, language)
    assert page.index('class="note"') < page.index('class="tile"')


def test_an_upgrade_alone_is_no_warning(month_report: Report) -> None:
    """That two versions ran is told where the figures rest, not at the top."""
    assert "versions" in {note.code for note in month_report.notes}
    page = html_page(month_report, "en")
    assert 'class="note"' not in page
    note = next(note for note in month_report.notes if note.code == "versions")
    assert note.en.split("(")[0] in page


def test_without_users_price_or_gpu_it_says_so(month_report: Report) -> None:
    """A table that would be empty is a sentence."""
    bare = replace(
        month_report,
        users=(),
        caches=(),
        errors=(),
        gpu_hours=0.0,
        cost=replace(month_report.cost, total=None),
    )
    page = html_page(bare, "en")
    for key in ("users_none", "no_errors", "glance_no_gpu"):
        assert wording.say(key, "en") in page


def test_every_sentence_has_both_languages() -> None:
    """The same details are named in both."""
    for key, said in wording.TEXTS.items():
        assert said.en, key
        assert said.zh, key
        named = [set(re.findall(r"{(\w+)}", text)) for text in (said.en, said.zh)]
        assert named[0] == named[1], key
