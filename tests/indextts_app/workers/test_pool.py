"""
Promises of the local pool, with real worker processes: a way back from any fault.

What any pool promises, see `tests/indextts_app/test_pools.py`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import structlog
from pooling import DRILL, SLOWER, Ear, is_gone, task

from indextts_app import errors
from indextts_app.engines.base import Samples
from indextts_app.workers import pool as pool_module
from indextts_app.workers import worker as worker_module
from indextts_app.workers.channel import OPTIONS_VARIABLE
from indextts_app.workers.listener import Silence
from indextts_app.workers.worker import EngineSpec

if TYPE_CHECKING:
    from conftest import LogReader

pytestmark = pytest.mark.anyio

Until = Callable[[Callable[[], object]], Awaitable[None]]


Children = Callable[[], list[psutil.Process]]


@pytest.fixture
def children() -> Children:
    """Processes that began with this test: all tests share a browser, say, that is not of them."""
    shared = set(psutil.Process().children(recursive=True))
    return lambda: [one for one in psutil.Process().children(recursive=True) if one not in shared]


async def test_two_workers_work_at_once(pools: Any) -> None:
    """Each task has a worker of its own as long as there are workers."""
    ears = [Ear(), Ear()]
    async with pools(size=2) as pool:
        both = asyncio.gather(*(pool.run(task("slow"), ear) for ear in ears))
        await asyncio.sleep(0.05)
        assert (pool.busy, pool.waiting) == (2, 0)
        await both
    assert ears[0].workers != ears[1].workers


async def test_a_worker_whose_task_was_cancelled_takes_the_next(pools: Any, until: Until) -> None:
    """The engine stops, and the same process goes on with the next task."""
    async with pools(SLOWER) as pool:
        pids = pool.pids()
        ear = Ear()
        given_up = asyncio.create_task(pool.run(task("slow"), ear))
        await until(lambda: "acoustic" in ear.stages)
        given_up.cancel()
        assert (await pool.run(task())).samples.any()
        assert pool.pids() == pids
    assert given_up.cancelled()


async def test_a_worker_that_does_not_stop_is_replaced(pools: Any, until: Until) -> None:
    """An engine that hangs is killed with its process; the next task has a new one."""
    restarts: list[str] = []
    async with pools(on_restart=restarts.append) as pool:
        (hung,) = pool.pids().values()
        ear = Ear()
        given_up = asyncio.create_task(pool.run(task("hang"), ear))
        await until(lambda: "acoustic" in ear.stages)
        given_up.cancel()
        assert (await pool.run(task())).samples.any()
        assert hung not in pool.pids().values()
        assert is_gone(hung)
    assert restarts == ["hung"]


async def test_a_worker_is_not_told_the_services_secrets(
    pools: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the service's settings a model's code sees what its engine needs, and others nothing."""
    monkeypatch.setenv("INDEXTTS_OPERATIONS_PASSWORD", "open sesame")
    spec = replace(DRILL, secrets={"INDEXTTS_SPEECH_API_KEY": "its own"})
    async with pools(spec) as pool:
        (pid,) = pool.pids().values()
        process = psutil.Process(pid)
        seen, command = process.environ(), process.cmdline()
    settings = {name: value for name, value in seen.items() if name.startswith("INDEXTTS_")}
    options = settings.pop(OPTIONS_VARIABLE)
    assert json.loads(options) == DRILL.options
    assert settings == {"INDEXTTS_SPEECH_API_KEY": "its own"}
    assert seen["PATH"] == os.environ["PATH"]
    # An address may have a password in it, and everybody on the machine may read a command line.
    assert not [word for word in command if options in word or "its own" in word]


async def test_a_crash_costs_one_request(pools: Any, log: LogReader) -> None:
    """The task on the worker fails, the one behind it is done by the replacement."""
    restarts: list[str] = []
    async with pools(on_restart=restarts.append) as pool:
        crashed, served = await asyncio.gather(
            pool.run(task("crash")), pool.run(task()), return_exceptions=True
        )
    assert isinstance(crashed, errors.WorkerDied)
    assert crashed.origin == "signal_9"
    assert served.samples.any()
    assert restarts == ["crashed"]
    assert [line["reason"] for line in log.lines("worker.ended")] == ["signal_9"]


