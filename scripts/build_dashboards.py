"""
Write grafana/dashboards/ from grafana/sources/: scripts/build_dashboards.py

Needs the requirements of development (grafana-foundation-sdk).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from grafana.sources import DASHBOARDS, build


def main() -> None:
    """Write every dashboard, in every language."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    for path, text in build().items():
        target = DASHBOARDS / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")
        print(target)


if __name__ == "__main__":
    main()
