"""The deployment on Ray Serve: how many replicas there are, and what each may take."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import ray
from ray import serve

from indextts_app.cluster.replica import Replica
from indextts_app.cluster.spec import Wanted

DEPLOYMENT = "engine"

HEALTH_SECONDS = 5.0


def application(wanted: Wanted, restart: Mapping[str, str]) -> serve.Application:
    """What Serve is to run; the same for whoever wants the same, so that none is started anew."""
    spec, voice = wanted.cluster, wanted.replica.engine.sample_voice
    deployment = serve.deployment(
        Replica,
        name=DEPLOYMENT,
        max_ongoing_requests=1,
        autoscaling_config={
            "min_replicas": spec.min_replicas,
            "max_replicas": spec.max_replicas,
            "target_ongoing_requests": 1 + spec.waiting_per_replica,
            "upscale_delay_s": spec.upscale_seconds,
            "downscale_delay_s": spec.downscale_seconds,
            "metrics_interval_s": spec.tell_seconds,
            "look_back_period_s": spec.look_back_seconds,
        },
        ray_actor_options={
            "num_cpus": spec.cpus,
            "num_gpus": spec.gpus,
            **({"memory": int(spec.memory_mb * 1e6)} if spec.memory_mb else {}),
        },
        # Whoever is at work when a replica is to go is let finish.
        graceful_shutdown_timeout_s=wanted.replica.request_seconds,
        graceful_shutdown_wait_loop_s=0.5,
        health_check_period_s=HEALTH_SECONDS,
        logging_config={"enable_access_log": False},
        user_config=dict(restart),
    )
    # Without one Serve would make a new one each time, and replace every replica when a second
    # service starts, or this one again.
    deployment._version = wanted.replica.digest()
    return deployment.bind(
        wanted.replica.fields(), wanted.replica.digest(), voice.read_bytes() if voice else None
    )


def unfit_reason(message: str) -> str | None:
    """Why a replica says that it cannot serve, out of what Serve says; None if it did not."""
    found = re.findall(r"ReplicaUnfit: (.+)", message)
    return found[-1].strip().rstrip("'\"") if found else None


def lacking(resources: Mapping[str, float]) -> str:
    """Why no replica is running, going by what the nodes of the cluster have."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    wanted = ", ".join(_amount(name, amount) for name, amount in resources.items()) or "nothing"
    if not any(_has(node, resources) for node in nodes):
        return (
            f"no node of the cluster has what a replica takes ({wanted}); there are {len(nodes)} "
            "nodes. Add one, or let a replica take less (INDEXTTS_CLUSTER_GPUS, _CPUS, _MEMORY_MB)"
        )
    if not _has(ray.available_resources(), resources):
        return (
            f"all that a replica takes ({wanted}) is in use: by one that is being started, or by "
            "others on the cluster"
        )
    return "a replica is being started"


def _has(there: Mapping[str, Any], resources: Mapping[str, float]) -> bool:
    return all(there.get(name, 0) >= amount for name, amount in resources.items())


def _amount(name: str, amount: float) -> str:
    return f"{amount / 1e6:g} MB of memory" if name == "memory" else f"{amount:g} {name}"
