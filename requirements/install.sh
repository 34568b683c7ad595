#!/usr/bin/env bash
# Fill a virtual environment with exactly what the lock files say. `make` calls it; it can be repeated.
#   requirements/install.sh [VENV]
# PYTHON names the Python 3.11 to use. pip's own variables work, PIP_FIND_LINKS and PIP_EXTRA_INDEX_URL among them.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${1:-.venv}

fail() { printf '%s\n' '' "$@" >&2; exit 1; }

is_311() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1; }

find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3.11 python3 python; do
        if is_311 "$candidate"; then command -v "$candidate"; return; fi
    done
    return 1
}

if ! is_311 "$venv/bin/python"; then
    python=$(find_python) || fail \
        "GenTG's environment needs Python 3.11 with its venv module, and none was found." \
        "Install it (Debian, Ubuntu: apt-get install python3.11 python3.11-venv; macOS: brew install python@3.11)" \
        "or say where it is: make PYTHON=/path/to/python3.11"
    echo "Creating $venv with $python"
    "$python" -m venv --clear "$venv"
fi
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }

if [[ $(uname -s) == Linux && -z ${PIP_EXTRA_INDEX_URL:-}${PIP_INDEX_URL:-}${PIP_FIND_LINKS:-} ]] \
    && ! command -v nvidia-smi >/dev/null; then
    cat <<'EOF'
Note: no NVIDIA driver was found, yet PyTorch's default build for Linux brings gigabytes of CUDA libraries.
      It works, only larger. For the small build, stop here, set PIP_EXTRA_INDEX_URL to the CPU index that
      PyTorch's "Get Started" page names, and run make again.
EOF
fi

echo "Installing the packages of requirements/*.lock (once; a few minutes)"
pip install --quiet --no-deps -r requirements/backend.lock -r requirements/blender.lock -r requirements/dev.lock
pip install --quiet -c requirements/backend.lock -r requirements/torch.lock
pip install --quiet --no-deps --no-build-isolation --editable .

if ! error=$("$venv/bin/python" -c 'import bpy' 2>&1); then
    libraries="libgl1 libegl1 libsm6 libice6 libx11-6 libxfixes3 libxi6 libxkbcommon0 libxrender1"
    message=("Blender as a Python module (bpy) cannot be loaded:" "    ${error##*$'\n'}"
        "On Debian and Ubuntu its system libraries come with" "    apt-get install --no-install-recommends $libraries"
        "Then run make again.")
    if [[ -n ${GENTG_BLENDER:-} ]] || command -v blender >/dev/null; then
        printf '%s\n' "${message[@]}" "Going on without: there is a Blender on this machine." >&2
    else
        fail "${message[@]}" "A Blender 4.5 or newer in GENTG_BLENDER or on the PATH does as well."
    fi
fi
echo "Ready: $venv/bin/gentg --help"
