"""Promises of the page of IndexTTS-2, kept in a real browser with a double for a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from visiting import OpenPage, Site, Visit, soon

pytestmark = pytest.mark.browser

ENGLISH = "The first sentence is short. The second one is a little longer than that."
HOSTILE = "<script>document.title='owned'</script><img src=x>"
FORM = {"status": "success", "source": "page", "engine": "indextts2", "emotion_mode": "speaker"}


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Two seconds of a voice, or of what passes for one here."""
    path = tmp_path / "voice.wav"
    tone = 0.3 * np.sin(np.arange(48_000) * 2 * np.pi * 180 / 24_000)
    soundfile.write(path, tone, 24_000)
    return path


def visible(visitor: Visit, *field_ids: str) -> list[str]:
    """Which of these fields can be seen."""
    return [name for name in field_ids if visitor.page.locator(f"#{name}").is_visible()]


def facts(line: dict[str, Any], *names: str) -> dict[str, Any]:
    """These fields of an event, where it has them."""
    return {name: line[name] for name in names if name in line}


PARTS = {
    "speaker": [],
    "preset": ["emotion", "emotion-weight", "control_emotion_random"],
    "reference": ["emotion-reference", "emotion-weight"],
    "vector": ["emotion-vector", "emotion-weight", "control_emotion_random"],
    "text": ["emotion-text", "emotion-weight", "control_emotion_random"],
}


def test_a_mode_shows_its_own_fields_and_no_others(visit: OpenPage, studio: Site) -> None:
    """Five sources of emotion, two of a voice, and never the fields of two at once."""
    visitor = visit(studio)
    every = sorted({name for parts in PARTS.values() for name in parts})
    for mode, parts in PARTS.items():
        visitor.choose("emotion-mode", mode)
        assert visible(visitor, *every) == sorted(parts)
    voice = ("speaker", "speaker-delete", "voice-reference", "speaker-name", "speaker-save")
    assert visible(visitor, *voice) == ["speaker", "speaker-delete"]
    visitor.choose("voice", "recording")
    assert visible(visitor, *voice) == ["voice-reference", "speaker-name", "speaker-save"]
    # 2 has no pace, and leaves language and duration to 2.5.
    assert visible(visitor, "pace", "control_language", "control_duration_factor") == []


def test_what_is_set_reaches_the_engine(visit: OpenPage, studio: Site) -> None:
    """Sliders, switches, seed and format stand in the event as they stood on the page."""
    visitor = visit(studio, "en-US")
    page = visitor.page
    visitor.choose("emotion-mode", "vector")
    visitor.type("weight_happy", "0.6")
    visitor.type("weight_calm", "1")
    page.get_by_text("Sum 1.60").wait_for()
    assert "over" in (page.locator("#sum").get_attribute("class") or "")
    visitor.ask("Too much.")
    assert "add up to 1.6" in page.locator("#status .panel.bad").inner_text()

    visitor.type("weight_calm", "0.2")
    page.get_by_text("Sum 0.80").wait_for()
    assert "over" not in (page.locator("#sum").get_attribute("class") or "")
    visitor.type("emotion-weight", "0.4")
    page.check("#control_emotion_random input")
    visitor.choose("format", "mp3")
    visitor.type("seed", "42")
    visitor.open("delivery", "advanced")
    visitor.type("control_interval_silence_ms", "300")
    visitor.type("control_temperature", "1.1")
    page.uncheck("#control_do_sample input")
    finished = studio.finished(visitor.speak_again("Just right."))
    names = ("status", "emotion_mode", "emotion_weight", "emotion_vector", "seed", "format")
    assert facts(finished, *names, "controls") == {
        "status": "success",
        "emotion_mode": "vector",
        "emotion_weight": 0.4,
        "emotion_vector": "0.6,0,0,0,0,0,0,0.2",
        "seed": 42,
        "format": "mp3",
        "controls": "emotion_random=true interval_silence_ms=300 do_sample=false temperature=1.1",
    }

    page.click("#reset")
    soon(lambda: page.locator("#control_temperature input").first.input_value() == "0.8")
    assert page.is_checked("#control_do_sample input")
    finished = studio.finished(visitor.speak_again())
    assert finished["controls"] == "emotion_random=true interval_silence_ms=300"


