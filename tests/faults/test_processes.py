"""Processes that are killed, stopped, starved, or started in the wrong way."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from scripts.own_service import ROOT

Until = Callable[[Callable[[], object]], None]

DESCRIPTORS = 64


def test_a_kill_between_file_and_line_loses_neither(
    start: Any, until: Until, tmp_path: Path
) -> None:
    """The file is there, its line is settled by the next start, and the file is still swept."""
    programs = tmp_path / "programs"
    programs.mkdir()
    hangs = programs / "ffprobe"
    hangs.write_text("#!/bin/sh\nexec sleep 60\n")
    hangs.chmod(0o755)
    folder = tmp_path / "service"
    with start(folder, PATH=f"{programs}:{os.environ['PATH']}") as service:
        answer = service.speak()
        file = folder / "outputs" / f"{answer.headers['x-request-id']}.wav"
        until(file.exists)
        service.own.kill()
        assert not service.lines("synthesis.finished")
    with start(folder, INDEXTTS_OUTPUT_KEEP_HOURS="0.000001") as service:
        assert service.finished(answer.headers["x-request-id"])["status"] == "lost"
        until(lambda: not file.exists())


def test_a_stopped_worker_costs_its_request_and_is_replaced(service: Any, until: Until) -> None:
    """504 at the deadline, not ready in that moment, its process is ended, a new one goes on."""
    with ThreadPoolExecutor(1) as beside:
        (worker,) = service.own.workers()
        asked = beside.submit(service.speak, speaker="slow")
        until(lambda: service.lines("synthesis.started", speaker="slow"))
        worker.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        answer = asked.result()
        assert time.monotonic() - began < 5
        # Its engine has two seconds to stop, and a new process takes its time as well.
        until(lambda: service.client.get("/health/ready").status_code == 503)
    assert (answer.status_code, answer.json()["error"]) == (504, "deadline_exceeded")
    assert service.finished(answer.headers["x-request-id"])["status"] == "timeout"
    until(lambda: service.lines("worker.ended", reason="hung"))
    assert not worker.is_running()
    until(lambda: service.speak().status_code == 200)


def test_five_that_ask_and_leave_never_share_the_engine(service: Any, until: Until) -> None:
    """Each has its cancelled line, and at no moment were there two at one worker."""
    before = len(service.lines("synthesis.finished", status="cancelled"))
    most = 0.0
    for _ in range(5):
        with pytest.raises(httpx.TimeoutException):
            service.client.post(
                "/tts",
                json={"text": "hello", "speaker": "slow"},
                timeout=httpx.Timeout(5, read=0.1),
            )
        most = max(most, service.metric("indextts_workers_busy"))
    cancelled = before + 5
    until(lambda: len(service.lines("synthesis.finished", status="cancelled")) == cancelled)
    assert most <= 1
    assert service.speak().status_code == 200


def test_with_64_descriptors_it_serves_and_recovers(
    start: Any, until: Until, tmp_path: Path
) -> None:
    """More clients than there are descriptors for: none is answered wrongly, no line is lost."""
    within = ["prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}"]
    with start(tmp_path, within=within, INDEXTTS_DRILL_SLOW_SECONDS="0.1") as service:
        process = psutil.Process(service.pid)
        assert process.rlimit(resource.RLIMIT_NOFILE) == (DESCRIPTORS, DESCRIPTORS)
        with ThreadPoolExecutor(60) as beside:
            asked = [
                beside.submit(httpx.post, service.client.base_url.join("/tts"), **SLOW)
                for _ in range(60)
            ]
            answers = [_status(one.result) for one in asked]
        assert 200 in answers
        assert set(answers) <= {200, 429, 503, 507, None}
        until(lambda: service.speak().status_code == 200)
        until(lambda: process.num_fds() < DESCRIPTORS - 16)
        started = {line["request_id"] for line in service.lines("synthesis.started")}
        until(lambda: _finished(service) == started)


SLOW: dict[str, Any] = {"json": {"text": "hello", "speaker": "slow"}, "timeout": 40}


def _status(result: Callable[[], httpx.Response]) -> int | None:
    try:
        return result().status_code
    except httpx.HTTPError:
        return None


def _finished(service: Any) -> set[str]:
    return {line["request_id"] for line in service.lines("synthesis.finished")}


def test_arguments_are_refused_with_what_to_do(tmp_path: Path) -> None:
    """--workers 2 of a server would be two services in one folder; ours are a setting."""
    done = subprocess.run(
        [sys.executable, "-m", "indextts_app", "--workers", "2"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "INDEXTTS_WORKERS" in done.stderr
