"""Data sets and evaluations are the same bits whatever kernels the libraries choose for the CPU."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

AVX2 = "+avx,+avx2,+fma,+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+bmi,+bmi2,+f16c,+popcnt"
OTHER_KERNELS = {  # of MKL, PyTorch, OpenBLAS, NumPy, and LLVM behind Numba
    "AVX2": {
        "MKL_CBWR": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "OPENBLAS_CORETYPE": "Haswell",
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": AVX2,
        "NPY_DISABLE_CPU_FEATURES": ("AVX512",),
    },
    "none": {
        "MKL_CBWR": "COMPATIBLE",
        "ATEN_CPU_CAPABILITY": "default",
        "OPENBLAS_CORETYPE": "Prescott",
        "NUMBA_CPU_NAME": "generic",
        "NPY_DISABLE_CPU_FEATURES": ("AVX512", "AVX2", "FMA3"),
    },
}


def digests(episodes: int, environment: dict) -> str:
    command = [sys.executable, "-m", "tests.rollouts.same_bits", str(episodes)]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    return done.stdout


def numpy_features(prefixes: tuple[str, ...]) -> str:
    """Those that this NumPy can choose kernels by, and this CPU has, and that begin so."""
    core = np.core if np.lib.NumpyVersion(np.__version__) < "2.0.0" else np._core
    known = core._multiarray_umath
    return " ".join(
        name for name in known.__cpu_dispatch__ if name.startswith(prefixes) and known.__cpu_features__[name]
    )


@pytest.fixture(scope="module")
def expected() -> str:
    return digests(20, {})


@pytest.mark.parametrize("kind", OTHER_KERNELS)
def test_other_kernels_give_the_same_bits(kind: str, expected: str, tmp_path) -> None:
    environment = {**OTHER_KERNELS[kind], "NUMBA_CACHE_DIR": str(tmp_path)}
    environment["NPY_DISABLE_CPU_FEATURES"] = numpy_features(OTHER_KERNELS[kind]["NPY_DISABLE_CPU_FEATURES"])
    assert len(expected.split()) == 9
    assert digests(20, environment) == expected
