"""Pictures of the page with a real result: docs/page.zh.png and docs/page.en.png."""

from __future__ import annotations

import argparse
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

CHROMIUM = "/usr/bin/chromium"
WIDTH, HEIGHT = 1280, 800
DOCS = Path(__file__).resolve().parents[1] / "docs"
SHOWN = {"zh": ("zh-CN", 2), "en": ("en-US", 1)}
"""For each language the browser's locale, and which of the page's examples is spoken."""


def main() -> None:
    """Visit a running service in both languages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:7860", help="of the service")
    parser.add_argument("--folder", type=Path, default=DOCS, help="where the pictures go")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        for language, (locale, example) in SHOWN.items():
            target = chosen.folder / f"page.{language}.png"
            picture(browser, chosen.url, locale, example, target)
            print(target)
        browser.close()


def picture(browser: Browser, url: str, locale: str, example: int, target: Path) -> None:
    """Speak one example, and take the whole page with its result."""
    page = browser.new_page(locale=locale, viewport={"width": WIDTH, "height": HEIGHT})
    page.goto(url)
    page.wait_for_selector(".page-header .chip:not(.loading)")
    page.locator("#examples button").nth(example).click()
    page.wait_for_function("document.querySelector('#text textarea').value")
    page.click("#generate")
    page.wait_for_selector("#status .badge")
    # The waveform is drawn once the player has decoded the audio.
    page.wait_for_timeout(1500)
    page.mouse.move(0, 0)
    page.screenshot(path=target, full_page=True)
    page.close()


if __name__ == "__main__":
    main()
