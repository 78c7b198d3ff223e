"""Promises of the operations page's handlers, kept without a browser."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from indextts_app import audio
from indextts_app.pages import gradio_environment
from indextts_app.pages.gradio_environment import upload_folder
from indextts_app.settings import Settings
from indextts_app.synthesis import AudioFormat
from observability import request_id

pytestmark = pytest.mark.anyio

TEXT = "今天天气很好。"


class Page:
    """The handlers over a running service, and a visitor of theirs."""

    def __init__(self, service: Any, settings: Settings) -> None:
        gradio_environment.prepare(settings.output_dir)
        from indextts_app.pages.operations.handlers import Handlers

        self.service = service
        self.settings = settings
        self.handlers = Handlers(
            service.service.desk,
            service.service.synthesizer,
            settings,
            service.service._hash_key,
        )

    @staticmethod
    def request(language: str = "en") -> Any:
        """A visitor's request, with the headers that the door puts there."""
        return SimpleNamespace(
            headers={"accept-language": language, "x-request-id": request_id.new()},
            client=SimpleNamespace(host="127.0.0.1"),
            session_hash="session",
        )

    async def spoken(self, **asked: Any) -> str:
        """The id of a request that is over."""
        answer = await self.service.speak(text=TEXT, **asked)
        found = str(answer.headers["x-request-id"])
        await self.service.log.finished(found)
        return found


@pytest.fixture(scope="module")
async def page(
    tmp_path_factory: pytest.TempPathFactory, drill_settings: Callable[..., Settings], running: Any
) -> Any:
    """One running service for all of these tests."""
    settings = drill_settings(tmp_path_factory.mktemp("operations"))
    async with running(settings) as service:
        yield Page(service, settings)


async def test_a_story_is_found_in_the_visitors_language(page: Page) -> None:
    """By the id in whichever way; the id that is shown is the canonical one."""
    asked = await page.spoken(speaker="error")
    for language, word in (("en", "Likely cause"), ("zh-CN", "可能原因")):
        panel, current = await page.handlers.look_up(page.request(language), f" {asked.lower()} ")
        assert word in panel["value"]
        assert current["value"] == asked


@pytest.mark.parametrize("typed", ["abc", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "<img src=x>", "x" * 5_000])
async def test_what_is_not_found_is_said(page: Page, typed: str) -> None:
    """In one panel, with nothing of it run, and no id left to replay."""
    panel, current = await page.handlers.look_up(page.request(), typed)
    assert "Not found" in panel["value"]
    assert "<img" not in panel["value"]
    assert current["value"] == ""


@pytest.mark.parametrize("sent", [None, "", 17, ["x"], {"path": 3}])
async def test_nothing_typed_is_no_question(page: Page, sent: object) -> None:
    """Whatever a hand-written request sends in a field."""
    panel, _ = await page.handlers.look_up(page.request(), sent)
    assert "Nothing looked up yet" in panel["value"]


async def test_a_dropped_file_is_enough(page: Page) -> None:
    """If it was uploaded: a path that was only named is not read."""
    asked = await page.spoken()
    data = audio.encoded(np.zeros(4_410, np.int16), 22_050, AudioFormat.WAV, asked)
    inside = upload_folder(page.settings.output_dir) / "abc" / "voice.wav"
    inside.parent.mkdir(parents=True, exist_ok=True)
    inside.write_bytes(data)
    outside = page.settings.output_dir / "voice.wav"
    outside.write_bytes(data)
    link = inside.with_name("link.wav")
    link.symlink_to(outside)
    _, current = await page.handlers.look_up_file(
        page.request(), {"path": str(inside), "orig_name": "call.wav"}
    )
    assert current["value"] == asked
    for path in (str(outside), str(link), "/etc/passwd", "", 7, f"{inside.parent}/../../voice.wav"):
        panel, current = await page.handlers.look_up_file(
            page.request(), {"path": path, "orig_name": ["x"]}
        )
        assert "not uploaded here" in panel["value"]
        assert current["value"] == ""


