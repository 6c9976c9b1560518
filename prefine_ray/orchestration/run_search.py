"""Hyperparameter search: Optuna through Ray Tune over one task's fine-tuning, on tuning episodes."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from ray import tune
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch
from tqdm import tqdm

from prefine_ray.core.errors import last_line
from prefine_ray.core.seeding import derive
from prefine_ray.experiment.cells import Pack
from prefine_ray.experiment.config import dump_config
from prefine_ray.experiment.job import FineTuneJob, check_inputs, policy_header, trial_rows
from prefine_ray.experiment.search_config import Range, SearchConfig, Values
from prefine_ray.experiment.search_trials import (
    Outcome,
    SearchTrial,
    cutoffs,
    make_trial,
    read_outcome,
    rungs,
    stops,
    tidy,
)
from prefine_ray.methods.prefine.settings import FineTuneConfig
from prefine_ray.orchestration.actors import start_rollout_actors
from prefine_ray.orchestration.cluster import TRIAL_CPUS, plan_resources
from prefine_ray.orchestration.failures import full_text, is_transient
from prefine_ray.orchestration.preflight import check_files
from prefine_ray.orchestration.prepare import prepare
from prefine_ray.orchestration.progress import forget_pickled_error, latest_error
from prefine_ray.orchestration.run_sweep import TRIAL_FAILURES, RunOutcome, SweepContext, evaluate_cells, repair
from prefine_ray.orchestration.training import TrainedPack, train_pack
from prefine_ray.policies.gaussian import GaussianPolicy
from prefine_ray.results.folder import ResultsDir, full_message, is_full
from prefine_ray.results.heartbeat import Heartbeat, RunningPack
from prefine_ray.tracking.tracker import Tracker

STARTUP_TRIALS = 8  # drawn at random before Optuna's sampler models the results


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
        repair(results)
        context = _prepare(config, results, data_directory)
        tracker.start(dump_config(config))
        searcher = RoundSearch(config, partial(make_trial, config, inputs=context.inputs), results)
        with SearchProgress(searcher, results, tracker, heartbeat) as progress:
            _tune(context, searcher, progress)
        outcome = searcher.outcome()
        heartbeat.show("finished" if outcome.complete else "stopped")
        return outcome


def _prepare(config: SearchConfig, results: ResultsDir, data_directory: Path) -> SweepContext:
    results.write_config(dump_config(config))
    modes = config.search.space.get("counterfactuals", (config.finetune.counterfactuals,))
    plan = plan_resources(config.resources, counterfactual_actors=set(modes) != {"learner"})
    plan = replace(plan, concurrent_trials=min(plan.concurrent_trials, config.search.round))
    print(f"Resources: {plan}", flush=True)
    actors = start_rollout_actors(plan)
    inputs = prepare(config, data_directory, actors)
    check_inputs(config, inputs)
    check_files([Path(path) for task in inputs.values() for path in (task.data_path, task.base_path)])
    return SweepContext(config, inputs, results, plan, actors, str((results.root / "ray" / "train").resolve()))


class RoundSearch(OptunaSearch):
    """Optuna's suggestions in rounds, each from the results of all earlier rounds and from nothing else.

    A trial's sampler is seeded by the trial's number, and results are told in the order of the numbers: the
    suggestions depend on the configuration alone, not on which trial was faster. So a search that goes on asks again
    from the start, and trials that are on disk already are told at once.
    """

    def __init__(self, config: SearchConfig, trial_of: Callable[[Values], SearchTrial], results: ResultsDir):
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.config, self.trials = config, dict[int, SearchTrial]()
        self._trial_of, self._results = trial_of, results
        self._numbers: dict[str, int] = {}  # of Tune's trials that run
        self._told: list[Outcome] = []  # by number, of the rounds before
        super().__init__(distributions(config), metric=["reward", "cost"], mode=["max", "min"], sampler=_sampler(0))

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next trial that has to run; None while a round waits for its last trials; FINISHED after the last."""
        while len(self.trials) < self.config.search.trials:
            number = len(self.trials)
            if number % self.config.search.round == 0 and not self._close_round():
                return None
            trial = self._ask(number)
            if read_outcome(self._results, trial.pack) is None and not self._is_running(trial):
                self._numbers[trial_id] = number
                return {"number": number, "values": trial.values, "cutoffs": self._cutoffs()}
        return Searcher.FINISHED  # type: ignore[return-value]  # as Tune documents it

    def on_trial_result(self, trial_id: str, result: dict) -> None:
        """Nothing: a trial counts when it is on disk."""

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """The trial no longer runs; its outcome is read from disk when its round closes."""
        self._numbers.pop(trial_id, None)

    def outcome(self) -> RunOutcome:
        """How far the search is, on disk."""
        found = [read_outcome(self._results, trial.pack) for trial in self.trials.values()]
        ended = [outcome for outcome in found if outcome is not None]
        return RunOutcome(self.config.search.trials, len(ended), sum(outcome.failed for outcome in ended))

    def _ask(self, number: int) -> SearchTrial:
        assert self._ot_study is not None
        self._ot_study.sampler = _sampler(derive(self.config.seed, "search", number))
        values = super().suggest(str(number))
        assert values is not None
        self.trials[number] = self._trial_of(tidy(self.config, values))
        return self.trials[number]

    def _is_running(self, trial: SearchTrial) -> bool:
        return any(self.trials[number].pack.name == trial.pack.name for number in self._numbers.values())

    def _close_round(self) -> bool:
        """Tells Optuna the results of the last round, if all its trials have ended."""
        if self._numbers:
            return False
        for number in range(len(self._told), len(self.trials)):
            outcome = read_outcome(self._results, self.trials[number].pack) or Outcome({}, failed=True)
            self._told.append(outcome)
            told = None if outcome.failed else dict(zip(("reward", "cost"), outcome.last, strict=True))
            super().on_trial_complete(str(number), told, error=outcome.failed)
        return True

    def _cutoffs(self) -> dict[str, float]:
        needed = cutoffs(self.config, [outcome for outcome in self._told if not outcome.failed])
        return {str(step): score for step, score in needed.items()}


