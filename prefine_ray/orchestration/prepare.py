"""What every cell of a task starts from: its data set and its base policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from prefine_ray.base import base_policy
from prefine_ray.cells import TaskInputs
from prefine_ray.collect import assemble, behaviours, plan_units, recipe_digest
from prefine_ray.config import DataConfig, SweepConfig
from prefine_ray.dsrl import fetch
from prefine_ray.files import file_digest
from prefine_ray.orchestration.actors import map_units
from prefine_ray.tasks import Task, get_task
from prefine_ray.trajectories import read_attrs, read_summary, write_dsrl


@dataclass(frozen=True)
class DataSet:
    """A trajectory file and the hash of what it holds."""

    path: Path
    digest: str


def prepare_data(task: Task, config: DataConfig, directory: Path, actors: Sequence[Any]) -> DataSet:
    """The task's trajectory file: collected, fetched, or the user's own; one that is there already is used.

    Raises:
        TrajectoryFileError: the file breaks the schema.
        NoBehavioursError: nothing to collect with.
    """
    if config.source == "zoo":
        return collect(task, config, directory, actors)
    path = fetch(task) if config.source == "dsrl" else Path(config.source.format(task=task.name))
    read_summary(path, task)
    return DataSet(path, file_digest(path))


def collect(task: Task, config: DataConfig, directory: Path, actors: Sequence[Any]) -> DataSet:
    """Rolls the behaviours out on the actors into `directory`, unless this recipe's file is there."""
    chosen = behaviours(task)
    name = recipe_digest(task, config, chosen)
    path = directory / f"{task.name}-{config.episodes}-{name}.hdf5"
    if path.exists() and read_attrs(path).get("recipe") == name:
        return DataSet(path, name)
    units = plan_units(task, config, chosen)
    parts = list(
        tqdm(map_units(actors, "trajectories", units), f"collect {task.name}", len(units), unit="unit", leave=False)
    )
    write_dsrl(path, assemble(task, config, parts, len(chosen)), {"task": task.name, "recipe": name})
    return DataSet(path, name)


def prepare(config: SweepConfig, directory: Path, actors: Sequence[Any]) -> dict[str, TaskInputs]:
    """Data and base policy of every task of a sweep."""
    bases = {
        name: base_policy(get_task(name), config.base) for name in config.tasks
    }  # errors first, then the long work
    inputs = {}
    for name in tqdm(config.tasks, "data", unit="task"):
        data = prepare_data(get_task(name), config.data, directory, actors)
        inputs[name] = TaskInputs(str(data.path.resolve()), data.digest, str(bases[name]), file_digest(bases[name]))
    return inputs
