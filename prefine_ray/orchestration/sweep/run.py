"""The sweep: Ray Tune over the packs of a grid, finished cells skipped, rows on disk before anyone is told."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pandas as pd
from ray.exceptions import RayError
from ray.tune import Callback

from prefine_ray.core.provenance import made_with
from prefine_ray.experiment.cells import BASE, Cell, Pack, base_cells, count_cells, make_cells, make_packs
from prefine_ray.experiment.config import SweepConfig, dump_config
from prefine_ray.orchestration.cluster import plan_resources
from prefine_ray.orchestration.condition_evaluation import evaluate_grid, missing_of
from prefine_ray.orchestration.context import RunOutcome, SweepContext, add_inputs, make_context
from prefine_ray.orchestration.evaluation import evaluate_cells
from prefine_ray.orchestration.failures import TUNE_STARTS
from prefine_ray.orchestration.prepare import Preparation
from prefine_ray.orchestration.sweep.packs import ReadyPacks
from prefine_ray.orchestration.sweep.progress import SweepProgress
from prefine_ray.orchestration.sweep.ready import ReadyTasks
from prefine_ray.orchestration.sweep.trial import run_pack
from prefine_ray.orchestration.trials import Trainable, run_trials
from prefine_ray.policies.files import load_policy
from prefine_ray.results.folder import ResultsDir
from prefine_ray.results.heartbeat import Heartbeat
from prefine_ray.tasks.spec import get_task
from prefine_ray.tracking.tracker import Tracker

EXPERIMENT = "tune"  # folder in DIR/ray


def run_sweep(config: SweepConfig, root: Path, data_directory: Path, tracker: Tracker) -> RunOutcome:
    """Runs the unfinished cells of a grid on the connected Ray cluster.

    The cells of a task begin when its data and base policies are there, while those of other tasks are made.

    Args:
        config: the grid.
        root: the results folder; its finished cells are not run again.
        data_directory: where collected data sets are kept.
        tracker: shows the sweep in MLflow.

    Raises:
        PolicyFileError, TrajectoryFileError, NoBehavioursError, NotEnoughTrajectoriesError, LabelFileError: before
            any cell runs; where only data that are still to be collected show it, after those of all other tasks.
        ClusterError: the cluster is too small, or a node lacks the data.
        StorageError: the disk is full.
        FolderInUseError: another sweep works in the folder.
    """
    results = ResultsDir(root)
    with results.lock(), Heartbeat(root) as heartbeat:
        plan = plan_resources(config.resources, config.needs_counterfactual_actors)
        context = make_context(config, results, plan)
        preparation = Preparation(config, data_directory, context.actors)
        add_inputs(config, context, {task: preparation.inputs(task) for task in preparation.at_hand})
        tracker.start(dump_config(config))
        with SweepProgress(count_cells(config), results, tracker, heartbeat) as progress:
            outcome = _Run(config, context, preparation, progress).outcome()
        heartbeat.show("finished" if outcome.complete else "stopped")
        return outcome


class _Run:
    """One run of a sweep, from tasks whose inputs are at hand to the outcome."""

    def __init__(self, config: SweepConfig, context: SweepContext, preparation: Preparation, progress: SweepProgress):
        self._config, self._context, self._results = config, context, context.results
        self._preparation, self._progress = preparation, progress
        self._known = 0  # of the tasks that are ready, those whose packs Tune and the progress were given

    def outcome(self) -> RunOutcome:
        """Runs what is to run; how far it came."""
        tasks, whole = [*self._preparation.at_hand, *self._preparation.to_collect], True
        self._write_grid()
        with ReadyTasks(tasks, self._make_ready, self._preparation.stopped) as ready:
            while whole and ready.wait(self._known):
                whole = self._run_packs(ready)
        if whole and not ready.errors:
            evaluate_grid(self._context, self._cells())
        self._results.merge([cell.name for cell in self._cells()])
        ready.raise_error()
        return self._reached()

    def _make_ready(self, task: str) -> None:
        """Makes the inputs of a task, if they are not there, and evaluates its base policies; in a thread."""
        if task not in self._context.inputs:
            add_inputs(self._config, self._context, {task: self._preparation.inputs(task)})
            self._write_grid()
        run_base_cells(self._context, self._bases([task]))

    def _write_grid(self) -> None:
        self._results.write_grid([cell.identity for cell in self._cells()])

    def _run_packs(self, ready: ReadyTasks) -> bool:
        """Runs what is ready with Tune, which ends itself when a trial's process is killed for lack of memory.

        Returns:
            Whether all of it has ended; not where the run was interrupted.
        """
        starts = 0
        while True:
            starts += 1
            try:
                with _own_handler():
                    drained = tune_packs(self._context, self._newly_ready(ready), self._progress)
                return drained and self._names(ready.names[: self._known]) <= self._results.finished_cells()
            except RuntimeError as error:
                if starts == TUNE_STARTS or not isinstance(error.__cause__, RayError):
                    raise
                self._progress.say(f"Ray Tune ended, starts again: {str(error).splitlines()[0]}")

    def _newly_ready(self, ready: ReadyTasks) -> Callable[[], list[Pack]]:
        """Gives the unfinished packs of the tasks that have become ready since the last call; at first, of all."""
        seen = 0

        def packs() -> list[Pack]:
            nonlocal seen
            now = len(ready.names)
            tasks, seen = ready.names[seen:now], now
            if not tasks:
                return []
            finished = self._results.finished_cells()
            self._show(ready.names[self._known : now], finished)
            self._known = now
            return make_packs(self._trained(tasks), finished, self._config.resources.max_population)

        return packs

    def _show(self, new: Sequence[str], finished: set[str]) -> None:
        self._progress.add([*self._bases(new), *self._trained(new)], finished)

    def _cells(self) -> list[Cell]:
        """All cells of the tasks that have inputs, those of base policies first."""
        tasks = list(self._context.inputs)
        return [*self._bases(tasks), *self._trained(tasks)]

    def _bases(self, tasks: Sequence[str]) -> list[Cell]:
        return base_cells(self._config, {task: self._context.inputs[task] for task in tasks})

    def _trained(self, tasks: Sequence[str]) -> list[Cell]:
        return make_cells(self._config, {task: self._context.inputs[task] for task in tasks})

    def _names(self, tasks: Sequence[str]) -> set[str]:
        return {cell.name for cell in (*self._bases(tasks), *self._trained(tasks))}

    def _reached(self) -> RunOutcome:
        """A cell that lacks evaluations under other conditions is not finished."""
        cells = self._cells()
        trials = self._results.read("trials", [cell.name for cell in cells])
        failed = int((trials["status"] == "failed").sum()) if not trials.empty else 0
        lacking = {cell for cell, _ in missing_of(self._context, cells)}
        return RunOutcome(count_cells(self._config), len(trials) - len(lacking), failed, len(lacking))


@contextmanager
def _own_handler() -> Iterator[None]:
    """Restores the handler of Ctrl-C: Tune's stays when it ends, and would take the next one for its own."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, handler)


def run_base_cells(context: SweepContext, cells: Sequence[Cell]) -> None:
    """Evaluates the base policy of each task on the evaluation episodes of each seed."""
    for pack in make_packs(cells, context.results.finished_cells()):
        bases = [load_policy(context.inputs[pack.task].of(cell.seed).base_path) for cell in pack.cells]
        episodes = evaluate_cells(context, pack.cells, bases, BASE)
        ended = {"status": "finished", "error": "", **made_with(get_task(pack.task).suite)}
        trials = pd.DataFrame([{**cell.identity, **ended} for cell in pack.cells])
        context.results.write_part(pack.name, {"episodes": episodes, "trials": trials})


def tune_packs(
    context: SweepContext, newly_ready: Callable[[], list[Pack]], progress: Callback, run: Trainable = run_pack
) -> bool:
    """Runs packs as Tune trials until none is left (see `ReadyPacks`); whether it came so far."""
    packs = ReadyPacks(newly_ready, context.inputs)
    if packs.any_waiting():
        shared = replace(context, inputs={})  # each trial is told of its task's
        run_trials(run, shared, EXPERIMENT, progress, num_samples=-1, search_alg=packs)
    return packs.drained
