"""The promise of `observability.setup`: a few lines give any project the whole of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

PROJECT = """
import os, signal, sys
import observability
from observability import observe, record, stage

metrics = observability.setup("logs")

@observe("render")
def render(page):
    with stage("layout"):
        record(text_len=len(page))
    if page == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    return page.upper()

assert render(sys.argv[1]) == sys.argv[1].upper()
"""


def run(folder: Path, page: str) -> int:
    return subprocess.run(
        [sys.executable, "-c", PROJECT, page],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        check=False,
    ).returncode


def test_each_call_has_its_lines_and_a_crash_its_lost_one(tmp_path: Path) -> None:
    """A script of a few lines logs its calls; the next start settles what a crash swallowed."""
    assert run(tmp_path, "crash") == -signal.SIGKILL
    assert run(tmp_path, "hello") == 0
    (log,) = (tmp_path / "logs").glob("*.jsonl")
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    told = [
        (line["event"], line.get("status"), line.get("text_len"))
        for line in lines
        if line["event"].startswith("render")
    ]
    assert told == [
        ("render.started", None, None),
        ("render.finished", "lost", None),
        ("render.started", None, None),
        ("render.finished", "success", 5),
    ]
    assert {"stage_layout_ms", "stage_other_ms", "duration_ms"} <= lines[-1].keys()
