"""Promises of scripts/generate_logs.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "generate_logs.py"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_months_are_written_once(tmp_path: Path) -> None:
    """The one asked for and those before it; a second time is refused in both languages."""
    asked = ("--month", "2026-02", "--months", 2, "--requests", 200, "--out", tmp_path / "logs")
    first = run(*asked)
    assert first.returncode == 0
    assert " MB in " in first.stdout
    names = sorted(path.name for path in (tmp_path / "logs").iterdir())
    assert (names[0], names[-1]) == ("indextts-2026-01-01.jsonl", "indextts-2026-02-28.jsonl")
    second = run(*asked)
    assert second.returncode == 1
    assert "indextts-2026-01-01.jsonl is in" in second.stderr
    assert "请换一个目录" in second.stderr


@pytest.mark.parametrize("month", ["2026-13", "2026", "26-01", "2026-1", "0000-01", "9999-12"])
def test_what_is_no_month_is_refused(tmp_path: Path, month: str) -> None:
    """Before anything is written."""
    refused = run("--month", month, "--out", tmp_path / "logs")
    assert refused.returncode == 2
    assert "YYYY-MM" in refused.stderr
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize("arguments", [("--seed", -1), ("--requests", -1), ("--months", 0)])
def test_what_cannot_be_counted_is_refused(tmp_path: Path, arguments: tuple[str, int]) -> None:
    """With the least that does, before anything is written."""
    refused = run("--month", "2026-02", "--out", tmp_path / "logs", *arguments)
    assert refused.returncode == 2
    assert "1 or more" in refused.stderr
    assert not (tmp_path / "logs").exists()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    """It is said in both languages, and is not mistaken for a month that is there."""
    (tmp_path / "logs").touch()
    refused = run("--month", "2026-02", "--out", tmp_path / "logs")
    assert refused.returncode == 2
    assert "cannot be made a folder" in refused.stderr
    assert "无法将" in refused.stderr
