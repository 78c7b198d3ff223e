"""
Pictures of the page of a running service, in both languages.

With a result: docs/page.zh.png and docs/page.en.png. Of an engine with all controls, before
anything is spoken: docs/page.indextts2.zh.png and docs/page.indextts2.en.png (`--asking`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
WIDTH, HEIGHT = 1280, 800
DOCS = Path(__file__).resolve().parents[1] / "docs"
LOCALES = {"zh": "zh-CN", "en": "en-US"}
SPOKEN = {"zh": 2, "en": 1}
"""Which of the page's examples is spoken in each language."""

BLENDED = 4
"""The example that moves the sliders of the emotions."""


def main() -> None:
    """Visit a running service in both languages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:7860", help="of the service")
    parser.add_argument("--asking", action="store_true", help="speak nothing, show the controls")
    parser.add_argument(
        "--story", metavar="REQUEST_ID", help="the operations page with this request's story"
    )
    parser.add_argument("--folder", type=Path, default=DOCS, help="where the pictures go")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    name = "page.indextts2" if chosen.asking else "page"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        for language in LOCALES:
            if chosen.story:
                target = chosen.folder / f"operations.{language}.png"
                story(browser, chosen.url, language, target, chosen.story)
            else:
                target = chosen.folder / f"{name}.{language}.png"
                picture(browser, chosen.url, language, target, asking=chosen.asking)
            print(target)
        browser.close()


def picture(browser: Browser, url: str, language: str, target: Path, *, asking: bool) -> None:
    """Fill in one example, speak it or show its fields, and take the whole page."""
    page = browser.new_page(locale=LOCALES[language], viewport={"width": WIDTH, "height": HEIGHT})
    page.goto(url)
    page.wait_for_selector(".page-header .chip:not(.loading)")
    page.locator("#examples button").nth(BLENDED if asking else SPOKEN[language]).click()
    page.wait_for_function("document.querySelector('#text textarea').value")
    if asking:
        _open(page, "delivery")
        page.wait_for_selector("#segments tbody")
    else:
        page.click("#generate")
        page.wait_for_selector("#status .badge")
        # The waveform is drawn once the player has decoded the audio.
        page.wait_for_timeout(1500)
    page.mouse.move(0, 0)
    page.screenshot(path=target, full_page=True)
    page.close()


def story(browser: Browser, url: str, language: str, target: Path, request_id: str) -> None:
    """Look one request up, and take the whole page; without a password, from this machine."""
    page = browser.new_page(locale=LOCALES[language], viewport={"width": WIDTH, "height": HEIGHT})
    page.goto(f"{url}/operations/?id={request_id}")
    page.wait_for_selector(".story-head")
    # What was typed is marked for a moment.
    page.wait_for_timeout(500)
    page.screenshot(path=target, full_page=True)
    page.close()


def _open(page: Page, accordion: str) -> None:
    page.click(f"#{accordion} > button")


if __name__ == "__main__":
    main()
