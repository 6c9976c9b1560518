"""What made a result: commit, machine, package versions."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (  # what determines results, or names them
    "ray",
    "torch",
    "numpy",
    "numba",
    "pandas",
    "gymnasium",
    "mujoco",
    "pybullet",
    "safety-gymnasium",
    "bullet-safety-gym",
    "mlflow",
)
REPORT_PACKAGES = ("numpy", "pandas", "matplotlib")  # what a report is made with
NOT_INSTALLED = "not installed"
_FORKS = {"pybullet": "pybullet-arm64"}  # another distribution of the same module
_ENGINES = {"bullet": "pybullet", "safety-gymnasium": "mujoco"}  # by the suite of a task


def provenance() -> dict[str, str]:
    """Commit (with a mark if files were changed), machine and versions of what determines the rows."""
    return {"commit": commit(), "machine": _machine(), **package_versions()}


def package_versions() -> dict[str, str]:
    """The installed versions of PACKAGES."""
    return {name: installed_version(name) for name in PACKAGES}


@cache
def physics(suite: str) -> str:
    """The engine that simulates a suite's tasks with its version, e.g. "mujoco 2.3.3" or "pybullet 3.2.7".

    A suite that brings its own engine has gymnasium's version. The version is part of a cell's name and of its rows:
    engines of different versions agree on the reference trajectories, but need not on everything.
    """
    engine = _ENGINES.get(suite, "gymnasium")
    return f"{engine} {installed_version(engine)}"


def installed_version(package: str) -> str:
    """The version of an installed distribution, or of its fork ("3.2.8 (pybullet-arm64)"), or "not installed"."""
    fork = _FORKS.get(package)
    try:
        return version(package)
    except PackageNotFoundError:
        if fork is None or installed_version(fork) == NOT_INSTALLED:
            return NOT_INSTALLED
        return f"{installed_version(fork)} ({fork})"


@cache
def commit() -> str:
    """The checked-out commit of this package's repository, or "unknown" outside one."""
    here = Path(__file__).resolve().parents[2]
    git = ["git", "-C", str(here)]
    try:
        top = _output([*git, "rev-parse", "--show-toplevel"])
        return _output([*git, "describe", "--always", "--dirty", "--abbrev=12"]) if Path(top) == here else "unknown"
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


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


def made_on() -> dict[str, str]:
    """The columns of a row that say on what machine its bits were made, where this process runs: CPU and C library."""
    return {"cpu": cpu(), "glibc": glibc()}


def made_with(suite: str) -> dict[str, str]:
    """The columns of a row that say what its bits depend on: commit, physics, CPU and C library."""
    return {"commit": commit(), "physics": physics(suite), **made_on()}
