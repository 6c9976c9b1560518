"""Where the upstream simulator packages are installed."""

from __future__ import annotations

import importlib
import importlib.util

from prefine_ray.core.errors import PrefineError


class SimulatorNotInstalledError(PrefineError, ModuleNotFoundError):
    """A simulator package is not installed; the message says how to install it."""


def package_folder(name: str) -> str:
    """The folder of an installed package, found without importing it.

    Raises:
        SimulatorNotInstalledError: the package is not installed.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise SimulatorNotInstalledError(
            f"the simulator package {name!r} is not installed; "
            "run: pip install -r requirements.txt && pip install --no-deps -r requirements-simulators.txt",
            name=name,
        )
    return next(iter(spec.submodule_search_locations))
