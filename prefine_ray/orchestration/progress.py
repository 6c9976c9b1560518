"""What the driver shows and records while Tune runs: a progress line, failures, its state, MLflow."""

from __future__ import annotations

import re
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from ray.tune import Callback
from tqdm import tqdm

from prefine_ray.core.errors import last_line
from prefine_ray.experiment.cells import Pack
from prefine_ray.orchestration.failures import TRIAL_FAILURES
from prefine_ray.results.folder import ResultsDir, storage_message, storage_problem
from prefine_ray.results.heartbeat import Heartbeat, RunningPack
from prefine_ray.tracking.tracker import Tracker

_REFRESH_S = 2.0 if sys.stderr.isatty() else 30.0
Self = TypeVar("Self", bound="RunProgress")


class RunProgress(Callback, ABC):
    """A Tune callback; results are already on disk when it is told of them. Subclasses know what a trial is."""

    def __init__(self, bar: tqdm, results: ResultsDir, tracker: Tracker, heartbeat: Heartbeat):
        self._bar, self._results, self._tracker, self._heartbeat = bar, results, tracker, heartbeat
        self._refreshed = time.monotonic()

    @abstractmethod
    def _pack(self, trial: Any) -> Pack:
        """The pack that a trial runs."""

    def _name(self, trial: Any) -> str:
        """What the heartbeat knows a trial by."""
        return self._pack(trial).name

    @abstractmethod
    def _label(self, trial: Any) -> str:
        """Human-readable."""

    @abstractmethod
    def _size(self, trial: Any) -> int:
        """By how much the progress line advances when the trial ends."""

    @abstractmethod
    def _result(self, trial: Any) -> str:
        """The line that is shown of a trial whose rows are on disk."""

    @abstractmethod
    def _write_failure(self, trial: Any, error: str) -> None:
        """Records the cells of a trial as failed."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune keeps its callbacks for a restore, and a resumed run makes a new one."""
        return {}

    def __enter__(self: Self) -> Self:
        self._tracker.update()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        self._tracker.sync()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Keeps the progress line up to date."""
        if time.monotonic() - self._refreshed > _REFRESH_S:
            running = sum(trial.status == "RUNNING" for trial in trials)
            self._bar.set_postfix_str(f"{running} packs running")
            self._refreshed = time.monotonic()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial begins, or begins again."""
        pack, now = self._pack(trial), time.time()
        self._heartbeat.begin(
            RunningPack(self._name(trial), pack.task, self._label(trial), self._size(trial), now, trial.num_failures)
        )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial is on disk: count it and send it to MLflow."""
        self._end(trial, self._result(trial))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The process or node of a trial was lost: it runs again, from its last checkpoint."""
        forget_pickled_error(trial)
        text = latest_error(trial)
        if self._stops(text):
            return
        tries = f"lost {trial.num_failures} of at most {TRIAL_FAILURES} times"
        self._results.append_log(self._pack(trial).name, f"{tries}, runs again\n{text}")
        self.say(f"lost: {self._label(trial)}, {tries}, runs again: {last_line(text)} ({self._log(trial)})")
        self._heartbeat.end(self._name(trial))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial was lost too often: record its cells as failed, with the reason."""
        forget_pickled_error(trial)
        text = latest_error(trial)
        if self._stops(text):
            return
        self._write_failure(trial, text)
        self._end(trial, f"FAILED: {self._label(trial)}: {last_line(text)} ({self._log(trial)})")

    def _stops(self, text: str) -> bool:
        """Stops the run where an error says that a disk takes nothing more."""
        if problem := storage_problem(text):
            place = foreign_place(text, problem, self._results.root)
            self._heartbeat.stop_sweep(storage_message(self._results.root, problem, place))
        return bool(problem)

    def say(self, line: str) -> None:
        """Prints a line above the progress line."""
        self._bar.write(line, file=sys.stderr)

    def _log(self, trial: Any) -> Path:
        return self._results.log_path(self._pack(trial).name)

    def _end(self, trial: Any, line: str) -> None:
        self._bar.update(self._size(trial))
        self.say(line)
        self._heartbeat.end(self._name(trial))
        self._tracker.update()


def progress_line(name: str, total: int, unit: str, done: int = 0) -> tqdm:
    """A progress line that is redrawn whenever something ends."""
    return tqdm(desc=name, total=total, initial=done, unit=unit, mininterval=0, dynamic_ncols=True)


def forget_pickled_error(trial: Any) -> None:
    """Keeps Tune from unpickling the trial's error from the results folder: the text beside it says the same."""
    trial.run_metadata.pickled_error_filename = None


def foreign_place(text: str, problem: str, root: Path) -> Path | None:
    """The path that an error of a full or read-only disk names, where that is not in the results folder `root`."""
    named = re.findall(re.escape(problem) + r": '([^']+)'", text)
    return next((Path(path) for path in named if not Path(path).is_relative_to(root.resolve())), None)


def latest_error(trial: Any) -> str:
    """The traceback of a trial's latest failure; Tune appends each to one file."""
    file = Path(trial.error_file) if trial.error_file else None
    text = file.read_text() if file is not None and file.exists() else ""
    return text.rpartition("Failure # ")[2].strip() or "unknown error"
