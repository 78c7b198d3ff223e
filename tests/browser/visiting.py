"""A visitor to a running service: what one does on the page, and what the service wrote of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from playwright.sync_api import Page

PATIENCE_SECONDS = 40.0

STILL = """part => new Promise(resolve => {
  const count = () => part.getElementsByTagName('*').length;
  let before = count(), frames = 0;
  const look = () => {
    frames = count() === before ? frames + 1 : 0;
    before = count();
    frames < 10 ? requestAnimationFrame(look) : resolve();
  };
  look();
})"""
"""Waits until a part of the page has kept still for ten frames."""

CUT_OFF = ("Connection errored out", "signal is aborted")
"""What Gradio complains of when a page goes while it is connected."""


def soon(look: Callable[[], Any]) -> Any:
    """What `look` finds, once it finds anything."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not (found := look()):
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)
    return found


@dataclass(frozen=True, slots=True)
class Site:
    """A running service and what it has written."""

    url: str
    folder: Path

    def lines(self, **fields: object) -> list[dict[str, Any]]:
        """The log lines that have these fields."""
        return [line for line in lines_in(self.folder / "logs") if fields.items() <= line.items()]

    def finished(self, request_id: str) -> dict[str, Any]:
        """The finished line of a request."""
        found = soon(lambda: self.lines(event="synthesis.finished", request_id=request_id))
        assert len(found) == 1
        line: dict[str, Any] = found[0]
        return line


@dataclass(slots=True)
class Visit:
    """One visitor's page, and everything that it asked for, and the errors in its console."""

    page: Page
    site: Site
    requested: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def choose(self, field_id: str, value: str) -> None:
        """Choose one of a row of choices by its value."""
        self.page.locator(f"#{field_id} label", has=self.page.locator(f"[value={value}]")).click()

    def choose_speaker(self, name: str) -> None:
        """Choose a speaker by a part of the name that is shown."""
        self.pick("speaker", name)

    def open(self, *field_ids: str) -> None:
        """
        Open these accordions, and wait until they keep still.

        One that is opened for the first time draws its fields and puts their first values into
        them a frame or so later: no hand types as fast as that, but a script does.
        """
        for field_id in field_ids:
            self.page.click(f"#{field_id} > button")
            part = self.page.locator(f"#{field_id} [data-testid=accordion-content]").first
            part.locator(".block").first.wait_for()
            part.evaluate(STILL)

    def type(self, field_id: str, value: str) -> None:
        """Fill in a field, or set a slider by its number."""
        field = self.page.locator(f"#{field_id}").locator("textarea, input:not([type=range])")
        field.first.fill(value)
        # A slider takes a number when it is left.
        field.first.blur()

    def pick(self, field_id: str, name: str) -> None:
        """Choose from a list by a part of the name that is shown."""
        self.page.click(f"#{field_id} input")
        self.page.locator("[role=option]", has_text=name).first.click()

    def upload(self, field_id: str, recording: Path) -> None:
        """Hand in a recording, and wait until it can be played."""
        part = self.page.locator(f"#{field_id}")
        part.locator("input[type=file]").set_input_files(recording)
        part.locator("#waveform, .waveform-container").first.wait_for()
        part.get_by_label("Play", exact=False).first.wait_for()

    def told(self, field_id: str) -> str:
        """What the page says in this place, once it says something."""
        place = self.page.locator(f"#{field_id} .told")
        place.wait_for()
        return place.inner_text()

    def reload(self) -> None:
        """Load the page anew; that this cuts off connections is no fault, though Gradio says so."""
        before = len(self.complaints)
        self.page.reload()
        self.page.wait_for_selector("#status .idle")
        said = self.complaints[before:]
        self.complaints[before:] = [
            one for one in said if not any(known in one for known in CUT_OFF)
        ]

    def ask(self, text: str | None = None) -> None:
        """Type the text, if any, and press the button."""
        if text is not None:
            self.page.fill("#text textarea", text)
        self.page.click("#generate")

    def speak(self, text: str | None = None) -> str:
        """Ask, wait for the audio, and return the request_id that is shown."""
        self.ask(text)
        self.page.wait_for_selector("#status .badge")
        return self.request_id()

    def speak_again(self, text: str | None = None) -> str:
        """Ask, and return the request_id once it is not that of the result before."""
        before = self.page.locator("#result .request-id code").all_inner_texts()
        self.ask(text)
        self.page.wait_for_function(
            "before => { const id = document.querySelector('#details .request-id code');"
            " return id && !before.includes(id.textContent) }",
            arg=before,
        )
        return self.request_id()

    def request_id(self) -> str:
        """The request_id that is shown."""
        return self.page.locator("#result .request-id code").inner_text()

    def download(self, to: Path) -> Path:
        """The audio as the player's button saves it, under the name that it suggests."""
        with self.page.expect_download() as waiting:
            self.page.click("#player a[download]")
        target = to / waiting.value.suggested_filename
        waiting.value.save_as(target)
        return target


class Serving(Protocol):
    """Runs a service with these settings, its files below a folder."""

    def __call__(self, folder: Path, **settings: str) -> AbstractContextManager[Site]:
        """The service, once it listens; it ends with the block."""


class OpenPage(Protocol):
    """Opens a site's page as a visitor with a language of one's own."""

    def __call__(
        self, site: Site, locale: str = "zh-CN", *, before: str = "", address: str | None = None
    ) -> Visit:
        """
        The page, ready to be used, and every question that it asks answered with yes.

        `before` is a script that runs ahead of its own; `address` is where the visitor comes from.
        """


def lines_in(folder: Path) -> list[dict[str, Any]]:
    """Every line of the log files, but for one that is being written."""
    files = (path.read_bytes() for path in sorted(folder.glob("*.jsonl")))
    return [json.loads(line) for file in files for line in file.split(b"\n")[:-1]]