def test_emotions_by_name_in_words_and_by_recording(
    visit: OpenPage, studio: Site, recording: Path
) -> None:
    """Each mode is asked for as it was chosen, with the voice of a recording of one's own."""
    visitor = visit(studio)
    visitor.choose("voice", "recording")
    visitor.ask("你好。")
    assert "请上传或录制" in visitor.page.locator("#status .panel.bad").inner_text()
    visitor.upload("voice-reference", recording)
    visitor.choose("emotion-mode", "preset")
    visitor.choose("emotion", "sad")
    by_name = studio.finished(visitor.speak_again())
    visitor.choose("emotion-mode", "text")
    visitor.type("emotion-text", "难过")
    in_words = studio.finished(visitor.speak_again())
    visitor.choose("emotion-mode", "reference")
    visitor.upload("emotion-reference", recording)
    by_recording = studio.finished(visitor.speak_again())
    names = ("speaker", "emotion_mode", "emotion", "emotion_text_len")
    assert [facts(line, *names) for line in (by_name, in_words, by_recording)] == [
        {"speaker": "reference", "emotion_mode": "preset", "emotion": "sad"},
        {"speaker": "reference", "emotion_mode": "text", "emotion_text_len": 2},
        {"speaker": "reference", "emotion_mode": "reference"},
    ]
    assert by_recording["emotion_reference_hash"] == by_recording["reference_hash"]


def test_a_seed_is_shown_and_makes_the_same_audio_again(
    visit: OpenPage, studio: Site, tmp_path: Path
) -> None:
    """An empty field is a new seed each time; one that is used again gives the same samples."""
    visitor = visit(studio, "en-US")
    page = visitor.page

    def heard() -> tuple[str, bytes]:
        request_id = visitor.speak_again("The same again.")
        samples, _ = soundfile.read(visitor.download(tmp_path), dtype="int16")
        shown = page.inner_text(".seed-line code")
        assert studio.finished(request_id)["seed"] == int(shown)
        return shown, samples.tobytes()

    first = heard()
    second = heard()
    assert first[0] != second[0]
    assert first[1] != second[1]
    page.click(".seed-line button")
    soon(lambda: page.locator("#seed textarea, #seed input").input_value() == second[0])
    assert heard() == second
    page.click("#seed-new")
    soon(lambda: page.locator("#seed textarea, #seed input").input_value() not in ("", second[0]))
    assert heard()[0] != second[0]


def test_segments_are_seen_before_they_are_made(visit: OpenPage, studio: Site) -> None:
    """The table follows the text and the limit, and needs no button."""
    visitor = visit(studio, "en-US")
    page = visitor.page
    rows = page.locator("#segments tbody tr")
    visitor.open("delivery")
    page.get_by_text("Type a text to see").wait_for()
    page.fill("#text textarea", ENGLISH * 3)
    soon(lambda: rows.count() == 1)
    visitor.type("control_segment_tokens", "20")
    soon(lambda: rows.count() > 2)
    counted = [int(row.locator("td").last.inner_text()) for row in rows.all()]
    count = len(counted)
    assert all(0 < tokens <= 20 for tokens in counted)
    finished = studio.finished(visitor.speak())
    assert (finished["segments"], finished["text_tokens"]) == (count, sum(counted))
    assert page.locator("#details .figures dd").last.inner_text() == str(count)


def test_it_is_heard_while_it_is_made(visit: OpenPage, studio: Site) -> None:
    """The live player plays before the request has ended, and goes on when it has."""
    visitor = visit(studio, "en-US")
    page = visitor.page
    visitor.open("delivery")
    visitor.type("control_segment_tokens", "20")
    assert visible(visitor, "live") == []
    visitor.ask(ENGLISH * 6)
    page.wait_for_function("document.querySelector('.live audio').currentTime > 0")
    request_id = page.locator(".live audio").get_attribute("src") or ""
    assert studio.lines(event="synthesis.finished", request_id=request_id[5:]) == []
    assert "Segment" in page.inner_text("#status")
    heard = page.evaluate("document.querySelector('.live audio').currentTime")

    page.wait_for_selector("#status .badge")
    finished = studio.finished(visitor.request_id())
    assert finished["streamed"] is True
    assert finished["first_audio_ms"] < finished["duration_ms"] / 2
    assert page.evaluate("document.querySelector('.live audio').currentTime") > heard
    assert not page.evaluate("document.querySelector('.live audio').paused")
    # The visitor takes the whole audio: the live player makes room.
    page.locator("#player button[aria-label*=Play i]").first.click()
    page.wait_for_selector("#live", state="hidden")


