"""The environment of the model's own interpreter, for tests that start it."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODEL_ENVIRONMENT = {
    # OpenMP's threads spin while they wait, and on few cores against each other.
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
    "PYTHONDONTWRITEBYTECODE": "1",
}
"""What a test adds to the environment of the model's interpreter."""
