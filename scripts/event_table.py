"""Print the table of the canonical event for docs/events.md: scripts/event_table.py."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from observability.events import field_names

GROUPS = {
    "identity": "Identity · 身份",
    "asked": "What was asked · 请求内容",
    "time": "Where time went · 耗时",
    "came_out": "What came out · 产出",
    "verdict": "The verdict · 音频判定",
    "outcome": "The outcome · 结果",
    "cost": "What it cost · 资源",
}


def table() -> str:
    """Every field by group, in both languages."""
    rows = []
    for group, title in GROUPS.items():
        rows += [f"\n## {title}\n", "| field | meaning | 含义 |", "|---|---|---|"]
        rows += [
            f"| `{name}` | {meta['en']} | {meta['zh']} |"
            for name, meta in field_names().items()
            if meta["group"] == group
        ]
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(table(), end="")
