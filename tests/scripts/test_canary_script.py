"""The canary as a command: one question over HTTP, its line, its metric, its exit status."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "canary.py"
RATE = 16_000


class Service:
    """As much of the service as the canary asks for; counts what it is asked."""

    def __init__(self) -> None:
        self.engine = "espeak"
        self.speakers = ["espeak-f2", "espeak-adam"]
        self.seed = False
        self.level = 8_000
        self.status = 200
        self.asked: list[tuple[dict[str, Any], str | None]] = []
        self.key: str | None = None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return httpx.Response(401, json={"error": "key_needed"})
        if request.url.path == "/speakers":
            speakers = [{"id": name} for name in self.speakers]
            offer = {"engine": self.engine, "speakers": speakers, "seed": self.seed}
            return httpx.Response(200, json=offer)
        body = json.loads(request.content)
        self.asked.append((body, request.headers.get("X-Request-Source")))
        headers = {"X-Request-ID": "01M7YJ8X96ATWKAAWANAS2Z1XK"}
        if self.status != 200:
            error = {"error": "queue_full", "message": "full", "request_id": "x"}
            return httpx.Response(self.status, json=error, headers=headers)
        moments = np.arange(RATE) / RATE
        swell = np.abs(np.sin(9 * moments)) + 0.1
        sound = np.round(np.sin(2_000 * moments) * swell * self.level).astype(np.int16)
        file = io.BytesIO()
        soundfile.write(file, sound, RATE, format="WAV", subtype="PCM_16")
        return httpx.Response(200, content=file.getvalue(), headers=headers)


Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def service() -> Service:
    """A service that answers as it did before."""
    return Service()


@pytest.fixture
def ask(
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Ask:
    """Exit status, stdout and stderr of the script with these arguments, asking the service."""
    spec = importlib.util.spec_from_file_location("canary_script", SCRIPT)
    assert spec
    assert spec.loader
    script: ModuleType = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "canary_script", script)
    spec.loader.exec_module(script)
    monkeypatch.setattr(script.observability, "setup", logging_setup)
    client = httpx.Client
    transport = httpx.MockTransport(service)
    monkeypatch.setattr(
        script.httpx, "Client", lambda **known: client(**known, transport=transport)
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LC_ALL", "en_US.UTF-8")

    def ask(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
        status = script.main()
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return ask


def logging_setup(folder: Path, **_: object) -> None:
    """The log set up as by `observability.setup`, without its exit handlers."""
    from observability import logs, set_sinks

    logs.set_up(folder, stdout=False, capture=False)
    set_sinks([logs.EventLog()])


def finished(folder: Path) -> dict[str, Any]:
    """The last finished line of the canary's own log."""
    from observability import drain

    drain(5)
    (path,) = (folder / "logs-canary").glob("indextts-*.jsonl")
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return next(line for line in reversed(lines) if line["event"] == "canary.finished")


def test_it_learns_and_hears_the_same(ask: Ask, service: Service, tmp_path: Path) -> None:
    """An exact speaker is asked where there is one; the request says that it is the canary's."""
    assert ask("--learn")[0] == 0
    status, said, _ = ask("--textfile", "metrics")
    assert (status, said.startswith("As it was: exact True")) == (0, True)
    body, source = service.asked[-1]
    assert (body["speaker"], body["format"], source) == ("espeak-adam", "wav", "canary")
    assert "seed" not in body
    line = finished(tmp_path)
    assert (line["status"], line["exact"], line["canary"]) == ("success", True, "default")
    assert line["service_request_id"] == "01M7YJ8X96ATWKAAWANAS2Z1XK"
    metrics = (tmp_path / "metrics" / "indextts_canary_default.prom").read_text()
    assert 'indextts_canary_drift{canary="default"} 0.0' in metrics


