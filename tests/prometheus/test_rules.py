"""Prometheus would load the configuration, and every alert fires when it should and only then."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "prometheus"
RULES = sorted((FOLDER / "rules").glob("*.yml"))
TESTS = sorted((FOLDER / "tests").glob("*.yml"))
SEVERITIES = {"critical", "warning", "none"}
ANNOTATIONS = {
    "summary", "summary_zh", "description", "description_zh",
    "dashboard", "dashboard_zh", "runbook_url", "runbook_url_zh",
}  # fmt: skip

promtool = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(not promtool, reason="promtool is not installed")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    assert promtool
    return subprocess.run([promtool, *arguments], capture_output=True, text=True)


def alerts() -> dict[str, dict[str, Any]]:
    """Every alert by its name."""
    found: dict[str, dict[str, Any]] = {}
    for path in RULES:
        for group in yaml.safe_load(path.read_text("utf-8"))["groups"]:
            for rule in group["rules"]:
                if name := rule.get("alert"):
                    assert name not in found, f"{name} exists twice"
                    found[name] = rule
    return found


def cases() -> Iterator[tuple[str, bool]]:
    """The alert that each case of the tests is about, and whether it fires there."""
    for path in TESTS:
        for test in yaml.safe_load(path.read_text("utf-8"))["tests"]:
            for case in test.get("alert_rule_test", ()):
                yield case["alertname"], bool(case["exp_alerts"])
            for case in test.get("promql_expr_test", ()):
                named = re.search(r'ALERTS\{alertname="(\w+)"', case["expr"])
                assert named, case["expr"]
                yield named[1], bool(case["exp_samples"])


@needs_promtool
def test_prometheus_would_load_the_configuration() -> None:
    """With every rule file and the inventory of targets."""
    done = run("check", "config", FOLDER / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(RULES)} rule files found" in done.stdout


@needs_promtool
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_the_alerts_fire_when_they_should(path: Path) -> None:
    """By promtool's own tests of them."""
    done = run("test", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    """An alert that was never seen to fire, or to be silent, is a guess."""
    both = {(name, fires) for name in alerts() for fires in (True, False)}
    assert set(cases()) == both


@pytest.mark.parametrize("name", alerts())
def test_every_alert_says_what_happened_and_where_to_look(name: str) -> None:
    """A severity that is routed, and all of its texts and links in both languages."""
    rule = alerts()[name]
    assert rule["labels"]["severity"] in SEVERITIES
    assert set(rule["annotations"]) == ANNOTATIONS
    texts = rule["annotations"]
    for key in ("summary", "description"):
        assert not re.search("[\u4e00-\u9fff]", texts[key])
        assert re.search("[\u4e00-\u9fff]", texts[f"{key}_zh"])
    paragraph = f"#{name.lower()}"
    assert texts["runbook_url"] == "{{ $externalLabels.runbooks }}/runbook.md" + paragraph
    assert texts["runbook_url_zh"] == "{{ $externalLabels.runbooks }}/runbook.zh.md" + paragraph


def test_links_are_no_labels_of_alerts() -> None:
    """What the links begin with is told to templates as external labels, and to nobody else."""
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text("utf-8"))
    (dropped,) = config["alerting"]["alert_relabel_configs"]
    assert dropped["action"] == "labeldrop"
    assert set(dropped["regex"].split("|")) == set(config["global"]["external_labels"])


def test_every_job_of_the_inventory_is_missed_when_it_is_away() -> None:
    """The service by an alert of its own, all others by one; what is commented out included."""
    inventory = (FOLDER / "targets.yml").read_text("utf-8")
    expr = alerts()["IndexTTSMonitoringDown"]["expr"]
    watched = re.search(r'job=~"([^"]+)"', expr)
    assert watched
    assert set(re.findall(r"job: ([\w-]+)", inventory)) == {"indextts", *watched[1].split("|")}
