"""The alert relay as a command: what keeps it from starting is a sentence."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "alert_relay.py"


def test_a_taken_port_is_a_sentence_and_leaves_no_trace(tmp_path: Path) -> None:
    """Exit status 2 and the setting to change; no line is written beside a relay that runs."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        given = {
            "ALERT_RELAY_TOKEN": "0123456789abcdef",
            "ALERT_RELAY_WECOM_URL": "http://127.0.0.1:9/robot",
            "ALERT_RELAY_PORT": str(port),
            "ALERT_RELAY_LOG_DIR": str(tmp_path / "logs"),
            "ALERT_RELAY_SPOOL_DIR": str(tmp_path / "spool"),
        }
        ended = subprocess.run(
            [sys.executable, SCRIPT],
            env=os.environ | given,
            capture_output=True,
            text=True,
            check=False,
        )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert f"Cannot listen on 127.0.0.1:{port} (Address already in use)" in ended.stderr
    assert "set ALERT_RELAY_PORT" in ended.stderr
    assert not list((tmp_path / "logs").glob("*.jsonl"))
