#!/usr/bin/env bash
# Builds the environment of the clients that our tests call as processes (tests/clients), unless it is there.
#
#   .ci/clients.sh PYTHON FOLDER
#
# PYTHON: of the environment whose packages the clients see, too. FOLDER: where the new environment goes.
set -euo pipefail

[ $# -eq 2 ] || { sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 2; }

python=$1 folder=$2
requirements=$(cd "$(dirname "$0")/.." && pwd)/tests/clients/requirements.txt
cmp --silent "$requirements" "$folder/installed.txt" && exit 0

rm -rf "$folder"
"$python" -m venv "$folder"
places='import sysconfig; print(sysconfig.get_path("purelib"))'
"$python" -c "$places" >"$("$folder/bin/python" -c "$places")/ours.pth"
"$folder/bin/python" -m pip install --quiet --no-deps --ignore-requires-python -r "$requirements"
cp "$requirements" "$folder/installed.txt"
