"""The units of Loki and Promtail start what is in the tree, with the tested configuration."""

from __future__ import annotations

import configparser
import os
from pathlib import Path

ROOT = Path(__file__).parents[2]


def service(name: str) -> configparser.SectionProxy:
    parsed = configparser.ConfigParser(interpolation=None, strict=False)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read(ROOT / f"deploy/systemd/{name}.service", "utf-8")
    return parsed["Service"]


def test_loki_runs_with_the_shipped_configuration() -> None:
    """Where its data is by default, the unit may write."""
    unit = service("indextts-loki")
    program, *options = unit["ExecStart"].split()
    assert Path(program).name == "loki"
    assert options == ["-config.file=loki/loki.yaml", "-config.expand-env=true"]
    config = (ROOT / "loki/loki.yaml").read_text("utf-8")
    assert f"${{LOKI_DATA:-/var/lib/{unit['StateDirectory']}}}" in config


def test_promtail_is_started_by_its_script() -> None:
    """It can be run, keeps its positions where the unit may write, and comes back by itself."""
    unit = service("indextts-promtail")
    script = ROOT / Path(unit["ExecStart"]).relative_to("/opt/indextts")
    assert os.access(script, os.X_OK)
    assert f"${{PROMTAIL_DATA:-/var/lib/{unit['StateDirectory']}}}" in script.read_text("utf-8")
    assert unit["Restart"] == "always"
    assert unit["KillMode"] == "mixed"
