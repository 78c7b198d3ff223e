"""
Promises of `observability.deferred`.
"""

from __future__ import annotations

import threading

from observability import losses
from observability.deferred import Deferred

PATIENCE_SECONDS = 30.0


class Gate:
    """Work that a test can hold up, and that tells how it was run."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.runs: list[tuple[bool, threading.Thread]] = []

    def __call__(self, whole: bool) -> None:
        self.runs.append((whole, threading.current_thread()))
        self.begun.set()
        if whole:
            self.may_end.wait(PATIENCE_SECONDS)


def test_work_runs_once_whole_and_beside_the_caller() -> None:
    """The submitter goes on at once; the work runs to its end in another thread."""
    deferred, work = Deferred(), Gate()
    deferred.submit(work)
    work.begun.wait(PATIENCE_SECONDS)
    work.may_end.set()
    assert deferred.drain(PATIENCE_SECONDS)
    ((whole, thread),) = work.runs
    assert whole
    assert thread is not threading.current_thread()


def test_there_is_no_thread_before_there_is_work() -> None:
    """Making one costs nothing, so that importing the library starts no threads."""
    before = threading.active_count()
    Deferred(threads=3)
    assert threading.active_count() == before


def test_work_without_room_takes_its_short_path_at_once() -> None:
    """A full backlog runs the work in the caller's own thread, without its slow part."""
    deferred, running, waiting, refused = Deferred(threads=1, backlog=1), Gate(), Gate(), Gate()
    deferred.submit(running)
    running.begun.wait(PATIENCE_SECONDS)
    deferred.submit(waiting)
    deferred.submit(refused)
    assert refused.runs == [(False, threading.current_thread())]
    running.may_end.set()
    waiting.may_end.set()
    assert deferred.drain(PATIENCE_SECONDS)
    assert len(running.runs) == len(waiting.runs) == len(refused.runs) == 1


def test_work_that_waited_too_long_takes_its_short_path() -> None:
    """No finished line waits for its turn longer than the patience."""
    deferred, running, late = Deferred(threads=1, patience_seconds=-1.0), Gate(), Gate()
    deferred.submit(running)
    deferred.submit(late)
    assert deferred.drain(PATIENCE_SECONDS)
    assert [whole for whole, _ in running.runs + late.runs] == [False, False]


def test_work_that_raises_is_counted_and_the_next_one_runs() -> None:
    """The only thread survives the failure."""

    def bad(_whole: bool) -> None:
        raise ValueError

    deferred, work = Deferred(threads=1), Gate()
    before = losses.lost().get("deferred", 0)
    work.may_end.set()
    deferred.submit(bad)
    deferred.submit(work)
    work.begun.wait(PATIENCE_SECONDS)
    assert deferred.drain(PATIENCE_SECONDS)
    assert [whole for whole, _ in work.runs] == [True]
    assert losses.lost()["deferred"] == before + 1


def test_draining_says_when_time_ran_out_and_shortens_what_was_not_begun() -> None:
    """At shutdown the slow part is left out of all work that still waits; none is dropped."""
    deferred, running, waiting = Deferred(threads=1), Gate(), Gate()
    deferred.submit(running)
    running.begun.wait(PATIENCE_SECONDS)
    deferred.submit(waiting)
    assert not deferred.drain(0.01)
    running.may_end.set()
    assert deferred.drain(PATIENCE_SECONDS)
    assert [whole for whole, _ in waiting.runs] == [False]


def test_after_draining_work_is_whole_again() -> None:
    """A drained background may be used on, by the next test or the next run."""
    deferred, work = Deferred(), Gate()
    assert deferred.drain(0)
    work.may_end.set()
    deferred.submit(work)
    work.begun.wait(PATIENCE_SECONDS)
    assert deferred.drain(PATIENCE_SECONDS)
    assert [whole for whole, _ in work.runs] == [True]
