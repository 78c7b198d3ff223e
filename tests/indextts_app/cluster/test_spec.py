"""Promises of what is wanted of a cluster, before anything of Ray is touched."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from indextts_app.cluster.spec import ReplicaSpec, cluster_of
from indextts_app.settings import SettingsError
from indextts_app.workers.memory_ladder import Ladder
from indextts_app.workers.worker import EngineSpec


def test_without_ray_the_error_says_how_to_install_it(
    tmp_path: Path, drill_settings: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a command that can be copied."""
    # So Python takes a package for one that is not there.
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingsError, match=r"`pip install -r requirements-cluster\.txt`"):
        cluster_of(drill_settings(tmp_path, cluster="auto"))
    assert cluster_of(drill_settings(tmp_path)) is None


@pytest.mark.parametrize(
    ("setting", "advice"),
    [
        ({"workers": 2}, "INDEXTTS_CLUSTER_MAX_REPLICAS"),
        ({"idle_unload_seconds": 60}, "INDEXTTS_CLUSTER_MIN_REPLICAS"),
        ({"speech_api_key": "sk-1"}, "where `ray start` runs on each node"),
        ({"worker_python": Path(".venv/bin/python")}, "the same on all of them"),
        ({"model_dir": Path("checkpoints"), "engine": "indextts2"}, "must be an absolute path"),
        ({"cluster_min_replicas": 3, "cluster_max_replicas": 2}, "raise it"),
    ],
)
def test_a_setting_that_has_no_meaning_on_a_cluster_is_refused(
    tmp_path: Path, drill_settings: Callable[..., Any], setting: dict[str, Any], advice: str
) -> None:
    """By its name, with what to do instead; a key is not repeated."""
    with pytest.raises(SettingsError) as raised:
        cluster_of(drill_settings(tmp_path, cluster="auto", **setting))
    told = str(raised.value)
    assert advice in told
    assert f"INDEXTTS_{next(iter(setting)).upper()}" in told
    assert "sk-1" not in told


def test_services_that_keep_the_same_voice_elsewhere_share_replicas(tmp_path: Path) -> None:
    """What is wanted is the same where the sample voice is, wherever it lies; else it is not."""
    digests = []
    for name, content in (("a", b"one"), ("b", b"one"), ("c", b"two")):
        voice = tmp_path / f"{name}.wav"
        voice.write_bytes(content)
        digests.append(ReplicaSpec(EngineSpec("drill", sample_voice=voice), Ladder()).digest())

    assert digests[0] == digests[1] != digests[2]
