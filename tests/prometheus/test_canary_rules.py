"""The canary's alerts ask for what the canary writes."""

from __future__ import annotations

import re
from pathlib import Path

from observability import canary

ROOT = Path(__file__).parents[2]
RULES = ROOT / "prometheus/rules/canary.yml"


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
