"""
What is applied to a cluster fits Kubernetes' own schemas, and its parts fit each other.

No cluster ran. What a schema cannot see is asked here: names that others refer to, labels that
selectors look for, ports, rights.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from built import BUILDS, FOLDER, ROOT, Built, Object, built, containers, each, matches

VERSIONS = ("1.30", "1.37")
"""The oldest that has what is used (a preStop that sleeps), and the newest with a schema."""

OURS = {
    "ScaledObject": "keda-scaledobject",
    "PodMonitor": "pod-monitor",
    "RayCluster": "ray-cluster",
}
"""Kinds that Kubernetes does not know, each with a schema of our own in tests/schemas."""

LEAST = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


@pytest.fixture(params=BUILDS)
def build(request: pytest.FixtureRequest) -> Built:
    return built(request.param)


def named(one: Object) -> str:
    return f"{one['kind']} {one['metadata']['name']}"


# --- Schemas -------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_kubernetes_would_take_it(build: Built, version: str) -> None:
    """By its strict schemas: no unknown field, no wrong type, nothing missing."""
    for one in build.objects:
        if one["kind"] not in OURS:
            kubernetes_validate.validate(one, version, strict=True)
    for workload in build.workloads():
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}}
        pod["spec"] = workload["spec"]["template"]["spec"]
        kubernetes_validate.validate(pod, version, strict=True)


def test_the_files_themselves_fit_where_nothing_can_build_them() -> None:
    """Without kubectl too: whatever is a whole object of Kubernetes' own."""
    found = 0
    for path in sorted(FOLDER.rglob("*.yaml")):
        for one in yaml.safe_load_all(path.read_text("utf-8")):
            is_patch = path.name == "statefulset.yaml" and path.parent.name != "service"
            if one["kind"] in ("Kustomization", "Component", *OURS) or is_patch:
                continue
            kubernetes_validate.validate(one, VERSIONS[-1], strict=True)
            found += 1
    assert found > 20


def test_a_wrong_object_is_refused() -> None:
    """Or the tests above could not fail: a misspelt field, and a number as text."""
    for wrong in ({"replica": 2}, {"replicas": "two"}):
        one = yaml.safe_load((FOLDER / "service/statefulset.yaml").read_text("utf-8"))
        one["spec"] |= wrong
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(one, VERSIONS[-1], strict=True)


def test_custom_objects_fit_our_schemas(build: Built) -> None:
    """Of each kind the part that is used."""
    for one in build.objects:
        if one["kind"] in OURS:
            wanted = json.loads(
                (ROOT / f"tests/schemas/{OURS[one['kind']]}.json").read_text("utf-8")
            )
            jsonschema.validate(one, wanted, jsonschema.Draft202012Validator)


def test_custom_objects_fit_the_definitions_of_their_makers() -> None:
    """All fields known and of their types, by the CRDs in the folder KUBERNETES_CRDS."""
    folder = os.environ.get("KUBERNETES_CRDS")
    if not folder:
        pytest.skip(
            "KUBERNETES_CRDS names no folder with the CRDs of KEDA, KubeRay and Prometheus' "
            "operator; custom objects were held against our own schemas only"
        )
    definitions = {}
    for path in Path(folder).glob("*.yaml"):
        for crd in yaml.safe_load_all(path.read_text("utf-8")):
            spec = crd["spec"]
            for version in spec["versions"]:
                key = (f"{spec['group']}/{version['name']}", spec["names"]["kind"])
                definitions[key] = version["schema"]["openAPIV3Schema"]
    for one in (one for build in each() for one in build.of(*OURS)):
        schema = _closed(definitions[one["apiVersion"], one["kind"]])
        schema["properties"]["metadata"] = {"type": "object"}
        jsonschema.validate(one, schema, jsonschema.Draft202012Validator)


def _closed(schema: Any) -> Any:
    """As the API server prunes: a field that is not named is unknown."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {name: _closed(value) for name, value in schema.items() if name != "format"}
    if closed.pop("x-kubernetes-int-or-string", None):
        closed.pop("anyOf", None)
        closed["type"] = ["integer", "string"]
    is_open = closed.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(closed.get("properties"), dict) and "additionalProperties" not in closed:
        closed["additionalProperties"] = bool(is_open)
    return closed


# --- What refers to what -------------------------------------------------------------------------


def test_whoever_is_selected_is_there(build: Built) -> None:
    """By Services, budgets, policies and monitors; and by the workload's own selector."""
    for one in build.of("Service", "PodDisruptionBudget", "NetworkPolicy", "PodMonitor"):
        spec = one["spec"]
        selector = spec.get("podSelector") or spec["selector"]
        labels = selector.get("matchLabels", selector)
        assert any(matches(labels, each) for each in build.workloads()), named(one)
    for one in build.of("StatefulSet", "Deployment"):
        assert matches(one["spec"]["selector"]["matchLabels"], one), named(one)


