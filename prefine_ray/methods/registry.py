"""The methods, one record each: what the configuration, the grid, the packs, the tables and the command line read.

A method's own file registers its record, and nothing else names the method:

    register(Method(name="mine", shown="Mine", section="mine", settings=MySettings, learner=make, axes=("threshold",)))
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import torch

from prefine_ray.core.errors import PrefineError
from prefine_ray.core.settings import MethodSettings
from prefine_ray.data.counterfactuals import CounterfactualSource, Mode
from prefine_ray.data.trajectories import Trajectories
from prefine_ray.methods.population import Member, PopulationLearner
from prefine_ray.policies.gaussian import GaussianPolicy
from prefine_ray.tasks.spec import Task

TrainsOn = Literal["preferences", "safe", "all"]
PREFERENCE_AXES = ("preferred", "num_preferred", "label_noise", "threshold")  # of methods that train on preferences


class UnknownMethodError(PrefineError, ValueError):
    """No method has this name; the message lists the names and the nearest one."""


@dataclass(frozen=True)
class LearnerInputs:
    """What a method's learner is made from."""

    task: Task
    trajectories: Trajectories
    members: list[Member]
    base: GaussianPolicy | None = None  # for methods that need one: the policies that `Member.base` numbers
    device: str | torch.device = "cpu"
    shared: Mapping[str, Any] = field(default_factory=dict)  # values of the axes that all members share
    mode: Mode | None = None  # which counterfactuals the source generates; None: the learner samples its own
    source: CounterfactualSource | None = None


@dataclass(frozen=True)
class Method:
    """One method. Methods of the same `section` and `learner` train together, in one population."""

    name: str  # in configurations and rows
    shown: str  # in tables and plots
    section: str  # of the configuration: where its settings stand
    settings: type[MethodSettings]
    learner: Callable[[MethodSettings, LearnerInputs], PopulationLearner]
    axes: tuple[str, ...]  # of the grid (see `prefine_ray.experiment.axes`), beside the seed
    trains_on: TrainsOn = "preferences"  # or all safe episodes of the data, or all episodes
    needs_base: bool = False
    needs_dispreferred: bool = False  # trains on trajectories of both sides
    on_pairs: bool = False  # the two sides of a member are pairs: the k-th preferred one is better than the k-th other
    # Values of the axis `counterfactuals` at which a source generates them, and how.
    modes: Mapping[str, Mode] = field(default_factory=dict)

    def __reduce__(self) -> tuple[Callable[[str, str], Method], tuple[str, str]]:
        """Pickled by name, with the module that registers it: the reader imports the module and has the same record."""
        return _restored, (self.name, self.learner.__module__)


_METHODS: dict[str, Method] = {}


def register(method: Method) -> Method:
    """Adds a method; its own module may do so again.

    Raises:
        ValueError: another method has the name, or other settings stand in its section.
    """
    known = _METHODS.get(method.name)
    if known is not None and known.learner.__module__ != method.learner.__module__:
        raise ValueError(f"a method named {method.name!r} is registered already, by {known.learner.__module__}")
    for other in _METHODS.values():
        if other.section == method.section and other.settings.__name__ != method.settings.__name__:
            raise ValueError(f"section {method.section!r} is that of {other.name}, with {other.settings.__name__}")
    _METHODS[method.name] = method
    return method


def unregister(name: str) -> None:
    """Removes a method that was registered."""
    _METHODS.pop(name, None)


def methods() -> dict[str, Method]:
    """All methods by name, in a fixed order."""
    _import_methods()
    return dict(sorted(_METHODS.items()))


def get_method(name: str) -> Method:
    """The method of this name.

    Raises:
        UnknownMethodError: there is none.
    """
    known = methods()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UnknownMethodError(f"unknown method {name!r}.{hint} Known methods: {', '.join(known)}.")
    return known[name]


def sections() -> dict[str, type[MethodSettings]]:
    """The configuration's sections of all methods, with their settings."""
    return {method.section: method.settings for method in methods().values()}


@cache
def _import_methods() -> None:
    """Imports every module of this folder, which registers the methods."""
    package = importlib.import_module("prefine_ray.methods")
    for module in pkgutil.walk_packages(package.__path__, "prefine_ray.methods."):
        importlib.import_module(module.name)


def _restored(name: str, module: str) -> Method:
    importlib.import_module(module)
    return get_method(name)