async def test_a_worker_that_is_killed_while_idle_is_replaced(pools: Any, until: Until) -> None:
    """Nobody has to notice: the next task finds a new worker."""
    async with pools() as pool:
        (killed,) = pool.pids().values()
        os.kill(killed, signal.SIGKILL)
        await until(lambda: killed not in pool.pids().values() and pool.ready_workers)
        assert (await pool.run(task())).samples.any()


UNFIT = """
from pathlib import Path
from indextts_app.engines.base import EngineUnfit
from indextts_app.engines.drill import DrillEngine
folder = Path(__file__).parent
class Own(DrillEngine):
    def load(self):
        with (folder / "starts").open("a") as file:
            file.write(".")
        if not (folder / "mended").exists():
            raise EngineUnfit("the voice data is missing")
        return super().load()
"""


async def test_an_unfit_engine_is_tried_again_ever_more_rarely(
    pools: Any,
    own: Callable[..., EngineSpec],
    until: Until,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Requests are refused with the engine's own reason; attempts follow the back-off."""
    monkeypatch.setattr(pool_module, "BACKOFF_SECONDS", (0.0, 0.05, 60.0))
    starts = tmp_path / "starts"
    async with pools(own(UNFIT), ready=False) as pool:
        await until(lambda: starts.exists() and len(starts.read_text()) == 2)
        await until(lambda: "missing" in (pool.unavailable or ""))
        with pytest.raises(errors.NotFit, match=r"missing\. The operator must") as refused:
            await pool.run(task())
        assert "引擎 own 无法启动：" in refused.value.message("zh")
        await asyncio.sleep(0.2)
        assert len(starts.read_text()) == 2


async def test_an_unfit_engine_that_was_mended_serves(
    pools: Any, own: Callable[..., EngineSpec], until: Until, tmp_path: Path
) -> None:
    """Nobody has to restart the service once the cause is gone."""
    async with pools(own(UNFIT), ready=False) as pool:
        await until(lambda: "missing" in (pool.unavailable or ""))
        (tmp_path / "mended").touch()
        await until(lambda: pool.ready_workers)
        assert pool.unavailable is None
        assert (await pool.run(task())).samples.any()


async def test_a_worker_that_stays_away_is_not_waited_for(
    pools: Any, own: Callable[..., EngineSpec], until: Until, tmp_path: Path
) -> None:
    """Whoever waits when the replacement turns out unfit is told so, instead of the deadline."""
    (tmp_path / "mended").touch()
    async with pools(own(UNFIT)) as pool:
        (tmp_path / "mended").unlink()
        crashed, waited = await asyncio.gather(
            pool.run(task("crash")), pool.run(task()), return_exceptions=True
        )
    assert isinstance(crashed, errors.WorkerDied)
    assert isinstance(waited, errors.NotReady)


SILENT = """
from indextts_app.engines.drill import DrillEngine
class Own(DrillEngine):
    def synthesize(self, job):
        job.audio(__import__("numpy").zeros(100, "int16"))
"""
STUCK = """
import time
from indextts_app.engines.drill import DrillEngine
class Own(DrillEngine):
    def load(self):
        time.sleep(3600)
"""
BROKEN = """
raise ImportError("no such library")
"""


@pytest.mark.parametrize(
    ("source", "start_seconds", "reason"),
    [
        (SILENT, 10, "self-test came out silent"),
        (STUCK, 0.3, "did not load within"),
        (BROKEN, 10, "exit_1"),
    ],
    ids=["silent", "stuck", "broken"],
)
async def test_a_worker_that_cannot_speak_never_serves(
    source: str,
    start_seconds: float,
    reason: str,
    pools: Any,
    own: Callable[..., EngineSpec],
    until: Until,
    children: Children,
) -> None:
    """Silent, stuck or broken: it counts as unfit, and its process is ended."""
    spec = replace(own(source), start_seconds=start_seconds)
    async with pools(spec, ready=False) as pool:
        await until(lambda: reason in (pool.unavailable or ""))
        assert pool.ready_workers == 0
    await until(lambda: not children())


async def test_a_moment_without_descriptors_does_not_cost_the_slot(
    pools: Any, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker whose channel could not be opened is tried again like any other."""
    real, failures = socket.socketpair, [OSError(24, "Too many open files")]

    def scarce(*arguments: Any) -> Any:
        if failures:
            raise failures.pop()
        return real(*arguments)

    async with pools() as pool:
        monkeypatch.setattr(worker_module.socket, "socketpair", scarce)
        os.kill(next(iter(pool.pids().values())), signal.SIGKILL)
        await until(lambda: not failures and pool.ready_workers)
        assert (await pool.run(task())).samples.any()


async def test_an_interpreter_that_is_not_there_is_named(pools: Any, until: Until) -> None:
    """The operator reads which setting is wrong."""
    spec = replace(DRILL, python=Path("/nowhere/python"))
    async with pools(spec, ready=False) as pool:
        await until(lambda: "/nowhere/python cannot be run" in (pool.unavailable or ""))


async def test_an_interpreter_without_numpy_is_told_in_one_line(
    pools: Any, until: Until, tmp_path: Path
) -> None:
    """The operator reads what to run, and no traceback."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys._base_executable} -S "$@"\n')  # type: ignore[attr-defined]
    python.chmod(0o700)
    with structlog.testing.capture_logs() as logged:
        async with pools(replace(DRILL, python=python), ready=False) as pool:
            await until(lambda: "INDEXTTS_WORKER_PYTHON" in (pool.unavailable or ""))
            assert "scripts/setup_indextts2.sh" in (pool.unavailable or "")
    assert not [line for line in logged if "Traceback" in str(line.get("message"))]


CHATTY = """
import sys
from indextts_app.engines.drill import DrillEngine
class Own(DrillEngine):
    def load(self):
        print("loading the model")
        return super().load()
    def synthesize(self, job):
        print("saying", job.task.text)
        print("x" * 20_000)
        super().synthesize(job)
        for number in range(2_000):
            print("line", number, job.task.text, file=sys.stderr)
"""


async def test_what_an_engine_prints_is_logged_without_the_text(
    pools: Any, own: Callable[..., EngineSpec], until: Until, log: LogReader
) -> None:
    """
    Each printed line is a line with the request_id, and none repeats the user's text, though the
    last ones are read when the request is over.
    """
    texts = ["my account number is a secret", "nobody may know of this letter"]
    async with pools(own(CHATTY)) as pool:
        await pool.run(task(text=texts[0], name="17"))
        await until(lambda: log.text().count("line 1999 ") == 2)
        printed = log.lines("worker.output", request_id="17")
        await pool.run(task(text=texts[1], name="18"))
        await pool.run(task(name="19"))
        await until(lambda: log.text().count("line 1999 ") == 4)
    assert log.lines("worker.output", message="loading the model")
    assert len([line for line in printed if line["message"].startswith("line")]) == 2_000
    assert [line for line in printed if line["message"].startswith("saying")]
    assert not [text for text in texts if text in log.text()]


BABBLING = """
import os, sys
from indextts_app.engines.drill import DrillEngine
class Own(DrillEngine):
    def synthesize(self, job):
        if job.task.speaker == "slow":
            os.write(int(sys.argv[2]), b"this is no message of the protocol")
        super().synthesize(job)
"""


async def test_a_worker_that_breaks_the_protocol_is_replaced(
    pools: Any, own: Callable[..., EngineSpec]
) -> None:
    """Bytes that are no message end the worker and not the service."""
    async with pools(own(BABBLING, slow_seconds=60.0)) as pool:
        with pytest.raises(errors.WorkerDied):
            await pool.run(task("slow"))
        assert (await pool.run(task())).samples.any()


PICKY = """
from indextts_app.engines.base import ReferenceUnusable, Translated
from indextts_app.engines.drill import DrillEngine
class Own(DrillEngine):
    def synthesize(self, job):
        if job.task.speaker == "slow":
            raise ReferenceUnusable(Translated("it holds no speech.", "没有语音。"))
        super().synthesize(job)
"""


async def test_a_reference_that_the_engine_cannot_use_is_the_clients(
    pools: Any, own: Callable[..., EngineSpec]
) -> None:
    """The engine's word about a recording is a refusal and no failure of the service."""
    async with pools(own(PICKY)) as pool:
        with pytest.raises(errors.ReferenceRefused, match="no speech") as raised:
            await pool.run(task("slow"))
    assert "没有语音" in raised.value.message("zh")


async def test_stopping_does_not_wait_beyond_the_grace(pools: Any, until: Until) -> None:
    """A task that takes longer is given up, counted, and told that its worker is gone."""
    async with pools(SLOWER) as pool:
        runs = asyncio.create_task(pool.run(task("slow")))
        await until(lambda: pool.busy == 1)
        assert await pool.stop(0.05) == 1
        with pytest.raises(errors.WorkerDied):
            await runs


async def test_stopping_while_workers_start_leaves_none_behind(
    pools: Any, until: Until, log: LogReader, children: Children
) -> None:
    """A service that is ended at once ends its half-started workers as well."""
    async with pools(size=2, ready=False):
        await until(lambda: len(children()) == 2)
    await until(lambda: not children())


SERVICE = """
import asyncio
from indextts_app.engines.base import Task
from indextts_app.workers.pool import WorkerPool
from indextts_app.workers.worker import EngineSpec
async def main():
    pool = WorkerPool(EngineSpec("drill"), size=2, max_queue=1)
    pool.start()
    while pool.ready_workers < 2:
        await asyncio.sleep(0.01)
    print("pids", *pool.pids().values(), flush=True)
    await pool.run(Task("1", "hello", "hang", "neutral", 1.0))
asyncio.run(main())
"""


async def test_a_killed_service_leaves_no_worker_behind(until: Until) -> None:
    """Workers end with their channel, the idle one and the one that hangs."""
    with subprocess.Popen(  # noqa: ASYNC220  # a process to be killed, not to be waited for
        [sys.executable, "-c", SERVICE],
        stdout=subprocess.PIPE,
        text=True,
        cwd=worker_module.ROOT,
    ) as service:
        assert service.stdout
        told = next(line for line in service.stdout if line.startswith("pids"))
        pids = [int(pid) for pid in told.split()[1:]]
        assert len(pids) == 2
        service.kill()
    await until(lambda: all(map(is_gone, pids)))


# --- Listening -----------------------------------------------------------------------------------


QUICK = """
import numpy as np
from indextts_app.engines.drill import DrillEngine
class Own(DrillEngine):
    def synthesize(self, job):
        for number in range(1, 4):
            job.segment(number, 3)
            if number > 1:
                job.audio(np.ones(10, np.int16))
            job.audio(np.ones(1_000, np.int16))
"""


@dataclass
class Counting(Silence):
    """How many samples were there when each segment began."""

    heard: int = 0
    begun: list[tuple[int, int]] = field(default_factory=list)

    def audio(self, samples: Samples, sample_rate: int) -> None:
        self.heard += len(samples)

    def segment(self, number: int, count: int) -> None:
        self.begun.append((number, self.heard))


async def test_each_segment_is_there_before_the_next_is_begun(
    pools: Any, own: Callable[..., EngineSpec]
) -> None:
    """However short it is, and however soon after its silence: nothing of it is held back."""
    ear = Counting()
    async with pools(own(QUICK)) as pool:
        delivery = await pool.run(task(), ear)
    assert ear.begun == [(1, 0), (2, 1_000), (3, 2_010)]
    assert ear.heard == len(delivery.samples) == 3_020