def test_every_port_that_is_named_is_opened(build: Built) -> None:
    """Of Services and monitors by some container of the pods; what another shipper opens, by it."""
    opened = {
        (named(workload), port["name"])
        for workload in build.workloads()
        for container in containers(workload)
        for port in container.get("ports", ())
    }
    shippers = {"promtail", "alloy"}
    for service in build.of("Service"):
        for port in service["spec"]["ports"]:
            pods = [one for one in build.workloads() if matches(service["spec"]["selector"], one)]
            names = {name for one in pods for who, name in opened if who == named(one)}
            assert port["targetPort"] in names or port["name"] in shippers, named(service)
    for monitor in build.of("PodMonitor"):
        ports = {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]}
        assert ports - shippers <= {name for _, name in opened}
        assert len(shippers & {name for _, name in opened}) == 1


def test_every_way_in_leads_somewhere(build: Built) -> None:
    """The ingress to Services and ports that exist."""
    for ingress in build.of("Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                service = build.one("Service", backend["name"])
                ports = {port["name"] for port in service["spec"]["ports"]}
                assert backend["port"]["name"] in ports


def test_what_is_mounted_and_read_exists(build: Built) -> None:
    """ConfigMaps, Secrets with their keys, claims, volumes."""
    secrets = {
        "indextts": yaml.safe_load((FOLDER / "secret.example.yaml").read_text("utf-8"))[
            "stringData"
        ],
        "loki-storage": {"access_key", "secret_key"},
    }
    maps = {one["metadata"]["name"] for one in build.of("ConfigMap")}
    claims = {one["metadata"]["name"] for one in built("weights").of("PersistentVolumeClaim")}
    for workload in build.workloads():
        pod = workload["spec"]["template"]["spec"]
        volumes = {one["name"]: one for one in pod["volumes"]}
        volumes |= {
            one["metadata"]["name"]: one for one in workload["spec"].get("volumeClaimTemplates", ())
        }
        for volume in volumes.values():
            if "configMap" in volume:
                assert volume["configMap"]["name"] in maps
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims
            if "secret" in volume:
                kept = secrets[volume["secret"]["secretName"]]
                assert {item["key"] for item in volume["secret"]["items"]} <= set(kept)
        for container in containers(workload):
            mounted = {one["name"] for one in container.get("volumeMounts", ())}
            assert mounted <= set(volumes), container["name"]
            assert {s["configMapRef"]["name"] for s in container.get("envFrom", ())} <= maps
            for variable in container.get("env", ()):
                reference = variable.get("valueFrom", {}).get("secretKeyRef")
                if reference and not reference.get("optional"):
                    assert reference["key"] in secrets[reference["name"]]


def test_what_is_scaled_is_there_and_says_no_number_itself() -> None:
    """Or each apply would set it back; between bounds, and falling back to what is between."""
    build = built("production")
    (scaled,) = build.of("ScaledObject")
    spec = scaled["spec"]
    target = build.one(spec["scaleTargetRef"]["kind"], spec["scaleTargetRef"]["name"])
    assert target["apiVersion"] == spec["scaleTargetRef"]["apiVersion"]
    assert "replicas" not in target["spec"]
    assert spec["minReplicaCount"] <= spec["fallback"]["replicas"] <= spec["maxReplicaCount"]


def test_a_node_can_always_be_drained(build: Built) -> None:
    """Each workload that stays has a budget, and it lets one pod go."""
    budgets = build.of("PodDisruptionBudget")
    for workload in build.of("StatefulSet", "Deployment"):
        (budget,) = (
            one for one in budgets if matches(one["spec"]["selector"]["matchLabels"], workload)
        )
        assert budget["spec"]["maxUnavailable"] == 1


# --- Rights --------------------------------------------------------------------------------------


def test_nobody_may_do_more_than_it_needs(build: Built) -> None:
    """As in docker-compose.yml: no root, no capability, no root file system that can be written."""
    for workload in build.workloads():
        pod = workload["spec"]["template"]["spec"]
        # Ray's autoscaler, in the head's pod, asks Kubernetes for more of them.
        is_head = pod["containers"][0]["name"] == "ray-head"
        assert pod["automountServiceAccountToken"] is is_head
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        for container in containers(workload):
            assert container["securityContext"] == LEAST, container["name"]
            assert container["resources"]["limits"]["memory"]
            assert "hostPort" not in str(container.get("ports"))


def test_no_variable_comes_from_a_service_of_that_name(build: Built) -> None:
    """A Service called indextts would be INDEXTTS_PORT=tcp://…, and Loki's LOKI_* likewise."""
    for workload in build.workloads():
        assert workload["spec"]["template"]["spec"]["enableServiceLinks"] is False


def test_every_image_is_pinned(build: Built) -> None:
    """By a whole version, and the same as Compose's."""
    compose = (ROOT / "docker-compose.yml").read_text("utf-8")
    for workload in build.workloads():
        for container in containers(workload):
            assert re.search(r":v?\d+\.\d+\.\d+$", container["image"])
            # Ray's image is ours with Ray in it, which Compose has no use for.
            assert f"image: {container['image'].replace('-ray:', ':')}\n" in compose


def test_no_secret_is_here() -> None:
    """The example is empty, and in no build."""
    example = yaml.safe_load((FOLDER / "secret.example.yaml").read_text("utf-8"))
    assert set(example["stringData"].values()) == {""}
    assert not [one for build in each() for one in build.of("Secret")]
