"""A real service in a process of its own, and a real Chromium that visits it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hollow_weights import write_hollow_weights
from playwright.sync_api import Browser, BrowserContext, sync_playwright
from visiting import PATIENCE_SECONDS, OpenPage, Serving, Site, Visit, lines_in

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    # Chromium itself must not call home, or no page could be shown to call nobody.
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60.0


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """
    Debian's Chromium, for one module.

    No longer: while Playwright runs, asyncio takes its loop for everybody's, and the async tests
    that come after would not start.
    """
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed: apt-get install chromium fonts-wqy-microhei")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def serving() -> Serving:
    """`with serving(folder, **settings) as site:`, a service with settings of one's own."""
    return _serving


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A service with the default engine."""
    with _serving(tmp_path_factory.mktemp("speech"), INDEXTTS_ENGINE="espeak") as site:
        yield site


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A service with the engine that fails on demand; its speaker `slow` outlasts any test."""
    with _serving(
        tmp_path_factory.mktemp("drill"), INDEXTTS_ENGINE="drill", INDEXTTS_DRILL_SLOW_SECONDS="50"
    ) as site:
        yield site


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """
    A service of IndexTTS-2 whose model is a double: every control is there, and makes tones.

    It takes its time, so that a request can be watched and listened to while it runs.
    """
    folder = tmp_path_factory.mktemp("studio")
    doubles = ROOT / "tests" / "doubles"
    write_hollow_weights(folder / "weights", "2")
    with _serving(
        folder,
        INDEXTTS_ENGINE="indextts2",
        INDEXTTS_MODEL_DIR=str(folder / "weights"),
        INDEXTTS_WORKER_PYTHON=str(doubles / "python"),
        DOUBLES_PYTHON=sys.executable,
        DOUBLE_TOKEN_SECONDS="0.005",  # noqa: S106  # of the model, and no secret
    ) as site:
        yield site


@pytest.fixture(scope="module")
def contexts(browser: Browser) -> dict[str, BrowserContext]:
    """A browser's profile for each language; the pages in it share only their cache."""
    return {}


@pytest.fixture
def visit(browser: Browser, contexts: dict[str, BrowserContext]) -> Iterator[OpenPage]:
    """
    Open a site's page as a visitor with a language of one's own.

    Every visit promises on its way: nothing is asked of another host, and there is no error in the
    console.
    """
    visits: list[Visit] = []

    def open_page(
        site: Site, locale: str = "zh-CN", *, before: str = "", address: str | None = None
    ) -> Visit:
        if locale not in contexts:
            contexts[locale] = browser.new_context(
                locale=locale, permissions=["clipboard-read", "clipboard-write"]
            )
        page = contexts[locale].new_page()
        page.set_default_timeout(PATIENCE_SECONDS * 1000)
        if address:
            # From this machine, the service takes a proxy's word for where a visitor comes from.
            page.set_extra_http_headers({"X-Forwarded-For": address})
        if before:
            page.add_init_script(before)
        visit = Visit(page, site)
        visits.append(visit)
        page.on("request", lambda request: visit.requested.append(request.url))
        page.on("pageerror", lambda error: visit.complaints.append(str(error)))
        page.on(
            "console",
            lambda line: visit.complaints.append(line.text) if line.type == "error" else None,
        )
        page.on("dialog", lambda dialog: dialog.accept())
        page.goto(site.url)
        page.wait_for_selector("#status .idle")
        page.wait_for_selector(".page-header .chip:not(.loading)")
        return visit

    yield open_page
    for visit in visits:
        if not visit.page.is_closed():
            visit.page.close()
        own = (visit.site.url, f"blob:{visit.site.url}", "data:")
        assert [url for url in visit.requested if not url.startswith(own)] == []
        assert visit.complaints == []


@contextmanager
def _serving(folder: Path, **settings: str) -> Iterator[Site]:
    """The service as users start it, on a port that is free."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("INDEXTTS_")
    } | {
        "INDEXTTS_PORT": "0",
        "INDEXTTS_LOG_DIR": str(folder / "logs"),
        "INDEXTTS_OUTPUT_DIR": str(folder / "outputs"),
        "INDEXTTS_SPEAKER_DIR": str(folder / "speakers"),
        "INDEXTTS_SHUTDOWN_SECONDS": "1",
        # Most tests ask for the same audio again and again, and want it made.
        "INDEXTTS_RESULT_CACHE_MB": "0",
        "PYTHONPATH": str(ROOT),
        **settings,
    }
    with (folder / "printed").open("wb") as printed:
        # Not in the repository's folder: a .env there is for the service, not for its tests.
        process = subprocess.Popen(
            [sys.executable, "-m", "indextts_app"],
            cwd=folder,
            env=environment,
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
        try:
            yield Site(_listening(process, folder), folder)
        finally:
            process.terminate()
            process.wait(timeout=START_SECONDS)


def _listening(process: subprocess.Popen[bytes], folder: Path) -> str:
    """The address, once a worker is ready."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        lines = {line["event"]: line for line in lines_in(folder / "logs")}
        if "service.listening" in lines and "worker.ready" in lines:
            return str(lines["service.listening"]["url"])
        time.sleep(0.1)
    raise RuntimeError((folder / "printed").read_text(encoding="utf-8")[-4000:])
