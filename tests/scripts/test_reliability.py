"""The reliability runs in short: a real service each, and an exit status that says what broke."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def run(script: str, *arguments: str) -> str:
    """What a script prints; it must have seen nothing that is not as promised."""
    done = subprocess.run(
        [sys.executable, SCRIPTS / script, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_storm_is_answered() -> None:
    """Everybody gets an answer, and the books balance; times are for a quiet machine."""
    told = run("storm.py", "--requests", "300", "--rounds", "1", "--busy")
    assert "started 300, finished 300" in told


def test_a_crash_loses_no_line_and_leaves_no_part() -> None:
    """kill -9 under load; the start after it settles what was open."""
    told = run("crash_loop.py", "--crashes", "1", "--clients", "4", "--engine", "drill")
    assert "torn lines 0" in told


def test_a_soak_loses_nothing() -> None:
    """Every request has its lines, one in seven of them going wrong; growth is for a long run."""
    told = run("soak.py", "--requests", "250", "--faults", "0.15", "--busy")
    assert "started 25" in told or "started 24" in told


def test_hostile_requests_break_nothing_and_leave_no_trace() -> None:
    """No 500, no series of a client's choice, no word of what was sent; stranger and operator."""
    told = run("hostile.py", "--cases", "100")
    assert "0 traces" in told
