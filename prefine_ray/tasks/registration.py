"""Own tasks in the table of this process: from Python, from a configuration, from an installed package.

Nothing is registered on import; workers add the definitions that they are given.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from typing import Any

from pydantic import ValidationError

from prefine_ray.gymnasium_ids import register_id
from prefine_ray.tasks.definition import NAME, OwnTaskError, TaskDefinition
from prefine_ray.tasks.environment import completed
from prefine_ray.tasks.spec import ALIASES, TASKS, Task, get_task

GROUP = "prefine_ray.tasks"  # of entry points: a task's name, and where its definition is


def add_task(name: str, definition: TaskDefinition) -> Task:
    """Puts an own task into the table of this process; the same definition again changes nothing.

    Args:
        name: of the task.
        definition: a completed one (see `prefine_ray.tasks.environment.completed`).

    Raises:
        OwnTaskError: the name cannot stand in file names, is the benchmark's, or has another definition.
    """
    known = TASKS.get(ALIASES.get(name, name))
    if known is not None and known.definition is None:
        raise OwnTaskError(f"{name}: there is a task of this name already; choose another one")
    if known is not None and known.definition is not None:
        if known.definition.determinants() == definition.determinants():
            return known
        raise OwnTaskError(
            f"{name}: this process knows {name} with another definition "
            f"({_difference(known.definition, definition)}); choose another name, or start a new process"
        )
    if not re.match(NAME, name):
        raise OwnTaskError(f"{name}: a name of letters, digits, _, . and - is needed")
    TASKS[name] = task = _task(name, definition)
    register_id(task)
    return task


def _task(name: str, definition: TaskDefinition) -> Task:
    if not (definition.observations and definition.actions and definition.horizon):
        raise OwnTaskError(f"{name}: observations, actions or horizon is missing")
    if definition.reward_range == "data":
        raise OwnTaskError(f"{name}.reward_range: [low, high] is needed here")
    return Task(
        name=name,
        suite="own",
        obs_dim=definition.observations,
        act_dim=definition.actions,
        horizon=definition.horizon,
        reward_min=definition.reward_range[0],
        reward_max=definition.reward_range[1],
        cost_max=math.inf,
        dsrl_file="",
        in_benchmark=False,
        definition=definition,
    )


def _difference(known: TaskDefinition, other: TaskDefinition) -> str:
    """The first key in which two definitions differ, with both values."""
    ours, theirs = known.determinants(), other.determinants()
    key = next(key for key in ours if ours[key] != theirs[key])
    return f"{key}: {ours[key]} instead of {theirs[key]}"


def own_definitions(names: Iterable[str]) -> dict[str, TaskDefinition]:
    """The definitions of the own tasks among these, as a worker needs them."""
    found = {name: get_task(name).definition for name in names}
    return {name: definition for name, definition in found.items() if definition is not None}


def add_tasks(definitions: Mapping[str, TaskDefinition]) -> None:
    """Puts own tasks that another process has completed into the table of this one; see `add_task`."""
    for name, definition in definitions.items():
        add_task(name, definition)


def register_task(name: str, **definition: Any) -> Task:
    """Adds an own task to this process; see docs/own-task.md.

    Args:
        name: of the task.
        definition: the keys of `TaskDefinition`; `reward_range` as numbers.

    Example:
        register_task("Line", env="my_pkg.envs:make_line", thresholds=[5, 20, 50], reward_range=[0, 100], horizon=200)

    Raises:
        OwnTaskError: the definition is wrong, the environment is refused, or the name is taken.
    """
    try:
        given = TaskDefinition(**definition)
    except ValidationError as error:
        issue = error.errors()[0]
        key = ".".join([name, *map(str, issue["loc"][:1])])
        raise OwnTaskError(f"{key}: {issue['msg'].removeprefix('Value error, ')}") from error
    if given.reward_range == "data":
        raise OwnTaskError(f"{name}.reward_range: [low, high] is needed; data needs a configuration")
    return add_task(name, completed(name, given))


def add_plug_in(name: str) -> Task | None:
    """Adds the task that an installed package brings under this name; None where none does.

    Raises:
        OwnTaskError: what the entry point names is not the definition of a task.
    """
    for entry in entry_points(group=GROUP, name=name):
        try:
            content = entry.load()
        except (ImportError, AttributeError) as error:
            raise OwnTaskError(f"task {name}: the entry point {entry.value} of {GROUP}: {error}") from error
        if not isinstance(content, Mapping):
            raise OwnTaskError(
                f"task {name}: the entry point {entry.value} of {GROUP} gives {type(content).__name__}; a dictionary "
                "with env, thresholds, reward_range, ... is needed"
            )
        return register_task(name, **content)
    return None


def add_plug_ins() -> None:
    """Adds every task that installed packages bring."""
    for name in entry_points(group=GROUP).names:
        get_task(name)
