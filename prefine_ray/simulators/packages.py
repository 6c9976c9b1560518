"""The simulator packages on disk, found without importing them."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from prefine_ray.core.errors import PrefineError

# These packages pin a gymnasium that no current stack has: pip installs them with --no-deps only.
REQUIREMENTS = Path(__file__).with_name("requirements.txt")
_REMEDIES = dict.fromkeys(("safety_gymnasium", "bullet_safety_gym"), "prefine install-simulators")


class MissingSimulatorError(PrefineError, ModuleNotFoundError):
    """A simulator package is not installed; the message names it and the command that installs it."""


def missing(name: str) -> MissingSimulatorError:
    """The error for a module that is not installed."""
    remedy = f"run: {_REMEDIES[name]}" if name in _REMEDIES else "`prefine doctor` says what to install"
    return MissingSimulatorError(f"the simulator package {name!r} is not installed; {remedy}", name=name)


def package_folder(name: str) -> str:
    """The folder of an installed package.

    Raises:
        MissingSimulatorError: the package is not installed.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise missing(name)
    return next(iter(spec.submodule_search_locations))