def distributions(config: SearchConfig) -> dict[str, BaseDistribution]:
    """The search space in Optuna's terms."""
    known: dict[str, BaseDistribution] = {}
    for key, dimension in config.search.space.items():
        field = FineTuneConfig.model_fields.get(key)
        if not isinstance(dimension, Range):
            known[key] = CategoricalDistribution(dimension)
        elif field is not None and isinstance(getattr(config.finetune, key), int):
            low, high, step = int(dimension.low), int(dimension.high), int(dimension.step or 1)
            known[key] = IntDistribution(low, high, log=dimension.log, step=step)
        else:
            known[key] = FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)
    return known


def _sampler(seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(n_startup_trials=STARTUP_TRIALS, constant_liar=True, seed=seed % 2**32)


@dataclass(frozen=True)
class TuningWatch:
    """Evaluates a pack at the rungs on its tuning episodes, and stops it where it does worse than others did."""

    context: SweepContext
    job: FineTuneJob
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
        """Whether the latest look was too bad to go on."""
        return stops(seen, self.job.pack, self.cutoffs)


def run_trial(config: dict[str, Any], context: SweepContext) -> None:
    """One Tune trial: fine-tune its pack, look at it on tuning episodes, write its rows, then report.

    As in a sweep, an error that would come again is recorded and the trial ends well.
    """
    search = context.config
    assert isinstance(search, SearchConfig)
    number, trial = config["number"], make_trial(search, config["values"], context.inputs)
    needed = {int(step): score for step, score in config["cutoffs"].items()}
    try:
        _train_and_look(number, trial, needed, context, rungs(search))
    except Exception as error:
        if is_transient(error):
            raise
        _write_failure(context.results, number, trial, full_text(error))
    outcome = read_outcome(context.results, trial.pack)
    assert outcome is not None
    tune.report(dict(zip(("reward", "cost"), outcome.last, strict=True)) if outcome.scores else {"failed": True})
    shutil.rmtree(Path(context.train_storage) / trial.pack.name, ignore_errors=True)


def _train_and_look(
    number: int, trial: SearchTrial, needed: dict[int, float], context: SweepContext, steps: tuple[int, ...]
) -> None:
    job = FineTuneJob(trial.pack, context.inputs[trial.pack.task], trial.config)
    watch = TuningWatch(replace(context, config=trial.config), job, steps, needed)
    trained = train_pack(job, context.plan, context.train_storage, watch)
    if trained.watched.empty or trained.step > trained.watched["step"].max():
        last = watch.look(trained.policies, trained.step)
        trained = replace(trained, watched=pd.concat([trained.watched, last], ignore_index=True))
    write_trial(context.results, number, trial, job, trained)


def _write_failure(results: ResultsDir, number: int, trial: SearchTrial, error: str) -> None:
    results.write_failure(
        trial.pack.name, [{**cell.identity, **_asked(number, trial)} for cell in trial.pack.cells], error
    )


def _asked(number: int, trial: SearchTrial) -> dict[str, Any]:
    """The columns that tell a trial in its rows."""
    return {"number": number, **{f"search.{key}": value for key, value in trial.values.items()}}


def write_trial(results: ResultsDir, number: int, trial: SearchTrial, job: FineTuneJob, trained: TrainedPack) -> None:
    """Puts a trial on disk: one row per cell with the searched values, its curves, its episodes at every rung."""
    rows = trial_rows(job, trained.curves, trained.policies, trained.wall_s)
    rows = rows.assign(steps=trained.step, **_asked(number, trial))
    episodes = trained.watched.assign(
        stage=["finetuned" if step == trained.step else "rung" for step in trained.watched["step"]]
    )
    results.write_part(trial.pack.name, {"curves": trained.curves, "episodes": episodes, "trials": rows})


def _tune(context: SweepContext, searcher: RoundSearch, progress: SearchProgress) -> None:
    trainable = tune.with_resources(tune.with_parameters(run_trial, context=context), {"cpu": TRIAL_CPUS})
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            num_samples=-1,  # until the searcher is finished
            search_alg=searcher,
            max_concurrent_trials=context.plan.concurrent_trials,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="search",
            storage_path=str((context.results.root / "ray").resolve()),
            failure_config=tune.FailureConfig(max_failures=TRIAL_FAILURES),
            callbacks=[progress],
            verbose=0,
        ),
    )
    tuner.fit()


