"""The numbers of the manifests follow from the service's own, and their environment starts it."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from built import POD_NAME, ROOT, Built, Object, built, containers

from indextts_app import api_keys, server, settings, supervisor
from indextts_app.cluster.spec import cluster_of
from indextts_app.settings import Settings
from scripts import own_service

BUILDS = ("service", "gpu", "production", "ray")
BUSY_SHARE = 0.8
TRIAL_SECONDS = 10.0
SECRET = dict.fromkeys(("INDEXTTS_HASH_KEY", "INDEXTTS_OPERATIONS_PASSWORD"), "of the Secret")
GIGABYTES = 1.073741824


@pytest.fixture(params=BUILDS)
def build(request: pytest.FixtureRequest) -> Built:
    return built(request.param)


def pod(build: Built) -> dict[str, Any]:
    spec: dict[str, Any] = build.one("StatefulSet", "indextts")["spec"]["template"]["spec"]
    return spec


def container(build: Built, name: str = "indextts") -> Object:
    (found,) = (one for one in containers(build.one("StatefulSet", "indextts"))
                if one["name"] == name)  # fmt: skip
    return found


def loaded(given: dict[str, str], monkeypatch: pytest.MonkeyPatch, folder: Path) -> Settings:
    """What the service itself reads from such an environment."""
    monkeypatch.chdir(folder)
    own = {name: value for name, value in given.items() if name.startswith("INDEXTTS_") and value}
    own |= SECRET
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    return settings.load()


def budget(probe: Object) -> float:
    """Seconds for which a probe may fail."""
    return float(probe["periodSeconds"] * probe["failureThreshold"])


def test_the_service_knows_every_setting(
    build: Built, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It refuses to start with one that it does not know or that does not fit."""
    for workload in build.workloads():
        for one in containers(workload):
            if one["image"].startswith("indextts-observable"):
                with monkeypatch.context() as patch:
                    loaded(build.settings(one), patch, tmp_path)


def test_the_settings_of_a_file_are_settings() -> None:
    """Where nothing can build them, too."""
    known = {f"INDEXTTS_{name}".upper() for name in Settings.model_fields}
    for path in sorted((ROOT / "kubernetes").glob("*/settings.env")):
        names = set(re.findall(r"(?m)^(INDEXTTS_\w+)=", path.read_text("utf-8")))
        assert names <= known, path


