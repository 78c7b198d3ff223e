"""Surroundings that lack something: a network, a writable root, programs on the PATH."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ASK = """
import http.client, json, sys
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=20)
connection.request("POST", "/tts", json.dumps({"text": "hello"}))
answer = connection.getresponse()
audio = answer.read()
connection.request("GET", "/")
page = connection.getresponse()
print(json.dumps([answer.status, audio[:4].decode(), page.status, len(page.read()) > 1000]))
"""


def test_without_a_network_it_starts_and_speaks(
    start: Any, apart: Callable[..., list[str]], tmp_path: Path
) -> None:
    """In a machine of its own with no interface but loopback; page and audio are served."""
    within = [*apart("--net"), "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    with start(tmp_path, within=within) as service:
        inside = ["nsenter", f"--net=/proc/{service.pid}/ns/net"]
        asked = subprocess.run(
            [*inside, sys.executable, "-c", ASK, str(service.own.port)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert asked.returncode == 0, asked.stderr
        assert json.loads(asked.stdout) == [200, "RIFF", 200, True]
        assert not [line for line in service.lines() if line["level"] in ("error", "critical")]


@pytest.mark.parametrize("user", ["as the same user", "as nobody"])
def test_on_a_read_only_root_without_tmp_it_speaks(
    user: str, start: Any, apart: Callable[..., list[str]]
) -> None:
    """Only its own folder can be written to, as in a container; large uploads go there as well."""
    own_folder_only = 'mount --bind . . && cd . && mount -o remount,bind,ro / && exec "$@"'
    within = [*apart("--mount"), "sh", "-c", own_folder_only, "sh"]
    if user == "as nobody":
        # By way of a shell, which has none of root's rights left.
        as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
        within += [*as_nobody, "sh", "-c", 'exec "$@"', "sh"]
        tried = subprocess.run([*within[6:], sys.executable, "-c", ""], capture_output=True)
        if tried.returncode:
            pytest.skip("nobody but its owner may run this Python")
    # Not pytest's folder: that is for its own user only.
    with (
        tempfile.TemporaryDirectory() as name,
        start(_for_all(Path(name)), within=within, TMPDIR="/nowhere", HOME="/nowhere") as service,
    ):
        with pytest.raises(OSError, match="Read-only"):
            Path(f"/proc/{service.pid}/root/etc/new").touch()
        answer = service.speak()
        assert answer.status_code == 200
        assert service.finished(answer.headers["x-request-id"])["probe_ok"] is True
        large = {"text": (None, "x" * 3_000_000)}
        assert service.client.post("/tts", files=large).status_code in (413, 422)
        uid = Path(f"/proc/{service.pid}").stat().st_uid
        assert uid == (65534 if user == "as nobody" else os.getuid())


def _for_all(folder: Path) -> Path:
    folder.chmod(0o777)
    return folder


def test_without_ffprobe_audio_is_delivered_and_it_is_told(start: Any, tmp_path: Path) -> None:
    """The line, the metric and the health say what is missing."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("sh", "ffmpeg"):
        found = subprocess.run(["which", name], capture_output=True, text=True, check=False)
        if found.returncode:
            pytest.skip(f"{name} is not on this machine")
        (programs / name).symlink_to(found.stdout.strip())
    with start(tmp_path / "service", PATH=str(programs)) as service:
        answer = service.speak()
        assert (answer.status_code, answer.content[:4]) == (200, b"RIFF")
        line = service.finished(answer.headers["x-request-id"])
        assert (line["status"], line["probe_error"]) == ("success", "unavailable")
        assert service.metric('indextts_probes_total{result="unavailable"}') == 1
        assert service.client.get("/health").status_code == 200
