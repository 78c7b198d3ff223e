"""The committed dashboards, and what their panels ask, for whoever wants to check it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "grafana/dashboards"
PATHS = sorted(FOLDER.glob("*/*.json"))

VALUES = {
    "__rate_interval": "1m",
    "__range": "1h",
    "__interval": "15s",
    "__auto": "1m",
    "engine": ".*",
    "model_version": ".*",
    "instance": ".*",
    "speaker": ".*",
    "fingerprint": "",
    "request_id": "01K8ZQ3V7M1ABCDEFGHJKMNPQR",
    "moment": "01K8ZQ3",
}
"""A value for each variable that a query may hold."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One query of a dashboard, as it stands there."""

    dashboard: str
    panel: str
    language: str
    """`prometheus` or `loki`."""
    expr: str

    def filled(self, **values: str) -> str:
        """The query as Grafana would send it, with these values of the variables."""
        return fill(self.expr, **values)


def fill(expr: str, **values: str) -> str:
    """An expression with a value for each of its variables; `$1` is no variable."""
    known = VALUES | values

    def value(found: re.Match[str]) -> str:
        return known[found[1] or found[2]]

    return re.sub(r"\$\{(\w+)\}|\$([A-Za-z_]\w*)", value, expr)


def load(path: Path) -> dict[str, Any]:
    """The dashboard of a file."""
    loaded: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return loaded


def panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every panel, those within rows included."""
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels") or ()


def asked(board: dict[str, Any]) -> Iterator[Asked]:
    """Every query of the panels, the annotations and the variables."""
    uid = board["uid"]
    for panel in panels(board):
        for target in panel.get("targets") or ():
            yield Asked(uid, panel["title"], target["datasource"]["type"], target["expr"])
    for annotation in board["annotations"]["list"]:
        yield Asked(uid, annotation["name"], annotation["datasource"]["type"], annotation["expr"])
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            query, source = variable["query"]["query"], variable["datasource"]["type"]
            inner = re.fullmatch(r"label_values\((.+), \w+\)|query_result\((.+)\)", query)
            assert inner, query
            yield Asked(uid, variable["name"], source, inner[1] or inner[2])


def all_asked(language: str, *, folder: str = "en") -> list[Asked]:
    """Every query in this language of the dashboards of one folder."""
    boards = (load(path) for path in PATHS if path.parent.name == folder)
    return [query for board in boards for query in asked(board) if query.language == language]
