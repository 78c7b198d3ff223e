"""
Promises of progress: what is told of a running request, to whom, and until when.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from indextts_app import errors
from indextts_app.synthesis import Caller
from indextts_app.underway import Remaining, Standing, Underway

MINE = Caller("01M7YQJX7PTPC1PAJTN75109G2", "api", "203.0.113.0", "order-17")
ASKER = Caller("01M7YQJX7PTPC1PAJTN75109G3", "api", "203.0.113.0")
STRANGER = Caller("01M7YQJX7PTPC1PAJTN75109G4", "api", "198.51.100.0")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_is_left_follows_from_the_segments_before() -> None:
    """Two segments took 4 s together, so that the third and fourth will take as long."""
    clock = Clock()
    remaining = Remaining(clock)
    assert remaining.seconds() is None
    remaining.segment(1, 4)
    assert remaining.seconds() is None
    clock.now = 4.0
    remaining.segment(3, 4)
    assert remaining.seconds() == 4.0
    clock.now = 5.0
    assert remaining.seconds() == 3.0
    clock.now = 50.0
    assert remaining.seconds() == 0.0


def test_a_request_is_known_by_both_its_ids() -> None:
    """By the request_id to whoever knows it, in lower case as well."""
    clock = Clock()
    underway = Underway(clock)
    with underway.request(MINE) as request:
        request.waiting(3)
        assert underway.standing(MINE.request_id.lower(), STRANGER) == Standing(
            "waiting", 3, None, None, None, 0.0, None
        )
        request.stage("acoustic")
        request.segment(1, 3)
        clock.now = 2.0
        request.segment(2, 3)
        assert underway.standing("order-17", ASKER) == Standing(
            "working", None, "acoustic", 2, 3, 2.0, 4.0
        )
        assert len(underway) == 1


NEIGHBOURS = [("address 203.0.113.7", "address 203.0.113.8"), ("key shop", "key call-centre")]


@pytest.mark.parametrize(("mine", "theirs"), NEIGHBOURS, ids=["by address", "by key"])
def test_a_clients_own_id_is_no_key_for_others(mine: str, theirs: str) -> None:
    """It can be guessed: it counts for the same key or the same whole address, nobody near it."""
    underway = Underway()
    with underway.request(replace(MINE, client=mine)):
        assert underway.standing("order-17", replace(ASKER, client=mine)).state == "working"
        for other in (replace(ASKER, client=theirs), ASKER, STRANGER):
            with pytest.raises(errors.UnknownRequest):
                underway.standing("order-17", other)


def test_a_request_that_has_ended_is_not_known() -> None:
    """Not even to who asked for it."""
    underway = Underway()
    with pytest.raises(KeyError), underway.request(MINE):
        raise KeyError
    with pytest.raises(errors.UnknownRequest):
        underway.standing(MINE.request_id, ASKER)


@pytest.mark.anyio
async def test_those_that_are_given_up_are_named_and_stopped() -> None:
    """Each once, at its next safe point."""
    underway = Underway()

    async def work() -> bool:
        with underway.request(MINE, asyncio.current_task()) as request:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return request.given_up
        return False

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    assert underway.give_up() == (MINE.request_id,)
    assert underway.give_up() == ()
    assert await task
    assert underway.give_up() == ()
