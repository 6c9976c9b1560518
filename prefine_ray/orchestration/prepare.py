"""What every cell of a task starts from: its data set and its base policy."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from tqdm import tqdm

from prefine_ray.core.files import file_digest
from prefine_ray.core.paths import path_of
from prefine_ray.data.download import fetch
from prefine_ray.data.hdf5 import TrajectoryFileError, check_dsrl, read_attrs, write_dsrl
from prefine_ray.experiment.cells import TaskInputs
from prefine_ray.experiment.config import CLONED_BASES, SweepConfig
from prefine_ray.methods.base import base_policy, clone_base, clone_name
from prefine_ray.methods.cloning import CloneConfig
from prefine_ray.orchestration.actors import map_units
from prefine_ray.policies.files import save_policy
from prefine_ray.rollouts.collection import DataConfig, assemble, behaviours, plan_units, recipe_digest
from prefine_ray.tasks.spec import Task, get_task


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
    path = fetch(task) if config.source == "dsrl" else path_of(config.source, task.name)
    if path.is_dir():
        return collect(task, config, directory, actors)
    check_dsrl(path, task)
    return DataSet(path, file_digest(path))


def collect(task: Task, config: DataConfig, directory: Path, actors: Sequence[Any]) -> DataSet:
    """Rolls the behaviours out on the actors into `directory`, unless this recipe's file is there."""
    chosen = behaviours(task, config.source)
    name = recipe_digest(task, config, chosen)
    path = directory / f"{task.name}-{config.episodes}-{name}.hdf5"
    if path.exists() and _is_whole(path, task, name):
        return DataSet(path, name)
    units = plan_units(task, config, chosen)
    parts = list(
        tqdm(map_units(actors, "trajectories", units), f"collect {task.name}", len(units), unit="unit", leave=False)
    )
    write_dsrl(path, assemble(task, config, parts, len(chosen)), {"task": task.name, "recipe": name})
    return DataSet(path, name)


def _is_whole(path: Path, task: Task, recipe: str) -> bool:
    """Whether a collected file holds what its recipe made; one that was cut or altered is named."""
    try:
        check_dsrl(path, task)
        return read_attrs(path).get("recipe") == recipe
    except TrajectoryFileError as error:
        print(f"damaged: {error}; collected again", file=sys.stderr, flush=True)
        return False


def prepare(config: SweepConfig, directory: Path, actors: Sequence[Any]) -> dict[str, TaskInputs]:
    """Data and base policy of every task of a sweep."""
    tasks = [get_task(name) for name in config.tasks]
    if config.base not in CLONED_BASES:
        bases = [base_policy(task, config.base) for task in tasks]  # errors first, then the long work
    data = [
        prepare_data(task, config.for_task(task.name).data, directory, actors)
        for task in tqdm(tasks, "data", unit="task")
    ]
    if config.base in CLONED_BASES:
        bases = clone_bases(tasks, data, config.seed, directory, config.base)
    return {
        task.name: TaskInputs(str(found.path.resolve()), found.digest, str(base), file_digest(base))
        for task, found, base in zip(tasks, data, bases, strict=True)
    }


def clone_bases(tasks: Sequence[Task], data: Sequence[DataSet], seed: int, directory: Path, choice: str) -> list[Path]:
    """Base policies cloned from the data, in parallel; those that are there already are used."""
    config = CloneConfig()
    sets = list(zip(tasks, data, strict=True))
    paths = [directory / clone_name(task, found.digest, seed, config, choice) for task, found in sets]
    waiting = [
        _clone.remote(task, found.path, seed, config, choice, path)
        for (task, found), path in zip(sets, paths, strict=True)
        if not path.exists()
    ]
    for reference in tqdm(waiting, "base policies", unit="task", disable=not waiting):
        ray.get(reference)
    return [path.resolve() for path in paths]


@ray.remote(num_cpus=1)
def _clone(task: Task, data: Path, seed: int, config: CloneConfig, choice: str, path: Path) -> None:
    torch.set_num_threads(1)
    policy, header = clone_base(task, data, seed, config, choice)
    save_policy(policy, path, header)
