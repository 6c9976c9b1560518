"""The sweep: Ray Tune over the packs of a grid, finished cells skipped, rows on disk before anyone is told."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from ray import tune

from prefine_ray.cells import Cell, Pack, TaskInputs, base_cells, make_cells, make_packs
from prefine_ray.config import SweepConfig, dump_config
from prefine_ray.evaluation import episode_rows, evaluation_seeds
from prefine_ray.job import FineTuneJob, check_inputs, policy_header, trial_rows
from prefine_ray.orchestration.actors import map_units, start_rollout_actors
from prefine_ray.orchestration.cluster import (
    COUNTERFACTUAL_CPUS,
    ROLLOUT_CPUS,
    TRIAL_CPUS,
    ResourcePlan,
    plan_resources,
)
from prefine_ray.orchestration.prepare import prepare
from prefine_ray.orchestration.progress import SweepProgress
from prefine_ray.orchestration.training import TrainedPack, train_pack
from prefine_ray.policy import GaussianPolicy, load_policy, policy_bytes, save_policy
from prefine_ray.results import ResultsDir
from prefine_ray.rollouts import RolloutUnit
from prefine_ray.tracking import Tracker

TRIAL_FAILURES = 2  # a trial is tried again this often, from its last checkpoint


@dataclass(frozen=True)
class SweepContext:
    """What every trial shares."""

    config: SweepConfig
    inputs: dict[str, TaskInputs]
    results: ResultsDir
    plan: ResourcePlan
    actors: Sequence[Any]
    train_storage: str


@dataclass(frozen=True)
class SweepOutcome:
    """How far a sweep came."""

    total: int
    finished: int
    failed: int

    @property
    def complete(self) -> bool:
        """Whether every cell has its result."""
        return self.finished == self.total


def run_sweep(config: SweepConfig, root: Path, data_directory: Path, tracker: Tracker) -> SweepOutcome:
    """Runs the unfinished cells of a grid on the connected Ray cluster.

    Args:
        config: the grid.
        root: the results folder; its finished cells are not run again.
        data_directory: where collected data sets are kept.
        tracker: shows the sweep in MLflow.

    Raises:
        PolicyFileError, TrajectoryFileError, NoBehavioursError, NotEnoughTrajectoriesError, LabelFileError: before
            any cell runs.
        ClusterError: the cluster is too small.
    """
    results = ResultsDir(root)
    results.write_config(dump_config(config))
    plan = plan_resources(config.resources, config.finetune.counterfactuals != "learner")
    print(f"Resources: {plan}", flush=True)
    actors = start_rollout_actors(plan.rollout_actors, ROLLOUT_CPUS)
    inputs = prepare(config, data_directory, actors)
    check_inputs(config, inputs)
    context = SweepContext(config, inputs, results, plan, actors, str((root / "ray" / "train").resolve()))
    cells = [*base_cells(config, inputs), *make_cells(config, inputs)]
    tracker.start(dump_config(config))
    run_base_cells(context)
    with SweepProgress(results, cells, tracker) as progress:
        _tune(context, make_packs(make_cells(config, inputs), results.finished_cells()), progress)
    results.merge([cell.name for cell in cells])
    return _outcome(results, cells)


def run_base_cells(context: SweepContext) -> None:
    """Evaluates the base policy of each task on the evaluation episodes of each seed."""
    done = context.results.finished_cells()
    for task in context.config.tasks:
        missing = [c for c in base_cells(context.config, context.inputs) if c.task == task and c.name not in done]
        if not missing:
            continue
        base = load_policy(context.inputs[task].base_path)
        episodes = evaluate_cells(context, missing, [base] * len(missing), "base")
        trials = pd.DataFrame([{**cell.identity, "status": "finished", "error": ""} for cell in missing])
        context.results.write_part(make_packs(missing, set())[0].name, {"episodes": episodes, "trials": trials})


def evaluate_cells(
    context: SweepContext, cells: Sequence[Cell], policies: Sequence[GaussianPolicy], stage: str
) -> pd.DataFrame:
    """Rows of the evaluation episodes of each cell's policy, on the shared rollout actors."""
    config = context.config
    units = []
    for cell, policy in zip(cells, policies, strict=True):
        seeds = evaluation_seeds(config.seed, cell.task, cell.seed, config.evaluation.episodes)
        assert policy.header is not None  # from its file, or set where it was fine-tuned
        units.append(RolloutUnit(cell.task, policy_bytes(policy, policy.header), seeds, copies=len(seeds)))
    tables = map_units(context.actors, "table", units)
    rows = [row for cell, table in zip(cells, tables, strict=True) for row in episode_rows(cell.identity, stage, table)]
    return pd.DataFrame(rows)


def run_pack(config: dict[str, Any], context: SweepContext) -> None:
    """One Tune trial: fine-tune a pack, evaluate it, write its rows and policies, then report."""
    pack: Pack = config["pack"]
    job = FineTuneJob(pack, context.inputs[pack.task], context.config)
    trained = train_pack(job, context.plan, context.train_storage)
    trials = trial_rows(job, trained.curves, trained.policies, trained.wall_s)
    _finish_pack(context, job, trained, trials)
    tune.report({"cells": len(pack.cells), "failed": int((trials["status"] == "failed").sum())})
    shutil.rmtree(Path(context.train_storage) / pack.name, ignore_errors=True)  # its policies are kept


def _finish_pack(context: SweepContext, job: FineTuneJob, trained: TrainedPack, trials: pd.DataFrame) -> None:
    good = [index for index, status in enumerate(trials["status"]) if status == "finished"]
    cells = [job.pack.cells[index] for index in good]
    policies = [trained.policies.select(index) for index in good]
    for cell, policy in zip(cells, policies, strict=True):
        policy.header = policy_header(job, cell)
        save_policy(policy, context.results.policy_path(cell.name), policy.header)
    episodes = evaluate_cells(context, cells, policies, "finetuned")
    context.results.write_part(job.pack.name, {"curves": trained.curves, "episodes": episodes, "trials": trials})


def _tune(context: SweepContext, packs: list[Pack], progress: SweepProgress) -> None:
    if not packs:
        return
    trainable = tune.with_resources(tune.with_parameters(run_pack, context=context), trial_resources(context.plan))
    tuner = tune.Tuner(
        trainable,
        param_space={"pack": tune.grid_search(packs)},
        tune_config=tune.TuneConfig(
            max_concurrent_trials=context.plan.concurrent_trials,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str((context.results.root / "ray").resolve()),
            failure_config=tune.FailureConfig(max_failures=TRIAL_FAILURES),
            callbacks=[progress],
            verbose=0,
        ),
    )
    tuner.fit()


def trial_resources(plan: ResourcePlan) -> tune.PlacementGroupFactory:
    """What a trial holds: its own function and its counterfactual actors; its Train worker reserves for itself."""
    return tune.PlacementGroupFactory(
        [{"CPU": TRIAL_CPUS}, *[{"CPU": COUNTERFACTUAL_CPUS}] * plan.counterfactual_actors]
    )


def _outcome(results: ResultsDir, cells: list[Cell]) -> SweepOutcome:
    trials = results.read("trials", [cell.name for cell in cells])
    failed = int((trials["status"] == "failed").sum()) if not trials.empty else 0
    return SweepOutcome(len(cells), len(trials), failed)