def test_a_drift_is_a_line_a_metric_and_an_exit_status(
    ask: Ask, service: Service, tmp_path: Path
) -> None:
    """Each says what drifted."""
    ask("--learn")
    service.level = 2_000
    status, said, _ = ask("--textfile", "metrics", "--language", "zh")
    assert status == 1
    assert said.startswith("音频有漂移（samples）")
    line = finished(tmp_path)
    assert (line["status"], line["error_type"], line["drift"]) == (
        "degraded",
        "canary_drift",
        "samples",
    )
    metrics = (tmp_path / "metrics" / "indextts_canary_default.prom").read_text()
    assert 'indextts_canary_drift{canary="default"} 1.0' in metrics


def test_an_engine_that_samples_is_asked_with_a_seed_and_heard_by_ear(
    ask: Ask, service: Service
) -> None:
    """Half the level is a drift of loudness there, and the JSON says by how much."""
    service.engine, service.speakers, service.seed = "indextts2", ["anna"], True
    ask("--learn")
    service.level = 4_000
    status, document, _ = ask("--json")
    found = json.loads(document)
    assert (status, found["exact"]) == (1, None)
    assert "loudness" in found["drifts"]
    assert found["loudness_change_db"] == pytest.approx(-6.0, abs=0.1)
    assert service.asked[-1][0]["seed"] == service.asked[0][0]["seed"]


def test_no_answer_is_told(ask: Ask, service: Service, tmp_path: Path) -> None:
    """With the service's code and id; up is 0, and no drift is claimed."""
    service.status = 503
    status, _, said = ask("--textfile", "metrics")
    assert status == 2
    assert "503 (queue_full)" in said
    line = finished(tmp_path)
    assert (line["status"], line["error_type"]) == ("failed", "canary_unanswered")
    assert line["service_request_id"] == "01M7YJ8X96ATWKAAWANAS2Z1XK"
    metrics = (tmp_path / "metrics" / "indextts_canary_default.prom").read_text()
    assert 'indextts_canary_up{canary="default"} 0.0' in metrics


def test_without_a_golden_it_says_what_to_do(ask: Ask, tmp_path: Path) -> None:
    """An answer without anything to compare it with is neither a drift nor a failure of up."""
    status, _, said = ask("--textfile", "metrics")
    assert (status, "--learn" in said) == (2, True)
    assert finished(tmp_path)["error_type"] == "canary_no_golden"
    metrics = (tmp_path / "metrics" / "indextts_canary_default.prom").read_text()
    assert 'indextts_canary_up{canary="default"} 1.0' in metrics


@pytest.mark.parametrize("option", ["--textfile", "--log-dir", "--golden"])
def test_a_folder_that_cannot_be_written_is_no_drift(ask: Ask, tmp_path: Path, option: str) -> None:
    """Exit status 2 and the option that names another folder, in both languages, no traceback."""
    ask("--learn")
    (tmp_path / "file").touch()
    asked = [option, "file/folder", *(["--learn"] if option == "--golden" else [])]
    status, _, said = ask(*asked)
    assert (status, option in said, "write" in said) == (2, True, True)
    status, _, said = ask(*asked, "--language", "zh")
    assert (status, option in said, "无法写入" in said) == (2, True, True)


def test_two_canaries_need_two_logs(ask: Ask, tmp_path: Path) -> None:
    """A second one beside it is refused by name, and writes nothing."""
    import fcntl

    (tmp_path / "logs-canary").mkdir()
    with (tmp_path / "logs-canary" / ".canary.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status, _, said = ask()
    assert (status, "--log-dir" in said) == (2, True)


def test_it_shows_its_key(
    ask: Ask, service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a file or the setting; without one it says where to get it, and never prints it."""
    service.key = "indextts_of-the-canary"
    status, _, said = ask("--learn")
    assert status == 2
    assert "scripts/api_key.py new canary" in said
    assert "INDEXTTS_API_KEY" in said
    file = tmp_path / "key"
    file.write_text(f"{service.key}\n")
    assert ask("--learn", "--api-key-file", str(file))[0] == 0
    monkeypatch.setenv("INDEXTTS_API_KEY", service.key)
    status, out, err = ask()
    assert status == 0
    assert service.key not in out + err
    status, _, said = ask("--api-key-file", str(tmp_path / "gone"))
    assert status == 2
    assert "gone (FileNotFoundError)" in said
