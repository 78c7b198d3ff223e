"""Every alert goes where it should, in the shipped configuration, by Alertmanager's own word."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "alertmanager/alertmanager.yml"
RULES = sorted([*ROOT.glob("prometheus/rules/*.yml"), *ROOT.glob("loki/rules/*/*.yaml")])

amtool = shutil.which("amtool")
alertmanager = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
needs_amtool = pytest.mark.skipif(not amtool, reason="amtool is not installed")
needs_alertmanager = pytest.mark.skipif(not alertmanager, reason="Alertmanager is not installed")

PATIENCE_SECONDS = 30.0

SERVICE = {"job": "indextts", "instance": "a:7860"}
OTHER = {"job": "indextts", "instance": "b:7860"}
ALL = {"job": "indextts", "engine": "espeak"}


def severities() -> dict[str, str]:
    """Every alert that a rule makes, with its severity."""
    return {
        rule["alert"]: rule["labels"]["severity"]
        for path in RULES
        for group in yaml.safe_load(path.read_text("utf-8"))["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }


@needs_amtool
def test_alertmanager_would_load_it() -> None:
    """By its own check."""
    assert amtool
    done = subprocess.run([amtool, "check-config", CONFIG], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_amtool
@pytest.mark.parametrize(("name", "severity"), sorted(severities().items()))
def test_every_alert_is_told_somebody(name: str, severity: str) -> None:
    """The relay, but for the dead man's switch and what only silences others."""
    assert amtool
    labels = [f"alertname={name}", f"severity={severity}", "job=indextts"]
    others = {"IndexTTSWatchdog": "heartbeat", "IndexTTSAllDown": "nobody"}
    wanted = others.get(name, "relay")
    done = subprocess.run(
        [
            amtool, "config", "routes", "test",
            f"--config.file={CONFIG}", f"--verify.receivers={wanted}", *labels,
        ],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_name_in_it_is_one_that_no_rule_has() -> None:
    """A rule that is renamed would otherwise wake everybody twice, or nobody."""
    named = re.findall(r"\bIndexTTS[A-Z]\w+(?:\.\+)?", CONFIG.read_text("utf-8"))
    assert named
    for pattern in named:
        assert any(re.fullmatch(pattern, name) for name in severities()), pattern


def test_it_holds_no_secret() -> None:
    """Only the name of the file that has it, which is not in the repository."""
    text = CONFIG.read_text("utf-8")
    assert set(re.findall(r"(?m)^\s*(\w*(?:credentials|password|secret|token)\w*):", text)) == {
        "credentials_file"
    }
    ignored = subprocess.run(
        ["git", "check-ignore", "-q", "alertmanager/secrets/relay_token"], cwd=ROOT
    )
    assert ignored.returncode == 0


# --- Inhibition, by a running Alertmanager -------------------------------------------------------


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """Alertmanager with the shipped configuration, on a port of its own."""
    assert alertmanager
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    (folder / "secrets").mkdir(parents=True)
    (folder / "secrets/relay_token").write_text("0123456789abcdef")
    shutil.copy(CONFIG, folder)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                alertmanager,
                f"--config.file={folder / CONFIG.name}",
                f"--storage.path={folder}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--cluster.listen-address=",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            for _ in range(200):
                try:
                    urllib.request.urlopen(f"{url}/-/ready", timeout=5)  # noqa: S310
                    break
                except OSError:
                    assert process.poll() is None, (folder / "log").read_text()
                    time.sleep(0.05)
            yield url
        finally:
            process.kill()
            process.wait()


def alert(name: str, severity: str, **labels: str) -> dict[str, str]:
    return {"alertname": name, "severity": severity, **labels}


DOWN = alert("IndexTTSDown", "critical", **SERVICE)
ALL_DOWN = alert("IndexTTSAllDown", "none", job="indextts")

CASES: dict[str, tuple[list[dict[str, str]], set[str]]] = {
    "all down: nothing else of an instance, no warning of the job, no canary": (
        [
            DOWN,
            ALL_DOWN,
            alert("IndexTTSFailuresInARow", "critical", engine="espeak", **SERVICE),
            alert("IndexTTSQueueFilling", "warning", **SERVICE),
            alert("IndexTTSLatencyHigh", "warning", **ALL),
            alert("IndexTTSCanaryUnanswered", "critical", job="node", instance="a:9100"),
            alert("IndexTTSErrorShareHigh", "critical", **ALL),
            alert("IndexTTSWatchdog", "none"),
        ],
        {"IndexTTSDown", "IndexTTSAllDown", "IndexTTSErrorShareHigh", "IndexTTSWatchdog"},
    ),
    "one of several down: what another has, all together, the canary or the machine is told": (
        [
            DOWN,
            alert("IndexTTSErrorShareRising", "warning", **ALL),
            alert("IndexTTSCanaryUnanswered", "critical", job="node", instance="a:9100"),
            alert("IndexTTSQueueFilling", "warning", **OTHER),
            alert("IndexTTSFailuresInARow", "critical", **OTHER),
            alert("IndexTTSDiskFilling", "warning", job="node", instance="a:9100", mountpoint="/"),
        ],
        {
            "IndexTTSDown", "IndexTTSErrorShareRising", "IndexTTSCanaryUnanswered",
            "IndexTTSQueueFilling", "IndexTTSFailuresInARow", "IndexTTSDiskFilling",
        },
    ),
    "not ready: not its refusals": (
        [
            alert("IndexTTSNotReady", "critical", **SERVICE),
            alert("IndexTTSFailuresInARow", "critical", engine="espeak", **SERVICE),
            alert("IndexTTSDiskFull", "critical", job="node", instance="a:9100", mountpoint="/"),
        ],
        {"IndexTTSNotReady", "IndexTTSDiskFull"},
    ),
    "critical: not the warning of the same thing": (
        [
            alert("IndexTTSErrorShareHigh", "critical", **ALL),
            alert("IndexTTSErrorShareRising", "warning", **ALL),
            alert("IndexTTSLatencyVeryHigh", "critical", **ALL),
            alert("IndexTTSLatencyHigh", "warning", **ALL),
            alert("IndexTTSAcousticSlow", "warning", stage="acoustic", **ALL),
            alert("IndexTTSErrorBudgetBurnsFast", "critical", job="indextts"),
            alert("IndexTTSErrorBudgetBurnsSlowly", "warning", job="indextts"),
            alert("IndexTTSQueueFull", "critical", **ALL),
            alert("IndexTTSQueueSlow", "warning", **ALL),
            alert("IndexTTSDiskFull", "critical", instance="a:9100", mountpoint="/"),
            alert("IndexTTSDiskFilling", "warning", instance="a:9100", mountpoint="/"),
        ],
        {
            "IndexTTSErrorShareHigh", "IndexTTSLatencyVeryHigh", "IndexTTSErrorBudgetBurnsFast",
            "IndexTTSQueueFull", "IndexTTSDiskFull",
        },
    ),
    "critical: the warning of something else": (
        [
            alert("IndexTTSErrorShareHigh", "critical", job="indextts", engine="indextts2"),
            alert("IndexTTSErrorShareRising", "warning", **ALL),
            alert("IndexTTSDiskFull", "critical", instance="a:9100", mountpoint="/"),
            alert("IndexTTSDiskFilling", "warning", instance="a:9100", mountpoint="/data"),
        ],
        {
            "IndexTTSErrorShareHigh", "IndexTTSErrorShareRising", "IndexTTSDiskFull",
            "IndexTTSDiskFilling",
        },
    ),
}  # fmt: skip


@needs_alertmanager
@pytest.mark.parametrize("case", CASES)
def test_who_is_silent_while_another_speaks(tmp_path: Path, case: str) -> None:
    """The alerts of a trouble, sent at once: those that are left to be told."""
    alerts, told = CASES[case]
    with running(tmp_path / "alertmanager") as url:
        body = json.dumps([{"labels": labels} for labels in alerts]).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{url}/api/v2/alerts", body, headers)  # noqa: S310
        urllib.request.urlopen(request, timeout=5)  # noqa: S310
        # Alertmanager looks at them one after another: what is told first may be silenced yet.
        until = time.monotonic() + PATIENCE_SECONDS
        while _told(url, len(alerts)) != told and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(0.3)
        assert _told(url, len(alerts)) == told


def _told(url: str, count: int) -> set[str] | None:
    """Who is not inhibited; None while Alertmanager does not know all of them."""
    with urllib.request.urlopen(f"{url}/api/v2/alerts", timeout=5) as answer:  # noqa: S310
        known: list[dict[str, Any]] = json.load(answer)
    if len(known) < count:
        return None
    return {one["labels"]["alertname"] for one in known if not one["status"]["inhibitedBy"]}
