"""What ships the lines: the same for Promtail and Alloy, by the event's own names, labels few."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from observability.events import field_names
from scripts.shipping import LOKI_CONFIG, PROMTAIL_CONFIG, ROOT

ALLOY = (ROOT / "loki/config.alloy").read_text("utf-8")
PROMTAIL = yaml.safe_load(PROMTAIL_CONFIG.read_text("utf-8"))

LABELS = {"app", "instance", "level", "event", "filename"}
"""A stream for each of their values: closed sets only. `filename` is Promtail's own."""

LINE = {
    "timestamp": "2026-09-10T08:00:00.123456Z",
    "level": "error",
    "event": "synthesis.finished",
    "request_id": "01M7YJ8X96ATWKAAWANAS2Z1XK",
    "instance": "tts-a.example:7860",
    "status": "failed",
    "speaker": "知燕",
    "duration_ms": 12.5,
}


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"no {program} on PATH")


def stage(name: str) -> dict[str, Any]:
    """What a stage of the Promtail pipeline holds."""
    (found,) = (
        each[name] for each in PROMTAIL["scrape_configs"][0]["pipeline_stages"] if name in each
    )
    return dict(found)


def block(name: str) -> dict[str, str]:
    """The names and values of a map inside a stage of the Alloy configuration."""
    found = re.search(rf"stage[.]{name} {{\s*\w+ = {{(.*?)}}", ALLOY, re.DOTALL)
    assert found
    return dict(re.findall(r'(\w+)\s*= "(\w*)"', found[1]))


def test_fields_are_the_events_own() -> None:
    """Nothing is taken out of a line under another name than the one the event gives it."""
    taken = stage("json")["expressions"]
    renamed = {"any_level": "level", "any_event": "event", "any_instance": "instance"}
    assert {name: field for name, field in taken.items() if name != field} == renamed
    assert set(taken.values()) - {"timestamp", "level", "event"} <= set(field_names())
    assert set(stage("structured_metadata")) <= set(taken)


def test_labels_are_few() -> None:
    """None of them grows with requests, users or speakers."""
    static = set(PROMTAIL["scrape_configs"][0]["static_configs"][0]["labels"]) - {"__path__"}
    assert static | set(stage("labels")) | {"filename"} == LABELS


def test_the_book_uses_no_other_label() -> None:
    """A selector on what is no label finds nothing."""
    files = [*(ROOT / "loki").rglob("*.yaml"), *(ROOT / "grafana").rglob("*.json")]
    text = "\n".join(path.read_text("utf-8") for path in files).replace('\\"', '"')
    used = set()
    for selector in re.findall(r'{(app="indextts"[^{}]*)}', text):
        used |= set(re.findall(r"(\w+)\s*(?:=~|=|!=|!~)", selector))
    assert {"app", "event"} <= used <= LABELS


def test_alloy_has_the_same_pipeline() -> None:
    """Field by field, so that the queries hold after a change of the shipper."""
    assert block("json") == stage("json")["expressions"]
    assert set(block("labels")) == set(stage("labels"))
    assert set(block("structured_metadata")) == set(stage("structured_metadata"))
    regexes = [
        each["regex"]
        for each in PROMTAIL["scrape_configs"][0]["pipeline_stages"]
        if "regex" in each
    ]
    assert [each["expression"] for each in regexes] == re.findall(r'expression = "(.+)"', ALLOY)
    assert [each["source"] for each in regexes] == re.findall(r'source     = "(\w+)"', ALLOY)
    assert stage("timestamp")["format"] in ALLOY
    for variable in ("INDEXTTS_LOG_DIR", "LOKI_URL", "INSTANCE", "PROMTAIL_DATA"):
        assert f"${{{variable}:-" in PROMTAIL_CONFIG.read_text("utf-8")
        assert f'sys.env("{variable}")' in ALLOY


def test_nothing_is_dropped_by_default() -> None:
    """Both wait for Loki for ever, and remember each second what they have read."""
    client = PROMTAIL["clients"][0]
    assert client["backoff_config"]["max_retries"] == 0
    assert "max_backoff_retries = 0" in ALLOY
    assert PROMTAIL["positions"]["sync_period"] == "1s"


def test_everything_listens_on_loopback_by_default() -> None:
    """Whoever wants to be reached says so."""
    for path in (LOKI_CONFIG, PROMTAIL_CONFIG):
        for found in re.findall(r"listen_address: (\S+)", path.read_text("utf-8")):
            assert found == "127.0.0.1" or found.endswith(":-127.0.0.1}")


@needs("loki")
def test_loki_takes_its_configuration(tmp_path: Path) -> None:
    """As its own check says, which refuses what it does not know."""
    done = run(["loki", f"-config.file={LOKI_CONFIG}", "-config.expand-env=true", "-verify-config"])
    assert done.returncode == 0, done.stderr


@needs("promtail")
def test_promtail_takes_its_configuration() -> None:
    """As its own check says."""
    done = run(["promtail", *_PROMTAIL, "-check-syntax"])
    assert done.returncode == 0, done.stderr


@needs("promtail")
def test_promtail_reads_time_and_labels(tmp_path: Path) -> None:
    """
    To the microsecond; what is no JSON or not ours has no label of a foreign value, and the
    instance that the shipper was told.
    """
    foreign = {**LINE, "level": "LOUD", "event": "somebody said hello", "instance": "by {me}"}
    own = {"instance": "tts-a.example:7860"}
    told = {"instance": "127.0.0.1:7860"}
    lines = [json.dumps(LINE, ensure_ascii=False), "no JSON", json.dumps(foreign)]
    done = run(["promtail", *_PROMTAIL, "-stdin", "-dry-run"], "\n".join(lines) + "\n", tmp_path)
    shipped = [line.split("\t", 1) for line in done.stdout.splitlines() if "app=" in line]
    assert [(time[:26], labels(text)) for time, text in shipped] == [
        ("2026-09-10T08:00:00.123456", {"event": "synthesis.finished", "level": "error", **own}),
        ("2026-09-10T08:00:00.123456", told),
        ("2026-09-10T08:00:00.123456", told),
    ]


@needs("alloy")
def test_alloy_takes_its_configuration() -> None:
    """As its own formatter and check say."""
    path = str(ROOT / "loki/config.alloy")
    for command in (["alloy", "fmt", "--test", path], ["alloy", "validate", path]):
        done = run(command)
        assert done.returncode == 0, done.stderr


_PROMTAIL = (f"-config.file={PROMTAIL_CONFIG}", "-config.expand-env=true")


def labels(text: str) -> dict[str, str]:
    found = dict(re.findall(r'(\w+)="([^"]*)"', text))
    return {name: value for name, value in found.items() if name in ("event", "instance", "level")}


def run(
    command: list[str], given: str = "", folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "PROMTAIL_DATA": str(folder or "/tmp")}  # noqa: S108
    return subprocess.run(
        command, input=given, env=environment, capture_output=True, text=True, timeout=60
    )
