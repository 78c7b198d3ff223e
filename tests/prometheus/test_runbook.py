"""Whoever follows an alert's link finds a paragraph about that alert."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from observability.alerts import heartbeat

ROOT = Path(__file__).parents[2]
RULES = sorted((*ROOT.glob("prometheus/rules/*.yml"), *ROOT.glob("loki/rules/*/*.yaml")))
RUNBOOKS = ("docs/runbook.md", "docs/runbook.zh.md")

each_language = pytest.mark.parametrize("name", RUNBOOKS)


def alerts() -> list[str]:
    """The name of every alert: of Prometheus, of Loki's ruler, and the relay's own."""
    return [
        heartbeat.NAME,
        *_of_rules(),
    ]


def _of_rules() -> list[str]:
    return [
        rule["alert"]
        for path in RULES
        for group in yaml.safe_load(path.read_text("utf-8"))["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]


@each_language
def test_every_alert_has_its_paragraph_and_no_paragraph_is_left_over(name: str) -> None:
    """A heading is an alert's name, and so the end of its link; something stands below it."""
    text = (ROOT / name).read_text("utf-8")
    paragraphs = re.findall(r"^### (\w+)\n(.{20,})$", text, re.MULTILINE)
    assert sorted(heading for heading, _ in paragraphs) == sorted(alerts())


@each_language
def test_links_within_the_runbook_lead_somewhere(name: str) -> None:
    """To a heading of the same file."""
    text = (ROOT / name).read_text("utf-8")
    headings = {heading.lower() for heading in re.findall(r"^### (\w+)$", text, re.MULTILINE)}
    assert set(re.findall(r"\(#(\w+)\)", text)) <= headings


@each_language
def test_the_settings_and_scripts_that_it_names_exist(name: str) -> None:
    """At three in the morning nobody looks for a knob that was renamed."""
    text = (ROOT / name).read_text("utf-8")
    readme = (ROOT / "README.md").read_text("utf-8")
    for setting in re.findall(r"INDEXTTS_[A-Z_]+", text):
        assert f"`{setting}`" in readme, setting
    for script in re.findall(r"scripts/[\w.]+", text):
        assert (ROOT / script).is_file(), script


@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_the_readme_counts_the_rules(name: str) -> None:
    """All of them, and none that is gone."""
    told = re.search(r"(\d+) (?:alerts for Prometheus|条告警)", (ROOT / name).read_text("utf-8"))
    assert told
    assert int(told[1]) == len(_of_rules())