def test_who_wants_silence_gets_it_and_can_cancel(visit: OpenPage, studio: Site) -> None:
    """With the switch off nothing is played; cancel works in the middle of a segment."""
    visitor = visit(studio, "en-US")
    visitor.page.uncheck("#play-live input")
    visitor.ask(ENGLISH * 6)
    visitor.page.get_by_text("Now: Acoustic model").wait_for()
    visitor.page.click("#cancel")
    visitor.page.wait_for_selector("#status .panel.neutral")
    assert studio.finished(visitor.request_id())["status"] == "cancelled"
    visitor.speak("Next.")
    assert visible(visitor, "live") == []
    assert not any("/live/" in url for url in visitor.requested)


def test_a_speaker_is_made_used_and_deleted(visit: OpenPage, studio: Site, recording: Path) -> None:
    """Its name is shown as it was typed, whatever it looks like, and never run."""
    visitor = visit(studio, "en-US")
    page = visitor.page
    visitor.choose("voice", "recording")
    visitor.upload("voice-reference", recording)
    visitor.type("speaker-name", HOSTILE)
    page.click("#speaker-save")
    assert visitor.told("voice-told") == f"Saved: {HOSTILE}"
    assert page.locator("#speaker input").input_value() == HOSTILE
    finished = studio.finished(visitor.speak("Hello."))
    assert finished["speaker"] not in ("sample", "reference")
    assert len(finished["reference_hash"]) == 64

    other = visit(studio, "en-US")
    other.pick("speaker", HOSTILE)
    other.page.click("#speaker-delete")
    assert other.told("voice-told") == "The speaker is deleted."
    assert other.page.locator("#speaker input").input_value() == "Sample (synthetic voice)"
    visitor.ask()
    page.wait_for_selector("#status .panel.bad")
    assert "no such speaker" in page.inner_text("#status")
    assert {page.title(), other.page.title()} == {"IndexTTS-2 语音合成 · Speech"}


def test_a_preset_brings_everything_back(visit: OpenPage, studio: Site, recording: Path) -> None:
    """Saved by one visitor, described and loaded by another, recordings included."""
    visitor = visit(studio, "en-US")
    visitor.choose("voice", "recording")
    visitor.upload("voice-reference", recording)
    visitor.choose("emotion-mode", "vector")
    visitor.type("weight_surprised", "0.35")
    visitor.choose("format", "flac")
    visitor.open("advanced", "presets")
    visitor.type("control_top_k", "12")
    visitor.type("preset-name", HOSTILE)
    visitor.type("preset-description", "for <b>tests</b>")
    visitor.page.click("#preset-save")
    assert visitor.told("preset-told") == f"Saved: {HOSTILE}"

    other = visit(studio, "en-US")
    other.open("presets")
    other.pick("preset", HOSTILE)
    other.page.wait_for_selector("#preset-described dl")
    described = other.page.inner_text("#preset-described")
    assert "for <b>tests</b>" in described
    assert "Top k (0 = all)\n12" in described
    other.page.click("#preset-load")
    assert other.told("preset-told") == f"Loaded: {HOSTILE}"
    finished = studio.finished(other.speak("As it was."))
    names = ("speaker", "emotion_mode", "emotion_vector", "format", "controls", "preset")
    assert facts(finished, *names) == {
        "speaker": "reference",
        "emotion_mode": "vector",
        "emotion_vector": "0,0,0,0,0,0,0.35,0",
        "format": "flac",
        "controls": "top_k=12",
        "preset": "script-document-title-owned-script-img-s",
    }
    other.page.click("#preset-delete")
    other.page.get_by_text("The preset is deleted.").wait_for()
    assert other.page.title() == "IndexTTS-2 语音合成 · Speech"


def test_the_glossary_is_edited_and_used(visit: OpenPage, studio: Site) -> None:
    """A term is read as it was taught, shown as it was typed, and forgotten when deleted."""
    visitor = visit(studio, "en-US")
    page = visitor.page
    visitor.open("glossary")
    page.get_by_text("There are no terms yet.").wait_for()
    visitor.type("glossary-term", "<i>TTS")
    page.click("#glossary-add")
    assert "readings look like" in visitor.told("glossary-told")
    visitor.type("glossary-en", "talking machine")
    page.click("#glossary-add")
    page.get_by_text("The glossary has the term now.").wait_for()
    assert page.locator("#glossary-table tbody td").first.inner_text() == "<i>TTS"
    assert page.locator("#glossary-table tbody i").count() == 0
    visitor.pick("glossary-chosen", "<i>TTS")
    page.click("#glossary-delete")
    page.get_by_text("The term is deleted.").wait_for()
    assert page.locator("#glossary-table tbody").count() == 0


