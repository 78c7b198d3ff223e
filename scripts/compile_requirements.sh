#!/bin/sh
# Compile the .in files, with a hash for each file that may be installed:
#   scripts/compile_requirements.sh              pins stay as they are, what is new is added
#   scripts/compile_requirements.sh --upgrade    everything that the .in files leave open goes up
# Run it after each change of an .in file. Which index is asked is uv's own setting.
set -eu
cd "$(dirname "$0")/.."
uv=uv==0.13.9
[ -x .venv/bin/python ] || { echo "There is no .venv yet: run scripts/run.sh first" >&2 && exit 1; }

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
.venv/bin/python -m venv "$tools"
"$tools/bin/python" -m pip install --quiet --disable-pip-version-check "$uv"
for name in requirements requirements-cluster requirements-dev; do
    "$tools/bin/uv" pip compile --quiet "$@" \
        --universal --python-version 3.11 \
        --generate-hashes --annotation-style line --no-header \
        --no-emit-index-url --no-emit-find-links \
        --output-file "$name.txt" "$name.in"
done
