"""
What every test may rely on: it finds the process as the first test found it.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator

import pytest
import structlog

from observability import losses, request_id, set_sinks
from observability.events import Event
from observability.observe import emit


class Recorder:
    """A sink that keeps the events it is given; `some_finished` is acquired once for each end."""

    def __init__(self) -> None:
        self.started_events: list[Event] = []
        self.finished_events: list[Event] = []
        self.some_finished = threading.Semaphore(0)

    def started(self, event: Event) -> None:
        """Keep a started event."""
        self.started_events.append(event)

    def finished(self, event: Event) -> None:
        """Keep a finished event."""
        self.finished_events.append(event)
        self.some_finished.release()


@pytest.fixture
def recorder() -> Recorder:
    """The only sink of this test, in place already."""
    sink = Recorder()
    set_sinks([sink])
    return sink


@pytest.fixture(autouse=True)
def global_state() -> Iterator[None]:
    """Whatever a test does to logging, streams, hooks, sinks and counters is undone after it."""
    root = logging.getLogger()
    handlers, level, complains = root.handlers[:], root.level, logging.raiseExceptions
    streams, hooks = (sys.stdout, sys.stderr), (sys.excepthook, threading.excepthook)
    structured = structlog.get_config() if structlog.is_configured() else None
    sinks, lost = emit.__globals__["_sinks"], losses.lost()
    context = request_id.current.get()
    yield
    set_sinks(sinks)
    for handler in root.handlers:
        if handler not in handlers:
            handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.raiseExceptions = complains
    logging.captureWarnings(capture=False)
    sys.stdout, sys.stderr = streams
    sys.excepthook, threading.excepthook = hooks
    if structured:
        structlog.configure(**structured)
    else:
        structlog.reset_defaults()
    for sink, lines in losses.lost().items():
        losses.count(sink, lost.get(sink, 0) - lines)
    request_id.current.set(context)
