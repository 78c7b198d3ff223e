#!/bin/sh
# Set everything up on a fresh machine and serve: scripts/run.sh
# Settings come from INDEXTTS_* variables or .env; the README lists them.
set -eu
cd "$(dirname "$0")/.."
. scripts/environment.sh

need ffprobe ffmpeg
need prlimit util-linux
need timeout coreutils
install_missing
cluster=
if [ -n "${INDEXTTS_CLUSTER:-}" ] || grep -qs '^INDEXTTS_CLUSTER=.' .env; then
    cluster=requirements-cluster.txt
fi
# shellcheck disable=SC2086  # nothing, or one name
install_python requirements.txt $cluster
exec .venv/bin/python -m indextts_app
