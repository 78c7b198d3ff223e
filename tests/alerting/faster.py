"""
The shipped configuration in a hurry: every length of time in it a thirtieth, nothing else changed.

`for: 5m` becomes ten seconds, `rate(…[5m])` looks at ten seconds, `offset 1h` at two minutes ago,
the fifteen seconds between two scrapes are half a second. Names, thresholds, labels, annotations,
routes and inhibition stay as they are deployed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
TIMES = 30
MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

_LENGTHS = {
    "for", "interval", "scrape_interval", "scrape_timeout", "evaluation_interval",
    "group_wait", "group_interval", "repeat_interval", "resolve_timeout",
}  # fmt: skip
_IN_EXPRESSIONS = re.compile(r"(?<=\[)(\d+[smhd])(?=\])|(?<=offset )(\d+[smhd])\b")


def shortened(length: str) -> str:
    """A thirtieth of `5m`."""
    amount, unit = re.fullmatch(r"(\d+)(ms|[smhd])", length).groups()  # type: ignore[union-attr]
    return f"{int(amount) * MILLISECONDS[unit] // TIMES}ms"


def faster(shipped: Any) -> Any:
    """The same document with every length of time shortened."""
    if isinstance(shipped, list):
        return [faster(one) for one in shipped]
    if not isinstance(shipped, dict):
        return shipped
    changed = {}
    for key, value in shipped.items():
        if key in _LENGTHS and isinstance(value, str) and value != "0s":
            changed[key] = shortened(value)
        elif key == "expr":
            changed[key] = _IN_EXPRESSIONS.sub(lambda found: shortened(found[0]), value)
        else:
            changed[key] = faster(value)
    return changed


def write_faster(folder: Path, targets: Mapping[str, str], relay: str) -> tuple[Path, Path]:
    """
    Write the configuration of Prometheus and Alertmanager, shortened, for these addresses.

    Args:
        folder: where to.
        targets: the address of each job that runs.
        relay: the relay's.
    """
    (folder / "rules").mkdir(parents=True)
    for path in sorted(ROOT.glob("prometheus/rules/*.yml")):
        rules = faster(yaml.safe_load(path.read_text("utf-8")))
        (folder / "rules" / path.name).write_text(yaml.safe_dump(rules, allow_unicode=True))
    prometheus = faster(yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text("utf-8")))
    (folder / "prometheus.yml").write_text(yaml.safe_dump(prometheus, allow_unicode=True))
    inventory = [{"labels": {"job": job}, "targets": [to]} for job, to in targets.items()]
    (folder / "targets.yml").write_text(yaml.safe_dump(inventory))
    shipped = (ROOT / "alertmanager/alertmanager.yml").read_text("utf-8")
    alertmanager = faster(yaml.safe_load(shipped.replace("127.0.0.1:9098", relay)))
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(alertmanager, allow_unicode=True))
    return folder / "prometheus.yml", folder / "alertmanager.yml"
