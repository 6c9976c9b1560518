"""The sweep: Ray Tune over the packs of a grid, finished cells skipped, rows on disk before anyone is told."""

from __future__ import annotations

import math
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ray import tune
from ray.exceptions import RayError

from prefine_ray.experiment.cells import Cell, Pack, TaskInputs, base_cells, make_cells, make_packs
from prefine_ray.experiment.config import SweepConfig, dump_config
from prefine_ray.experiment.job import FineTuneJob, check_inputs, policy_header, trial_rows
from prefine_ray.orchestration.actors import map_units, start_rollout_actors
from prefine_ray.orchestration.cluster import TRIAL_CPUS, ResourcePlan, plan_resources
from prefine_ray.orchestration.failures import full_text, is_transient
from prefine_ray.orchestration.preflight import check_files
from prefine_ray.orchestration.prepare import prepare
from prefine_ray.orchestration.progress import SweepProgress
from prefine_ray.orchestration.training import TrainedPack, train_pack
from prefine_ray.policies.files import load_policy, policy_bytes, save_policy
from prefine_ray.policies.gaussian import GaussianPolicy, PolicyHeader, stack
from prefine_ray.results.folder import ResultsDir
from prefine_ray.results.heartbeat import Heartbeat
from prefine_ray.rollouts.evaluation import episode_rows, evaluation_seeds
from prefine_ray.rollouts.rollout import RolloutUnit, rollout_copies
from prefine_ray.tracking.tracker import Tracker

EXPERIMENT = "tune"  # folder in DIR/ray
TUNE_STARTS = 5
TRIAL_FAILURES = 5  # a trial whose process or node was lost is tried again this often, from its last checkpoint


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
class RunOutcome:
    """How far a sweep (in cells) or a search (in trials) came."""

    total: int
    finished: int
    failed: int

    @property
    def complete(self) -> bool:
        """Whether every one has ended."""
        return self.finished == self.total


def run_sweep(config: SweepConfig, root: Path, data_directory: Path, tracker: Tracker) -> RunOutcome:
    """Runs the unfinished cells of a grid on the connected Ray cluster.

    Args:
        config: the grid.
        root: the results folder; its finished cells are not run again.
        data_directory: where collected data sets are kept.
        tracker: shows the sweep in MLflow.

    Raises:
        PolicyFileError, TrajectoryFileError, NoBehavioursError, NotEnoughTrajectoriesError, LabelFileError: before
            any cell runs.
        ClusterError: the cluster is too small, or a node lacks the data.
        StorageError: the disk is full.
        FolderInUseError: another sweep works in the folder.
    """
    results = ResultsDir(root)
    with results.lock(), Heartbeat(root) as heartbeat:
        repair(results)
        results.write_config(dump_config(config))
        plan = plan_resources(config.resources, config.needs_counterfactual_actors)
        print(f"Resources: {plan}", flush=True)
        actors = start_rollout_actors(plan)
        inputs = prepare(config, data_directory, actors)
        check_inputs(config, inputs)
        check_files([Path(path) for task in inputs.values() for path in (task.data_path, task.base_path)])
        context = SweepContext(config, inputs, results, plan, actors, str((root / "ray" / "train").resolve()))
        return _run_cells(context, tracker, heartbeat)


def repair(results: ResultsDir) -> None:
    """Names the damaged files of finished packs and lets their cells run again."""
    for damage in results.repair():
        print(f"damaged: {damage.problem}; its cells run again", file=sys.stderr, flush=True)


def _run_cells(context: SweepContext, tracker: Tracker, heartbeat: Heartbeat) -> RunOutcome:
    config, results = context.config, context.results
    grid = make_cells(config, context.inputs)
    cells = [*base_cells(config, context.inputs), *grid]
    results.write_grid([cell.identity for cell in cells])
    tracker.start(dump_config(config))
    run_base_cells(context)
    with SweepProgress(results, cells, tracker, heartbeat) as progress:
        _run_packs(context, grid, progress)
    results.merge([cell.name for cell in cells])
    outcome = _outcome(results, cells)
    heartbeat.show("finished" if outcome.complete else "stopped")
    return outcome


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
    """Rows of the evaluation episodes of each cell's policy, many policies in one batch, on the rollout actors."""
    if not cells:
        return pd.DataFrame()
    episodes = context.config.evaluation.episodes
    parts = evaluation_parts(len(cells), episodes, rollout_copies(cells[0].task), len(context.actors))
    units = [evaluation_unit(context.config, cells[part], policies[part]) for part in parts]
    tables = map_units(context.actors, "table", units)
    rows = []
    for part, table in zip(parts, tables, strict=True):
        for number, cell in enumerate(cells[part]):
            rows += episode_rows(cell.identity, stage, table.part(number * episodes, (number + 1) * episodes))
    return pd.DataFrame(rows)


def evaluation_parts(cells: int, episodes: int, copies: int, actors: int) -> list[slice]:
    """Divides cells into parts of about equal size: of at most about `copies` episodes, and one for each actor."""
    parts = max(1, min(cells, max(math.ceil(cells * episodes / copies), actors)))
    size = math.ceil(cells / parts)
    return [slice(first, min(first + size, cells)) for first in range(0, cells, size)]


