"""Promises of previews: how a text will be cut, told beside running tasks, in bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
from pooling import SLOWER, task

from indextts_app import errors
from indextts_app.engines.base import Segment
from indextts_app.workers import pool as pool_module
from indextts_app.workers.pool import MAX_PREVIEWS_WAITING
from indextts_app.workers.worker import EngineSpec

if TYPE_CHECKING:
    from conftest import LogReader

pytestmark = pytest.mark.anyio

Until = Callable[[Callable[[], object]], Awaitable[None]]

TEXT = "你好。今天天气很好！Shall we go?"
SEGMENTS = (Segment("你好。", 3), Segment("今天天气很好！", 7), Segment("Shall we go?", 12))


async def test_the_segments_are_those_of_the_engine(pools: Any) -> None:
    """In the order of the text, each with its number of tokens."""
    async with pools() as pool:
        assert await pool.preview(task(text=TEXT)) == SEGMENTS


async def test_a_preview_does_not_wait_for_a_running_task(pools: Any, until: Until) -> None:
    """The only worker is busy for a minute, and the task goes on undisturbed."""
    async with pools(SLOWER) as pool:
        running = asyncio.create_task(pool.run(task("slow")))
        await until(lambda: pool.busy)
        assert await pool.preview(task(text=TEXT)) == SEGMENTS
        assert not running.done()
        running.cancel()


async def test_many_previews_at_once_are_all_answered(pools: Any) -> None:
    """Each with its own text, though a worker does one at a time."""
    async with pools() as pool:
        texts = [f"sentence {number}." for number in range(1 + MAX_PREVIEWS_WAITING)]
        found = await asyncio.gather(*(pool.preview(task(text=text)) for text in texts))
    assert [one.text for (one,) in found] == texts


async def test_only_so_many_previews_wait(pools: Any, own: Callable[..., EngineSpec]) -> None:
    """One more is told so at once, and when to come again; whoever left makes room."""
    async with pools(own(PICKY)) as pool:
        asked = [
            asyncio.create_task(pool.preview(task(text="slow")))
            for _ in range(1 + MAX_PREVIEWS_WAITING)
        ]
        await asyncio.sleep(0)
        with pytest.raises(errors.QueueFull, match="8 requests are waiting") as raised:
            await pool.preview(task(text=TEXT))
        assert raised.value.retry_after_seconds
        for one in asked:
            one.cancel()
        await asyncio.wait(asked)
        assert await pool.preview(task(text=TEXT)) == SEGMENTS


async def test_one_preview_that_is_done_wakes_one(
    pools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First come, first served: the engine is asked in the order in which they came."""
    sent: list[str] = []
    async with pools() as pool:
        (worker,) = pool._alive.values()
        send = worker._send
        monkeypatch.setattr(
            worker, "_send", lambda head: (sent.append(head["task"]["text"]), send(head))
        )
        texts = [f"sentence {number}." for number in range(5)]
        asked = [asyncio.create_task(pool.preview(task(text=text))) for text in texts]
        asked[2].cancel()
        await asyncio.wait(asked)
    assert sent == [*texts[:2], *texts[3:]]


PICKY = """
import time
from indextts_app.engines.base import FieldUnusable, Translated
from indextts_app.engines.drill import DrillEngine
class Own(DrillEngine):
    def preview(self, task):
        if task.text == "slow":
            time.sleep(0.4)
        if task.text == "odd":
            raise FieldUnusable("text", Translated("it is odd.", "文本异常。"))
        if task.text == "fault":
            raise RuntimeError("the tokenizer failed at " + task.text)
        if task.text == "crash":
            import os
            os._exit(3)
        return super().preview(task)
"""
PLAIN = """
from indextts_app.engines.drill import DrillEngine
class Own:
    def __init__(self):
        drill = DrillEngine()
        self.load, self.synthesize = drill.load, drill.synthesize
"""


async def test_a_text_that_cannot_be_cut_is_the_clients(
    pools: Any, own: Callable[..., EngineSpec]
) -> None:
    """The engine's word about a field is a refusal, in both languages."""
    async with pools(own(PICKY)) as pool:
        with pytest.raises(errors.InvalidField, match="it is odd") as raised:
            await pool.preview(task(text="odd"))
    assert "文本异常" in raised.value.message("zh")


async def test_an_engine_that_cuts_no_texts_says_so(
    pools: Any, own: Callable[..., EngineSpec]
) -> None:
    """Asked all the same, it refuses, and serves on."""
    async with pools(own(PLAIN)) as pool:
        with pytest.raises(errors.InvalidField, match="does not cut"):
            await pool.preview(task())
        assert (await pool.run(task())).samples.any()


async def test_a_fault_of_the_engine_is_one_and_is_logged_without_the_text(
    pools: Any, own: Callable[..., EngineSpec], log: LogReader
) -> None:
    """The traceback is there, the user's words are not, and the next preview works."""
    async with pools(own(PICKY)) as pool:
        with pytest.raises(errors.EngineError):
            await pool.preview(task(text="fault", name="17"))
        assert await pool.preview(task(text=TEXT)) == SEGMENTS
    (line,) = log.lines("worker.error", request_id="17")
    assert "the tokenizer failed at [text]" in line["traceback"]


async def test_a_preview_takes_no_longer_than_it_may(
    pools: Any, own: Callable[..., EngineSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks is told so in time; what comes late of it is nobody else's answer."""
    async with pools(own(PICKY)) as pool:
        monkeypatch.setattr(pool_module, "PREVIEW_SECONDS", 0.1)
        for _ in range(2):
            with pytest.raises(errors.NotReady, match="too long"):
                await pool.preview(task(text="slow"))
        monkeypatch.setattr(pool_module, "PREVIEW_SECONDS", 5.0)
        assert await pool.preview(task(text=TEXT)) == SEGMENTS


async def test_a_worker_that_dies_of_a_preview_is_replaced(
    pools: Any, own: Callable[..., EngineSpec], until: Until
) -> None:
    """Who asked is told to ask again."""
    async with pools(own(PICKY)) as pool:
        with pytest.raises(errors.NotReady, match="replaced"):
            await pool.preview(task(text="crash"))
        await until(lambda: pool.ready_workers)
        assert await pool.preview(task(text=TEXT)) == SEGMENTS


async def test_before_a_worker_is_ready_there_is_no_preview(pools: Any) -> None:
    """A service that starts says that it starts."""
    async with pools(ready=False) as pool:
        with pytest.raises(errors.NotReady, match="loading"):
            await pool.preview(task())
