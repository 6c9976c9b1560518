"""The tasks as ids of gymnasium, such as `prefine_ray:BallRun-v0`.

Importing `prefine_ray` registers them, but does not import gymnasium, which would double the time of `prefine --help`:
where gymnasium is not imported yet, they are registered at the end of its import.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefine_ray.tasks.spec import Task

_VERSION = "v0"


def gymnasium_id(name: str) -> str:
    """The id of a task, without the package's name before it: "BallRun-v0"."""
    return f"{name}-{_VERSION}"


def register_id(task: Task) -> None:
    """Register a task with gymnasium where that is imported; its import registers all tasks of the table."""
    gymnasium: Any = sys.modules.get("gymnasium")
    if gymnasium is None or not task.has_environment:
        return
    gymnasium.registry.pop(gymnasium_id(task.name), None)
    gymnasium.register(
        gymnasium_id(task.name),
        entry_point="prefine_ray.simulators.env:TaskEnv",
        vector_entry_point="prefine_ray.simulators.clients.vector_env:TaskVectorEnv",
        max_episode_steps=task.horizon,
        kwargs={"task": task.name},
    )


def register_ids() -> None:
    """Register every task with gymnasium, at once or, where nobody has imported it yet, when it is imported."""
    if "gymnasium" in sys.modules:
        _register_all()
    elif not any(isinstance(finder, _AtImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AtImport())


def _register_all() -> None:
    from prefine_ray.tasks.spec import TASKS

    for task in TASKS.values():
        register_id(task)


class _AtImport(MetaPathFinder):
    """Finds gymnasium as the other finders do, with a loader that registers the tasks afterwards."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The specification of gymnasium; None for other modules."""
        if fullname != "gymnasium":
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(fullname, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _RegisteringLoader(spec.loader, self)
                return spec
        return None


class _RegisteringLoader(Loader):
    """Loads gymnasium with its own loader, then registers the tasks."""

    def __init__(self, loader: Loader, finder: _AtImport) -> None:
        self._loader, self._finder = loader, finder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the own loader does."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run the module; its own loader is put back, so that nothing of this one is left behind."""
        assert module.__spec__ is not None
        module.__loader__ = module.__spec__.loader = self._loader
        if self._finder in sys.meta_path:
            sys.meta_path.remove(self._finder)
        self._loader.exec_module(module)
        _register_all()
