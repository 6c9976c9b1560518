"""Hyperparameter search: Optuna through Ray Tune over one task's fine-tuning, on tuning episodes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from ray import tune

from prefine_ray.experiment.config import dump_config
from prefine_ray.experiment.job import TrainingJob, policy_header
from prefine_ray.experiment.search_config import SearchConfig
from prefine_ray.experiment.search_trials import SearchTrial, make_trial, read_outcome, stops
from prefine_ray.orchestration.cluster import ResourcePlan, plan_resources
from prefine_ray.orchestration.context import RunOutcome, SweepContext, make_context
from prefine_ray.orchestration.evaluation import evaluate_cells
from prefine_ray.orchestration.failures import lasting_text
from prefine_ray.orchestration.search.progress import SearchProgress
from prefine_ray.orchestration.search.rounds import RoundSearch
from prefine_ray.orchestration.search.rows import write_failure, write_trial
from prefine_ray.orchestration.training import train_pack
from prefine_ray.orchestration.trials import remove_fit, run_trials
from prefine_ray.policies.gaussian import GaussianPolicy
from prefine_ray.results.folder import ResultsDir
from prefine_ray.results.heartbeat import Heartbeat
from prefine_ray.tracking.tracker import Tracker

EXPERIMENT = "search"  # folder in DIR/ray


def run_search(config: SearchConfig, root: Path, data_directory: Path, tracker: Tracker) -> RunOutcome:
    """Runs the trials of a search that are not on disk yet, on the connected Ray cluster.

    Args:
        config: the task and what to vary.
        root: the results folder; trials that have ended there are given to Optuna as they are.
        data_directory: where collected data sets are kept.
        tracker: shows the trials in MLflow.

    Raises:
        PolicyFileError, TrajectoryFileError, NoBehavioursError, NotEnoughTrajectoriesError, LabelFileError: before
            any trial runs.
        ClusterError: the cluster is too small, or a node lacks the data.
        StorageError: the disk is full.
        FolderInUseError: another sweep or search works in the folder.
    """
    results = ResultsDir(root)
    with results.lock(), Heartbeat(root) as heartbeat:
        context = make_context(config, results, data_directory, _plan(config))
        tracker.start(dump_config(config))
        searcher = RoundSearch(config, partial(make_trial, config, inputs=context.inputs), results)
        with SearchProgress(searcher, results, tracker, heartbeat) as progress:
            run_trials(run_trial, context, EXPERIMENT, progress, num_samples=-1, search_alg=searcher)  # until it ends
        outcome = searcher.outcome()
        heartbeat.show("finished" if outcome.complete else "stopped")
        return outcome


def _plan(config: SearchConfig) -> ResourcePlan:
    plan = plan_resources(config.resources, config.needs_counterfactual_actors)
    return replace(plan, concurrent_trials=min(plan.concurrent_trials, config.search.round))


@dataclass(frozen=True)
class TuningWatch:
    """Evaluates a pack at the rungs on its tuning episodes, and stops it where it does worse than others did."""

    context: SweepContext
    job: TrainingJob
    steps: tuple[int, ...]
    cutoffs: dict[int, float]

    def look(self, policies: GaussianPolicy, step: int) -> pd.DataFrame:
        """One row per tuning episode; a policy that diverged has one row of NaN."""
        cells = self.job.pack.cells
        finite = policies.finite_members()
        good = [index for index, is_finite in enumerate(finite) if is_finite]
        members = [policies.select(index) for index in good]
        for index, member in zip(good, members, strict=True):
            member.header = policy_header(self.job, cells[index])
        rows = evaluate_cells(self.context, [cells[index] for index in good], members, "finetuned")
        bad = [
            cell.identity | {"return": float("nan")}
            for cell, is_finite in zip(cells, finite, strict=True)
            if not is_finite
        ]
        return pd.concat([rows, pd.DataFrame(bad)], ignore_index=True).assign(step=step)

    def stops(self, seen: pd.DataFrame) -> bool:
        """Whether the latest look was too bad to continue."""
        return stops(seen, self.job.pack, self.cutoffs)


def run_trial(config: dict[str, Any], context: SweepContext) -> None:
    """One Tune trial: fine-tune its pack, look at it on tuning episodes, write its rows, then report.

    As in a sweep, an error that would come again is recorded and the trial ends well.
    """
    number, trial = config["number"], config["trial"]
    needed = {int(step): score for step, score in config["cutoffs"].items()}
    try:
        _train_and_look(number, trial, needed, context, config["rungs"])
    except Exception as error:
        write_failure(context.results, number, trial, lasting_text(error))
    outcome = read_outcome(context.results, trial.pack)
    assert outcome is not None
    tune.report(dict(zip(("reward", "cost"), outcome.last, strict=True)) if outcome.scores else {"failed": True})
    remove_fit(context, trial.pack.name)


def _train_and_look(
    number: int, trial: SearchTrial, needed: dict[int, float], context: SweepContext, steps: tuple[int, ...]
) -> None:
    job = TrainingJob(trial.pack, context.inputs[trial.pack.task])
    watch = TuningWatch(context, job, steps, needed)
    log = partial(context.results.append_log, trial.pack.name)
    trained = train_pack(job, context.plan, context.train_storage, watch, log)
    if trained.watched.empty or trained.step > trained.watched["step"].max():
        last = watch.look(trained.policies, trained.step)
        trained = replace(trained, watched=pd.concat([trained.watched, last], ignore_index=True))
    write_trial(context.results, number, trial, job, trained)
