"""What made a result: commit, machine, package versions."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
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


@cache
def made_by() -> str:
    """Commit and physics in one line, as rows carry it: results of two of them may differ."""
    return f"{commit()}, mujoco {_version('mujoco')}, pybullet {_version('pybullet')}"


def commit() -> str:
    """The checked-out commit of this package's repository, or "unknown" outside one."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _machine() -> str:
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
