"""What of a cluster is wanted: where it is, what each replica may take of it, and what it runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from indextts_app.settings import Settings, SettingsError
from indextts_app.workers.memory_ladder import Ladder
from indextts_app.workers.worker import EngineSpec

LOCAL_ONLY = {
    "workers": "INDEXTTS_CLUSTER_MIN_REPLICAS and INDEXTTS_CLUSTER_MAX_REPLICAS say how many run",
    "idle_unload_seconds": "the cluster takes replicas away by itself, down to "
    "INDEXTTS_CLUSTER_MIN_REPLICAS",
}
"""Settings of the local pool, each with what says the same of a cluster."""

SECRETS = ("speech_api_key", "speech_api_key_file")

OVERTIME_SECONDS = 10.0
"""A replica gives a request up so long after its service should have."""


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """Where the replicas run, how many, and what each takes of its node."""

    address: str
    """`auto` for the Ray that runs on this machine, or HOST:PORT."""
    app: str
    """Services that name the same one share its replicas."""
    min_replicas: int = 1
    max_replicas: int = 4
    waiting_per_replica: float = 1.0
    gpus: float = 0.0
    cpus: float = 1.0
    memory_mb: float = 0.0
    """0 for no limit."""
    upscale_seconds: float = 10.0
    """A queue that is gone by then needs no other replica; loading one takes longer anyway."""
    tell_seconds: float = 10.0
    """How often a gateway tells how long its queue is."""
    look_back_seconds: float = 15.0
    """More than that."""
    downscale_seconds: float = 600.0
    """Longer than a pause between two batches: what was loaded at some cost stays for a while."""

    @property
    def resources(self) -> dict[str, float]:
        """What a replica takes, by Ray's names."""
        named = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory_mb * 1e6}
        return {name: amount for name, amount in named.items() if amount}


@dataclass(frozen=True, slots=True)
class ReplicaSpec:
    """What a replica runs."""

    engine: EngineSpec
    ladder: Ladder
    memory_mb: float = 0.0
    """More than this ends its worker; 0 for no limit."""
    request_seconds: float = 70.0
    """How long it works on one request, whoever still waits for it."""

    def fields(self) -> dict[str, Any]:
        """As the head of a message holds it; without secrets, which stay where they are."""
        engine, voice = asdict(self.engine), self.engine.sample_voice
        del engine["secrets"]
        engine |= {"python": str(self.engine.python), "sample_voice": str(voice) if voice else None}
        return {**asdict(self), "engine": engine}

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> ReplicaSpec:
        """What a message holds."""
        engine, voice = fields["engine"], fields["engine"]["sample_voice"]
        paths = {"python": Path(engine["python"]), "sample_voice": Path(voice) if voice else None}
        return cls(
            EngineSpec(**{**engine, **paths}),
            Ladder(**fields["ladder"]),
            fields["memory_mb"],
            fields["request_seconds"],
        )

    def digest(self) -> str:
        """The same for whoever wants the same: they share replicas, and none is started anew."""
        fields, voice = self.fields(), self.engine.sample_voice
        if voice:
            # Where it lies may differ from service to service.
            fields["engine"]["sample_voice"] = hashlib.sha256(voice.read_bytes()).hexdigest()
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Wanted:
    """All that a gateway has to know."""

    cluster: ClusterSpec
    replica: ReplicaSpec

    def fields(self) -> dict[str, Any]:
        """As the head of a message holds it."""
        return {"cluster": asdict(self.cluster), "replica": self.replica.fields()}

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Wanted:
        """What a message holds."""
        return cls(ClusterSpec(**fields["cluster"]), ReplicaSpec.of(fields["replica"]))


def cluster_of(settings: Settings) -> ClusterSpec | None:
    """
    Where the settings want the engines to run; None for here.

    Raises:
        SettingsError: Ray is not installed, or a setting has no meaning there.
    """
    if settings.cluster is None:
        return None
    if find_spec("ray") is None:
        raise SettingsError(
            "INDEXTTS_CLUSTER is set, and Ray is not installed here: start with scripts/run.sh, or "
            "run `pip install -r requirements-cluster.txt`."
        )
    for name, instead in LOCAL_ONLY.items():
        if name in settings.model_fields_set:
            raise SettingsError(
                f"INDEXTTS_{name.upper()} has no meaning with INDEXTTS_CLUSTER: {instead}."
            )
    if any(getattr(settings, name) for name in SECRETS):
        raise SettingsError(
            "With INDEXTTS_CLUSTER a key does not travel through Ray, which would store it: unset "
            "INDEXTTS_SPEECH_API_KEY and INDEXTTS_SPEECH_API_KEY_FILE here, and set "
            "INDEXTTS_SPEECH_API_KEY where `ray start` runs on each node."
        )
    model_dir = settings.model_dir if settings.engine == "indextts2" else None
    for name, path in (("MODEL_DIR", model_dir), ("WORKER_PYTHON", settings.worker_python)):
        if path and not path.is_absolute():
            raise SettingsError(
                f"INDEXTTS_{name} is '{path}', which means nothing on another node: with "
                "INDEXTTS_CLUSTER it must be an absolute path that is the same on all of them."
            )
    if settings.cluster_max_replicas < settings.cluster_min_replicas:
        raise SettingsError(
            "INDEXTTS_CLUSTER_MAX_REPLICAS is less than INDEXTTS_CLUSTER_MIN_REPLICAS: raise it."
        )
    return ClusterSpec(
        address=settings.cluster,
        app=settings.cluster_app,
        min_replicas=settings.cluster_min_replicas,
        max_replicas=settings.cluster_max_replicas,
        waiting_per_replica=settings.cluster_waiting_per_replica,
        gpus=settings.cluster_gpus,
        cpus=settings.cluster_cpus,
        memory_mb=settings.cluster_memory_mb,
    )
