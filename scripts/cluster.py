"""
What runs on the cluster that the settings name, and its end:

    scripts/cluster.py status      replicas by state, and what Serve says of them
    scripts/cluster.py remove      take the deployment away, from all services that use it
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from indextts_app.cluster.spec import cluster_of
from indextts_app.settings import SettingsError, load


def main() -> int:
    """Print it, or remove it; 1 if there is no such deployment."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("status", "remove"))
    given = parser.parse_args()
    try:
        wanted = cluster_of(load())
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    if wanted is None:
        print("INDEXTTS_CLUSTER is not set: name the cluster that is meant.", file=sys.stderr)
        return 2
    # Not before: without a cluster there is no Ray.
    from indextts_app.cluster import deployment, gateway

    try:
        gateway.connect(wanted.address, code=False)
    except gateway.UNREACHABLE as error:
        print(f"The cluster cannot be reached: {gateway.first_line(error)}.", file=sys.stderr)
        return 2
    from ray import serve

    app = serve.status().applications.get(wanted.app)
    if app is None:
        print(f"Nothing runs there as '{wanted.app}' (INDEXTTS_CLUSTER_APP).", file=sys.stderr)
        return 1
    if given.command == "remove":
        serve.delete(wanted.app)
        print(f"'{wanted.app}' is removed.")
        return 0
    print(f"{wanted.app}: {app.status.value}")
    for name, found in app.deployments.items():
        states = ", ".join(f"{count} {state}" for state, count in found.replica_states.items())
        # Of a replica that does not start Serve says where in our code it did not.
        said = deployment.unfit_reason(found.message) or found.message.partition("\n")[0]
        print(f"  {name}: {states or 'no replica'} {said}".rstrip())
    return 0


if __name__ == "__main__":
    sys.exit(main())
