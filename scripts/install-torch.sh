#!/usr/bin/env bash
# Installs the PyTorch that requirements.txt names.
#
#   scripts/install-torch.sh PYTHON
#
# PYTHON: the interpreter of the environment to install into, e.g. .venv/bin/python.
# TORCH=cpu takes the build without CUDA, TORCH=cuda the one with it. By default: with, where there is an NVIDIA GPU;
# without, where there is none and the index of these builds can be reached; else what PyPI has.
# TORCH_CPU_INDEX: that index (default: https://download.pytorch.org/whl/cpu).
set -euo pipefail

[ $# -eq 1 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2; }

python=$1
requirement=$(grep -E '^torch==' "$(dirname "$0")/../requirements.txt")
version=${requirement#torch==}
index=${TORCH_CPU_INDEX:-https://download.pytorch.org/whl/cpu}

install() { "$python" -m pip install --quiet --no-deps "$@"; }
from_cpu_index() { install --index-url "$index" --retries 1 --timeout 15 "torch==$version+cpu"; }
has_gpu() { command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; }

case ${TORCH:-} in
cpu | cuda) ;;
"") if has_gpu; then TORCH=cuda; else TORCH=auto; fi ;;
*) echo "error: TORCH is '$TORCH'; it must be cpu or cuda" >&2; exit 2 ;;
esac

[ "$(uname -s)" = Linux ] || TORCH=pypi # PyPI's builds for other systems have no CUDA

case $TORCH in
pypi) install "torch==$version" ;;
cuda) install "torch===$version" ;; # PyPI's build by its exact name: "==" would take one for CPUs, too
cpu)
    from_cpu_index || {
        echo "error: $index gives no torch $version for CPUs; set TORCH_CPU_INDEX to a mirror of it, or take" \
            "PyPI's build with CUDA, several gigabytes: TORCH=cuda make sweep" >&2
        exit 1
    } ;;
auto)
    errors=$(mktemp)
    trap 'rm -f "$errors"' EXIT
    from_cpu_index 2>"$errors" || {
        echo "torch: $index gives no build of torch $version for CPUs: $(grep -E '^ERROR' "$errors" | tail -1)" >&2
        echo "torch: taking PyPI's, which on Linux brings CUDA: 3 GB to download, 5 GB on disk, though there is no GPU" \
            "here. Choose with TORCH=cpu make sweep (and TORCH_CPU_INDEX=<mirror>), or TORCH=cuda make sweep." >&2
        install "torch===$version"
    } ;;
esac
