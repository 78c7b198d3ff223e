"""loki/queries.md and queries.zh.md are what loki/queries.yaml says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]


def test_the_pages_are_what_the_questions_give() -> None:
    """Whoever adds a question runs scripts/triage_book.py."""
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/triage_book.py", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_question_is_whole() -> None:
    """In both languages, under an id of its own, of a known kind, an example for each value."""
    sections = yaml.safe_load((ROOT / "loki/queries.yaml").read_text("utf-8"))["sections"]
    questions = [question for section in sections for question in section["questions"]]
    ids = [question["id"] for question in questions]
    assert len(set(ids)) == len(ids) > 40
    for question in (*sections, *questions):
        assert question["en"]
        assert question["zh"]
    for question in questions:
        assert question["kind"] in ("lines", "numbers", "graph")
        for name in question.get("where", {}):
            assert f"${{{name}}}" in question["logql"]
