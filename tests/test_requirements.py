"""
Two environments: the service's stays free of the model's libraries, the model's is complete.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SERVICE = ROOT / "requirements.txt"
MODEL = ("requirements-indextts2.txt", "requirements-indextts2-cpu.txt")
ALL = sorted(path.name for path in ROOT.glob("requirements*.txt"))

OBSERVED = (
    "ffmpeg-python",
    "nvidia-ml-py",
    "prometheus-client",
    "psutil",
    "python-json-logger",
    "python-ulid",
    "structlog",
)
"""What the library `observability` imports, and a worker that measures with it; numpy apart, which
the model pins."""


def pins(path: Path) -> dict[str, str]:
    found = (
        re.match(r"(?P<name>[\w.-]+)==(?P<version>[\w.]+)", line)
        for line in path.read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    )
    return {pin["name"]: pin["version"] for pin in found if pin}


@pytest.mark.parametrize("name", ALL)
def test_every_package_is_pinned_and_none_is_tied_to_an_index(name: str) -> None:
    """A line is a package with one version; where it comes from is the operator's choice."""
    for line in (ROOT / name).read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            assert re.match(r"[\w.-]+==[\w.]+( ; [^#]+)?\s+# via \S", line), line
            assert "+cpu" not in line
            assert "://" not in line


def test_the_service_has_nothing_of_the_model() -> None:
    """No torch and no CUDA: it starts small, and its libraries do not fight with the model's."""
    heavy = re.compile(r"torch|transformers|triton|nvidia-(?!ml-py)|cuda|indextts")
    assert not [name for name in pins(SERVICE) if heavy.search(name)]


@pytest.mark.parametrize("name", MODEL)
def test_a_worker_measures_with_the_services_own_versions(name: str) -> None:
    """The same code writes the same lines on both sides."""
    service, model = pins(SERVICE), pins(ROOT / name)
    assert {package: model[package] for package in OBSERVED} == {
        package: service[package] for package in OBSERVED
    }


@pytest.mark.parametrize("name", MODEL)
def test_the_models_environment_is_closed(name: str) -> None:
    """Installed without dependencies, so what a package is needed for must be in the list too."""
    text = (ROOT / name).read_text("utf-8")
    listed = set(pins(ROOT / name)) | {"indextts", "observability"}
    wanted_by = {
        by.strip() for line in text.splitlines() for by in line.partition("# via ")[2].split(",")
    } - {""}
    assert wanted_by <= listed


def test_only_the_list_for_gpus_has_cuda() -> None:
    """And the list for machines without one is not tied to it."""
    gpu, cpu = (pins(ROOT / name) for name in MODEL)
    assert [name for name in gpu if name.startswith("nvidia-") and name.endswith("-cu12")]
    assert not [name for name in cpu if name.endswith("-cu12") or name == "triton"]
    assert gpu["transformers"] == cpu["transformers"] == "4.52.1"
