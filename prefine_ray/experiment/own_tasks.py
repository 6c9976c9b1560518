"""The own tasks of a configuration: completed by what their environment and their data say, and registered."""

from __future__ import annotations

from prefine_ray.core.paths import path_of
from prefine_ray.data.hdf5 import TrajectoryFileError, read_summary
from prefine_ray.rollouts.collection import SOURCES, is_policy_file
from prefine_ray.tasks.definition import OwnTaskError, TaskDefinition
from prefine_ray.tasks.environment import completed
from prefine_ray.tasks.registration import add_task
from prefine_ray.tasks.spec import TASKS


def add_defined(name: str, definition: TaskDefinition, source: str) -> TaskDefinition:
    """Registers an own task in this process; its completed definition.

    Args:
        name: of the task.
        definition: as it was written, or completed.
        source: `data.source`, from which `reward_range: data` reads.

    Raises:
        OwnTaskError: the environment is refused, the data give no range, or the name has another definition.
    """
    if name in TASKS and TASKS[name].definition == definition:  # this process completed it
        return definition
    if definition.reward_range == "data" or definition.reward_from_data:
        limits = _range_of_data(name, source)
        definition = definition.model_copy(update={"reward_range": limits, "reward_from_data": True})
    whole = completed(name, definition)
    add_task(name, whole)
    return whole


def _range_of_data(name: str, source: str) -> tuple[float, float]:
    """The lowest and the highest return of the task's data file."""
    path = None if source in ("", *SOURCES) else path_of(source, name)
    if path is None or not path.is_file() or is_policy_file(path):
        raise OwnTaskError(
            f"{name}.reward_range: data needs a trajectory file in data.source, not {source or '?'}; "
            "give [low, high] instead"
        )
    try:
        returns = read_summary(path).returns
    except TrajectoryFileError as error:
        raise OwnTaskError(f"{name}.reward_range: {error}") from error
    low, high = float(returns.min()), float(returns.max())
    if not low < high:
        raise OwnTaskError(f"{name}.reward_range: every episode of {path} returns {low:g}; give [low, high]")
    return low, high