def evaluation_unit(config: SweepConfig, cells: Sequence[Cell], policies: Sequence[GaussianPolicy]) -> RolloutUnit:
    """The evaluation episodes of each cell's policy as one batch, cell after cell."""
    task, episodes = cells[0].task, config.evaluation.episodes
    seeds = np.concatenate([evaluation_seeds(config.seed, task, cell.seed, episodes) for cell in cells])
    return RolloutUnit(task, policy_bytes(stack(policies), PolicyHeader(task)), seeds, copies=len(seeds))


def run_pack(config: dict[str, Any], context: SweepContext) -> None:
    """One Tune trial: fine-tune a pack, evaluate it, write its rows and policies, then report.

    An error that would come again is recorded in the rows of its cells; the trial itself then ends well. Only what
    another try may mend is raised.
    """
    pack: Pack = config["pack"]
    try:
        failed = _train_and_evaluate(pack, context)
    except Exception as error:
        if is_transient(error):
            raise
        context.results.write_failure(pack.name, [cell.identity for cell in pack.cells], full_text(error))
        failed = len(pack.cells)
    tune.report({"cells": len(pack.cells), "failed": failed})
    shutil.rmtree(Path(context.train_storage) / pack.name, ignore_errors=True)  # its policies are kept


def _train_and_evaluate(pack: Pack, context: SweepContext) -> int:
    """The number of cells that failed."""
    job = FineTuneJob(pack, context.inputs[pack.task], context.config.for_task(pack.task))
    trained = train_pack(job, context.plan, context.train_storage)
    trials = trial_rows(job, trained.curves, trained.policies, trained.wall_s)
    failed = trials["status"] == "failed"
    if failed.any():
        context.results.append_log(pack.name, _diverged_text(trials[failed], trained.curves))
        trials["log"] = [
            str(context.results.log_path(pack.name).relative_to(context.results.root)) if f else "" for f in failed
        ]
    _finish_pack(context, job, trained, trials)
    return int(failed.sum())


def _diverged_text(failed: pd.DataFrame, curves: pd.DataFrame) -> str:
    """Why cells failed, and their learning curves."""
    rows = failed[["cell", "weight", "seed", "error"]].to_string(index=False)
    return f"{rows}\n\n{curves[curves['cell'].isin(failed['cell'])].to_string(index=False)}"


def _finish_pack(context: SweepContext, job: FineTuneJob, trained: TrainedPack, trials: pd.DataFrame) -> None:
    good = [index for index, status in enumerate(trials["status"]) if status == "finished"]
    cells = [job.pack.cells[index] for index in good]
    policies = [trained.policies.select(index) for index in good]
    for cell, policy in zip(cells, policies, strict=True):
        policy.header = policy_header(job, cell)
        save_policy(policy, context.results.policy_path(cell.name), policy.header)
    episodes = evaluate_cells(context, cells, policies, "finetuned")
    rows = {"curves": trained.curves, "episodes": episodes, "trials": trials}
    context.results.write_part(job.pack.name, rows, policies=[cell.name for cell in cells])


def _run_packs(context: SweepContext, grid: Sequence[Cell], progress: SweepProgress) -> None:
    """Runs the unfinished packs with Tune, which ends itself when a trial's process is killed for lack of memory."""
    handler = signal.getsignal(signal.SIGINT)
    for start in range(1, TUNE_STARTS + 1):
        try:
            packs = make_packs(grid, context.results.finished_cells(), context.config.resources.max_population)
            return tune_packs(context, packs, progress)
        except RuntimeError as error:
            signal.signal(signal.SIGINT, handler)  # Tune's stays after its error
            if start == TUNE_STARTS or not isinstance(error.__cause__, RayError):
                raise
            progress.say(f"Ray Tune ended, starts again: {str(error).splitlines()[0]}")


RunPack = Callable[..., None]  # as `run_pack`


def tune_packs(context: SweepContext, packs: list[Pack], progress: SweepProgress, run: RunPack = run_pack) -> None:
    """Runs each pack as a Tune trial."""
    if not packs:
        return
    trainable = tune.with_resources(tune.with_parameters(run, context=context), {"cpu": TRIAL_CPUS})
    tuner = tune.Tuner(
        trainable,
        param_space={"pack": tune.grid_search(packs)},
        tune_config=tune.TuneConfig(
            max_concurrent_trials=context.plan.concurrent_trials,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=EXPERIMENT,
            storage_path=str((context.results.root / "ray").resolve()),
            failure_config=tune.FailureConfig(max_failures=TRIAL_FAILURES),
            callbacks=[progress],
            verbose=0,
        ),
    )
    tuner.fit()


def _outcome(results: ResultsDir, cells: list[Cell]) -> RunOutcome:
    trials = results.read("trials", [cell.name for cell in cells])
    failed = int((trials["status"] == "failed").sum()) if not trials.empty else 0
    return RunOutcome(len(cells), len(trials), failed)
