"""Promises of the operations page, kept in a real browser."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page
from visiting import PATIENCE_SECONDS, Serving, Site

from indextts_app.pages.operations.texts import TEXTS

pytestmark = pytest.mark.browser

PASSWORD = "a long night shift"  # noqa: S105  # of the test alone
READY = ".page-header:is([data-language=en], [data-language=zh])"
TEXT = "今天天气很好，我们去公园散步。"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, serving: Serving) -> Iterator[Site]:
    """A service that fails on demand, with an operations page behind a password."""
    with serving(
        tmp_path_factory.mktemp("operated"),
        INDEXTTS_ENGINE="drill",
        INDEXTTS_OPERATIONS_PASSWORD=PASSWORD,
    ) as site:
        yield site


def spoken(site: Site, speaker: str, **headers: str) -> str:
    """The id of a request that is over."""
    answer = httpx.post(f"{site.url}/tts", json={"text": TEXT, "speaker": speaker}, headers=headers)
    request_id = answer.headers["x-request-id"]
    site.finished(request_id)
    return request_id


@dataclass(slots=True)
class Operator:
    """Somebody on duty, and what their browser asked for and complained of."""

    page: Page
    requested: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def log_in(self, password: str = PASSWORD) -> None:
        """Fill in the form and send it."""
        self.page.fill("input[name=user]", "operator")
        self.page.fill("input[name=password]", password)
        self.page.click("button")

    def look_up(self, wanted: str) -> str:
        """Paste an id, and read the story."""
        self.page.fill("#wanted input", wanted)
        self.page.click("#look-up")
        self.page.wait_for_selector(".story-head")
        return self.page.inner_text("#story")

    def open_tab(self, number: int) -> None:
        """Go to a tab by its place."""
        self.page.locator("#tabs button[role=tab]").nth(number).click()


@pytest.fixture
def operator(browser: Browser) -> Iterator[Callable[..., Operator]]:
    """
    Visit the page in a language of one's own, logged in.

    Every visit promises on its way: nothing is asked of another host, and there is no error in the
    console once one is logged in.
    """
    visits: list[tuple[Operator, Site]] = []

    def visit(site: Site, locale: str = "en-US", query: str = "", **options: Any) -> Operator:
        context = browser.new_context(
            locale=locale, permissions=["clipboard-read", "clipboard-write"], **options
        )
        page = context.new_page()
        page.set_default_timeout(PATIENCE_SECONDS * 1000)
        found = Operator(page)
        page.on("request", lambda request: found.requested.append(request.url))
        page.goto(f"{site.url}/operations/")
        found.log_in()
        page.wait_for_selector(READY)
        page.on("pageerror", lambda error: found.complaints.append(str(error)))
        page.on(
            "console",
            lambda line: found.complaints.append(line.text) if line.type == "error" else None,
        )
        if query:
            page.goto(f"{site.url}/operations/?{query}")
            page.wait_for_selector(READY)
        visits.append((found, site))
        return found

    yield visit
    for found, site in visits:
        found.page.context.close()
        own = (site.url, f"blob:{site.url}", "data:", "about:srcdoc")
        assert [url for url in found.requested if not url.startswith(own)] == []
        assert found.complaints == []


@contextmanager
def stranger(browser: Browser, site: Site) -> Iterator[Page]:
    """Somebody who has not logged in."""
    context = browser.new_context(locale="zh-CN")
    page = context.new_page()
    page.set_default_timeout(PATIENCE_SECONDS * 1000)
    page.goto(f"{site.url}/operations")
    yield page
    context.close()


def test_a_stranger_meets_a_wall(browser: Browser, site: Site) -> None:
    """A form in their language and nothing else; a wrong password is told, the right one opens."""
    with stranger(browser, site) as page:
        assert page.locator("input").count() == 2
        assert page.locator("#tabs").count() == 0
        assert "密码" in page.inner_text("main")
        Operator(page).log_in("guess")
        page.wait_for_selector("[role=alert]")
        assert page.inner_text("[role=alert]") == "用户名或密码错误。"
        Operator(page).log_in()
        page.wait_for_selector("#tabs")
        page.click(".ways-out button")
        page.wait_for_selector("input[name=password]")


def test_no_door_is_open_without_a_login(site: Site) -> None:
    """Configuration, queue, uploads, files and reports of the real service: 401 all of them."""
    with httpx.Client(base_url=f"{site.url}/operations") as client:
        for path in ("/", "/config", "/gradio_api/info", "/gradio_api/startup-events"):
            assert client.get(path).status_code == 401
        for path in ("/gradio_api/file=/etc/passwd", "/theme.css", "/report/2026-01.json"):
            assert client.get(path).status_code == 401
        assert client.get("/gradio_api/heartbeat/x").status_code == 401
        assert client.post("/gradio_api/upload", files={"files": b"x"}).status_code == 401
        joined = client.post("/gradio_api/queue/join", json={"data": [], "fn_index": 0})
        assert joined.status_code == 401
        logged_in = client.get("/config", auth=("operator", PASSWORD))
        assert logged_in.status_code == 200
        # Logged in or not, a handler is handed no file that was not uploaded.
        stolen = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
        for handler in logged_in.json()["dependencies"]:
            if handler["backend_fn"] and handler["inputs"]:
                answer = client.post(
                    "/gradio_api/run/predict",
                    json={"data": [stolen] * len(handler["inputs"]), "fn_index": handler["id"]},
                    auth=("operator", PASSWORD),
                )
                assert "root:" not in answer.text
    assert PASSWORD not in "".join(map(json.dumps, site.lines()))


@pytest.mark.parametrize(
    ("locale", "words"),
    [
        ("zh-CN", ["失败", "可能原因", "处理建议", "耗时分布", "前后情况", "进程与内存", "等价的"]),
        ("en-US", ["Failed", "Likely cause", "What to do", "Where the time went", "Around it"]),
    ],
)
def test_an_id_is_pasted_and_the_story_read(
    operator: Callable[..., Operator], site: Site, locale: str, words: list[str]
) -> None:
    """In the browser's language, with the picture; another request is a click away."""
    other, asked = spoken(site, "out_of_memory"), spoken(site, "error")
    visitor = operator(site, locale)
    shown = visitor.look_up(asked.lower().replace("0", "O").replace("1", "l"))
    assert [word for word in words if word not in shown] == []
    page = visitor.page
    assert page.locator("#story .stage-picture .bar").count() > 0
    page.locator(f"#story tr[data-open='{other}'] button").click()
    page.wait_for_selector(f".story-head[data-request='{other}']")
    shown = page.inner_text("body")
    assert [key for key in TEXTS if f"indextts_{key}" in shown] == []


