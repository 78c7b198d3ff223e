"""Promises of `scripts/cluster.py`; what Ray Serve would say is given."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from in_process import Asker

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts"))

import cluster

APP = SimpleNamespace(
    status=SimpleNamespace(value="DEPLOYING"),
    deployments={
        "engine": SimpleNamespace(
            replica_states={"STARTING": 1, "RUNNING": 2}, message="one is being started"
        )
    },
)


class Serve:
    """Ray Serve's status and its deletions, without Ray."""

    def __init__(self) -> None:
        self.applications: dict[str, Any] = {"indextts": APP, "another": APP}

    def status(self) -> Serve:
        """Itself: it has the applications."""
        return self

    def delete(self, name: str) -> None:
        """Take one away."""
        del self.applications[name]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Serve:
    """What runs on the cluster."""
    serve = Serve()
    gateway = SimpleNamespace(connect=lambda *_, **__: None, UNREACHABLE=(OSError,))
    deployment = SimpleNamespace(unfit_reason=lambda _: None)
    for name, module in (("gateway", gateway), ("deployment", deployment)):
        monkeypatch.setitem(sys.modules, f"indextts_app.cluster.{name}", module)
        monkeypatch.setattr(f"indextts_app.cluster.{name}", module, raising=False)
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(serve=serve, __spec__=object()))
    monkeypatch.setenv("INDEXTTS_CLUSTER", "auto")
    return serve


@pytest.fixture
def ask(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Asker:
    """The script, in a folder without a file of settings."""
    monkeypatch.chdir(tmp_path)
    return Asker(cluster.main, monkeypatch, capsys)


def test_status_tells_the_replicas(serve: Serve, ask: Asker) -> None:
    """How many are in which state, and what Serve says of them."""
    assert ask("status") == (
        0,
        "indextts: DEPLOYING\n  engine: 1 STARTING, 2 RUNNING one is being started\n",
        "",
    )


def test_remove_takes_away_what_the_settings_name(serve: Serve, ask: Asker) -> None:
    """And nothing else; a second time there is nothing to remove."""
    assert ask("remove") == (0, "'indextts' is removed.\n", "")
    assert list(serve.applications) == ["another"]
    told = "Nothing runs there as 'indextts' (INDEXTTS_CLUSTER_APP).\n"
    assert ask("remove") == (1, "", told)
    assert ask("status") == (1, "", told)


def test_without_a_cluster_the_setting_is_named(
    ask: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is asked of anybody."""
    monkeypatch.delenv("INDEXTTS_CLUSTER", raising=False)
    told = "INDEXTTS_CLUSTER is not set: name the cluster that is meant.\n"
    assert ask("status") == (2, "", told)