async def test_a_replay_needs_the_text(page: Page) -> None:
    """Another one is answered clearly, asks nothing of the engine, and is logged nowhere."""
    asked = await page.spoken()
    before = len(page.service.log.lines("synthesis.finished"))
    foreign = "我住在幸福路十八号"
    panel, player = await page.handlers.replay(page.request(), asked, foreign, "")
    assert "This is not the text of that request" in panel["value"]
    assert player["visible"] is False
    panel, _ = await page.handlers.replay(page.request("zh"), asked, None, {"x": 1})
    assert "文本与原请求不符" in panel["value"]
    panel, _ = await page.handlers.replay(page.request(), "", TEXT, "")
    assert "Look a request up first." in panel["value"]
    panel, _ = await page.handlers.replay(page.request(), request_id.new(), TEXT, "")
    assert "Not replayed" in panel["value"]
    assert len(page.service.log.lines("synthesis.finished")) == before
    assert foreign not in page.service.log.text()


async def test_a_replay_goes_the_ordinary_way(page: Page) -> None:
    """With an id of its own that leads back to the first; both are shown and compared."""
    asked = await page.spoken(speed=1.5)
    request = page.request()
    panel, player = await page.handlers.replay(request, asked, f"{TEXT}\n", "")
    again = request.headers["x-request-id"]
    assert asked in panel["value"]
    assert again in panel["value"]
    assert 'data-replay="replay_same"' in panel["value"]
    assert Path(player["value"]["path"]).name == f"{again}.wav"
    first, second = [await page.service.log.finished(each) for each in (asked, again)]
    for field in ("speaker", "speed", "format", "text_hash", "audio_seconds"):
        assert first[field] == second[field]
    assert (second["source"], second["client_request_id"]) == ("replay", asked)


async def test_a_replay_says_that_the_glossary_has_changed(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another reading sounds different, and neither seed nor controls would tell why."""
    asked = await page.spoken()
    panel, _ = await page.handlers.replay(page.request(), asked, TEXT, "")
    assert "glossary has changed" not in panel["value"]
    terms: dict[str, dict[str, str]] = {TEXT[:2]: {"zh": "读法"}}
    pool = page.service.service.pool
    assert pool.capabilities
    offered = replace(pool.capabilities.features, glossary=True)
    monkeypatch.setattr(pool, "capabilities", replace(pool.capabilities, features=offered))
    page.service.service.library.glossary.replace(terms)
    try:
        panel, _ = await page.handlers.replay(page.request(), asked, TEXT, "")
    finally:
        page.service.service.library.glossary.replace({})
    assert "glossary has changed" in panel["value"]


async def test_a_replay_that_fails_says_why(page: Page) -> None:
    """With the id of the attempt."""
    asked = await page.spoken(speaker="error")
    request = page.request()
    panel, player = await page.handlers.replay(request, asked, TEXT, "")
    assert "The replay failed" in panel["value"]
    assert request.headers["x-request-id"] in panel["value"]
    assert player["visible"] is False


async def test_failures_and_their_lines(page: Page) -> None:
    """By what was chosen; what was not a choice is the first one."""
    asked = await page.spoken(speaker="error")
    panel, lines, _ = await page.handlers.failures(page.request(), "24h", "speaker")
    assert 'data-drill="error"' in panel["value"]
    assert lines["value"] == ""
    strange, _, _ = await page.handlers.failures(page.request(), "'; DROP", {"by": 1})
    assert 'data-drill="engine_error"' in strange["value"]
    drilled = await page.handlers.drill(page.request(), "24h", "speaker", "error")
    assert f'data-open="{asked}"' in drilled["value"]
    assert "speaker=&quot;error&quot;" in drilled["value"]
    nothing = await page.handlers.drill(page.request(), "24h", "speaker", "x') OR 1=1 --")
    assert "data-open" not in nothing["value"]
    assert (await page.handlers.drill(page.request(), "1h", "type", None))["value"] == ""


async def test_live_and_report(page: Page) -> None:
    """The pulse, the months to choose from, and a month; what is none is said."""
    await page.spoken()
    live = await page.handlers.live(page.request("zh"))
    assert "正常服务" in live["value"]
    months = await page.handlers.months()
    assert months["value"] in months["choices"]
    shown = await page.handlers.report(page.request(), months["choices"][0])
    assert "<iframe" in shown["value"]
    for month in ("2026-13", None, "<b>"):
        refused = await page.handlers.report(page.request(), month)
        assert "is no month" in refused["value"]
        assert "<b>" not in refused["value"]


async def test_questions_do_not_hold_up_the_service(page: Page) -> None:
    """While a report is made, the loop answers others."""
    asking = asyncio.create_task(page.handlers.failures(page.request(), "7d", "type"))
    health = await page.service.client.get("/health/live")
    assert json.loads(health.content) == {"status": "alive"}
    await asyncio.wait_for(asking, timedelta(seconds=10).total_seconds())
