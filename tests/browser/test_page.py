"""Promises of the page, kept in a real browser."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from visiting import OpenPage, Site

from indextts_app.engines.base import Features
from indextts_app.pages.examples import examples_for

pytestmark = pytest.mark.browser

CHINESE = "今天天气真好，我们一起去公园散步吧。"
ULID = re.compile("[0-9A-HJKMNP-TV-Z]{26}")


def levels_of(audio: Path) -> tuple[float, float]:
    """Loudness in dBFS, and seconds."""
    samples, sample_rate = soundfile.read(audio, dtype="float64")
    return 20 * np.log10(np.sqrt(np.mean(samples**2)) + 1e-9), len(samples) / sample_rate


@pytest.mark.parametrize("kind", ["wav", "mp3", "flac", "ogg"])
def test_text_becomes_speech_that_can_be_saved(
    visit: OpenPage, speech: Site, tmp_path: Path, kind: str
) -> None:
    """The saved file sounds, bears the request_id as its name, and has it in its tags."""
    visitor = visit(speech)
    visitor.choose("format", kind)
    request_id = visitor.speak(CHINESE)

    saved = visitor.download(tmp_path)
    assert saved.name == f"{request_id}.{kind}"
    loudness, seconds = levels_of(saved)
    assert -40 < loudness < -6
    assert 2 < seconds < 12
    with soundfile.SoundFile(saved) as file:
        assert file.comment == f"request_id={request_id}"
    finished = speech.finished(request_id)
    assert (finished["status"], finished["source"], finished["format"]) == ("success", "page", kind)


def test_a_result_says_how_it_is_and_where_the_time_went(visit: OpenPage, speech: Site) -> None:
    """Badge, figures and the picture of the stages belong to the request that is shown."""
    visitor = visit(speech, "en-US")
    request_id = visitor.speak("It is 5 o'clock.")
    page = visitor.page
    assert page.locator("#status .badge.good").get_attribute("data-verdict") == "ok"
    assert page.locator("#details .figures dd").count() == 4
    label = page.locator("#details [role=img]").get_attribute("aria-label")
    assert re.match(r"Where the time went: Total [\d.,]+ ms\. Queue", label or "")
    drawn = page.locator("#details .stage-picture .bar").count()
    finished = speech.finished(request_id)
    measured = [name for name in finished if re.fullmatch("(queue|stage_.+)_ms", name)]
    assert drawn == len([name for name in measured if finished[name] > 0])


def test_how_numbers_were_read_is_shown(visit: OpenPage, speech: Site) -> None:
    """Whoever wonders about a date sees what was said."""
    visitor = visit(speech)
    visitor.speak("会议定于2026年3月15日举行。")
    assert "三月十五日" in visitor.page.locator("#details .read-as").inner_text()


def test_a_text_is_shown_as_text(visit: OpenPage, speech: Site) -> None:
    """Markup and templates in a text are read back as they are and never run."""
    visitor = visit(speech)
    visitor.speak("<b>粗<img onerror> ${value} {{value}} 5元")
    shown = visitor.page.locator("#details .read-as")
    assert "<b>粗<img onerror> ${value} {{value}} 五元" in shown.inner_text()
    assert shown.locator("b, img").count() == 0


@pytest.mark.parametrize(
    ("locale", "seen", "not_seen"),
    [
        ("zh-CN", ["文本", "发音人", "情感", "惊喜", "语速", "合成语音"], ["Speaker", "Surprised"]),
        ("en-US", ["Text", "Speaker", "Emotion", "Surprised", "Pace"], ["发音人", "惊喜"]),
        ("fr-FR", ["Text", "Speaker", "Emotion", "Surprised", "Pace"], ["发音人", "惊喜"]),
    ],
)
def test_the_page_speaks_the_browsers_language(
    visit: OpenPage, speech: Site, locale: str, seen: list[str], not_seen: list[str]
) -> None:
    """Chinese for Chinese, English for everybody else, and no key left untranslated."""
    visitor = visit(speech, locale)
    visitor.speak("1 + 1")
    shown = visitor.page.inner_text("body")
    assert [word for word in seen if word not in shown] == []
    assert [word for word in not_seen if word in shown] == []
    assert "indextts_" not in visitor.page.content().partition("<body")[2]
    assert visitor.page.evaluate("document.documentElement.lang") == locale


def test_the_page_says_what_its_engine_really_does(visit: OpenPage, speech: Site) -> None:
    """Variants, presets and what a reference changes are called by their names."""
    visitor = visit(speech, "en-US")
    page = visitor.page
    assert "variant" in page.inner_text("#speaker").lower()
    assert "preset" in page.inner_text("#emotion").lower()
    page.click("#reference button")
    assert "pitch" in page.locator("#reference .note").inner_text().lower()


def test_a_reference_recording_is_taken(visit: OpenPage, speech: Site, tmp_path: Path) -> None:
    """An uploaded recording reaches the engine, by its content."""
    visitor = visit(speech)
    visitor.speak(CHINESE)
    recording = visitor.download(tmp_path)
    visitor.page.click("#reference button")
    visitor.page.set_input_files("#reference input[type=file]", recording)
    visitor.page.wait_for_selector("#reference #waveform, #reference .waveform-container")
    visitor.page.wait_for_timeout(500)
    finished = speech.finished(visitor.speak_again(CHINESE))
    assert len(finished["reference_hash"]) == 64
    assert finished["reference_seconds"] > 1


def test_where_a_reference_changes_nothing_none_is_asked_for(visit: OpenPage, drill: Site) -> None:
    """The drill engine has no use for a recording, so its page has no field for one."""
    assert not visit(drill).page.locator("#reference").is_visible()


@pytest.mark.parametrize(
    ("text", "code", "sentence"),
    [
        ("长" * 10_001, "text_too_long", "文本有 10001 个字，最多 10000 个字"),
        ("", "text_empty", "没有文本"),
        ("！？…", "text_not_speakable", "没有可朗读的文字"),
    ],
)
def test_a_refused_text_is_told_what_to_do(
    visit: OpenPage, drill: Site, text: str, code: str, sentence: str
) -> None:
    """Every refusal has its message, its request_id and its event."""
    visitor = visit(drill)
    visitor.ask(text)
    assert sentence in visitor.page.locator("#status .panel.bad").inner_text()
    finished = drill.finished(visitor.request_id())
    assert (finished["status"], finished["error_type"]) == ("rejected", code)
    assert not visitor.page.locator("#player").is_visible()


def test_a_failing_engine_is_told_under_its_request_id(visit: OpenPage, drill: Site) -> None:
    """What the engine said goes to the log; the visitor is told what to do, and goes on."""
    visitor = visit(drill, "en-US")
    visitor.choose_speaker("engine error")
    visitor.ask("hello")
    shown = visitor.page.locator("#status .panel.bad").inner_text()
    assert "Try again" in shown
    assert "drill:" not in shown
    assert drill.finished(visitor.request_id())["error_type"] == "engine_error"
    visitor.choose_speaker("no fault")
    visitor.speak()


@pytest.mark.parametrize(
    ("speaker", "verdict", "tone"),
    [("静音", "silent", "bad"), ("削波", "clipped", "warn"), ("采样率", "wrong_format", "bad")],
)
def test_bad_audio_is_delivered_with_its_verdict(
    visit: OpenPage, drill: Site, speaker: str, verdict: str, tone: str
) -> None:
    """The badge says that the audio is not as it should be, and so does the event."""
    visitor = visit(drill)
    visitor.choose_speaker(speaker)
    finished = drill.finished(visitor.speak("测试"))
    badge = visitor.page.locator(f"#status .badge.{tone}")
    assert badge.get_attribute("data-verdict") == verdict
    assert (finished["status"], finished["audio_verdict"]) == ("degraded", verdict)


def test_who_waits_sees_it_and_can_cancel(visit: OpenPage, drill: Site) -> None:
    """Stage and place in the queue are shown; whoever cancels frees the worker at once."""
    first, second, third = (visit(drill, "en-US") for _ in range(3))
    first.choose_speaker("slow")
    first.ask("hello")
    first.page.get_by_text("Now: Acoustic model").wait_for()
    assert first.page.locator(".steps .done").all_inner_texts() == [
        "Text processing",
        "Reference, voice",
    ]
    assert first.page.is_disabled("#generate")

    second.ask("hello")
    second.page.get_by_text("You are next").wait_for()
    third.ask("hello")
    third.page.get_by_text("Number 2 in the queue, 1 ahead of you.").wait_for()
    second.page.click("#cancel")
    second.page.wait_for_selector("#status .panel.neutral")
    third.page.get_by_text("You are next").wait_for()
    first.page.click("#cancel")
    first.page.wait_for_selector("#status .panel.neutral")

    third.page.wait_for_selector("#status .badge")
    for visitor in (first, second):
        assert "Cancelled" in visitor.page.inner_text("#status")
        assert drill.finished(visitor.request_id())["status"] == "cancelled"
        assert visitor.page.is_enabled("#generate")
        assert not visitor.page.locator("#cancel").is_visible()
    assert drill.finished(third.request_id())["status"] == "success"


def test_who_closes_the_tab_cancels(visit: OpenPage, drill: Site) -> None:
    """Nobody waits any more, so the worker stops and is free for the next."""
    gone = visit(drill)
    gone.choose_speaker("缓慢")
    gone.ask("再见")
    gone.page.get_by_text("正在进行：声学模型").wait_for()
    (started,) = [
        line
        for line in drill.lines(event="synthesis.started", speaker="slow", text_len=2)
        if line["source"] == "page"
    ]
    gone.page.close()
    assert drill.finished(started["request_id"])["status"] == "cancelled"
    visit(drill).speak("下一位")


def test_the_counter_counts_characters_as_the_server_does(visit: OpenPage, drill: Site) -> None:
    """An emoji is one character, and the counter turns red above the limit, cutting nothing."""
    page = visit(drill).page
    counter = page.locator("#counter")
    page.fill("#text textarea", "好👍👍")
    page.wait_for_function("document.querySelector('#counter').textContent === '3 / 10000'")
    assert "over" not in (counter.get_attribute("class") or "")
    page.fill("#text textarea", "长" * 10_001)
    page.wait_for_function("document.querySelector('#counter').textContent === '10001 / 10000'")
    assert "over" in (counter.get_attribute("class") or "")
    assert len(page.input_value("#text textarea")) == 10_001


def test_an_example_fills_the_fields(visit: OpenPage, speech: Site) -> None:
    """Each example brings its text, its emotion and its count, and can be spoken as it is."""
    visitor = visit(speech)
    page = visitor.page
    for place, example in enumerate(examples_for(Features())):
        page.locator("#examples button").nth(place).click()
        page.wait_for_function(
            "text => document.querySelector('#text textarea').value === text", arg=example.text
        )
        assert page.locator("#emotion input:checked").get_attribute("value") == example.emotion
        page.get_by_text(f"{len(example.text)} / 10000").wait_for()
        assert speech.finished(visitor.speak_again())["emotion"] == example.emotion


@pytest.mark.parametrize(
    "before",
    ["", "Object.defineProperty(navigator, 'clipboard', {value: undefined})"],
    ids=["secure", "insecure"],
)
def test_the_request_id_is_copied(visit: OpenPage, drill: Site, before: str) -> None:
    """The button copies the id, and says so, with the clipboard's interface and without."""
    visitor = visit(drill, before=before)
    request_id = visitor.speak("复制")
    assert ULID.fullmatch(request_id)
    button = visitor.page.locator("#details [data-copy]")
    button.click()
    visitor.page.get_by_text("已复制").wait_for()
    visitor.page.focus("#text textarea")
    visitor.page.keyboard.press("Control+a")
    visitor.page.keyboard.press("Control+v")
    assert visitor.page.input_value("#text textarea") == request_id


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844)])
def test_nothing_is_wider_than_the_screen(
    visit: OpenPage, speech: Site, width: int, height: int
) -> None:
    """On a desk and in a hand, the page scrolls down only."""
    visitor = visit(speech, "en-US")
    visitor.page.set_viewport_size({"width": width, "height": height})
    visitor.speak("A page for every screen, on 3 March 2026.")
    assert visitor.page.evaluate("document.documentElement.scrollWidth") <= width
