"""Promises of the admission: so many of one client, and so many places, whoever asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import pytest

from indextts_app import errors
from indextts_app.admission import Admission
from indextts_app.workers.pool import WorkerPool


class Pool:
    """As much of a pool as the admission looks at."""

    places = 3
    busy = 1
    refusal: errors.ServiceError | None = None

    def check_open(self) -> None:
        """Refuse if there is a reason."""
        if self.refusal:
            raise self.refusal


@pytest.fixture
def pool() -> Pool:
    """A pool with three places."""
    return Pool()


@pytest.fixture
def admission(pool: Pool) -> Admission:
    """Two requests at a time for each client."""
    return Admission(cast("WorkerPool", pool), max_per_client=2)


def test_a_client_has_so_many_at_a_time(admission: Admission) -> None:
    """One more is refused, the others' are not, and one that ends makes room."""
    with admission.client("a"):
        with admission.client("a"):
            with pytest.raises(errors.TooManyInFlight) as refused, admission.client("a"):
                pass
            assert refused.value.http_status == 429
            assert refused.value.retry_after_seconds
            with admission.client("b"):
                pass
        with admission.client("a"):
            pass


def test_so_many_of_a_client_are_read_at_a_time(admission: Admission) -> None:
    """Apart from those that are worked on: whoever sends slowly has no more than others."""
    with admission.client("a"), admission.client("a"):
        with admission.reading("a"), admission.reading("a"):
            with pytest.raises(errors.TooManyInFlight), admission.reading("a"):
                pass
            with admission.reading("b"):
                pass
        with admission.reading("a"):
            pass


@pytest.mark.anyio
async def test_one_more_than_may_be_read_is_refused_unread(
    tmp_path: Path, drill_settings: Callable[..., Any], running: Callable[..., Any]
) -> None:
    """With its event; those that are still being sent are read to their end."""
    settings = drill_settings(tmp_path, max_per_client=1)
    async with running(settings) as service, service.client_from("203.0.113.9") as client:
        is_read, goes_on = asyncio.Event(), asyncio.Event()

        async def slowly() -> AsyncIterator[bytes]:
            yield b'{"text": '
            is_read.set()
            await goes_on.wait()
            yield b'"hello"}'

        slow = asyncio.create_task(client.post("/tts", content=slowly()))
        await is_read.wait()
        for path in ("/tts", "/v1/audio/speech", "/batches"):
            answer = await client.post(path, json={"text": "hello"})
            assert (answer.status_code, "retry-after" in answer.headers) == (429, True), path
        refused = await client.post("/tts", json={"text": "hello"})
        finished = await service.log.finished(refused.headers["x-request-id"])
        assert (finished["status"], finished["error_type"]) == ("rejected", "too_many_in_flight")
        goes_on.set()
        assert (await slow).status_code == 200


def test_who_cannot_be_told_apart_is_not_counted(admission: Admission) -> None:
    """Nor is anybody where there is no limit."""
    unlimited = Admission(cast("WorkerPool", Pool()), max_per_client=0)
    with ExitStack() as held:
        for _ in range(50):
            held.enter_context(admission.client(None))
            held.enter_context(unlimited.client("a"))


def test_nothing_is_kept_of_who_has_left(admission: Admission) -> None:
    """Whoever has many addresses fills no memory."""
    for number in range(100):
        with pytest.raises(ZeroDivisionError), admission.client(f"client {number}"):
            raise ZeroDivisionError
    assert not admission._of_client


def test_there_are_as_many_places_as_workers_and_queue(admission: Admission) -> None:
    """One more is told how many wait."""
    with ExitStack() as held:
        for _ in range(3):
            held.enter_context(admission.place())
        assert admission.placed == 3
        with pytest.raises(errors.QueueFull, match="2 requests") as refused, admission.place():
            pass
        assert refused.value.retry_after_seconds
    assert admission.placed == 0
    with admission.place():
        pass


def test_nobody_gets_a_place_while_no_worker_can_be_had(admission: Admission, pool: Pool) -> None:
    """What would be refused in the end is refused before it has cost anything."""
    pool.refusal = errors.NotReady(reason="it is shutting down.", reason_zh="服务正在关闭。")
    with pytest.raises(errors.NotReady), admission.place():
        pass
    assert admission.placed == 0
