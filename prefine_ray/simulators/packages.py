"""The simulator packages on disk, found without importing them."""

from __future__ import annotations

import importlib.util

from prefine_ray.core.errors import PrefineError

# safety-gymnasium and bullet-safety-gym pin a gymnasium that no current stack has, so pip alone cannot install them.
_REMEDIES = dict.fromkeys(("safety_gymnasium", "bullet_safety_gym"), "prefine install-simulators")


class MissingSimulatorError(PrefineError, ModuleNotFoundError):
    """A simulator package is not installed; the message names it and the command that installs it."""


def missing(name: str) -> MissingSimulatorError:
    """The error for a module that is not installed."""
    remedy = _REMEDIES.get(name, "pip install -r requirements.txt")
    return MissingSimulatorError(f"the simulator package {name!r} is not installed; run: {remedy}", name=name)


def package_folder(name: str) -> str:
    """The folder of an installed package.

    Raises:
        MissingSimulatorError: the package is not installed.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise missing(name)
    return next(iter(spec.submodule_search_locations))
