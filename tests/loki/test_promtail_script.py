"""loki/promtail.sh: after an end that was not clean, Promtail goes back to lines it had read."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from scripts.shipping import PROMTAIL_SCRIPT

BACK = 524_288
LINES = [f'{{"number": {number}, "fill": "{"x" * (number % 900)}"}}\n' for number in range(3000)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder, and a Promtail that ends at once with the status in EXIT."""
    (tmp_path / "bin").mkdir()
    stub = tmp_path / "bin/promtail"
    stub.write_text('#!/bin/sh\necho "$@" >"$PROMTAIL_DATA/asked"\nexit "${EXIT:-0}"\n')
    stub.chmod(0o755)
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def start(data: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", PROMTAIL_SCRIPT, "-log.level=debug"],
        env={
            "PATH": f"{data.parent / 'bin'}:{os.environ['PATH']}",
            "PROMTAIL_DATA": str(data),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=20,
    )


def positions(data: Path) -> dict[str, int]:
    _, *lines = (data / "positions.yaml").read_text("utf-8").splitlines()
    told = (line.strip().rsplit(": ", 1) for line in lines)
    return {name: int(position.strip('"')) for name, position in told}


def write_positions(data: Path, known: dict[Path, int]) -> None:
    told = "".join(f'  {path}: "{position}"\n' for path, position in known.items())
    (data / "positions.yaml").write_text(f"positions:\n{told}", "utf-8")


def test_after_a_clean_end_nothing_is_read_twice(data: Path) -> None:
    """Positions stay, and the next start knows that the end was clean."""
    file = data.parent / "indextts-2026-11-28.jsonl"
    file.write_text("".join(LINES))
    write_positions(data, {file: file.stat().st_size})
    for _ in range(2):
        assert start(data).returncode == 0
        assert positions(data) == {str(file): file.stat().st_size}
    asked = (data / "asked").read_text()
    assert asked.endswith("promtail.yaml -config.expand-env=true -log.level=debug\n")


def test_after_another_end_it_goes_back_to_the_beginning_of_a_line(data: Path) -> None:
    """By two batches at most, in the files of late; whatever else stands there stays."""
    folder = data.parent / "知 燕: logs"
    folder.mkdir()
    big, small, old = (folder / f"indextts-2026-11-2{day}.jsonl" for day in (8, 7, 1))
    big.write_text("".join(LINES))
    small.write_text("".join(LINES[:5]))
    old.write_text("".join(LINES))
    os.utime(old, (time.time() - 4 * 86_400,) * 2)
    size = big.stat().st_size
    assert size > 2 * BACK
    write_positions(data, {big: size, small: 700, old: size, folder / "gone.jsonl": size})
    assert start(data, EXIT="137").returncode == 137
    assert start(data, EXIT="1").returncode == 1
    found = positions(data)
    assert found.pop(str(small)) == 0
    assert found.pop(str(old)) == found.pop(str(folder / "gone.jsonl")) == size
    position = found.pop(str(big))
    assert found == {}
    assert size - BACK <= position <= size - BACK + 1000
    read_again = big.read_bytes()[position:].decode().splitlines(keepends=True)
    assert read_again == LINES[-len(read_again) :]


def test_a_first_start_needs_nothing(data: Path) -> None:
    """No positions, no folder: it starts."""
    data.rmdir()
    assert start(data).returncode == 0


def terminated(data: Path) -> int:
    """The status that it ends with, once Promtail is ready and it is terminated."""
    (data / "ready").unlink(missing_ok=True)
    process = subprocess.Popen(
        ["sh", PROMTAIL_SCRIPT],
        env={
            "PATH": f"{data.parent / 'bin'}:{os.environ['PATH']}",
            "PROMTAIL_DATA": str(data),
        },
    )
    try:
        deadline = time.monotonic() + 10
        while not (data / "ready").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert (data / "running").exists()
        process.send_signal(signal.SIGTERM)
        return process.wait(10)
    finally:
        process.kill()
        process.wait()


def test_it_passes_a_termination_on_and_waits(data: Path) -> None:
    """Promtail sends what it has before it ends, so this does not end before it."""
    stub = data.parent / "bin/promtail"
    stub.write_text(
        "#!/bin/sh\n"
        "trap 'sleep 0.3; echo sent >\"$PROMTAIL_DATA/sent\"; exit 0' TERM\n"
        'echo >"$PROMTAIL_DATA/ready"\nwhile :; do sleep 0.05; done\n'
    )
    assert terminated(data) == 0
    assert (data / "sent").exists()
    assert not (data / "running").exists()


def test_an_end_at_once_is_clean_as_well(data: Path) -> None:
    """However soon it follows the signal; else the next start would read lines twice."""
    stub = data.parent / "bin/promtail"
    stub.write_text(
        "#!/bin/sh\nsleep 60 &\ntrap 'kill $!; exit 0' TERM\necho >\"$PROMTAIL_DATA/ready\"\nwait\n"
    )
    for _ in range(10):
        assert terminated(data) == 0
        assert not (data / "running").exists()
