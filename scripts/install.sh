#!/usr/bin/env bash
# Installs this checkout with its pinned packages into an environment; called by make.
#
#   scripts/install.sh PYTHON
#
# PYTHON: the interpreter of the environment, e.g. .venv/bin/python. TORCH: see scripts/install-torch.sh.
set -euo pipefail

[ $# -eq 1 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 2; }

cd "$(dirname "$0")/.."
pip() { "$1" -m pip install --quiet "${@:2}"; }

echo "Installing the pinned packages: some minutes, most of them downloads"
scripts/install-torch.sh "$1"
pip "$1" -r requirements.txt || {
    command -v cc >/dev/null || command -v c++ >/dev/null ||
        echo "error: a package had to be compiled and there is no C/C++ compiler" \
            "(Debian, Ubuntu: apt install build-essential)" >&2
    exit 1
}
pip "$1" --no-deps -r requirements-simulators.txt
pip "$1" --no-deps --editable .
