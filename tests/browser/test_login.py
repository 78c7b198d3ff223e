"""Promises of the page behind API keys, kept in a real browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser
from visiting import PATIENCE_SECONDS, Serving, Site, Visit

from indextts_app import api_keys

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def key_and_site(
    tmp_path_factory: pytest.TempPathFactory, serving: Serving
) -> Iterator[tuple[str, Site]]:
    """A service that needs a key, and one that is in force."""
    folder = tmp_path_factory.mktemp("locked")
    key = api_keys.add(folder / "keys", "shop")
    with serving(
        folder, INDEXTTS_ENGINE="drill", INDEXTTS_API_KEYS_FILE=str(folder / "keys")
    ) as site:
        yield key, site


def test_a_visitor_logs_in_speaks_and_logs_out(
    browser: Browser, key_and_site: tuple[str, Site]
) -> None:
    """A wrong key is told; with the right one the page works, and its lines bear the key's name."""
    key, site = key_and_site
    context = browser.new_context(locale="zh-CN")
    page = context.new_page()
    page.set_default_timeout(PATIENCE_SECONDS * 1000)
    page.goto(site.url)
    page.fill("input[name=key]", "indextts_guess")
    page.click("button")
    assert "无效" in page.inner_text("[role=alert]")
    page.fill("input[name=key]", key)
    page.click("button")
    page.wait_for_selector(".page-header .chip:not(.loading)")
    visitor = Visit(page, site)
    page.on("pageerror", lambda error: visitor.complaints.append(str(error)))
    request_id = visitor.speak("今天天气很好。")
    assert site.finished(request_id)["user"] == "shop"
    # The player fetched its audio with the session.
    assert page.evaluate("document.querySelector('#player audio, audio')?.error ?? null") is None
    page.click(".log-out button")
    page.wait_for_selector("input[name=key]")
    assert visitor.complaints == []
    context.close()
