"""`docs/events.md` is held against the schema."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = (ROOT / "docs" / "events.md").read_text(encoding="utf-8")


def test_the_docs_table_is_the_one_that_the_schema_gives() -> None:
    """Whoever adds a field runs scripts/event_table.py."""
    path = ROOT / "scripts" / "event_table.py"
    spec = importlib.util.spec_from_file_location("event_table", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.table() in DOCS


def test_every_event_that_the_code_logs_stands_in_the_docs() -> None:
    """No line in the log has a name that the docs do not explain."""
    logged = set()
    for package in ("indextts_app", "observability"):
        for path in (ROOT / package).rglob("*.py"):
            code = path.read_text(encoding="utf-8")
            logged |= set(
                re.findall(r'log\.(?:info|warning|error|critical)\(\s*"([a-z]+\.[a-z_]+)"', code)
            )
    assert "worker.ready" in logged
    assert {name for name in logged if f"`{name}`" not in DOCS} == set()
