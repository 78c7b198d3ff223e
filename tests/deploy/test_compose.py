"""
The Compose file starts what the tests prove: pinned images, on loopback, secrets in files.

No container runs here. That the file is what Compose reads is held by tests/test_configuration.py,
and by `docker compose config` where that is installed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from indextts_app.settings import Settings
from observability.alerts.settings import RelaySettings

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]

UNASKED = {"folders", "promtail", "alloy", "dcgm-exporter"}
"""Without a health check; the file says why."""

NOT_READ_ONLY = {"dcgm-exporter"}


def words(service: dict[str, Any]) -> list[str]:
    """Command and environment, as one list of texts."""
    environment = service.get("environment", {})
    return [
        *service.get("command", ()),
        *(f"{name}={value}" for name, value in environment.items()),
    ]


def mounts(service: dict[str, Any]) -> list[tuple[str, str]]:
    """What is mounted where."""
    pairs = (
        one.rsplit(":", 1)[0] if one.endswith((":ro", "rslave")) else one
        for one in service.get("volumes", ())
    )
    return [(source, target) for source, target in (pair.rsplit(":", 1) for pair in pairs)]


@pytest.mark.parametrize("name", SERVICES)
def test_the_image_is_pinned(name: str) -> None:
    """By a whole version: the same is started next year."""
    assert re.search(r":v?\d+\.\d+\.\d+(-[\w.-]+)?$", SERVICES[name]["image"])


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_listens_beyond_loopback(name: str) -> None:
    """Host network, so each program's own address decides; none is published."""
    service = SERVICES[name]
    assert service["network_mode"] == ("none" if name == "folders" else "host")
    assert "ports" not in service
    assert "privileged" not in service
    assert not [word for word in words(service) if "0.0.0.0" in word or re.search(r"=:\d+$", word)]


def test_every_target_of_prometheus_is_started() -> None:
    """Where it looks for a job, a service says that it listens; or its own file does."""
    targets = yaml.safe_load((ROOT / "prometheus/targets.yml").read_text("utf-8"))
    for group in targets:
        (address,) = group["targets"]
        host, port = address.split(":")
        assert host == "127.0.0.1"
        said = [word for service in SERVICES.values() for word in words(service)]
        said += [
            (ROOT / path).read_text("utf-8") for path in ("loki/loki.yaml", "loki/promtail.yaml")
        ]
        said.append(
            f"--web.listen-address={RelaySettings.model_fields['host'].default}:"
            f"{RelaySettings.model_fields['port'].default}"
        )
        assert any(
            address in one or f":-{port}}}" in one or f"PORT={port}" in one for one in said
        ), address


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_from_here_is_here(name: str) -> None:
    """The configuration files that the other tests prove; Compose would make a folder of a typo."""
    for source, _ in mounts(SERVICES[name]):
        if source.startswith("./") and source != "./textfiles":
            assert (ROOT / source).exists(), source
        elif not source.startswith(("/", "./", "$")):
            assert source in COMPOSE["volumes"]


@pytest.mark.parametrize("name", SERVICES)
def test_it_is_asked_whether_it_is_well(name: str) -> None:
    """And starts again by itself."""
    service = SERVICES[name]
    assert ("healthcheck" in service) is (name not in UNASKED)
    assert service["restart"] == ("no" if name == "folders" else "unless-stopped")


@pytest.mark.parametrize("name", SERVICES)
def test_it_may_do_no_more_than_it_needs(name: str) -> None:
    """No capability but those that are named, no new privileges, a root that cannot be written."""
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"] is (name not in NOT_READ_ONLY)


def test_secrets_are_files_that_are_not_here() -> None:
    """Each that is named is given, each that is given is named, and git ignores all of them."""
    for name, one in COMPOSE["secrets"].items():
        assert one == {"file": f"./secrets/{name}"}
        ignored = subprocess.run(["git", "check-ignore", "-q", one["file"]], cwd=ROOT)
        assert ignored.returncode == 0
    given: set[str] = set()
    for service in SERVICES.values():
        own = {one if isinstance(one, str) else one["source"] for one in service.get("secrets", ())}
        asked = set(re.findall(r"/run/secrets/(\w+)", " ".join(words(service))))
        assert asked <= own
        given |= own
        for word in words(service):
            name, _, value = word.partition("=")
            if re.search(r"PASSWORD|SECRET|TOKEN|_KEY", name) and "BADGER" not in name:
                assert value.startswith("/run/secrets/"), name
    assert given == set(COMPOSE["secrets"])


def test_every_setting_in_it_exists() -> None:
    """Of the service and of the relay; both refuse to start with one that does not."""
    service = {f"INDEXTTS_{field}".upper() for field in Settings.model_fields}
    relay = {f"ALERT_RELAY_{field}".upper() for field in RelaySettings.model_fields}
    for name, one in SERVICES.items():
        for variable in one.get("environment", {}):
            if variable.startswith("INDEXTTS_") and name in ("indextts", "indextts2"):
                assert variable in service
            if variable.startswith("ALERT_RELAY_"):
                assert variable.removesuffix("_FILE") in relay


def test_every_variable_is_one_that_its_file_reads() -> None:
    """Loki's, Promtail's, Alloy's and Grafana's files name the variables that are set for them."""
    for name, files in {
        "loki": ["loki/loki.yaml"],
        "promtail": ["loki/promtail.yaml"],
        "alloy": ["loki/config.alloy"],
        "grafana": ["grafana/provisioning"],
    }.items():
        paths = [
            path
            for file in files
            for path in (
                [ROOT / file] if (ROOT / file).is_file() else (ROOT / file).rglob("*.yaml")
            )
        ]
        text = "".join(path.read_text("utf-8") for path in paths)
        for variable in SERVICES[name]["environment"]:
            assert variable.startswith("GF_") or variable in text, (name, variable)


def test_the_image_of_the_service_can_be_built() -> None:
    """Its recipe is here."""
    if not (ROOT / "Dockerfile").is_file():
        pytest.skip("there is no Dockerfile yet")
    text = (ROOT / "Dockerfile").read_text("utf-8")
    for service in SERVICES.values():
        if target := service.get("build", {}).get("target"):
            assert re.search(rf"(?mi)^FROM .* AS {target}$", text), target


def test_compose_itself_takes_it() -> None:
    """Every profile at once, interpolated."""
    docker = shutil.which("docker")
    if not docker or subprocess.run([docker, "compose", "version"], capture_output=True).returncode:
        pytest.skip("docker compose is not installed")
    done = subprocess.run(
        [docker, "compose", "--profile", "*", "config", "--quiet"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
