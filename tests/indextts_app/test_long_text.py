"""
Promises of a long text: one audio, one event, no click, and nothing of it is left out.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

from indextts_app import errors
from indextts_app.engines.base import Samples, Task
from indextts_app.long_text import LongTexts, seconds_for
from indextts_app.settings import Settings
from indextts_app.workers.listener import Listener
from indextts_app.workers.worker import Delivery
from observability import request_id

if TYPE_CHECKING:
    from conftest import Running

pytestmark = pytest.mark.anyio

TEXT = "今天天气很好，我们一起去公园散步。It was a fine day, and 3.14 km long. " * 12
RATE = 8_000

Until = Callable[[Callable[[], object]], Awaitable[None]]


class Heard:
    """A listener that remembers what it is told, in order."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.samples: list[Samples] = []
        self.notes: dict[str, object] = {}

    def asked(self) -> None:
        self.told.append("asked")

    def waiting(self, ahead: int) -> None:
        self.told.append(f"waiting {ahead}")

    def taken(self, worker: str) -> None:
        self.told.append(f"taken by {worker}")

    def stage(self, name: str) -> None:
        self.told.append(name)

    def segment(self, number: int, count: int) -> None:
        self.told.append((number, count))

    def audio(self, samples: Samples, sample_rate: int) -> None:
        self.samples.append(samples)

    def measured(self, stages: Any, notes: Any) -> None:
        self.notes = dict(notes)


def spoken(texts: list[str], **faults: Delivery | Exception) -> Any:
    """What stands for the pool: a tenth of a second for each character."""

    async def run(task: Task, listener: Listener) -> Delivery:
        texts.append(task.text)
        fault = faults.get(task.text[0])
        if isinstance(fault, Exception):
            raise fault
        listener.waiting(1)
        listener.taken("0:1")
        samples = np.full(len(task.text) * RATE // 10, 9_000, dtype=np.int16)
        delivery = fault or Delivery(samples, RATE, task.text.upper())
        for piece in np.array_split(delivery.samples, 3):
            listener.audio(piece, delivery.sample_rate)
        notes = {"text_spoken_len": len(task.text), "worker_memory_mb": 7.0}
        listener.measured({"acoustic": 0.1}, notes)
        return delivery

    return run


def task(text: str) -> Task:
    return Task(request_id.new(), text, "one", "neutral", 1.0)


async def test_the_pieces_are_made_in_order_and_counted_together() -> None:
    """What adds up over the pieces adds up, the rest is of the last; one request is heard."""
    heard, texts = Heard(), []
    result = await LongTexts(1).speak(
        spoken(texts), task("aaa. bbb. ——. ccc."), heard, piece_chars=5
    )
    assert texts == ["aaa. ", "bbb. ", "ccc."]
    assert heard.told == [
        "asked",
        "waiting 1",
        *("taken by 0:1", (1, 3), "asked", "taken by 0:1", (2, 3), "asked", "taken by 0:1", (3, 3)),
    ]
    assert heard.notes == {"text_spoken_len": 14, "worker_memory_mb": 7.0, "segments": 3}
    assert result.delivery.spoken_text == "AAA.  BBB.  CCC."
    assert np.array_equal(np.concatenate(heard.samples), result.delivery.samples)
    assert len(result.delivery.samples) == (14 * RATE // 10) + 2 * RATE // 5
    assert not result.lacks_a_piece


async def test_a_piece_that_is_silent_or_short_is_noticed() -> None:
    """The figures of the whole would hide it."""
    for samples in (np.zeros(RATE, np.int16), np.full(9, 9_000, np.int16)):
        lacking = Delivery(samples, RATE, None)
        run = spoken([], b=lacking)
        text = task("aaa. bbbb bbbb bbbb. ccc.")
        assert (await LongTexts(1).speak(run, text, Heard(), piece_chars=16)).lacks_a_piece


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Delivery(np.empty(0, np.int16), RATE, None), errors.NoAudio),
        (Delivery(np.ones(99, np.int16), RATE * 2, None), errors.EngineError),
        (errors.WorkerDied(origin="signal_9"), errors.WorkerDied),
    ],
)
async def test_a_piece_that_fails_fails_the_request(
    fault: Any, expected: type[errors.ServiceError]
) -> None:
    """Half a text is not delivered as if it were all of it, and the rest is not made."""
    texts: list[str] = []
    with pytest.raises(expected):
        await LongTexts(1).speak(
            spoken(texts, b=fault), task("aaa. bbb. ccc."), Heard(), piece_chars=5
        )
    assert texts == ["aaa. ", "bbb. "]


async def test_so_many_long_texts_are_made_at_once_and_no_more() -> None:
    """Their samples lie in memory until they are whole."""
    running = most = 0

    async def run(task: Task, listener: Listener) -> Delivery:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return Delivery(np.full(RATE, 9_000, np.int16), RATE, None)

    texts = LongTexts(2)
    await asyncio.gather(
        *(texts.speak(run, task("aaa. bbb."), Heard(), piece_chars=5) for _ in range(6))
    )
    assert most == 2


