"""
Two environments: the service's stays free of the model's libraries, the model's is complete.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SERVICE = ROOT / "requirements.txt"
MODEL = ("requirements-indextts2.txt", "requirements-indextts2-cpu.txt")
ALL = sorted(path.name for path in ROOT.glob("requirements*.txt"))

COMPILED = ("requirements.txt", "requirements-cluster.txt", "requirements-dev.txt")
"""By scripts/compile_requirements.sh; pip then takes no file whose hash is not listed. The lists of
the model are installed without dependencies, and one of them from an index of one's own choice."""

HASHED = re.compile(
    r"(?m)^[\w.-]+(?:\[[\w,-]+\])?==[\w.!]+(?: ; [^#\n]+?)? \\\n"
    r"(?:    --hash=sha256:[0-9a-f]{64} \\\n)*    --hash=sha256:[0-9a-f]{64}\n    # via \S.*\n"
)
LISTED = re.compile(r"(?m)^[\w.-]+==[\w.!]+(?: ; [^#\n]+)?\s+# via \S.*\n")

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
        re.match(r"(?P<name>[\w.-]+)(?:\[[\w,-]+\])?==(?P<version>[\w.!]+)", line)
        for line in path.read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    )
    return {pin["name"]: pin["version"] for pin in found if pin}


@pytest.mark.parametrize("name", ALL)
def test_every_package_is_pinned_and_none_is_tied_to_an_index(name: str) -> None:
    """A package has one version, and its hashes; where it comes from is the operator's choice."""
    text = (ROOT / name).read_text("utf-8")
    assert "://" not in text
    assert "+cpu" not in text
    entry = HASHED if name in COMPILED else LISTED
    left = re.sub(r"(?m)^(#.*)?\n", "", entry.sub("", text))
    assert left == "", left[:200]
    assert len(pins(ROOT / name)) == len(entry.findall(text)) > 5


@pytest.mark.parametrize("name", COMPILED)
def test_what_is_asked_for_is_what_was_compiled(name: str) -> None:
    """An .in file that was changed is compiled again: scripts/compile_requirements.sh."""
    asked = (ROOT / name).with_suffix(".in").read_text("utf-8")
    wanted = dict(re.findall(r"(?m)^([\w.-]+)(?:\[[\w,]+\])?==([\w.!]+)", asked))
    compiled = pins(ROOT / name)
    assert wanted
    assert {package: compiled.get(package) for package in wanted} == wanted


@pytest.mark.parametrize("pair", list(itertools.combinations(COMPILED, 2)), ids=" ".join)
def test_what_is_installed_together_agrees(pair: tuple[str, str]) -> None:
    """All these lists are installed at once, so no package may have two versions."""
    one, other = (pins(ROOT / name) for name in pair)
    shared = one.keys() & other.keys()
    assert shared
    assert {name: one[name] for name in shared} == {name: other[name] for name in shared}


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
