"""Promises of the parts of the page that change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from indextts_app.engines.base import Capabilities, Speaker, Translated
from indextts_app.pages import panels
from indextts_app.pages.progress import Progress
from indextts_app.synthesis import AudioFormat, SynthesisRequest, SynthesisResult
from observability.audio_check import SignalReport
from observability.events import VERDICTS
from observability.observe import Times

EVIL = '<img src=x onerror="alert(1)">'
ESCAPED = "&lt;img src=x onerror=&quot;alert(1)&quot;&gt;"
STAGES = ("text_prep", "acoustic", "vocoder", "post")

CAN = Capabilities(
    engine="drill",
    engine_version="1",
    model_version="tone-1",
    device="cpu",
    sample_rate=22_050,
    speakers=(Speaker("steady", Translated("Steady", "平稳")),),
    emotions=("neutral",),
    scripts=(),
    stages=STAGES,
    self_test_text="drill",
)

RESULT = SynthesisResult(
    request_id="01M7YJZ7XXPSBDBZMAQ9K7C20C",
    request=SynthesisRequest("3 apples", "steady", "neutral", 1.0, AudioFormat.WAV),
    audio=b"RIFF" * 25_000,
    path=Path("01M7YJZ7XXPSBDBZMAQ9K7C20C.wav"),
    signal=SignalReport("ok", -18.04, -3.0, 0.0, 0.1, 0.2, 2.0),
    verdict="ok",
    times=Times(600.0, 100.0, {"acoustic": 450.0, "other": 50.0}),
    spoken_text=None,
)


@pytest.mark.parametrize("verdict", VERDICTS)
def test_every_verdict_has_a_badge_and_only_ok_is_green(verdict: str) -> None:
    """A bad verdict is never shown in green."""
    badge = panels.verdict(replace(RESULT, verdict=verdict), "en")
    assert ('class="badge good"' in badge) is (verdict == "ok")
    assert f'data-verdict="{verdict}"' in badge


def test_a_verdict_of_tomorrow_is_red() -> None:
    """What the page does not know yet does not pass for good."""
    assert 'class="badge bad"' in panels.verdict(replace(RESULT, verdict="noisy"), "en")


def test_the_figures_leave_the_queue_out_of_the_real_time_factor() -> None:
    """RTF is work over audio: (600 - 100) ms for 2 s."""
    shown = panels.facts(RESULT, "en")
    assert "<dd>0.250</dd>" in shown
    assert "<dd>2.00 s</dd>" in shown
    assert "<dd>100.0 kB</dd>" in shown
    assert "<dd>-18.0 dBFS</dd>" in shown


def test_how_it_was_read_is_shown_only_where_it_differs() -> None:
    """`Read as` tells what became of numbers, and is silent otherwise."""
    assert "Read as" in panels.facts(replace(RESULT, spoken_text="three apples"), "en")
    assert "Read as" not in panels.facts(replace(RESULT, spoken_text="3 apples "), "en")
    assert "Read as" not in panels.facts(RESULT, "en")


def test_whatever_comes_from_outside_is_escaped() -> None:
    """No text, message, id, note or engine's word becomes markup."""
    progress = Progress()
    progress.stage(EVIL)
    for shown in (
        panels.facts(replace(RESULT, spoken_text=EVIL), "en"),
        panels.failed(EVIL, EVIL, "en"),
        panels.cancelled(EVIL, "zh"),
        panels.verdict(replace(RESULT, verdict=EVIL), "en"),
        panels.header(replace(CAN, engine_version=EVIL), "en"),
        panels.running(progress, (EVIL,), "en"),
        panels.note(EVIL),
    ):
        assert EVIL not in shown
        assert ESCAPED in shown


def test_an_error_says_what_to_do_under_its_id() -> None:
    """The message and the id to quote stand together."""
    shown = panels.failed("Split it.", RESULT.request_id, "en")
    assert 'role="alert"' in shown
    assert "Split it." in shown
    assert f'data-copy="{RESULT.request_id}"' in shown


def test_who_waits_sees_the_place_in_the_queue() -> None:
    """Three ahead is place four; none ahead is next."""
    progress = Progress()
    progress.waiting(3)
    assert "Number 4 in the queue, 3 ahead of you." in panels.running(progress, STAGES, "en")
    progress.waiting(0)
    assert "下一个就是您" in panels.running(progress, STAGES, "zh")


def test_progress_tells_what_is_done_and_what_comes() -> None:
    """The stages before the current one are done, those after it come next."""
    now = 10.0
    progress = Progress(clock=lambda: now)
    progress.waiting(1)
    progress.stage("acoustic")
    now = 11.25
    assert progress.ahead is None
    assert dict(progress.steps(STAGES)) == {
        "text_prep": "done",
        "acoustic": "now",
        "vocoder": "next",
        "post": "next",
    }
    assert "1.2 s" in panels.running(progress, STAGES, "en")


def test_an_engine_that_is_not_ready_is_said_to_load() -> None:
    """The header never shows an engine that does not answer yet."""
    assert "still loading" in panels.header(None, "en")


def test_the_model_is_named_once() -> None:
    """An engine whose model has the version of the engine shows one chip."""
    assert panels.header(CAN, "en").count('class="chip"') == 2
    assert panels.header(replace(CAN, model_version="1"), "en").count('class="chip"') == 1