def test_strangers_may_speak_and_keep_nothing(
    visit: OpenPage, studio: Site, recording: Path
) -> None:
    """Elsewhere the page works, and says why it saves nothing."""
    visitor = visit(studio, "zh-CN", address="203.0.113.9")
    page = visitor.page
    visitor.choose("voice", "recording")
    visitor.upload("voice-reference", recording)
    visitor.type("speaker-name", "陌生人")
    page.click("#speaker-save")
    assert "INDEXTTS_OPERATIONS_ALLOW" in visitor.told("voice-told")
    visitor.open("presets", "glossary")
    visitor.type("preset-name", "陌生人")
    page.click("#preset-save")
    assert "INDEXTTS_OPERATIONS_ALLOW" in visitor.told("preset-told")
    visitor.type("glossary-term", "陌生")
    visitor.type("glossary-zh", "陌生")
    page.click("#glossary-add")
    assert "INDEXTTS_OPERATIONS_ALLOW" in visitor.told("glossary-told")
    finished = studio.finished(visitor.speak("你好。"))
    assert facts(finished, *FORM, "client_ip") == {**FORM, "client_ip": "203.0.113.0"}


def test_what_could_be_better_is_told(visit: OpenPage, studio: Site) -> None:
    """A limit that was hit is a hint beside the audio, in the visitor's language."""
    visitor = visit(studio)
    visitor.open("advanced")
    visitor.type("control_max_mel_tokens", "50")
    finished = studio.finished(
        visitor.speak("这是一句很长的话，它需要的声学标记比上限还要多一些，" * 2)
    )
    assert finished["length_limited"] is True
    hint = visitor.page.locator("#details .hints [data-hint=length_limited]")
    assert "max_mel_tokens" in hint.inner_text()


def test_the_new_examples_fill_their_mode(visit: OpenPage, studio: Site) -> None:
    """Sliders and a description come with their texts, and are spoken as they are."""
    visitor = visit(studio, "en-US")
    spoken = []
    for name in ("Blended emotions", "Emotion in words"):
        before = visitor.page.input_value("#text textarea")
        visitor.page.get_by_role("button", name=name).click()
        soon(lambda: visitor.page.input_value("#text textarea") != before)  # noqa: B023
        spoken.append(studio.finished(visitor.speak_again()))
    names = ("emotion_mode", "emotion_vector", "emotion_text_len")
    assert [facts(line, *names) for line in spoken] == [
        {"emotion_mode": "vector", "emotion_vector": "0.35,0,0,0,0,0,0.45,0"},
        {"emotion_mode": "text", "emotion_text_len": 10},
    ]


@pytest.mark.parametrize(
    ("locale", "seen", "not_seen"),
    [
        ("zh-CN", ["音色", "每段最大 Token 数", "温度", "术语", "说明"], ["Temperature", "Beams"]),
        ("en-US", ["Voice", "Tokens per segment", "Temperature", "Description"], ["温度", "预设"]),
    ],
)
def test_all_of_it_fits_the_browsers_language_and_screen(
    visit: OpenPage, studio: Site, locale: str, seen: list[str], not_seen: list[str]
) -> None:
    """With everything open no label is of the other language, and the page scrolls down only."""
    visitor = visit(studio, locale)
    page = visitor.page
    visitor.open("delivery", "advanced", "glossary", "presets")
    visitor.choose("emotion-mode", "vector")
    visitor.speak("1 + 1 = 2")
    visitor.choose("voice", "recording")
    page.get_by_text(seen[-1]).first.wait_for()
    shown = page.inner_text("body")
    assert [word for word in seen if word not in shown] == []
    assert [word for word in not_seen if word in shown] == []
    assert "indextts_" not in page.content().partition("<body")[2]
    assert "__i18n__" not in shown
    for width, height in ((1280, 800), (390, 844)):
        page.set_viewport_size({"width": width, "height": height})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_no_handler_takes_a_file_that_was_not_uploaded(studio: Site) -> None:
    """Whoever speaks Gradio's protocol without its page gets nothing out of any field."""
    stolen = {"path": "/etc/passwd", "orig_name": "a.wav", "meta": {"_type": "gradio.FileData"}}
    with httpx.Client(base_url=studio.url, timeout=20) as client:
        handlers = [
            handler
            for handler in client.get("/config").json()["dependencies"]
            if handler["backend_fn"] and handler["inputs"] and handler["queue"] is False
        ]
        assert len(handlers) > 8
        for handler in handlers:
            count = len(handler["inputs"])
            for place in range(count):
                data = [stolen if place == index else None for index in range(count)]
                answer = client.post(
                    "/gradio_api/run/predict",
                    json={"data": data, "fn_index": handler["id"], "session_hash": "intruder"},
                )
                assert answer.status_code == 500
                assert answer.json() == {"error": None}
