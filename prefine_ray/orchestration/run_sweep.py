"""The sweep: Ray Tune over the packs of a grid, finished cells skipped, rows on disk before anyone is told."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from ray import tune
from ray.exceptions import RayError
from ray.tune import Callback

from prefine_ray.core.provenance import made_with
from prefine_ray.experiment.cells import BASE, Cell, Pack, base_cells, make_cells, make_packs
from prefine_ray.experiment.config import SweepConfig, dump_config
from prefine_ray.experiment.job import TrainingJob, policy_header, trial_rows
from prefine_ray.orchestration.cluster import plan_resources
from prefine_ray.orchestration.condition_evaluation import FINETUNED, evaluate_grid, evaluate_pack, missing_of
from prefine_ray.orchestration.context import RunOutcome, SweepContext, make_context
from prefine_ray.orchestration.evaluation import evaluate_cells
from prefine_ray.orchestration.failures import TUNE_STARTS, lasting_text
from prefine_ray.orchestration.progress import SweepProgress
from prefine_ray.orchestration.training import TrainedPack, train_pack
from prefine_ray.orchestration.trials import Trainable, remove_fit, run_trials
from prefine_ray.policies.files import load_policy, save_policy
from prefine_ray.results.folder import ResultsDir
from prefine_ray.results.heartbeat import Heartbeat
from prefine_ray.tasks.spec import get_task
from prefine_ray.tracking.tracker import Tracker

EXPERIMENT = "tune"  # folder in DIR/ray


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
        plan = plan_resources(config.resources, config.needs_counterfactual_actors)
        context = make_context(config, results, data_directory, plan)
        return _run_cells(config, context, tracker, heartbeat)


def _run_cells(config: SweepConfig, context: SweepContext, tracker: Tracker, heartbeat: Heartbeat) -> RunOutcome:
    results, bases = context.results, base_cells(config, context.inputs)
    grid = make_cells(config, context.inputs)
    cells = [*bases, *grid]
    results.write_grid([cell.identity for cell in cells])
    tracker.start(dump_config(config))
    run_base_cells(context, bases)
    with SweepProgress(results, cells, tracker, heartbeat) as progress:
        _run_packs(context, grid, config.resources.max_population, progress)
        if {cell.name for cell in cells} <= results.finished_cells():  # not where Tune was interrupted
            evaluate_grid(context, cells)
    results.merge([cell.name for cell in cells])
    outcome = _outcome(context, cells)
    heartbeat.show("finished" if outcome.complete else "stopped")
    return outcome


def run_base_cells(context: SweepContext, cells: Sequence[Cell]) -> None:
    """Evaluates the base policy of each task on the evaluation episodes of each seed."""
    for pack in make_packs(cells, context.results.finished_cells()):
        bases = [load_policy(context.inputs[pack.task].of(cell.seed).base_path) for cell in pack.cells]
        episodes = evaluate_cells(context, pack.cells, bases, BASE)
        ended = {"status": "finished", "error": "", **made_with(get_task(pack.task).suite)}
        trials = pd.DataFrame([{**cell.identity, **ended} for cell in pack.cells])
        context.results.write_part(pack.name, {"episodes": episodes, "trials": trials})


def run_pack(config: dict[str, Any], context: SweepContext) -> None:
    """One Tune trial: fine-tune a pack, evaluate it, write its rows and policies, then report.

    An error that would come again is recorded in the rows of its cells; the trial itself then ends well. Only what
    another try may fix is raised.
    """
    pack: Pack = config["pack"]
    context.add_tasks()
    try:
        failed = _train_and_evaluate(pack, context)
    except Exception as error:
        text = lasting_text(error)
        context.results.write_failure(pack.name, [cell.identity for cell in pack.cells], text)
        failed = len(pack.cells)
    _evaluate_conditions(pack, context)
    tune.report({"cells": len(pack.cells), "failed": failed})
    remove_fit(context, pack.name)


def _evaluate_conditions(pack: Pack, context: SweepContext) -> None:
    """Evaluates what the pack alone can tell; after an error that would come again, the end of the sweep tries it."""
    try:
        evaluate_pack(context, pack.name, pack.cells)
    except Exception as error:
        context.results.append_log(pack.name, lasting_text(error))


def _train_and_evaluate(pack: Pack, context: SweepContext) -> int:
    """The number of cells that failed."""
    job = TrainingJob(pack, context.inputs[pack.task])
    log = partial(context.results.append_log, pack.name)
    trained = train_pack(job, context.plan, context.train_storage, log=log)
    trials = trial_rows(job, trained.curves, trained.policies, trained.wall_s).assign(**trained.machine)
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
    rows = failed[["cell", "method", "weight", "seed", "error"]].to_string(index=False)
    return f"{rows}\n\n{curves[curves['cell'].isin(failed['cell'])].to_string(index=False)}"


def _finish_pack(context: SweepContext, job: TrainingJob, trained: TrainedPack, trials: pd.DataFrame) -> None:
    good = [index for index, status in enumerate(trials["status"]) if status == "finished"]
    cells = [job.pack.cells[index] for index in good]
    policies = [trained.policies.select(index) for index in good]
    for cell, policy in zip(cells, policies, strict=True):
        policy.header = policy_header(job, cell)
        save_policy(policy, context.results.policy_path(cell.name), policy.header)
    episodes = evaluate_cells(context, cells, policies, FINETUNED)
    rows = {"curves": trained.curves, "episodes": episodes, "trials": trials}
    context.results.write_part(job.pack.name, rows, policies=[cell.name for cell in cells])


def _run_packs(context: SweepContext, grid: Sequence[Cell], most: int | None, progress: SweepProgress) -> None:
    """Runs the unfinished packs with Tune, which ends itself when a trial's process is killed for lack of memory."""
    handler = signal.getsignal(signal.SIGINT)
    for start in range(1, TUNE_STARTS + 1):
        try:
            packs = make_packs(grid, context.results.finished_cells(), most)
            return tune_packs(context, packs, progress)
        except RuntimeError as error:
            signal.signal(signal.SIGINT, handler)  # Tune's stays after its error
            if start == TUNE_STARTS or not isinstance(error.__cause__, RayError):
                raise
            progress.say(f"Ray Tune ended, starts again: {str(error).splitlines()[0]}")


def tune_packs(context: SweepContext, packs: list[Pack], progress: Callback, run: Trainable = run_pack) -> None:
    """Runs each pack as a Tune trial."""
    if packs:
        run_trials(run, context, EXPERIMENT, progress, {"pack": tune.grid_search(packs)})


def _outcome(context: SweepContext, cells: list[Cell]) -> RunOutcome:
    """A cell that lacks evaluations under other conditions is not finished."""
    trials = context.results.read("trials", [cell.name for cell in cells])
    failed = int((trials["status"] == "failed").sum()) if not trials.empty else 0
    lacking = {cell for cell, _ in missing_of(context, cells)}
    return RunOutcome(len(cells), len(trials) - len(lacking), failed)