def test_an_audio_file_and_a_clients_id_lead_there_too(
    operator: Callable[..., Operator], site: Site, tmp_path: Path
) -> None:
    """And so does a link with the id in it."""
    answer = httpx.post(
        f"{site.url}/tts", json={"text": TEXT}, headers={"X-Request-ID": "order-4711"}
    )
    asked = answer.headers["x-request-id"]
    site.finished(asked)
    path = tmp_path / "complaint.wav"
    path.write_bytes(answer.content)
    visitor = operator(site, "en-US", f"id={asked}")
    page = visitor.page
    page.wait_for_selector(f".story-head[data-request='{asked}']")
    other = spoken(site, "error")
    visitor.look_up(other)
    page.wait_for_selector(f".story-head[data-request='{other}']")
    visitor.look_up("order-4711")
    page.wait_for_selector(f".story-head[data-request='{asked}']")
    visitor.look_up(other)
    page.wait_for_selector(f".story-head[data-request='{other}']")
    page.set_input_files("#dropped input[type=file]", path)
    page.wait_for_selector(f".story-head[data-request='{asked}']")


def test_a_request_is_replayed(operator: Callable[..., Operator], site: Site) -> None:
    """With the right text only; both results stand beside each other, and the new one plays."""
    asked = spoken(site, "silent")
    visitor = operator(site)
    visitor.look_up(asked)
    page = visitor.page
    page.click("#replay > button")
    page.fill("#replay-text textarea", "something else")
    page.click("#replay-run")
    page.wait_for_selector("#replayed [role=alert]")
    assert "This is not the text" in page.inner_text("#replayed")
    page.fill("#replay-text textarea", TEXT)
    page.click("#replay-run")
    page.wait_for_selector("#replayed [data-replay=replay_same]")
    ids = page.locator("#replayed [data-open]").all_inner_texts()
    assert ids[0] == asked
    page.wait_for_selector("#replay-player")
    finished = site.finished(ids[1])
    assert (finished["source"], finished["client_request_id"]) == ("replay", asked)


