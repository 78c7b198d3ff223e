#!/bin/sh
# Make IndexTTS-2's own environment and fetch its weights: scripts/setup_indextts2.sh [OPTION ...]
#
#   --cpu              for a machine without a GPU; without it: NVIDIA, Linux x86-64, CUDA 12.8
#   --torch-index URL  with --cpu: where CPU builds of torch are, since those on PyPI are for CUDA;
#                      PyTorch's "Get started" page names its own
#   --package PATH     a wheel or a checkout of index-tts, where GitHub cannot be reached
#   --version 2|2.5    which weights (INDEXTTS_MODEL_VERSION, else 2)
#   --model-dir DIR    where they go (INDEXTTS_MODEL_DIR, else checkpoints)
#   --no-weights       the environment only
#   --venv DIR         where the environment goes (.venv-indextts2)
#
# Running it again does only what is left to do. PYTHON=/path/to/python3.11 names an interpreter.
# Packages come from pip's usual index, the weights from ModelScope (MODELSCOPE_ENDPOINT).
set -eu

revision=ee40fa7d6c6b8a2c7f06105f9f1e65775b74868c
package="git+https://github.com/index-tts/index-tts@$revision"
requirements=requirements-indextts2.txt
torch_index=
version=${INDEXTTS_MODEL_VERSION:-2}
model_dir=${INDEXTTS_MODEL_DIR:-checkpoints}
weights=yes
venv=.venv-indextts2

# absolute PATH: as the caller meant it, before the change of folder below.
absolute() {
    case $1 in
    /*) echo "$1" ;;
    *) echo "$PWD/$1" ;;
    esac
}

while [ $# -gt 0 ]; do
    case $1 in
    --torch-index | --package | --version | --model-dir | --venv)
        [ $# -gt 1 ] || { echo "$1 needs a value; see --help" >&2 && exit 2; }
        ;;
    esac
    case $1 in
    --cpu) requirements=requirements-indextts2-cpu.txt ;;
    --torch-index) torch_index=$2 && shift ;;
    --package) package=$(absolute "$2") && shift ;;
    --version) version=$2 && shift ;;
    --model-dir) model_dir=$(absolute "$2") && shift ;;
    --venv) venv=$(absolute "$2") && shift ;;
    --no-weights) weights= ;;
    -h | --help) sed -n '2,/^set/{s/^# \{0,1\}//;/^set/d;p;}' "$0" && exit 0 ;;
    *) echo "There is no option $1; see --help" >&2 && exit 2 ;;
    esac
    shift
done
case $version in
2 | 2.5) ;;
*) echo "There is no version $version of the model: 2 or 2.5" >&2 && exit 2 ;;
esac
case $package in
/*) [ -e "$package" ] || { echo "There is no $package" >&2 && exit 2; } ;;
esac

cd "$(dirname "$0")/.."
. scripts/environment.sh

# The only one that both allow: index-tts wants less than 3.12, this project 3.11 or newer.
model_python=
for candidate in "${PYTHON:-}" python3.11; do
    if [ -n "$candidate" ] && command -v "$candidate" >/dev/null &&
        "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
        model_python=$candidate
        break
    fi
done
if [ -z "$model_python" ]; then
    echo "IndexTTS-2 needs Python 3.11 (not 3.12). Install it, or name it: PYTHON=/path/to/python3.11 $0" >&2
    exit 1
fi
"$model_python" -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3.11-venv"
case $package in
git+*) need git git ;;
esac
install_missing

# fail WHAT TO_DO: the one way out of a step that did not work.
fail() {
    echo "$1" >&2
    echo "$2" >&2
    exit 1
}

python=$venv/bin/python
stamp=$venv/.installed
wanted=$( (cat "$requirements" && echo "$package") | sha256sum)
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "Installing the model's packages into $venv" >&2
    [ -x "$python" ] || "$model_python" -m venv "$venv"
    pip="$python -m pip install --disable-pip-version-check --no-deps"
    $pip ${torch_index:+--extra-index-url "$torch_index"} -r "$requirements" ||
        fail "The packages could not be installed." "Run $0 again; what is there is kept."
    if [ "$requirements" = requirements-indextts2-cpu.txt ] &&
        ! "$python" -c 'import sys, torch; sys.exit(torch.version.cuda is not None)' 2>/dev/null; then
        # Else pip would take it for what was asked for, the next time.
        "$python" -m pip uninstall --quiet --yes torch torchaudio
        fail "The torch that pip found is built for CUDA." \
            "Name an index with CPU builds: $0 --cpu --torch-index URL (see --help)"
    fi
    $pip --force-reinstall "$package" ||
        fail "index-tts could not be installed from $package." \
            "Where GitHub cannot be reached, bring a checkout or a wheel: $0 --package PATH"
    echo "$wanted" >"$stamp"
fi

# Each torchaudio on PyPI is linked against CUDA. Without its libraries it runs as plain Python,
# which is all that the model needs of it.
if [ "$requirements" = requirements-indextts2-cpu.txt ] &&
    ! "$python" -c 'import torchaudio' 2>/dev/null; then
    rm -f "$venv"/lib/python3.11/site-packages/torchaudio/lib/*.so
fi

# The text normaliser compiles its rules when it first runs; two workers must not both do it.
said=$(PYTHONPATH=. "$python" -c 'import observability
from indextts_app.engines.indextts2 import loading
loading.prepare()' 2>&1) ||
    fail "$said" "The model does not run under $python: delete $venv and run $0 again."

if [ -n "$weights" ]; then
    install_python requirements.txt
    .venv/bin/python scripts/fetch_weights.py --version "$version" --model-dir "$model_dir"
fi

cat <<EOF

IndexTTS-2 is installed. It has a licence of its own: bilibili Model Use License Agreement.
Put this into .env, or export it:

INDEXTTS_ENGINE=indextts2
INDEXTTS_MODEL_VERSION=$version
INDEXTTS_MODEL_DIR="$model_dir"
INDEXTTS_WORKER_PYTHON="$(absolute "$python")"

EOF
if [ -n "$weights" ] || [ -f "$model_dir/config.yaml" ]; then
    echo "Then serve: scripts/run.sh"
else
    echo "There are no weights in $model_dir yet. Fetch them by running $0 without --no-weights"
    echo "(the other options alike), or copy them there. Then serve: scripts/run.sh"
fi
