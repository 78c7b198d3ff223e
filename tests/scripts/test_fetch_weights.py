"""
`scripts/fetch_weights.py`: one command fetches, goes on, checks, or takes what was copied.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hollow_weights import write_hollow_weights
from modelscope_stub import Stub, serve_repositories

SCRIPT = Path(__file__).parents[2] / "scripts/fetch_weights.py"

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[Stub]:
    """ModelScope with hollow weights."""
    with serve_repositories(write_hollow_weights(tmp_path / "source")) as stub:
        yield stub


@pytest.fixture
def run(stub: Stub, tmp_path: Path) -> Run:
    """The script as an operator runs it, with settings for a folder of its own."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("INDEXTTS_", "MODELSCOPE_", "LC_", "LANG"))
    }

    def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, SCRIPT, *arguments],
            env={
                **environment,
                "MODELSCOPE_ENDPOINT": stub.url,
                "MODELSCOPE_HOME": str(tmp_path / "home"),
                "INDEXTTS_MODEL_DIR": str(tmp_path / "model"),
                **settings,
            },
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    return run


def test_it_fetches_and_says_what_it_did(run: Run, stub: Stub, tmp_path: Path) -> None:
    """A line for each file, one for the whole, and nothing else where no bars can be drawn."""
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    *files, last = done.stdout.splitlines()
    assert len(files) == 21
    assert all(line.startswith(" 100 %") for line in files)
    assert f"{tmp_path / 'model'}  21 × ✓" in last
    assert "SHA-256" in last


def test_it_checks_without_a_network(run: Run, stub: Stub, tmp_path: Path) -> None:
    """What is wrong is named in the terminal's language, with the status of a failure."""
    run()
    stub.refused = 500
    assert run("--check").returncode == 0
    (tmp_path / "model/gpt.pth").write_bytes(b"altered")
    done = run("--check", LC_ALL="zh_CN.UTF-8")
    assert done.returncode == 1
    assert "gpt.pth 为 7 字节" in done.stderr
    assert done.stdout == ""


def test_it_takes_what_was_copied_by_hand(run: Run, stub: Stub, tmp_path: Path) -> None:
    """Without a network; from then on every byte of it is checked."""
    stub.refused = 500
    write_hollow_weights(tmp_path / "model")
    assert "structure only" in run("--check").stdout
    assert "SHA-256" in run("--trust").stdout
    assert "SHA-256" in run("--check").stdout


def test_it_follows_the_services_settings(run: Run, stub: Stub, tmp_path: Path) -> None:
    """The same variables name folder, version and what is left out; options come first."""
    run("--model-dir", str(tmp_path / "other"), INDEXTTS_EMOTION_FROM_TEXT="false")
    assert (tmp_path / "other/weights.json").is_file()
    assert not (tmp_path / "model").exists()
    assert not [fetched for fetched in stub.fetched if "qwen" in fetched.path]
    done = run("--version", "2.5")
    assert done.returncode == 1
    assert "IndexTeam/IndexTTS-2.5" in done.stderr


def test_a_setting_that_does_not_fit_is_named(run: Run) -> None:
    """With a status of its own, as the service itself does."""
    done = run(INDEXTTS_MODEL_VERSION="3")
    assert done.returncode == 2
    assert "INDEXTTS_MODEL_VERSION does not fit" in done.stderr
