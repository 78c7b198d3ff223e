"""
Every LogQL expression that is deployed: the triage book's, the ruler's, the dashboards'.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from trouble import REQUEST_WITH_EVERY_STAGE

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "loki/queries.yaml"
RULES = ROOT / "loki/rules/fake/indextts.yaml"
DASHBOARDS = ROOT / "grafana"

_VALUES = {
    "request_id": REQUEST_WITH_EVERY_STAGE,
    # The dashboard's own: the part of the id that tells the half minute.
    "moment": REQUEST_WITH_EVERY_STAGE[:7],
}
_DURATIONS = re.compile(r"\$(?:__range|__interval|__auto|__rate_interval)|\$\{__range\}")
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))")


def questions() -> list[dict[str, Any]]:
    """The questions of the triage book."""
    sections = yaml.safe_load(BOOK.read_text("utf-8"))["sections"]
    return [question for section in sections for question in section["questions"]]


def asked(question: Mapping[str, Any], known: Mapping[str, str] | None = None) -> str:
    """A question's LogQL with what is known put in, by default the book's own examples."""
    values = {**question.get("where", {}), **(known or {})}
    return re.sub(r"\$\{(\w+)\}", lambda found: str(values[found[1]]), question["logql"])


def rules() -> list[dict[str, Any]]:
    """The ruler's alerts."""
    groups = yaml.safe_load(RULES.read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard_expressions() -> Iterator[tuple[str, str]]:
    """The LogQL of the dashboards, each with where it stands; Grafana's variables filled in."""
    for path in sorted(DASHBOARDS.rglob("*.json")):
        dashboard = json.loads(path.read_text("utf-8"))
        for expression in _of_loki(dashboard, of_loki=False):
            yield path.name, filled_in(expression)


def filled_in(expression: str) -> str:
    """
    An expression as Grafana would send it.

    The request is the trouble's one with every stage; every other variable is any value.
    """

    def value(found: re.Match[str]) -> str:
        return _VALUES.get(found[1] or found[2], ".*")

    return _VARIABLE.sub(value, _DURATIONS.sub("1h", expression))


def _of_loki(part: Any, *, of_loki: bool) -> Iterator[str]:
    """The expressions within a part of a dashboard whose data source is a Loki."""
    if isinstance(part, dict):
        source = part.get("datasource")
        if isinstance(source, dict):
            of_loki = source.get("type") == "loki"
        if of_loki and isinstance(part.get("expr"), str):
            yield part["expr"]
        for value in part.values():
            yield from _of_loki(value, of_loki=of_loki)
    elif isinstance(part, list):
        for value in part:
            yield from _of_loki(value, of_loki=of_loki)
