"""
From a request that is slow to a message on a phone, through the real programs and shipped rules.

The service with its drill engine, Prometheus, Alertmanager and the relay run as they are deployed;
only time runs thirty times as fast (see `faster`). A local robot stands for WeCom's.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from faster import ROOT, faster, shortened, write_faster
from robot_double import RobotDouble, robot_double

prometheus = shutil.which("prometheus")
alertmanager = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")

START_SECONDS = 60.0
TOKEN = "0123456789abcdef"  # noqa: S105  # of no relay


class Programs:
    """The four programs, each of which can be killed and started again."""

    def __init__(self, folder: Path, robot: RobotDouble) -> None:
        self.folder = folder
        self.robot = robot
        self.ports = {
            name: _free_port() for name in ("service", "prometheus", "alertmanager", "relay")
        }
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "secrets").mkdir()
        (folder / "secrets/relay_token").write_text(f"{TOKEN}\n")
        self.config, self.routing = write_faster(
            folder / "etc",
            {
                "indextts": self.address("service"),
                "alertmanager": self.address("alertmanager"),
                "alert-relay": self.address("relay"),
            },
            self.address("relay"),
        )
        shutil.copytree(folder / "secrets", folder / "etc/secrets")

    def address(self, name: str) -> str:
        return f"127.0.0.1:{self.ports[name]}"

    def start(self, name: str) -> None:
        """Start a program and wait until it answers."""
        command, health, environment = getattr(self, f"_{name}")()
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                command,
                cwd=self.folder,
                env=_environment() | environment,
                stdout=log,
                stderr=log,
            )
        _until(lambda: self._answers(name, health), START_SECONDS)

    def kill(self, name: str) -> None:
        """As the kernel does it."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def kill_all(self) -> None:
        """Whatever still runs."""
        for name in list(self._running):
            self.kill(name)

    def _answers(self, name: str, health: str) -> bool:
        assert self._running[name].poll() is None, (self.folder / f"{name}.log").read_text()[-4000:]
        try:
            return httpx.get(f"http://{self.address(name)}{health}", timeout=5).is_success
        except httpx.HTTPError:
            return False

    def _service(self) -> tuple[list[str], str, dict[str, str]]:
        return (
            [sys.executable, "-m", "indextts_app"],
            "/health",
            {
                "INDEXTTS_ENGINE": "drill",
                "INDEXTTS_PORT": str(self.ports["service"]),
                "INDEXTTS_WORKERS": "6",
                "INDEXTTS_DRILL_SECONDS": "0.01",
                "INDEXTTS_DRILL_SLOW_SECONDS": "4",
                "INDEXTTS_LOG_STDOUT": "false",
            },
        )

    def _prometheus(self) -> tuple[list[str], str, dict[str, str]]:
        assert prometheus
        return (
            [
                prometheus,
                f"--config.file={self.config}",
                f"--storage.tsdb.path={self.folder / 'tsdb'}",
                f"--web.listen-address={self.address('prometheus')}",
                "--rules.alert.resend-delay=2s",
            ],
            "/-/ready",
            {},
        )

    def _alertmanager(self) -> tuple[list[str], str, dict[str, str]]:
        assert alertmanager
        return (
            [
                alertmanager,
                f"--config.file={self.routing}",
                f"--storage.path={self.folder / 'silences'}",
                f"--web.listen-address={self.address('alertmanager')}",
                "--cluster.listen-address=",
            ],
            "/-/ready",
            {},
        )

    def _relay(self) -> tuple[list[str], str, dict[str, str]]:
        return (
            [sys.executable, str(ROOT / "scripts/alert_relay.py")],
            "/health",
            {
                "ALERT_RELAY_PORT": str(self.ports["relay"]),
                "ALERT_RELAY_TOKEN_FILE": str(self.folder / "secrets/relay_token"),
                "ALERT_RELAY_WECOM_URL": f"{self.robot.url}/cgi-bin/webhook/send?key=k",
                "ALERT_RELAY_LANGUAGE": "zh",
                "ALERT_RELAY_TIME_ZONE": "Asia/Shanghai",
                "ALERT_RELAY_SERVICE_URL": "https://tts.example.org",
                "ALERT_RELAY_SERVICE_LOG_DIR": str(self.folder / "logs"),
            },
        )

    # --- What is done to the service, and what comes of it -----------------------------------

    def speak(self, speaker: str) -> httpx.Response:
        """One request; its text must never show anywhere."""
        asked = {"text": "绝密文本 secret", "speaker": speaker}
        return httpx.post(f"http://{self.address('service')}/tts", json=asked, timeout=30)

    @contextlib.contextmanager
    def asked_again_and_again(self, speaker: str, at_once: int) -> Iterator[None]:
        """So many clients who ask, one request after another, until the block ends."""
        ended = threading.Event()

        def client() -> None:
            while not ended.is_set():
                with contextlib.suppress(httpx.HTTPError):
                    self.speak(speaker)

        clients = [threading.Thread(target=client) for _ in range(at_once)]
        for one in clients:
            one.start()
        try:
            yield
        finally:
            ended.set()
            for one in clients:
                one.join()

    def told(self) -> list[str]:
        """Every message so far, in WeCom's shape or this fails."""
        with self.robot.arrived:
            bodies: list[dict[str, Any]] = list(self.robot.bodies)
        for body in bodies:
            assert body.keys() == {"msgtype", "markdown"}
            assert len(body["markdown"]["content"].encode()) <= 4_096
        return [body["markdown"]["content"] for body in bodies]

    def message(self, state: str, name: str, *, seconds: float = 40.0) -> str:
        """The message that tells so of an alert, once it comes."""
        wanted = re.compile(rf"^<font[^>]*>\S+ \[{state}[^\]]*\] {name}\b")
        _until(lambda: any(map(wanted.match, self.told())), seconds, lambda: self.told())
        return next(filter(wanted.match, self.told()))

    def count(self, state: str, name: str) -> int:
        """How often that was told."""
        return sum(f"[{state}" in one and f"] {name}" in one for one in self.told())


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    """All four, ready."""
    with robot_double() as robot:
        started = Programs(tmp_path_factory.mktemp("alerting"), robot)
        try:
            for name in ("service", "relay", "alertmanager", "prometheus"):
                started.start(name)
            yield started
        finally:
            started.kill_all()


