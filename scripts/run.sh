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
install_python requirements.txt
exec .venv/bin/python -m indextts_app
