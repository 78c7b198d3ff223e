"""
A Ray cluster of one's own for a measurement: its nodes are processes of this machine.

    scripts/own_cluster.py [--nodes a:2 b:1] [--redis HOST:PORT]

Prints its address and the folder of its logs, then does what it reads, and answers `done` to each:

    add NAME CPUS    start a node          kill NAME       end a node as a power cut would
    head away        end the head          head back       start it again
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

HEAD_CPUS = 8
STOP_SECONDS = 30.0


class OwnCluster:
    """A cluster that ends with the `with` block of `clustered`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.address, _, logs = self._answer().partition(" ")
        self.logs = Path(logs)
        """Where its processes write."""

    def tell(self, command: str) -> None:
        """Do one of the commands above, and wait until it is done."""
        print(command, file=self._process.stdin, flush=True)
        answer = self._answer()
        if answer != "done":
            raise RuntimeError(answer)

    def _answer(self) -> str:
        for line in self._process.stdout or ():
            if line.startswith("> "):
                return line[2:].strip()
        raise RuntimeError("the cluster has ended")


@contextmanager
def clustered(nodes: Sequence[str] = (), *, redis: str | None = None) -> Iterator[OwnCluster]:
    """
    A cluster for the time of the block.

    Args:
        nodes: NAME:CPUS of each node beside the head, which has CPUs only where there is none.
        redis: HOST:PORT of the Redis that the head keeps what it knows in; None for its memory.
    """
    command = [sys.executable, str(Path(__file__).resolve()), "--nodes", *nodes]
    with subprocess.Popen(
        [*command, *(["--redis", redis] if redis else [])],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield OwnCluster(process)
        finally:
            if process.stdin:
                process.stdin.close()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def main() -> None:
    """Be the cluster until the end of the input."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", nargs="*", default=[], metavar="NAME:CPUS")
    parser.add_argument("--redis", metavar="HOST:PORT")
    given = parser.parse_args()
    if given.redis:
        os.environ["RAY_REDIS_ADDRESS"] = given.redis
    # Read by Ray when it is imported; a head that is away for a minute is no end of the nodes.
    os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "600")
    os.environ.setdefault("RAY_enable_metrics_collection", "0")
    from ray.cluster_utils import Cluster

    options = {"include_dashboard": False, "object_store_memory": 100 * 1024 * 1024}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 0 if given.nodes else HEAD_CPUS,
            "node_name": "head",
            **options,
        },
    )
    nodes = {}

    def add(name: str, cpus: str) -> None:
        nodes[name] = cluster.add_node(num_cpus=float(cpus), node_name=name, **options)

    for node in given.nodes:
        add(*node.split(":"))
    print(f"> {cluster.address} {cluster.head_node.get_logs_dir_path()}", flush=True)
    for line in sys.stdin:
        match line.split():
            case ["add", name, cpus]:
                add(name, cpus)
            case ["kill", name]:
                cluster.remove_node(nodes.pop(name), allow_graceful=False)
            case ["head", "away"]:
                cluster.head_node.kill_gcs_server()
            case ["head", "back"]:
                cluster.head_node.start_gcs_server()
            case _:
                print(f"> unknown: {line.strip()}", flush=True)
                continue
        print("> done", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
