#!/usr/bin/env bash
# Builds the wheel, installs it in an empty environment, and runs a small sweep there from an empty folder.
#
#   .ci/wheel.sh PYTHON
#
# PYTHON: of Python 3.11 to 3.13. TORCH: see scripts/install-torch.sh.
set -euo pipefail

[ $# -eq 1 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 2; }

python=$(command -v "$1")
cd "$(dirname "$0")/.."
work=$(mktemp -d -t prefine-wheel.XXXXXXXX)
trap 'rm -rf "$work"' EXIT

git archive --prefix=source/ HEAD | tar -x -C "$work" # the build leaves files in its folder
"$python" -m venv "$work/venv"
bin=$work/venv/bin
"$bin/python" -m pip wheel --quiet --no-deps --wheel-dir "$work/dist" "$work/source"
scripts/install-torch.sh "$bin/python"
"$bin/python" -m pip install --quiet "$work"/dist/prefine_ray-*.whl
"$bin/prefine" install-simulators

mkdir "$work/empty"
cd "$work/empty"
"$bin/prefine" sweep quick --tasks BallRun --set seeds=1 weights=[1] finetune.steps=20 data.episodes=60 \
    preferences.num_preferred=5 preferences.num_dispreferred=3 evaluation.episodes=2
test -s results/quick/report.html
test -s results/quick/episodes.parquet