def test_a_text_has_its_time_for_each_so_many_characters() -> None:
    """One that cannot even be a text has that of one request."""
    assert [seconds_for(text, 60, 500) for text in ("", "a" * 500, "a" * 501, 7)] == [
        60,
        60,
        120,
        60,
    ]


@pytest.fixture(scope="module")
async def espeak(
    tmp_path_factory: pytest.TempPathFactory,
    drill_settings: Callable[..., Settings],
    running: Callable[[Settings], Any],
) -> Any:
    folder = tmp_path_factory.mktemp("long")
    settings = drill_settings(folder, engine="espeak", max_text_chars=200)
    async with running(settings) as service:
        yield service


async def test_a_long_text_comes_out_as_one_audio_with_one_event(espeak: Running) -> None:
    """Its stages and its queue add up, its pieces are counted, and no join clicks."""
    answer = await espeak.speak(text=TEXT)
    assert answer.status_code == 200
    assert answer.headers["X-Audio-Verdict"] == "ok"
    samples, rate = soundfile.read(io.BytesIO(answer.content), dtype="int16")
    started, finished = await espeak.log.pair(answer.headers["X-Request-ID"])
    assert started["text_len"] == finished["text_len"] == len(TEXT)
    assert finished["status"] == "success"
    assert finished["segments"] >= 4
    parts = [value for name, value in finished.items() if name.startswith("stage_")]
    assert sum(parts) + finished["queue_ms"] == pytest.approx(finished["duration_ms"], abs=0.01)
    assert finished["stage_acoustic_vocoder_ms"] > 0
    assert finished["first_audio_ms"] < finished["duration_ms"]
    jumps = np.abs(np.diff(samples.astype(np.int32)))
    pauses = _pauses(samples, round(0.15 * rate))
    beside = [jumps[max(at - 200, 0) : at + 200].max() for at in pauses]
    assert len(pauses) >= finished["segments"] - 1
    assert max(beside) <= jumps.max() * 0.5
    assert "公园" not in espeak.log.text()


def _pauses(samples: Samples, least: int) -> list[int]:
    """Where a pause of so many samples of digital silence begins or ends."""
    edges = np.flatnonzero(np.diff(samples == 0, prepend=False, append=False))
    return [
        int(at) for start, end in edges.reshape(-1, 2) if end - start >= least for at in (start,)
    ]


async def test_longer_than_may_be_is_refused(espeak: Running) -> None:
    """With the limit that counts."""
    answer = await espeak.speak(text="a" * 10_001)
    assert answer.status_code == 422
    assert answer.json()["message"] == (
        "The text has 10001 characters, at most 10000 are possible. Split it."
    )


async def test_progress_is_told_over_rest_while_it_is_made(espeak: Running) -> None:
    """By the client's own id, which is all that it knows before the answer."""
    mine = {"X-Request-ID": "my-book-1"}
    speaking = asyncio.create_task(espeak.speak(headers=mine, text="今天天气很好。" * 1_400))
    standings: list[dict[str, Any]] = []
    while not speaking.done():
        answer = await espeak.client.get("/progress/my-book-1")
        if answer.status_code == 200:
            standings.append(answer.json())
        await asyncio.sleep(0.01)
    assert (await speaking).status_code == 200
    told = [one for one in standings if one["segment"] and one["segment"] > 1]
    assert told
    assert told[0]["segments"] == 50
    assert all(one["remaining_seconds"] > 0 for one in told[:3])
    gone = await espeak.client.get("/progress/my-book-1")
    assert (gone.status_code, gone.json()["error"]) == (404, "unknown_request")


async def test_a_client_that_leaves_stops_a_long_text(espeak: Running, until: Until) -> None:
    """At the next chance, with the one event that says so."""
    work = asyncio.create_task(espeak.speak(text="今天天气很好。" * 1_400))
    service = espeak.service
    await until(lambda: service.synthesizer.in_flight)
    work.cancel()
    await until(lambda: not service.synthesizer.in_flight and not service.pool.busy)
    (line,) = espeak.log.lines("synthesis.finished", text_len=9_800, status="cancelled")
    assert line["queue_ms"] >= 0


async def test_the_deadline_holds_for_a_long_text(
    tmp_path: Path, drill_settings: Callable[..., Settings], running: Callable[[Settings], Any]
) -> None:
    """Ten times the characters have ten times the time, and not more."""
    settings = drill_settings(tmp_path, engine="espeak", max_text_chars=100, timeout_seconds=0.001)
    async with running(settings) as service:
        answer = await service.speak(text="今天天气很好。" * 100)
        assert answer.status_code == 504
        assert answer.json()["message"].startswith("The audio was not complete within 0.007 s")
        finished = await service.log.finished(answer.headers["X-Request-ID"])
        assert finished["status"] == "timeout"