class SearchProgress(tune.Callback):
    """The time left, a line per trial, failures on disk, the state for `prefine status`, MLflow."""

    def __init__(self, searcher: RoundSearch, results: ResultsDir, tracker: Tracker, heartbeat: Heartbeat):
        self._searcher, self._results, self._tracker, self._heartbeat = searcher, results, tracker, heartbeat
        total = searcher.config.search.trials
        self._bar = tqdm(desc="search", total=total, unit="trial", mininterval=0, dynamic_ncols=True)
        self._passed_over = 0  # trials that were on disk

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune keeps its callbacks for a restore, and a run that goes on makes a new one."""
        return {}

    def __enter__(self) -> SearchProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        self._tracker.sync()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Trials that were on disk count, but not for the estimate of the time left."""
        stored = max(one.config["number"] for one in trials) + 1 - len(trials) - self._passed_over
        self._passed_over += stored
        self._bar.initial += stored
        self._bar.update(stored)
        pack, label = self._pack(trial), f"trial {trial.config['number']}"
        self._heartbeat.begin(RunningPack(pack.name, pack.task, label, 1, time.time(), trial.num_failures))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial is on disk."""
        pack = self._pack(trial)
        outcome = read_outcome(self._results, pack)
        assert outcome is not None
        self._heartbeat.end(pack.name)
        self._say(trial, f"FAILED: {self._results.log_path(pack.name)}" if outcome.failed else _summary(outcome))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The process or node of a trial was lost: it runs again, from its last checkpoint."""
        forget_pickled_error(trial)
        text = latest_error(trial)
        if is_full(text):
            return self._heartbeat.stop_sweep(full_message(self._results.root))
        self._results.append_log(self._pack(trial).name, f"lost, runs again\n{text}")
        self._heartbeat.end(self._pack(trial).name)
        self._bar.write(f"lost: trial {trial.config['number']}, runs again: {last_line(text)}", file=sys.stderr)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial was lost too often: record its cells as failed, with the reason."""
        forget_pickled_error(trial)
        number, text = trial.config["number"], latest_error(trial)
        if is_full(text):
            return self._heartbeat.stop_sweep(full_message(self._results.root))
        _write_failure(self._results, number, self._searcher.trials[number], text)
        self._heartbeat.end(self._pack(trial).name)
        self._say(trial, f"FAILED: {last_line(text)}")

    def _say(self, trial: Any, text: str) -> None:
        values = ", ".join(f"{key} {value}" for key, value in trial.config["values"].items())
        self._bar.write(f"trial {trial.config['number']}: {text} ({values})", file=sys.stderr)
        self._bar.update(1)
        self._tracker.update()

    def _pack(self, trial: Any) -> Pack:
        return self._searcher.trials[trial.config["number"]].pack


def _summary(outcome: Outcome) -> str:
    reward, cost = outcome.last
    safe = "safe" if cost <= 1.0 else "unsafe"
    return f"reward {reward:.3f}, cost {cost:.3f}, {safe}, after {max(outcome.scores)} steps"
