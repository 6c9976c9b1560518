"""What every cell of a task starts from: its data set and its base policy."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from tqdm import tqdm

from prefine_ray.core.digests import digest
from prefine_ray.core.files import file_digest
from prefine_ray.core.paths import path_of
from prefine_ray.core.seeding import derive
from prefine_ray.data.download import fetch
from prefine_ray.data.hdf5 import TrajectoryFileError, check_dsrl, read_attrs, read_summary, write_dsrl
from prefine_ray.data.trajectories import Trajectories
from prefine_ray.experiment.config import CLONED_BASES, SweepConfig
from prefine_ray.experiment.replicates import ReplicateInputs, TaskInputs, draw_from_set, draws_from_file, recipes
from prefine_ray.methods.base import base_policy, clone_base, clone_name
from prefine_ray.methods.gaussian_cloning import CloneConfig
from prefine_ray.orchestration.ray_actors import map_units
from prefine_ray.policies.files import save_policy
from prefine_ray.rollouts.collection import (
    SOURCES,
    Behaviour,
    DataConfig,
    behaviours,
    is_policy_file,
    make_data_set,
    recipe_digest,
)
from prefine_ray.rollouts.rollout import RolloutUnit
from prefine_ray.tasks.registration import own_definitions
from prefine_ray.tasks.spec import Task, get_task


class StoppedError(Exception):
    """What was begun is not wanted any more."""


@dataclass(frozen=True)
class Drawn:
    """A trajectory file, the hash of what it holds, and the episodes that a replicate has of it (None: all)."""

    path: Path
    digest: str
    episodes: tuple[int, ...] | None = None


class Preparation:
    """Makes or finds what the tasks of a sweep start from, one task at a time."""

    def __init__(self, config: SweepConfig, directory: Path, actors: Sequence[Any]):
        """Checks what can be checked before long work.

        Args:
            config: the sweep.
            directory: where collected data sets and cloned base policies are kept.
            actors: roll the behaviours out.

        Raises:
            PolicyFileError: a base policy is missing or wrong.
            NoBehavioursError: nothing to collect with.
        """
        self._config, self._directory, self._actors = config, directory, actors
        self.stopped = threading.Event()  # set in another thread: `inputs` raises StoppedError soon
        self._clones = config.base in CLONED_BASES
        tasks = [get_task(name) for name in config.tasks]
        self._given = {} if self._clones else {task.name: base_policy(task, config.base) for task in tasks}
        to_collect = [task for task in tasks if not all(path.exists() for path in self._sets(task))]
        to_collect.sort(key=lambda task: (task.horizon, task.obs_dim))  # about in the order of what an episode takes
        self.to_collect = [task.name for task in to_collect]  # tasks whose data have to be rolled out, cheap ones first
        self.at_hand = [task.name for task in tasks if task not in to_collect]  # the others

    def _sets(self, task: Task) -> list[Path]:
        """The data files of a task that are rolled out; none where the data are given."""
        data = self._config.for_task(task.name).data
        if not _is_rolled_out(task, data):
            return []
        chosen = behaviours(task, data.source)
        of_replicates = recipes(data, self._config.seeds, self._config.tuning_seeds).values()
        return [_set_path(task, recipe, chosen, self._directory) for recipe in dict.fromkeys(of_replicates)]

    def inputs(self, name: str) -> TaskInputs:
        """Those of one task, made where they are not there yet.

        Raises:
            TrajectoryFileError: a file breaks the schema.
        """
        task = get_task(name)
        data = prepare_data(task, self._config, self._directory, self._actors, self.stopped)
        bases = clone_bases(task, data, self._config, self._directory) if self._clones else None
        return _inputs(task, self._config, data, bases, self._given.get(name))


def prepare(config: SweepConfig, directory: Path, actors: Sequence[Any]) -> dict[str, TaskInputs]:
    """Data and base policies of every task and replicate, all at once.

    Raises:
        TrajectoryFileError: a file breaks the schema.
        NoBehavioursError: nothing to collect with.
        PolicyFileError: a base policy is missing or wrong.
    """
    preparation = Preparation(config, directory, actors)
    tasks = tqdm([*preparation.at_hand, *preparation.to_collect], "data", unit="task")
    inputs = {name: preparation.inputs(name) for name in tasks}
    return {name: inputs[name] for name in config.tasks}


def _inputs(
    task: Task, config: SweepConfig, data: Mapping[int, Drawn], bases: Mapping[int, Path] | None, given: Path | None
) -> TaskInputs:
    """The inputs of one task's replicates; `bases` or one that is `given`."""
    replicates, draws = {}, config.for_task(task.name).data.draws
    for seed, drawn in data.items():
        base = given or (bases or {})[seed]
        files = (str(drawn.path.resolve()), drawn.digest, str(base), file_digest(base))
        replicates[seed] = ReplicateInputs(*files, drawn.episodes)
    own_base = bases is not None and draws != "shared"
    return TaskInputs(replicates, draws=draws, own_base=own_base, definitions=own_definitions([task.name]))


