"""How the simulator packages are imported."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from prefine_ray.simulators.packages import MissingSimulatorError, package_folder
from prefine_ray.simulators.upstream import import_safety_gymnasium


def test_importing_the_simulators_opens_no_gl_backend_and_keeps_the_environment() -> None:
    code = (
        "import os, sys; os.environ['MUJOCO_GL'] = 'egl';"
        "import prefine_ray.simulators.velocity, prefine_ray.simulators.goal;"
        "assert os.environ['MUJOCO_GL'] == 'egl';"
        "print([name for name in sys.modules if name.split('.')[0] in ('glfw', 'OpenGL') or name == 'mujoco.egl'])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_safety_gymnasium_imports_and_the_dataclass_patch_is_undone() -> None:
    original = dataclasses.dataclass
    builder = import_safety_gymnasium("builder")
    assert builder.Builder.__module__ == "safety_gymnasium.builder"
    assert dataclasses.dataclass is original


def test_array_defaults_are_copied_per_instance() -> None:
    geoms = import_safety_gymnasium("assets.geoms")
    one, other = geoms.Goal(), geoms.Goal()
    one.color[:] = 0.0
    assert other.color.any()


def test_a_package_that_is_not_installed_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.delitem(sys.modules, "safety_gymnasium", raising=False)
    with pytest.raises(MissingSimulatorError, match=r"'safety_gymnasium' is not installed; run: prefine install-simu"):
        package_folder("safety_gymnasium")