def test_whatever_was_let_in_may_end(
    build: Built, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The grace is as long as a request may take, and the pod outlives it until all is shipped."""
    own = loaded(build.settings(container(build)), monkeypatch, tmp_path)
    assert own.shutdown_seconds >= own.timeout_seconds
    before = container(build)["lifecycle"]["preStop"]["sleep"]["seconds"]
    longest = before + own.shutdown_seconds + server.LAST_ANSWERS_SECONDS
    longest += 2 * server.DRAIN_LOG_SECONDS
    assert before >= 5
    assert longest + 20 <= pod(build)["terminationGracePeriodSeconds"]


def test_a_model_that_loads_is_not_killed(build: Built) -> None:
    """Only readiness asks whether the engine speaks; loading may take `START_SECONDS`."""
    one = container(build)
    assert one["startupProbe"]["httpGet"]["path"] == "/health/live"
    assert one["livenessProbe"]["httpGet"]["path"] == "/health/live"
    assert one["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    # As the unit of systemd gives it: TimeoutStartSec=60.
    assert 60 <= budget(one["startupProbe"]) <= 300
    # The service's own watch is first, because it tells where the loop is stuck.
    assert budget(one["livenessProbe"]) >= supervisor.HOPELESS_SECONDS + supervisor.STUCK_SECONDS


def test_readiness_waits_for_a_trial(
    build: Built, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """After bad outcomes the answer is a short synthesis, which must not be taken for a hang."""
    own = loaded(build.settings(container(build)), monkeypatch, tmp_path)
    trial = server.TRIAL_SECONDS.get(own.engine, TRIAL_SECONDS)
    assert container(build)["readinessProbe"]["timeoutSeconds"] > trial
    assert f".get(settings.engine, {TRIAL_SECONDS})" in Path(server.__file__).read_text("utf-8")


def test_what_is_kept_fits_on_the_volume(
    build: Built, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Audio, batches, results, the space that stays free, and 8 GB of lines and archives."""
    own = loaded(build.settings(container(build)), monkeypatch, tmp_path)
    (claim,) = build.one("StatefulSet", "indextts")["spec"]["volumeClaimTemplates"]
    size = claim["spec"]["resources"]["requests"]["storage"]
    megabytes = float(size.removesuffix("Gi")) * GIGABYTES * 1000
    kept = own.output_max_mb + own.batch_max_mb + own.result_cache_disk_mb + own.min_free_mb
    assert kept + 8_000 <= megabytes


def test_lines_and_metrics_call_a_replica_the_same(build: Built) -> None:
    """By its pod's name, which stays."""
    (shipper,) = (
        one for one in containers(build.one("StatefulSet", "indextts"))
        if one["name"] in ("promtail", "alloy")
    )  # fmt: skip
    given = build.settings(shipper)
    for name in ("indextts", "archive"):
        assert build.settings(container(build, name))["INDEXTTS_INSTANCE"] == given["INSTANCE"]
    for monitor in build.of("PodMonitor"):
        for endpoint in monitor["spec"]["podMetricsEndpoints"]:
            (named,) = (one for one in endpoint["relabelings"] if one["targetLabel"] == "instance")
            assert named["replacement"].replace("$1", POD_NAME) == given["INSTANCE"]


def test_the_autoscaler_aims_at_workers_that_are_four_fifths_busy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of a replica, however many workers it has."""
    build = built("production")
    own = loaded(build.settings(container(build)), monkeypatch, tmp_path)
    (trigger,) = build.one("ScaledObject", "indextts")["spec"]["triggers"]
    assert float(trigger["metadata"]["threshold"]) == BUSY_SHARE * own.workers
    as_it_is = yaml.safe_load(
        (ROOT / "kubernetes/autoscaling/scaledobject.yaml").read_text("utf-8")
    )["spec"]["triggers"][0]
    with monkeypatch.context() as patch:
        own = loaded(built("service").settings(container(built("service"))), patch, tmp_path)
    assert float(as_it_is["metadata"]["threshold"]) == BUSY_SHARE * own.workers


def test_each_program_reads_the_variables_it_is_given() -> None:
    """Promtail's, Alloy's and Loki's files name them."""
    for name, one, files in (
        ("service", "promtail", ("loki/promtail.yaml", "loki/promtail.sh")),
        ("production", "alloy", ("loki/config.alloy",)),
    ):
        text = "".join((ROOT / file).read_text("utf-8") for file in files)
        for variable in set(built(name).settings(container(built(name), one))) - {"POD_NAME"}:
            assert variable in text
    loki = (ROOT / "loki/scalable/loki.yaml").read_text("utf-8")
    read = set(re.findall(r"\$\{(\w+):-", loki))
    for workload in built("loki").workloads():
        for one in containers(workload):
            given = set(built("loki").settings(one))
            assert given <= read
            assert {"LOKI_S3_BUCKET", "LOKI_INSTANCE", "LOKI_MEMBERS", "LOKI_BACKEND"} <= given


def test_this_environment_serves_and_its_probes_are_answered(tmp_path: Path) -> None:
    """The real service, with the manifest's settings on folders of its own, from start to end."""
    build = built("service")
    one = container(build)
    keys = tmp_path / "secrets/api_keys"
    keys.parent.mkdir()
    key = api_keys.add(keys, "shop")
    given = {
        name: value.replace("/data", str(tmp_path / "data")).replace("/secrets", str(keys.parent))
        for name, value in build.settings(one).items()
        if name.startswith("INDEXTTS_")
    }
    given |= {
        "INDEXTTS_HOST": "127.0.0.1",
        "INDEXTTS_PORT": "0",
        **SECRET,
    }
    with own_service.serving(tmp_path, **given) as service:
        at = f"http://127.0.0.1:{service.port}"
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert httpx.get(at + one[probe]["httpGet"]["path"]).status_code == 200
        assert httpx.get(f"{at}/metrics").status_code == 200
        asked = {"json": {"text": "你好。"}, "timeout": 30}
        assert httpx.post(f"{at}/tts", **asked).status_code == 401
        spoken = httpx.post(f"{at}/tts", headers={"Authorization": f"Bearer {key}"}, **asked)
        assert spoken.content[:4] == b"RIFF"
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(60) == 0
    assert not (tmp_path / "logs").exists()
    lines = own_service.read_lines(tmp_path / "data/logs")
    assert sum(b'"synthesis.finished"' in line for line in lines) == 1


def test_the_ingress_waits_as_long_as_a_request_may_take(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By default it gives up after 50 s, and its user with it."""
    build = built("production")
    own = loaded(build.settings(container(build)), monkeypatch, tmp_path)
    for name in ("indextts", "indextts-page"):
        given = build.one("Service", name)["metadata"]["annotations"]["haproxy.org/timeout-server"]
        assert float(given.removesuffix("s")) > own.timeout_seconds


def test_the_ray_cluster_has_what_the_service_asks_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The same Ray everywhere, pods in which a replica fits, and as many of them."""
    build = built("ray")
    own = loaded(build.settings(container(build)), monkeypatch, tmp_path)
    assert cluster_of(own) is not None
    spec = build.one("RayCluster", "indextts-ray")["spec"]
    wanted = (ROOT / "requirements-cluster.in").read_text("utf-8")
    assert f"ray[serve]=={spec['rayVersion']} " in wanted
    (group,) = spec["workerGroupSpecs"]
    assert group["maxReplicas"] == own.cluster_max_replicas
    assert group["minReplicas"] == own.cluster_min_replicas
    (worker,) = group["template"]["spec"]["containers"]
    limits = worker["resources"]["limits"]
    assert float(limits["nvidia.com/gpu"]) == own.cluster_gpus
    assert float(limits["cpu"]) >= own.cluster_cpus
    assert float(limits["memory"].removesuffix("Gi")) * GIGABYTES * 1000 > own.cluster_memory_mb
    # Whoever connects is a part of the cluster, in the same processes and folders as the service.
    (joined,) = (one for one in containers(build.one("StatefulSet", "indextts"))
                 if one["name"] == "ray")  # fmt: skip
    shared = {"/tmp", "/dev/shm"}  # noqa: S108  # the containers' own
    for one in (joined, container(build)):
        assert shared <= {mount["mountPath"] for mount in one["volumeMounts"]}
    assert pod(build)["shareProcessNamespace"] is True
    assert "--address=indextts-ray-head-svc:6379" in joined["command"]


@pytest.mark.parametrize(("second", "sleeps"), [(0, 4200), (4199, 1), (4200, 86_400)])
def test_the_archive_runs_at_ten_past_one_and_ends_when_it_is_told(
    second: int, sleeps: int, tmp_path: Path
) -> None:
    """The loop of its container, with a clock and an archive of the test's own."""
    for name, does in {
        "date": f"echo {second}",
        "sleep": f'echo "sleep $1" >>{tmp_path}/told',
        "python": f'echo "python $1" >>{tmp_path}/told; kill -TERM $PPID',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    shell, option, loop = container(built("service"), "archive")["command"]
    done = subprocess.run(
        [shell, option, loop], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, timeout=20
    )
    assert done.returncode == 0
    assert (tmp_path / "told").read_text().splitlines()[:2] == [
        f"sleep {sleeps}",
        "python scripts/archive_logs.py",
    ]
