"""Promises of the history: this browser's own, bounded, honest, and good for making it again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile
from playwright.sync_api import Browser, BrowserContext
from visiting import OpenPage, Serving, Site, Visit, soon

pytestmark = pytest.mark.browser

ROWS = ".history li"


@pytest.fixture(scope="module")
def site(serving: Serving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A service with the default engine, as it comes: the same again is served again."""
    folder = tmp_path_factory.mktemp("history")
    with serving(folder, INDEXTTS_ENGINE="espeak", INDEXTTS_RESULT_CACHE_MB="64") as site:
        yield site


@pytest.fixture(autouse=True)
def forgotten(contexts: dict[str, BrowserContext], site: Site) -> None:
    """Every test finds a browser that has made nothing yet; profiles live as long as the module."""
    for context in contexts.values():
        page = context.new_page()
        # Of the same origin, and much sooner there than the page.
        page.goto(f"{site.url}/health/live")
        page.evaluate("localStorage.clear()")
        page.close()


def items(visitor: Visit) -> list[dict[str, Any]]:
    """What the browser keeps."""
    kept = visitor.page.evaluate("localStorage.getItem('indextts.history')")
    found: list[dict[str, Any]] = json.loads(kept or "[]")
    return found


def shown(visitor: Visit) -> list[str]:
    """The request_ids that the page lists, the latest first."""
    rows = visitor.page.locator(ROWS)
    return [str(rows.nth(at).get_attribute("data-id")) for at in range(rows.count())]


def unfold(visitor: Visit) -> None:
    """Look at the list."""
    visitor.page.click(".history summary")


def pressed(visitor: Visit, row: int, name: str) -> None:
    """A button of a row."""
    visitor.page.locator(ROWS).nth(row).get_by_role("button", name=name).click()


def test_results_stay_with_the_browser(visit: OpenPage, site: Site) -> None:
    """Listed latest first, after a reload as well, with all that a complaint needs."""
    visitor = visit(site, "en-US")
    unfold(visitor)
    visitor.choose("emotion", "happy")
    first = visitor.speak("The first one.")
    second = visitor.speak_again("The second one.")
    soon(lambda: shown(visitor) == [second, first])
    visitor.reload()
    unfold(visitor)
    soon(lambda: shown(visitor) == [second, first])
    row = visitor.page.locator(ROWS).first
    told = row.inner_text()
    for part in (second, "The second one.", "Signal ok", "Female 2", "Happy", " s"):
        assert part in told
    assert row.locator("time").get_attribute("datetime")
    lines = json.dumps(site.lines(), ensure_ascii=False)
    assert "The second one" not in lines


def test_another_browser_knows_nothing_of_it(visit: OpenPage, site: Site, browser: Browser) -> None:
    """It is private to where it was made."""
    visitor = visit(site)
    visitor.speak("只在这里。")
    soon(lambda: len(items(visitor)) == 1)
    context = browser.new_context(locale="zh-CN")
    page = context.new_page()
    page.goto(site.url)
    page.wait_for_selector(".history", state="attached")
    assert page.evaluate("localStorage.getItem('indextts.history')") is None
    context.close()


def test_a_result_is_made_again_as_it_was(visit: OpenPage, site: Site) -> None:
    """Whatever the form shows meanwhile: text, speaker, emotion, pace and format come back."""
    visitor = visit(site, "en-US")
    unfold(visitor)
    visitor.choose("emotion", "sad")
    visitor.choose("format", "flac")
    visitor.choose_speaker("Male 3")
    visitor.type("pace", "1.5")
    first = site.finished(visitor.speak("As it was."))
    visitor.choose("emotion", "happy")
    visitor.choose("format", "wav")
    visitor.page.fill("#text textarea", "Something else.")
    soon(lambda: shown(visitor))
    pressed(visitor, 0, "Make again")
    soon(lambda: len(shown(visitor)) == 2)
    again = site.finished(shown(visitor)[0])
    for name in ("text_hash", "speaker", "emotion", "speed", "format"):
        assert again[name] == first[name], name
    assert (again["result_cache_hit"], again["result_of"]) == (True, first["request_id"])
    assert "From the cache" in visitor.page.inner_text("#status")
    assert visitor.page.input_value("#text textarea") == "As it was."


