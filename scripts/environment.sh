# Sourced by run.sh and test.sh: system packages and the Python environment, made once.

python_bin=${PYTHON:-}
if [ -z "$python_bin" ]; then
    for candidate in python3.11 python3.12 python3.13 python3; do
        if command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
            python_bin=$candidate
            break
        fi
    done
fi

# need COMMAND PACKAGE: remember the Debian package of a command that is missing.
missing=
need() {
    command -v "$1" >/dev/null || missing="$missing $2"
}

# install_missing: by apt-get where root, else say what to install.
install_missing() {
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "Missing system packages:$missing" >&2
        echo "Install them with: sudo apt-get install$missing" >&2
        exit 1
    fi
    echo "Installing system packages:$missing" >&2
    apt-get update -qq
    # Run level 1: a package that brings a service (prometheus) must not start it here.
    # shellcheck disable=SC2086  # a list of package names
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
    missing=
}

# install_python REQUIREMENTS...: a .venv that holds exactly these; made anew when they change.
# compile=--no-compile leaves each module to be compiled when it is first imported.
compile=--compile
install_python() {
    if [ -z "$python_bin" ]; then
        echo "Python 3.11 or newer is needed. Install it, or name it: PYTHON=/path/to/python3.11 $0" >&2
        exit 1
    fi
    "$python_bin" -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
    install_missing
    stamp=.venv/.installed
    wanted=$(cat "$@" | sha256sum)
    if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
        echo "Installing Python packages into .venv" >&2
        [ -x .venv/bin/python ] || "$python_bin" -m venv .venv
        set -- $(printf -- '-r %s ' "$@")
        # The lists are complete, so there is nothing to resolve.
        .venv/bin/python -m pip install --quiet --disable-pip-version-check \
            --no-deps "$compile" "$@"
        echo "$wanted" >"$stamp"
    fi
}
