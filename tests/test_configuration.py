"""
Every YAML and JSON file of the project is well formed, and what its reader takes.

By the reader's own check where the program is there, by a schema where not: check-jsonschema's
copy of the Compose specification, and ours in `tests/schemas`.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
OURS = "tests/schemas"


def schema(name: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "check_jsonschema", "--schemafile", f"{OURS}/{name}.json")


COMPOSE = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec")
METASCHEMA = (sys.executable, "-m", "check_jsonschema", "--check-metaschema")

READERS: dict[str, list[tuple[str, ...]]] = {
    "docker-compose*.yml": [COMPOSE],
    "alertmanager/*.yml": [("amtool", "check-config")],
    "prometheus/prometheus.yml": [("promtool", "check", "config")],
    "prometheus/rules/*.yml": [("promtool", "check", "rules"), schema("rules")],
    "prometheus/tests/*.yml": [],  # run by tests/prometheus
    "prometheus/targets.yml": [schema("targets")],
    "loki/rules/*/*.yaml": [schema("rules")],
    "loki/loki.yaml": [
        ("loki", "-verify-config", "-config.expand-env=true", "-config.file"),
    ],
    "loki/scalable/loki.yaml": [
        ("loki", "-verify-config", "-config.expand-env=true", "-config.file"),
    ],
    "loki/*kustomization.yaml": [],  # built by tests/kubernetes
    "kubernetes/*.yaml": [],  # built and held against schemas by tests/kubernetes
    "loki/promtail.yaml": [
        ("promtail", "-check-syntax", "-config.expand-env=true", "-config.file"),
    ],
    "loki/queries.yaml": [],  # read by tests/loki, query by query
    "grafana/provisioning/datasources/*.yaml": [schema("grafana-datasources")],
    "grafana/provisioning/dashboards/*.yaml": [schema("grafana-providers")],
    "grafana/dashboards/*/*.json": [schema("grafana-dashboard")],
    "tests/schemas/*.json": [METASCHEMA],
    "tests/loki/logql/package*.json": [],  # npm ci reads them
    "tests/*/recorded/*.json": [],
    "tests/*/*/recorded/*.json": [],
    "pyrightconfig.json": [],
}
"""Who reads which files, and how it is asked whether it would."""


def files() -> list[str]:
    """All of them, new ones included, but for what git ignores."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    names = [name for name in listed.stdout.split("\0") if (ROOT / name).is_file()]
    return sorted(name for name in names if name.endswith((".yml", ".yaml", ".json")))


FILES = files()


class Strict(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML would take the last."""


def _mapping(loader: Strict, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
    twice = {key for key in keys if keys.count(key) > 1}
    assert not twice, f"{twice} twice in line {node.start_mark.line + 1}"
    loader.flatten_mapping(node)
    return {
        loader.construct_object(key): loader.construct_object(value, deep=True)
        for key, value in node.value
    }


Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    assert len(keys) == len(set(keys)), f"twice: {keys}"
    return dict(pairs)


def test_there_is_something_to_check() -> None:
    """Or the other tests here could not fail."""
    assert "docker-compose.yml" in FILES
    assert len(FILES) > 20


@pytest.mark.parametrize("name", FILES)
def test_it_is_well_formed(name: str) -> None:
    """UTF-8, no key twice, no tab, no NaN."""
    text = (ROOT / name).read_text("utf-8")
    if name.endswith(".json"):
        json.loads(text, object_pairs_hook=_once, parse_constant=pytest.fail)
    else:
        assert list(yaml.load_all(text, Strict))  # a SafeLoader


@pytest.mark.parametrize("name", FILES)
def test_its_reader_would_take_it(name: str) -> None:
    """By one entry of `READERS`: a new file needs a reader."""
    readers = [asked for pattern, asked in READERS.items() if fnmatch(name, pattern)]
    assert readers, f"who reads {name}?"
    missing = []
    for command in readers[0]:
        if not shutil.which(command[0]):
            missing.append(command[0])
            continue
        glued = command[-1].startswith("-config")
        asked = [*command[:-1], f"{command[-1]}={name}"] if glued else [*command, name]
        done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")


def test_the_schemas_refuse_what_is_wrong(tmp_path: Path) -> None:
    """Each of ours turns away a file in which one required thing is missing."""
    for path in sorted((ROOT / OURS).glob("*.json")):
        wanted = json.loads(path.read_text("utf-8"))
        wrong = [] if wanted["type"] == "array" else {}
        (tmp_path / "wrong.json").write_text(json.dumps(wrong))
        done = subprocess.run(
            [*schema(path.stem), str(tmp_path / "wrong.json")],
            cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 1, path.name


def test_no_yaml_holds_a_secret() -> None:
    """Keys of robots, passwords and tokens stand in files that are not here."""
    secret = re.compile(
        r"(?i)(webhook/send\?key=[0-9a-f-]{8}|access_token=\w{8}|hooks\.slack\.com/\w)"
    )
    assert not [name for name in FILES if secret.search((ROOT / name).read_text("utf-8"))]
