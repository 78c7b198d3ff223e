#!/bin/sh
# Set everything up on a fresh machine and check it: style, types, tests, the page in a browser.
# Arguments go to pytest: scripts/test.sh tests/observability -k redaction
set -eu
cd "$(dirname "$0")/.."
. scripts/environment.sh

need ffprobe ffmpeg
need prlimit util-linux
need ip iproute2
need mount mount
need timeout coreutils
need chromium chromium
need fc-list fontconfig
need espeak-ng espeak-ng
need curl curl
need redis-server redis-server
need promtool prometheus
need prometheus prometheus
need prometheus-node-exporter prometheus-node-exporter
need prometheus-alertmanager prometheus-alertmanager
need node nodejs
need npm npm
install_missing
if ! fc-list :lang=zh | grep -q .; then
    missing=fonts-wqy-microhei
    install_missing
fi
compile=--no-compile # most of what the packages hold is never imported
install_python requirements.txt requirements-cluster.txt requirements-dev.txt
npm ci --silent --no-audit --no-fund --prefix tests/loki/logql

.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
# In two processes: most of the time, a test waits for a service. What fails there is judged once more
# by itself, and both runs are printed: that a machine was busy is no fault of what is tested.
status=0
.venv/bin/python -m pytest -n 2 "$@" || status=$?
test "$status" -eq 1 || exit "$status"
echo "The tests that failed, once more by themselves:"
exec .venv/bin/python -m pytest --last-failed --last-failed-no-failures none "$@"
