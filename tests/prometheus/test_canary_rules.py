"""The canary's alerts are valid, and wake somebody when they should and nobody otherwise."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from observability import canary

ROOT = Path(__file__).parents[2]
RULES = ROOT / "prometheus/rules/canary.yml"

promtool = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(not promtool, reason="promtool is not installed")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    assert promtool
    return subprocess.run([promtool, *arguments], capture_output=True, text=True)


@needs_promtool
def test_the_rules_are_valid() -> None:
    """Prometheus would load them."""
    done = run("check", "rules", RULES)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_the_alerts_fire_when_they_should() -> None:
    """By promtool's own tests of them."""
    done = run("test", "rules", ROOT / "prometheus/tests/canary.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_of_the_rules_is_written(tmp_path: Path) -> None:
    """An alert on a name that nobody writes would never fire."""
    same = canary.Comparison(
        exact=True, duration_ratio=1.0, loudness_change_db=0.0, silence_change_seconds=0.0,
        mel_cepstral_db=0.0, stoi=1.0, drifts=(),
    )  # fmt: skip
    written = canary.write_metrics(
        tmp_path, "default", at=1.0, seconds=0.1, answered=True, found=same
    ).read_text()
    named = set(re.findall(r"indextts_canary_\w+", RULES.read_text("utf-8")))
    assert named
    assert all(f"\n{name}{{" in written for name in named)
