"""
What every test may rely on: it finds the process as the first test found it.
"""

from __future__ import annotations

import functools
import logging
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import spread
import structlog
from hollow_weights import write_hollow_weights
from model_environment import MODEL_ENVIRONMENT
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from observability import losses, request_id, set_sinks
from observability.events import Event
from observability.observe import emit

ROOT = Path(__file__).parents[1]
MODEL_PYTHONS = (
    # Read at import, before a fixture takes the service's variables out of the environment.
    os.environ.get("INDEXTTS_WORKER_PYTHON"),
    str(ROOT / ".venv-indextts2/bin/python"),
    sys.executable,
)


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


@pytest.fixture(scope="session")
def model_python() -> Path:
    """An interpreter that has the package `indextts`; the test is skipped where there is none."""
    for python in filter(None, MODEL_PYTHONS):
        found = "import importlib.util, sys; sys.exit(importlib.util.find_spec('indextts') is None)"
        if Path(python).is_file() and not subprocess.run([python, "-c", found]).returncode:
            return Path(python)
    pytest.skip("the package indextts is not installed: scripts/setup_indextts2.sh")


@pytest.fixture(scope="session")
def tiny_checkpoint(model_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that IndexTTS-2 loads: random weights, 40 acoustic tokens for every segment."""
    return _tiny_checkpoint(model_python, tmp_path_factory.mktemp("tiny-2"), "2")


@pytest.fixture(scope="session")
def tiny_checkpoint_25(model_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for IndexTTS-2.5."""
    return _tiny_checkpoint(model_python, tmp_path_factory.mktemp("tiny-25"), "2.5")


def _tiny_checkpoint(python: Path, folder: Path, version: str) -> Path:
    run = subprocess.run(
        [python, ROOT / "tests/tiny_checkpoint.py", folder, "--version", version],
        env={**os.environ, **MODEL_ENVIRONMENT},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return folder


@pytest.fixture(scope="session")
def double_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of the tests, in which torch, transformers and indextts are doubles."""
    python = tmp_path_factory.mktemp("double") / "python"
    run = f"exec {shlex.quote(str(ROOT / 'tests/doubles/python'))}"
    python.write_text(f'#!/bin/sh\nDOUBLES_PYTHON={shlex.quote(sys.executable)} {run} "$@"\n')
    python.chmod(0o755)
    return python


@pytest.fixture(scope="session")
def double_weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`double_weights("2.5")`: a folder that the double of this version takes for its weights."""

    @functools.cache
    def written(version: str = "2") -> Path:
        return write_hollow_weights(tmp_path_factory.mktemp(f"hollow-{version}"), version)

    return written


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first."""
    spread.in_order(items)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """How `-n 2` shares the tests out."""
    config.option.loadscopereorder = False
    return spread.Spread(config, log)