@pytest.mark.alerting
@pytest.mark.skipif(
    not (prometheus and alertmanager), reason="Prometheus or Alertmanager is not installed"
)
def test_slow_then_failing_then_killed_then_back(programs: Programs) -> None:
    """Each is told once, with the last ten failures where requests failed, and so is its end."""
    with programs.asked_again_and_again("slow", at_once=6):
        slow = programs.message("告警 警告", "IndexTTSAcousticSlow")
    assert "没有失败的请求" in slow

    # Their lines wait for ffprobe; one that comes later would count as a success after failures.
    _until(lambda: _all_are_told(programs), 30)
    failed = [programs.speak("error").headers["X-Request-ID"] for _ in range(12)]
    programs.message("告警 严重", "IndexTTSFailuresInARow")
    with programs.asked_again_and_again("error", at_once=1):
        failing = programs.message("告警 严重", "IndexTTSErrorShareHigh")
    shown = re.findall(
        r"\d+\. \[(\w{26})\]\(https://tts\.example\.org/operations/\?id=\1\) "
        r"`engine_error` `acoustic` `error`",
        failing,
    )
    assert len(shown) == len(set(shown)) == 10, failing
    assert min(shown) > min(failed)
    assert "处置手册" in failing

    # The robot is away while the service dies, and the relay dies with the news in hand.
    programs.robot.answers = [(503, {})]
    before = len(programs.told())
    programs.kill("service")
    _until(lambda: _waiting(programs), 30)
    _until(lambda: len(programs.told()) > before, 30)
    programs.kill("relay")
    programs.robot.answers = [(200, {"errcode": 0, "errmsg": "ok"})]
    refused = len(programs.told())
    programs.start("relay")
    down = _until(lambda: [one for one in programs.told()[refused:] if "] IndexTTSDown" in one], 30)
    assert "服务无应答" in down[0]

    programs.start("service")
    back = programs.message("已恢复", "IndexTTSDown")
    assert "后恢复" in back
    programs.message("已恢复", "IndexTTSErrorShareHigh")
    for name in ("IndexTTSAcousticSlow", "IndexTTSErrorShareHigh"):
        assert programs.count("告警", name) == 1
    assert programs.count("已恢复", "IndexTTSDown") == 1
    assert not [one for one in programs.told() if "绝密" in one or "secret" in one]
    assert _age_of_heartbeat(programs) < 10


def _all_are_told(programs: Programs) -> bool:
    lines = "".join(path.read_text("utf-8") for path in programs.folder.glob("logs/*.jsonl"))
    return lines.count('"synthesis.started"') == lines.count('"synthesis.finished"') > 0


def _waiting(programs: Programs) -> bool:
    health = httpx.get(f"http://{programs.address('relay')}/health", timeout=5).json()
    return bool(health["waiting"]["wecom"])


def _age_of_heartbeat(programs: Programs) -> float:
    text = httpx.get(f"http://{programs.address('relay')}/metrics", timeout=5).text
    return float(re.findall(r"(?m)^indextts_alert_relay_heartbeat_age_seconds (\S+)", text)[0])


def test_only_time_is_changed() -> None:
    """The rules that fire here are the shipped ones: names, thresholds and words are untouched."""
    shipped = {
        "groups": [
            {
                "name": "g",
                "interval": "1m",
                "rules": [
                    {
                        "alert": "A",
                        "expr": 'rate(x{le="5m"}[5m]) > 5 and y offset 1h < 30',
                        "for": "5m",
                        "annotations": {"summary": "for 5 minutes, [5m]"},
                    }
                ],
            }
        ]
    }
    (group,) = faster(shipped)["groups"]
    assert group == {
        "name": "g",
        "interval": "2000ms",
        "rules": [
            {
                "alert": "A",
                "expr": 'rate(x{le="5m"}[10000ms]) > 5 and y offset 120000ms < 30',
                "for": "10000ms",
                "annotations": {"summary": "for 5 minutes, [5m]"},
            }
        ],
    }
    assert shortened("15s") == "500ms"


def _until(
    condition: Callable[[], Any], seconds: float, what: Callable[[], object] | None = None
) -> Any:
    """What the condition gives once it is something, or fail."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError(what() if what else "not in time")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _environment() -> dict[str, str]:
    ours = ("INDEXTTS_", "ALERT_RELAY_", "OTEL_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return inherited | {"PYTHONPATH": str(ROOT)}
