#!/bin/sh
# Set everything up on a fresh machine and check it: style, types, tests, the page in a browser.
# Arguments go to pytest: scripts/test.sh tests/observability -k redaction
set -eu
cd "$(dirname "$0")/.."
. scripts/environment.sh

need ffprobe ffmpeg
need prlimit util-linux
need timeout coreutils
need chromium chromium
need fc-list fontconfig
need espeak-ng espeak-ng
need promtool prometheus
install_missing
if ! fc-list :lang=zh | grep -q .; then
    missing=fonts-wqy-microhei
    install_missing
fi
install_python requirements.txt requirements-dev.txt

.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/mypy
exec .venv/bin/python -m pytest "$@"
