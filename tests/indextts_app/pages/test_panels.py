"""Promises of the parts of the page that change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from indextts_app.engines.base import Capabilities, Control, Segment, Speaker, Translated
from indextts_app.hints import Hint
from indextts_app.pages import panels
from indextts_app.pages.progress import Progress
from indextts_app.presets import Preset
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


PRESET = Preset("calm", "Calm", "for the news", {"emotion": "calm"}, {}, "2026-01-01T00:00:00Z")


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
        panels.done(EVIL),
        panels.refused(EVIL),
        panels.segments([Segment(EVIL, 3)], 120, "en"),
        panels.glossary({EVIL: {"zh": "接口"}}, "en"),
        panels.glossary({"API": {"en": EVIL}}, "zh"),
        panels.described(replace(PRESET, description=EVIL), (), "en"),
        panels.described(replace(PRESET, fields={EVIL: 1}), (), "en"),
        panels.described(replace(PRESET, fields={"emotion_text": EVIL}), (), "zh"),
        panels.hints(replace(RESULT, hints=(Hint("odd", Translated(EVIL, EVIL)),)), "en"),
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
    """What was entered before the current stage is done, what was not is skipped, the rest next."""
    now = 10.0
    progress = Progress(clock=lambda: now)
    progress.waiting(1)
    progress.stage("text_prep")
    progress.stage("acoustic")
    now = 11.25
    assert progress.ahead is None
    assert dict(progress.steps(("text_prep", "emotion_text", *STAGES[1:]))) == {
        "text_prep": "done",
        "emotion_text": "skipped",
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


def test_who_waits_for_segments_sees_which_one_it_is() -> None:
    """Five segments are counted; a single one is not."""
    progress = Progress()
    progress.stage("acoustic")
    progress.segment(1, 1)
    assert "Segment" not in panels.running(progress, STAGES, "en")
    progress.segment(2, 5)
    assert "Segment 2 of 5" in panels.running(progress, STAGES, "en")
    assert "第 2 段，共 5 段" in panels.running(progress, STAGES, "zh")


def test_a_segment_over_the_limit_is_marked() -> None:
    """What the engine would have to cut short is seen before it is asked."""
    shown = panels.segments([Segment("short", 20), Segment("long", 21)], 20, "en")
    first, second = shown.split("<tbody>")[1].split("</tr>")[:2]
    assert "over" not in first
    assert "over the limit of 20" in second
    assert "over" not in panels.segments([Segment("long", 21)], None, "en")


def test_the_seed_of_a_result_can_be_used_again() -> None:
    """It is shown with its button where the engine has one, zero included."""
    assert 'data-seed="0"' in panels.facts(replace(RESULT, seed=0), "en")
    assert "data-seed" not in panels.facts(RESULT, "en")


def test_segments_are_counted_where_there_are_several() -> None:
    """One segment is the whole text, and no figure."""
    assert "<dt>Segments</dt><dd>5</dd>" in panels.facts(RESULT, "en", segments=5)
    assert "Segments" not in panels.facts(RESULT, "en")


def test_hints_stand_under_the_verdict_in_the_visitors_language() -> None:
    """What could be better is told; nothing is told where nothing could."""
    hinted = replace(RESULT, hints=(Hint("unknown_tokens", Translated("two left out", "漏读")),))
    assert "two left out" in panels.hints(hinted, "en")
    assert "漏读" in panels.hints(hinted, "zh")
    assert panels.hints(RESULT, "en") == ""


def test_a_preset_is_described_by_what_it_changes() -> None:
    """Names are the page's own, and a control at its default is not mentioned."""
    controls = [
        Control("temperature", Translated("Temperature", "温度"), "number", default=0.8),
        Control("do_sample", Translated("Sampling", "采样"), "switch", default=True),
        Control("top_k", Translated("Top k", "top_k"), "integer", default=30),
    ]
    fields = {
        "emotion_mode": "vector",
        "emotion_vector": [0, 0.5],
        "temperature": 0.9,
        "do_sample": False,
        "top_k": 30,
    }
    preset = replace(PRESET, fields=fields, recordings={"reference": "0" * 64})
    assert panels.described(preset, controls, "en") == (
        '<div class="described"><p>for the news</p><dl>'
        "<div><dt>Emotion from</dt><dd>Sliders</dd></div>"
        "<div><dt>Weights of the emotions</dt><dd>0, 0.5</dd></div>"
        "<div><dt>Temperature</dt><dd>0.9</dd></div>"
        "<div><dt>Sampling</dt><dd>off</dd></div>"
        "<div><dt>Voice</dt><dd>a recording</dd></div></dl></div>"
    )


def test_the_rule_of_the_sliders_is_explained() -> None:
    """Bias, 0.8 and 1.5 are told where the sliders are."""
    shown = panels.vector_sum("en")
    assert "bias" in shown
    assert "0.8" in shown
    assert 'data-highest="1.5"' in shown
