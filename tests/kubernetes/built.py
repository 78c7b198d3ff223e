"""What `kubectl kustomize` makes of the folders of kubernetes/, as objects."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "kubernetes"

Object = Mapping[str, Any]

POD_NAME = "indextts-0"

BUILDS = ("service", "gpu", "production", "ray", "weights", "loki")
"""What is applied as it is; every other folder is a component of one of these."""


@dataclass(frozen=True, slots=True)
class Built:
    """The objects of one build."""

    name: str
    objects: tuple[Object, ...]

    def of(self, *kinds: str) -> list[Object]:
        """All objects of these kinds."""
        return [one for one in self.objects if one["kind"] in kinds]

    def one(self, kind: str, name: str) -> Object:
        """The object of that name, whatever hash is behind it."""
        names = {one["metadata"]["name"]: one for one in self.of(kind)}
        return names.get(name) or next(
            one for hashed, one in names.items() if hashed.rpartition("-")[0] == name
        )

    def workloads(self) -> list[Object]:
        """Whatever makes pods; each group of a Ray cluster by itself, labelled as KubeRay does."""
        groups = []
        for one in self.of("RayCluster"):
            heads = [("head", one["spec"]["headGroupSpec"])]
            for kind, group in [*heads, *(("worker", g) for g in one["spec"]["workerGroupSpecs"])]:
                name = one["metadata"]["name"]
                labels = {"ray.io/cluster": name, "ray.io/node-type": kind}
                pod = {"metadata": {"labels": labels}, **group["template"]}
                groups.append({"kind": "Group", "metadata": {"name": name},
                               "spec": {"template": pod}})  # fmt: skip
        return [*self.of("StatefulSet", "Deployment", "Job"), *groups]

    def settings(self, container: Object) -> dict[str, str]:
        """The environment of a container as its pod would have it; what a Secret gives is empty."""
        given: dict[str, str] = {}
        for source in container.get("envFrom", ()):
            given |= self.one("ConfigMap", source["configMapRef"]["name"])["data"]
        for one in container.get("env", ()):
            is_name = one.get("valueFrom") == {"fieldRef": {"fieldPath": "metadata.name"}}
            value = POD_NAME if is_name else one.get("value", "")
            given[one["name"]] = re.sub(r"\$\((\w+)\)", lambda known: given[known[1]], value)
        return given


def containers(workload: Object) -> list[Object]:
    """All of a workload's, those that run beside and before included."""
    pod = workload["spec"]["template"]["spec"]
    return [*pod.get("initContainers", ()), *pod["containers"]]


def matches(selector: Mapping[str, str], workload: Object) -> bool:
    """Whether a selector finds the pods of a workload."""
    template = workload["spec"]["template"]["metadata"]["labels"]
    labels = {**template, "statefulset.kubernetes.io/pod-name": f"{workload['metadata']['name']}-0"}
    return all(labels.get(name) == value for name, value in selector.items())


@cache
def kustomize() -> str | None:
    """Why nothing can be built here; None where kubectl has Kustomize 5."""
    if not shutil.which("kubectl"):
        return "kubectl is not installed; no folder of kubernetes/ was built"
    asked = ["kubectl", "version", "--client", "-o", "json"]
    told = subprocess.run(asked, capture_output=True, text=True).stdout
    version = json.loads(told or "{}").get("kustomizeVersion", "none")
    if not re.match(r"v([5-9]|\d\d)", version):
        return f"this kubectl has Kustomize {version}, and 5 is needed; nothing was built"
    return None


@cache
def built(name: str) -> Built:
    """What one folder comes to."""
    if missing := kustomize():
        pytest.skip(missing)
    done = subprocess.run(
        ["kubectl", "kustomize", FOLDER / name], capture_output=True, text=True
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Built(name, tuple(one for one in yaml.safe_load_all(done.stdout) if one))


def each() -> Iterator[Built]:
    """Every build."""
    return map(built, BUILDS)
