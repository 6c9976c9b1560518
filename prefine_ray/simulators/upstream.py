"""Make the upstream simulator packages importable on a current stack.

- `mujoco` is exported from here, imported without a GL backend: `import mujoco` alone would open one (0.1 to 0.2 s,
  and an error on machines that have none). `offscreen.py` chooses the backend when a picture is asked for.
- safety-gymnasium 1.0.0 was written for gymnasium 0.28 and Python 3.10; `import_safety_gymnasium` makes its
  submodules importable on gymnasium 1.x and Python 3.11 to 3.13.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefine_ray.simulators.packages import package_folder

_IMPORT_LOCK = threading.RLock()


@contextmanager
def _without_gl_backend() -> Iterator[None]:
    """MUJOCO_GL=disable for the duration of an import."""
    wanted = os.environ.get("MUJOCO_GL")
    os.environ["MUJOCO_GL"] = "disable"
    try:
        yield
    finally:
        if wanted is None:
            del os.environ["MUJOCO_GL"]
        else:
            os.environ["MUJOCO_GL"] = wanted


package_folder("mujoco")
with _IMPORT_LOCK, _without_gl_backend():
    import mujoco

__all__ = ["import_safety_gymnasium", "mujoco"]


def import_safety_gymnasium(module: str) -> ModuleType:
    """Import a submodule of safety-gymnasium 1.0.0, such as "builder", without its package `__init__`.

    The `__init__` imports gymnasium modules that no longer exist, so an empty package stands in for it; and since
    Python 3.11 dataclasses refuse ndarray defaults, which the package uses, so these become default factories. Objects
    are turned by quaternions of length 1, see `_unit_quaternion`.

    Raises:
        MissingSimulatorError: safety-gymnasium is not installed.
    """
    with _IMPORT_LOCK:
        if "safety_gymnasium" not in sys.modules:
            sys.modules["safety_gymnasium"] = _empty_package("safety_gymnasium")
            utilities: Any = importlib.import_module("safety_gymnasium.utils.common_utils")
            utilities.rot2quat = functools.partial(_unit_quaternion, utilities.rot2quat)
        with _array_defaults_allowed():
            return importlib.import_module(f"safety_gymnasium.{module}")


def _unit_quaternion(rot2quat: Callable[[float], NDArray[np.float64]], angle: float) -> NDArray[np.float64]:
    """Upstream's quaternion of a turn about the vertical axis, of length 1 to the last bit.

    The compiler of mujoco 2.3 and 3.1 divides quaternions by their length; that of 3.3 leaves those that are within
    1e-14 of 1. A car starts with wheels that just touch the ground or just do not, and there the last bit decides.
    """
    quaternion = rot2quat(angle)
    return quaternion / np.sqrt(np.square(quaternion).sum())


def _empty_package(name: str) -> ModuleType:
    """The package as a module whose `__init__` was not run; its submodules are found as usual."""
    folder = package_folder(name)
    package = ModuleType(name)
    package.__spec__ = importlib.util.find_spec(name)
    package.__path__ = [folder]
    package.__file__ = os.path.join(folder, "__init__.py")
    return package


@contextmanager
def _array_defaults_allowed() -> Iterator[None]:
    """Let dataclasses that are defined meanwhile have ndarray defaults: each instance gets a copy."""
    original: Callable[..., Any] = dataclasses.dataclass

    def dataclass(cls: type | None = None, /, **options: Any) -> Any:
        if cls is None:
            return lambda decorated: dataclass(decorated, **options)
        for name in vars(cls).get("__annotations__", {}):
            default = vars(cls).get(name)
            if isinstance(default, np.ndarray):
                setattr(cls, name, dataclasses.field(default_factory=default.copy))
        return original(cls, **options)

    dataclasses.dataclass = dataclass
    try:
        yield
    finally:
        dataclasses.dataclass = original
