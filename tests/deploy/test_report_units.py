"""The units run commands that exist, with options that they have."""

from __future__ import annotations

import configparser
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "deploy/systemd"


def unit(name: str) -> configparser.ConfigParser:
    """A unit file as its sections; a `#` begins a comment."""
    parsed = configparser.ConfigParser(interpolation=None, strict=False)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]
    parsed.read(UNITS / name, "utf-8")
    return parsed


@pytest.mark.parametrize("name", ["indextts-report", "indextts-canary"])
def test_the_command_of_a_unit_exists(name: str) -> None:
    """Its script is in the tree and knows each of its options; its timer starts it."""
    _, script, *arguments = unit(f"{name}.service")["Service"]["ExecStart"].split()
    assert (ROOT / script).is_file()
    told = subprocess.run(
        [sys.executable, ROOT / script, "--help"], capture_output=True, text=True, check=True
    )
    assert all(option in told.stdout for option in arguments if option.startswith("--"))
    assert unit(f"{name}.timer")["Install"]["WantedBy"] == "timers.target"
    assert unit(f"{name}.service")["Service"]["NoNewPrivileges"] == "yes"


@pytest.mark.parametrize("name", ["indextts", "indextts-alert-relay"])
def test_the_services_that_stay_are_started_again(name: str) -> None:
    """Their command exists; they come back after a crash, and with the machine."""
    parts = unit(f"{name}.service")
    _, *asked = parts["Service"]["ExecStart"].split()
    assert (ROOT / asked[0]).is_file() or asked == ["-m", "indextts_app"]
    assert parts["Service"]["Restart"] == "always"
    assert parts["Service"]["NoNewPrivileges"] == "yes"
    assert parts["Install"]["WantedBy"] == "multi-user.target"
