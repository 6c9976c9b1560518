"""Hyperparameter search: Optuna through Ray Tune, one setting of the fine-tuning a trial, on tuning episodes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from ray import tune

from prefine_ray.analysis.search.outcomes import Parts, read_outcome, stops
from prefine_ray.experiment.cells import Pack
from prefine_ray.experiment.config import dump_config
from prefine_ray.experiment.job import TrainingJob, policy_header
from prefine_ray.experiment.search_config import SearchConfig
from prefine_ray.experiment.search_trials import Rungs, SearchTrial, make_trial
from prefine_ray.orchestration.cluster import ResourcePlan, plan_resources
from prefine_ray.orchestration.context import RunOutcome, SweepContext, add_inputs, make_context
from prefine_ray.orchestration.evaluation import evaluate_cells
from prefine_ray.orchestration.failures import lasting_text
from prefine_ray.orchestration.prepare import prepare
from prefine_ray.orchestration.search.progress import SearchProgress
from prefine_ray.orchestration.search.rounds import RoundSearch
from prefine_ray.orchestration.search.rows import reference_rows, write_failure, write_pack
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
        config: the problems and what to vary.
        root: the results folder; trials that have ended there are given to Optuna as they are, and of others only the
            tasks that lack are run.
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
        context = make_context(config, results, _plan(config))
        add_inputs(config, context, prepare(config, data_directory, context.actors))
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
    needed: dict[int, float]  # the score at each step to continue
    references: pd.DataFrame  # see `reference_rows`

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
        return stops(seen, self.references, self.needed)


def run_trial(config: dict[str, Any], context: SweepContext) -> None:
    """One Tune trial: fine-tune and look at the packs that are not on disk yet, task after task, then report.

    It ends after the last task, at a rung that it does not pass, or with a task that failed: a setting that cannot be
    used on one task is none for all. As in a sweep, an error that would come again is recorded and the trial ends well.
    """
    trial: SearchTrial = config["trial"]
    context.add_tasks()
    rungs, needed = config["rungs"], {int(rung): score for rung, score in config["cutoffs"].items()}
    parts = Parts(context.results, [pack.name for pack in trial.packs], [pack.task for pack in trial.packs])
    while not (outcome := read_outcome(parts, rungs, needed)).ended:
        pack = trial.packs[outcome.tasks]
        try:
            _train_and_look(config["number"], trial, pack, needed, context, rungs)
        except Exception as error:
            write_failure(context.results, config["number"], trial, pack, lasting_text(error))
        remove_fit(context, pack.name)
    tune.report({"failed": outcome.failed, "score": outcome.score, "tasks": outcome.tasks})


def _train_and_look(
    number: int, trial: SearchTrial, pack: Pack, needed: dict[int, float], context: SweepContext, rungs: Rungs
) -> None:
    job = TrainingJob(pack, context.inputs[pack.task])
    references = reference_rows(job)
    watch = TuningWatch(context, job, rungs.steps, needed, references)
    log = partial(context.results.append_log, pack.name)
    trained = train_pack(job, context.plan, context.train_storage, watch, log)
    if trained.watched.empty or trained.step > trained.watched["step"].max():
        last = watch.look(trained.policies, trained.step)
        trained = replace(trained, watched=pd.concat([trained.watched, last], ignore_index=True))
    write_pack(context.results, number, trial, job, trained, references)
