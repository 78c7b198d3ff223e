"""Every LogQL expression is read by Grafana's own grammar."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from expressions import ROOT, asked, dashboard_expressions, questions, rules

GRAMMAR = Path(__file__).parent / "logql"

needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="no node on PATH")


def broken(expressions: list[str]) -> list[int | None]:
    """Where each expression is broken, None for a sound one."""
    assert (GRAMMAR / "node_modules").is_dir(), (
        "Grafana's grammar is missing: npm ci --prefix tests/loki/logql (scripts/test.sh does it)"
    )
    done = subprocess.run(
        ["node", GRAMMAR / "parse.mjs"],
        input=json.dumps(expressions),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    places: list[int | None] = json.loads(done.stdout)
    assert len(places) == len(expressions)
    return places


@needs_node
def test_every_expression_is_logql() -> None:
    """Of the triage book, the ruler's alerts and the dashboards."""
    named = [(question["id"], asked(question)) for question in questions()]
    named += [(rule["alert"], rule["expr"]) for rule in rules()]
    named += dashboard_expressions()
    found = broken([expression for _, expression in named])
    assert [(name, at) for (name, _), at in zip(named, found, strict=True) if at is not None] == []


@needs_node
def test_what_is_no_logql_is_found() -> None:
    """The grammar would tell."""
    wrong = ["{app=}", 'sum by speaker (rate({app="x"}[5m]))', '{app="x"} | json | duration_ms >']
    assert None not in broken(wrong)
    assert broken(['{app="x"} |= `a`']) == [None]


def test_every_event_that_is_asked_for_is_written() -> None:
    """An alert on the name of an event that no code writes would never fire."""
    code = "".join(
        path.read_text("utf-8")
        for package in ("indextts_app", "observability")
        for path in (ROOT / package).rglob("*.py")
    )
    written = set(re.findall(r'"([a-z]+[.][a-z_]+)"', code)) | {
        "synthesis.started",
        "synthesis.finished",
        "service.stopped",
    }
    expressions = [asked(question) for question in questions()]
    expressions += [rule["expr"] for rule in rules()]
    expressions += [expression for _, expression in dashboard_expressions()]
    patterns = {
        pattern
        for expression in expressions
        for pattern in re.findall(r'\bevent=~?"([^"]+)"', expression)
    }
    assert "synthesis.finished" in patterns
    unwritten = [
        part
        for pattern in patterns
        for part in pattern.split("|")
        if not any(re.fullmatch(pattern, name) for name in written)
    ]
    assert unwritten == []


def test_the_lock_file_names_no_registry() -> None:
    """Whoever installs uses the registry that they use."""
    assert "resolved" not in (GRAMMAR / "package-lock.json").read_text("utf-8")