def test_failures_are_drilled_into(operator: Callable[..., Operator], site: Site) -> None:
    """What fails by speaker; a row shows its lines and the query, which is copied."""
    asked = spoken(site, "error")
    visitor = operator(site)
    page = visitor.page
    visitor.open_tab(1)
    page.wait_for_selector("#failures [data-drill=engine_error]")
    # Without Loki there is no choice of where the lines are.
    assert page.locator("#failures-source").count() == 0
    page.locator("#by label", has=page.locator("[value=speaker]")).click()
    page.click("#failures [data-drill=error]")
    page.wait_for_selector("#drilled .drilled")
    assert asked in page.inner_text("#drilled")
    page.locator("#drilled [data-copy]").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith('{app="indextts"} |= "synthesis.finished"')
    assert 'speaker="error"' in copied
    page.locator(f"#drilled tr[data-open='{asked}']").click()
    page.wait_for_selector(f"#story .story-head[data-request='{asked}']")
    assert page.locator("#wanted input").input_value() == asked


def test_live_figures_are_refreshed(operator: Callable[..., Operator], site: Site) -> None:
    """By themselves, as long as the tab is looked at."""
    visitor = operator(site)
    page = visitor.page
    visitor.open_tab(2)
    page.wait_for_selector("#live-panel .figures")
    first = page.inner_text("#live-panel .live-head")
    page.wait_for_function(
        "before => document.querySelector('#live-panel .live-head').innerText !== before",
        arg=first,
    )
    assert page.locator("#live-panel .badge.good").count() == 1


def test_the_report_of_a_month_is_shown_and_downloaded(
    operator: Callable[..., Operator], site: Site, tmp_path: Path
) -> None:
    """This month's, in a frame without rights; HTML, JSON and CSV."""
    spoken(site, "steady")
    visitor = operator(site, "zh-CN")
    page = visitor.page
    visitor.open_tab(3)
    page.wait_for_function("document.querySelector('#month input')?.value")
    page.click("#month input")
    month = page.locator("[role=option]").first.inner_text().strip("✓ \n")
    page.locator("[role=option]").first.click()
    page.click("#show-report")
    page.wait_for_selector("iframe.report")
    assert page.get_attribute("iframe.report", "sandbox") == ""
    shown = page.frame_locator("iframe.report").locator("h1").first.inner_text()
    assert "月" in shown
    for name, suffix in (("HTML", "html"), ("JSON", "json"), ("CSV (ZIP)", "zip")):
        with page.expect_download() as started:
            page.get_by_role("link", name=name, exact=True).click()
        saved = tmp_path / f"report.{suffix}"
        started.value.save_as(saved)
        assert started.value.suggested_filename == f"indextts-{month}.{suffix}"
    document = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert (document["month"], document["requests"] > 0) == (month, True)


def test_it_fits_a_phone(operator: Callable[..., Operator], site: Site) -> None:
    """Nothing is wider than the screen; tables scroll by themselves."""
    asked = spoken(site, "error")
    visitor = operator(site, "zh-CN", viewport={"width": 390, "height": 844})
    visitor.look_up(asked)
    page = visitor.page
    for number in (0, 1, 2):
        visitor.open_tab(number)
        page.wait_for_timeout(300)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
