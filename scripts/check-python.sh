#!/usr/bin/env bash
# Says whether an interpreter can run this project (see requires-python in pyproject.toml); called by make.
#
#   scripts/check-python.sh PYTHON
set -euo pipefail

[ $# -eq 1 ] || { sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 2; }

cd "$(dirname "$0")/.."
"$1" - <<'CODE' || exit 1
import re, sys
low, end = (int(n) for n in re.search(r'requires-python = ">=3\.(\d+),<3\.(\d+)"', open("pyproject.toml").read()).groups())
if not (3, low) <= sys.version_info[:2] < (3, end):
    sys.exit("error: %s is Python %d.%d; this project needs 3.%d to 3.%d (later ones lack wheels, see the README). "
             "Choose one with: make PYTHON=python3.%d ..." % (sys.executable, *sys.version_info[:2], low, end - 1, end - 1))
CODE
"$1" -c 'import venv, ensurepip' 2>/dev/null ||
    { echo "error: $1 has no venv module; install it (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }
