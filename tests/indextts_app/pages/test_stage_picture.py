"""Promises of the picture of a request's time."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from indextts_app.pages.stage_picture import (
    COLOURS,
    MIN_WIDTH_PX,
    STRANGER,
    milliseconds,
    stage_picture,
)
from observability.events import STAGES
from observability.observe import Times

TIMES = Times(
    duration_ms=1000.0,
    queue_ms=100.0,
    stages_ms={
        "text_prep": 0.02,
        "acoustic": 600.0,
        "vocoder": 200.0,
        "post": 49.98,
        "other": 50.0,
    },
)


class Names(HTMLParser):
    """Collects the stage names, and checks that every element is closed."""

    def __init__(self, fragment: str) -> None:
        super().__init__()
        self.open: list[tuple[str, str]] = []
        self.names: list[str] = []
        self.attributes: list[str] = []
        self.feed(fragment)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append((tag, dict(attrs).get("class") or ""))
        self.attributes += [name for name, _ in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == ("span", "name"):
            self.names.append(data)


def test_it_shows_queue_stages_and_the_rest_in_the_order_of_the_work() -> None:
    """The rows are those of the times, none left out, `other` last."""
    parsed = Names(stage_picture(TIMES, "zh"))
    assert parsed.names == ["排队", "文本处理", "声学模型", "声码器", "后处理", "其余", "总耗时"]
    assert parsed.open == []


def test_each_bar_begins_where_the_one_before_it_ended() -> None:
    """It is a waterfall: the offsets add up to the whole."""
    picture = stage_picture(TIMES, "en")
    lefts = [float(left) for left in re.findall(r"left:min\(([\d.]+)%", picture)]
    widths = [float(width) for width in re.findall(r"width:max\(([\d.]+)%", picture)]
    for place in range(1, len(lefts)):
        assert lefts[place] == pytest.approx(sum(widths[:place]), abs=0.01)
    assert sum(widths) == pytest.approx(100, abs=0.01)


def test_a_tiny_stage_is_seen_and_stays_inside() -> None:
    """Twenty microseconds of a second have a bar, a time and a share."""
    picture = stage_picture(TIMES, "en")
    assert f"width:max(0.002%, {MIN_WIDTH_PX}px);background:{COLOURS['text_prep']}" in picture
    assert f"calc(100% - {MIN_WIDTH_PX}px)" in picture
    assert "0.02 ms" in picture
    assert "&lt;1%" in picture


def test_it_says_the_same_in_words() -> None:
    """A screen reader gets every stage with its time, in the reader's language."""
    label = re.search('role="img" aria-label="([^"]+)"', stage_picture(TIMES, "en"))
    assert label
    assert label[1] == (
        "Where the time went: Total 1,000 ms. Queue 100.0 ms, Text processing 0.02 ms, "
        "Acoustic model 600.0 ms, Vocoder 200.0 ms, Post-processing 50.0 ms, Other 50.0 ms"
    )


def test_it_needs_nothing_from_outside() -> None:
    """No address, no script, no font: the fragment is self-contained."""
    picture = stage_picture(TIMES, "en")
    assert not re.search("url\\(|https?:|<script|@import|@font-face", picture)
    assert not {"src", "href", "onload", "onclick"} & set(Names(picture).attributes)


def test_every_stage_has_a_colour() -> None:
    """No stage of the canonical event is a stranger to the page."""
    assert set(COLOURS) == {"queue", *STAGES}


def test_a_stage_that_is_not_known_is_shown_and_escaped() -> None:
    """A new engine's stage has a row, whatever it is called."""
    picture = stage_picture(Times(2.0, None, {"<b>": 1.0, "other": 1.0}), "en")
    assert "&lt;b&gt;" in picture
    assert "<b>" not in picture
    assert STRANGER in picture


def test_a_clock_that_ran_backwards_draws_nothing_negative() -> None:
    """`other` of minus a microsecond is nothing."""
    picture = stage_picture(Times(1.0, 0.0, {"post": 1.001, "other": -0.001}), "en")
    assert not re.search(
        r"-\d", re.sub("<style>.*</style>|calc[^)]*", "", picture, flags=re.DOTALL)
    )


def test_the_parts_of_a_stage_lie_within_it() -> None:
    """Where a stage's time is known in parts, each has a thinner bar below it, and its words."""
    times = replace(TIMES, parts_ms={"acoustic_gpt": 500.0, "acoustic_s2mel": 90.0})
    picture = stage_picture(times, "en")
    assert Names(picture).names[2:5] == [
        "Acoustic model",
        "of which tokens (GPT)",
        "of which spectrogram",
    ]
    lefts = [float(left) for left in re.findall(r"left:min\(([\d.]+)%", picture)]
    assert lefts[2:5] == pytest.approx([10.002, 10.002, 60.002])
    assert "of which tokens (GPT) 500.0 ms" in picture
    assert picture.count("stage part") == 2


@pytest.mark.parametrize("times", [Times(5.0, None, {}), Times(0.0, 0.0, {"other": 0.0})])
def test_without_times_there_is_no_picture(times: Times) -> None:
    """Nothing measured, nothing shown."""
    assert stage_picture(times, "en") == ""


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0.00 ms"),
        (0.034, "0.03 ms"),
        (9.99, "9.99 ms"),
        (12.34, "12.3 ms"),
        (1234.5, "1,234 ms"),
    ],
)
def test_times_have_the_digits_they_deserve(value: float, shown: str) -> None:
    """Short times keep their hundredths, long ones need none."""
    assert milliseconds(value) == shown
