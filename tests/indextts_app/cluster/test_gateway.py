"""Promises of the gateway's process."""

from __future__ import annotations

import socket
import subprocess
import sys
from dataclasses import replace

from indextts_app.cluster.spec import ClusterSpec, ReplicaSpec, Wanted
from indextts_app.workers import channel
from indextts_app.workers.memory_ladder import Ladder
from indextts_app.workers.worker import ROOT, EngineSpec

SPEC = Wanted(ClusterSpec("", "silent"), ReplicaSpec(EngineSpec("drill"), Ladder()))
END_SECONDS = 20.0


def test_a_gateway_that_ray_keeps_waiting_ends_with_its_service() -> None:
    """Where a port takes connections and says nothing, which Ray endures, none is left over."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        wanted = replace(SPEC, cluster=replace(SPEC.cluster, address=address))
        ours, theirs = socket.socketpair()
        with theirs:
            gateway = subprocess.Popen(
                [sys.executable, "-m", "indextts_app.cluster.gateway", str(theirs.fileno())],
                cwd=ROOT,
                pass_fds=(theirs.fileno(),),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        try:
            with ours:
                ours.sendall(channel.pack_head({"wanted": wanted.fields(), "deploy": True}))
                silent.settimeout(END_SECONDS)
                silent.accept()[0].close()
            assert gateway.wait(END_SECONDS) == 0
        finally:
            gateway.kill()
            gateway.wait()
