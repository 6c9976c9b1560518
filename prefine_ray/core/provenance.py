"""What made a result: commit, machine, package versions."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = (
    "ray",
    "torch",
    "gymnasium",
    "mujoco",
    "pybullet",
    "safety-gymnasium",
    "bullet-safety-gym",
    "mlflow",
    "numpy",
)


def provenance() -> dict[str, str]:
    """Commit (with a mark if files were changed), machine and versions of what determines the rows."""
    return {"commit": commit(), "machine": _machine(), **{name: _version(name) for name in _PACKAGES}}


def commit() -> str:
    """The checked-out commit of this package's repository, or "unknown" outside one."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def cpu() -> str:
    """Model of this machine's CPU and its widest vectors, by which libraries choose kernels, e.g. "..., AVX-512"."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    known = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    flags = known.get("flags", "").split()
    width = next((shown for flag, shown in (("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags), "no AVX2")
    return f"{known.get('model name') or platform.processor() or platform.machine()}, {width}"


def glibc() -> str:
    """Version of the C library, from which the physics engines take sin and exp, e.g. "glibc 2.36"."""
    return " ".join(platform.libc_ver()).strip() or "unknown"


def _machine() -> str:
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