def test_the_same_seed_again(visit: OpenPage, studio: Site) -> None:
    """Of an engine with seeds, a draw is repeated although none was chosen."""
    visitor = visit(studio, "en-US")
    visitor.page.evaluate("localStorage.clear()")
    unfold(visitor)
    first = studio.finished(visitor.speak("Once more."))
    soon(lambda: shown(visitor))
    pressed(visitor, 0, "Again, same seed")
    soon(lambda: len(shown(visitor)) == 2)
    again = studio.finished(shown(visitor)[0])
    assert again["seed"] == first["seed"]
    assert visitor.page.locator("#seed").locator("textarea, input").first.input_value() == str(
        first["seed"]
    )
    visitor.page.evaluate(
        "const [one] = JSON.parse(localStorage.getItem('indextts.history'));"
        "localStorage.setItem('indextts.history', JSON.stringify([{...one, seed: 0}]));"
        "window.showHistory()"
    )
    assert "Again, same seed" in visitor.page.locator(ROWS).inner_text()


def test_a_file_can_be_had_as_long_as_it_is_kept(
    visit: OpenPage, site: Site, tmp_path: Path
) -> None:
    """Heard and saved after a reload; once it was swept, the row says so and breaks nothing."""
    visitor = visit(site, "en-US")
    request_id = visitor.speak("To be saved.")
    visitor.reload()
    unfold(visitor)
    with visitor.page.expect_download() as waiting:
        pressed(visitor, 0, "Save")
    assert waiting.value.suggested_filename == f"{request_id}.wav"
    waiting.value.save_as(tmp_path / "saved.wav")
    assert soundfile.info(tmp_path / "saved.wav").duration > 0.5
    pressed(visitor, 0, "Listen")
    player = visitor.page.locator(f"{ROWS} audio")
    player.wait_for()
    soon(lambda: player.evaluate("audio => audio.duration > 0.5"))
    visitor.reload()
    unfold(visitor)
    for path in (site.folder / "outputs").rglob(f"{request_id}.wav"):
        path.unlink()
    pressed(visitor, 0, "Save")
    gone = visitor.page.locator(f"{ROWS} .gone")
    soon(lambda: "no longer kept" in gone.inner_text())
    # The browser itself tells of what was not found; that is what was looked for.
    visitor.complaints[:] = [one for one in visitor.complaints if "40" not in one]


def test_a_failure_is_kept_for_the_complaint(visit: OpenPage, site: Site) -> None:
    """With its request_id; there is nothing to hear or to save."""
    visitor = visit(site)
    unfold(visitor)
    visitor.ask("！？…")
    soon(lambda: shown(visitor))
    row = visitor.page.locator(ROWS).first
    assert "未生成" in row.inner_text()
    assert row.get_by_role("button", name="下载").count() == 0
    assert site.finished(shown(visitor)[0])["error_type"] == "text_not_speakable"


def test_what_a_text_says_is_never_run(visit: OpenPage, site: Site) -> None:
    """It is shown as text."""
    visitor = visit(site)
    unfold(visitor)
    visitor.speak("<img src=x onerror=alert(1)>你好")
    soon(lambda: shown(visitor))
    assert visitor.page.locator(f"{ROWS} img").count() == 0
    assert "<img" in visitor.page.locator(f"{ROWS} .history-text").inner_text()


def test_a_visitor_may_have_it_forgotten_or_not_kept(visit: OpenPage, site: Site) -> None:
    """At once, and after a reload."""
    visitor = visit(site, "en-US")
    unfold(visitor)
    visitor.speak("To be forgotten.")
    soon(lambda: shown(visitor))
    visitor.page.click("#history-clear")
    assert items(visitor) == []
    assert shown(visitor) == []
    visitor.page.uncheck("#history-keep")
    visitor.speak_again("Not to be kept.")
    visitor.page.wait_for_timeout(300)
    assert items(visitor) == []
    visitor.reload()
    unfold(visitor)
    soon(lambda: not visitor.page.is_checked("#history-keep"))
    visitor.page.check("#history-keep")
    visitor.speak("Kept again.")
    soon(lambda: len(items(visitor)) == 1)


def test_only_the_latest_are_kept(visit: OpenPage, site: Site) -> None:
    """Twenty at most; what a hand has broken is as good as nothing."""
    visitor = visit(site, "en-US")
    visitor.speak("One of many.")
    soon(lambda: items(visitor))
    visitor.page.evaluate(
        "const one = JSON.parse(localStorage.getItem('indextts.history'))[0];"
        "localStorage.setItem('indextts.history', JSON.stringify("
        "  Array.from({length: 20}, (_, n) => ({...one, request_id: `${n}`}))))"
    )
    latest = visitor.speak_again("The latest.")
    soon(lambda: items(visitor)[0]["request_id"] == latest)
    assert len(items(visitor)) == 20
    visitor.page.evaluate("localStorage.setItem('indextts.history', 'broken{')")
    visitor.reload()
    unfold(visitor)
    visitor.speak("After that.")
    soon(lambda: len(shown(visitor)) == 1)
