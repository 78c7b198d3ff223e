"""Promises of scripts/health_check.py: a monitoring plugin's status, and a line that says why."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "health_check.py"

ANSWERS = {
    "/ok/health/ready": (200, b'{"status": "ready", "reason": "the last outcomes were good."}'),
    "/ok/health/live": (200, b'{"status": "alive"}'),
    "/ill/health/ready": (503, b'{"status": "not ready", "reason": "no GPU |\\n at all."}'),
    "/ill/health/live": (200, b'{"status": "alive"}'),
    "/slow/health/ready": (200, b'{"status": "ready", "reason": ""}'),
    "/other/health/ready": (200, b"<html>"),
    "/odd/health/ready": (200, b"[1]"),
}


class Service(BaseHTTPRequestHandler):
    """Answers as the service would in each state."""

    def do_GET(self) -> None:
        if self.path.startswith("/slow"):
            time.sleep(0.2)
        status, body = ANSWERS.get(self.path, (404, b"{}"))
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Where it listens."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What the script answers, with Python's isolated mode: it needs nothing that is installed."""
    return subprocess.run(
        [sys.executable, "-I", "-S", SCRIPT, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("state", "more", "status", "said"),
    [
        ("ok", (), 0, "OK - ready - the last outcomes were good."),
        ("ok", ("--live",), 0, "OK - alive"),
        ("ill", (), 2, "CRITICAL - not ready - no GPU / at all. (HTTP 503)"),
        ("ill", ("--live",), 0, "OK - alive"),
        ("slow", ("--warn", "0.1"), 1, "WARNING - ready, but it took 0."),
        ("slow", ("--timeout", "0.05"), 2, "CRITICAL - no answer from"),
        ("other", (), 2, "CRITICAL - an answer that is not the service's"),
        ("odd", (), 2, "CRITICAL - an answer that is not the service's"),
        ("gone", (), 2, "CRITICAL - an answer that is not the service's (HTTP 404)"),
    ],
)
def test_each_state_has_its_status(
    url: str, state: str, more: tuple[str, ...], status: int, said: str
) -> None:
    """One line, with the time behind a bar."""
    done = run("--url", f"{url}/{state}", *more)
    assert (done.returncode, done.stderr) == (status, "")
    (line,) = done.stdout.splitlines()
    words, _, figures = line.partition(" | ")
    assert words.startswith(said)
    assert re.fullmatch(r"time=\d+\.\d{3}s;[\d.]+;[\d.]+;0", figures)


def test_nobody_there_is_critical() -> None:
    """And says whom it asked; without --url, whom the settings name, and here if everywhere."""
    done = run(INDEXTTS_HOST="0.0.0.0", INDEXTTS_PORT="1")
    assert done.returncode == 2
    assert "no answer from http://127.0.0.1:1/health/ready" in done.stdout


@pytest.mark.parametrize(
    "wrong", [("--url", "localhost:7860"), ("--warn", "0"), ("--timeout", "x"), ("--more",)]
)
def test_a_wrong_question_is_unknown(wrong: tuple[str, ...]) -> None:
    """A monitor must not take a mistyped option for a sick service."""
    done = run(*wrong)
    assert done.returncode == 3
    assert done.stdout.startswith("UNKNOWN - ")
    assert len(done.stdout.splitlines()) == 1
