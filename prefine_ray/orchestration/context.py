"""What the trials of a sweep or a search share, and how far a run came."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefine_ray.experiment.cells import make_cells
from prefine_ray.experiment.config import SweepConfig, dump_config
from prefine_ray.experiment.job import check_inputs
from prefine_ray.experiment.replicates import TaskInputs
from prefine_ray.orchestration.cluster import ResourcePlan
from prefine_ray.orchestration.preflight import check_files
from prefine_ray.orchestration.ray_actors import start_rollout_actors
from prefine_ray.results.checkpoints import fit_folder
from prefine_ray.results.folder import ResultsDir
from prefine_ray.tasks.registration import add_tasks


@dataclass(frozen=True)
class SweepContext:
    """What every trial shares."""

    inputs: dict[str, TaskInputs]
    results: ResultsDir
    plan: ResourcePlan
    actors: Sequence[Any]
    train_storage: str

    def add_tasks(self) -> None:
        """Registers the own tasks in this process, for a trial begins in one that knows none."""
        for inputs in self.inputs.values():
            add_tasks(inputs.definitions)


@dataclass(frozen=True)
class RunOutcome:
    """How far a sweep (in cells) or a search (in trials) came."""

    total: int
    finished: int
    failed: int
    unfinished: int = 0  # cells that have ended but lack evaluations under other conditions

    @property
    def complete(self) -> bool:
        """Whether every one has ended."""
        return self.finished == self.total


def make_context(config: SweepConfig, results: ResultsDir, plan: ResourcePlan) -> SweepContext:
    """Repairs the folder, keeps the configuration and starts the rollout actors; `inputs` are still empty."""
    _repair(results)
    results.write_config(dump_config(config))
    print(f"Resources: {plan}", flush=True)
    actors = start_rollout_actors(plan, config.definitions)
    return SweepContext({}, results, plan, actors, str(fit_folder(results.root).resolve()))


def add_inputs(config: SweepConfig, context: SweepContext, inputs: Mapping[str, TaskInputs]) -> None:
    """Checks the inputs of some tasks and adds them to the context.

    Raises:
        NotEnoughTrajectoriesError, LabelFileError, NoResetSeedsError: the cells cannot be trained on these data.
        ClusterError: a node lacks the data.
    """
    check_inputs(make_cells(config, inputs), inputs)
    check_files([Path(path) for task in inputs.values() for path in task.files])
    context.inputs.update(inputs)


def _repair(results: ResultsDir) -> None:
    """Names the damaged files of finished packs and lets their cells run again."""
    for damage in results.repair():
        print(f"damaged: {damage.problem}; its cells run again", file=sys.stderr, flush=True)