def prepare_data(
    task: Task, config: SweepConfig, directory: Path, actors: Sequence[Any], stopped: threading.Event
) -> dict[int, Drawn]:
    """Each replicate's episodes of a task: collected, fetched, or of the user's own file; what is there is used."""
    data, seeds, tuning = config.for_task(task.name).data, config.seeds, config.tuning_seeds
    if _is_rolled_out(task, data):
        return _collected(task, recipes(data, seeds, tuning), directory, actors, stopped)
    path = fetch(task) if data.source == "dsrl" else path_of(data.source, task.name)
    check_dsrl(path, task)
    total, content = len(read_summary(path, task)), file_digest(path)
    if data.draws == "own" and total < len(seeds) + len(tuning):
        raise TrajectoryFileError(
            f"{path}: {total} episodes for {len(seeds) + len(tuning)} seeds; write data.draws: shared, or fewer seeds"
        )
    draws = draws_from_file(data, task.name, total, seeds, tuning)
    return {seed: Drawn(path, content, episodes) for seed, episodes in draws.items()}


def _is_rolled_out(task: Task, data: DataConfig) -> bool:
    """Whether policies make the data: the shipped ones, or those of a file or a folder."""
    if data.source in SOURCES:
        return data.source == "zoo"
    path = path_of(data.source, task.name)
    return path.is_dir() or is_policy_file(path)


def _collected(
    task: Task,
    of_replicates: Mapping[int, DataConfig],
    directory: Path,
    actors: Sequence[Any],
    stopped: threading.Event,
) -> dict[int, Drawn]:
    sets = {
        recipe: collect(task, recipe, directory, actors, stopped) for recipe in dict.fromkeys(of_replicates.values())
    }
    totals = {recipe: len(read_summary(path, task)) for recipe, (path, _) in sets.items()}
    return {
        seed: Drawn(*sets[recipe], draw_from_set(recipe, task.name, seed, totals[recipe]))
        for seed, recipe in of_replicates.items()
    }


def collect(
    task: Task, config: DataConfig, directory: Path, actors: Sequence[Any], stopped: threading.Event | None = None
) -> tuple[Path, str]:
    """Rolls the behaviours out on the actors into `directory`, unless this recipe's file is there; path and digest.

    Raises:
        StoppedError: `stopped` was set meanwhile.
    """
    chosen = behaviours(task, config.source)
    name, path = recipe_digest(task, config, chosen), _set_path(task, config, chosen, directory)
    if path.exists() and _is_whole(path, task, name):
        return path, name

    def on_actors(units: Sequence[RolloutUnit]) -> list[Trajectories]:
        parts: list[Trajectories] = []
        rolled = map_units(actors, "trajectories", units)
        for part in tqdm(rolled, f"collect {task.name}", len(units), unit="unit", leave=False):
            parts.append(part)
            if stopped is not None and stopped.is_set():
                raise StoppedError
        return parts

    write_dsrl(path, make_data_set(task, config, chosen, on_actors), {"task": task.name, "recipe": name})
    return path, name


def _set_path(task: Task, config: DataConfig, chosen: list[Behaviour], directory: Path) -> Path:
    return directory / f"{task.name}-{config.episodes}-{recipe_digest(task, config, chosen)}.hdf5"


def _is_whole(path: Path, task: Task, recipe: str) -> bool:
    """Whether a collected file holds what its recipe made; one that was cut or altered is named."""
    try:
        check_dsrl(path, task)
        return read_attrs(path).get("recipe") == recipe
    except TrajectoryFileError as error:
        print(f"damaged: {error}; collected again", file=sys.stderr, flush=True)
        return False


def clone_bases(task: Task, data: Mapping[int, Drawn], config: SweepConfig, directory: Path) -> dict[int, Path]:
    """Each replicate's base policy, cloned from its episodes, in parallel; those that are there already are used."""
    settings = CloneConfig(steps=config.base_steps)
    shared = config.for_task(task.name).data.draws == "shared"
    found: dict[int, Path] = {}
    waiting = {}
    for seed, drawn in data.items():
        stream = config.seed if shared else derive(config.seed, "base", seed)
        own = drawn.digest if drawn.episodes is None else digest([drawn.digest, drawn.episodes])
        path = directory / clone_name(task, own, stream, settings, config.base)
        found[seed] = path.resolve()
        if not path.exists() and path not in waiting:
            waiting[path] = _clone.remote(task, drawn, stream, settings, config.base, path)
    for reference in tqdm(waiting.values(), f"base policies {task.name}", unit="policy", leave=False):
        ray.get(reference)
    return found


@ray.remote(num_cpus=1)
def _clone(task: Task, data: Drawn, seed: int, config: CloneConfig, choice: str, path: Path) -> None:
    torch.set_num_threads(1)
    policy, header = clone_base(task, data.path, seed, config, choice, episodes=data.episodes)
    save_policy(policy, path, header)
