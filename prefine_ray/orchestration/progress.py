"""What the driver of a sweep shows and records while Tune runs: a progress line, failures, its state, MLflow."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from ray.tune import Callback
from tqdm import tqdm

from prefine_ray.core.errors import last_line
from prefine_ray.experiment.cells import Cell, Pack
from prefine_ray.results.folder import ResultsDir, full_message, is_full
from prefine_ray.results.heartbeat import Heartbeat, RunningPack
from prefine_ray.tracking.tracker import Tracker

_REFRESH_S = 2.0 if sys.stderr.isatty() else 30.0


class SweepProgress(Callback):
    """A Tune callback; results are already on disk when it is told of them."""

    def __init__(self, results: ResultsDir, cells: Sequence[Cell], tracker: Tracker, heartbeat: Heartbeat):
        self._results, self._tracker, self._heartbeat = results, tracker, heartbeat
        done = results.finished_cells() & {cell.name for cell in cells}
        self._bar = tqdm(
            desc="sweep", total=len(cells), initial=len(done), unit="cell", mininterval=0, dynamic_ncols=True
        )
        self._refreshed = time.monotonic()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: Tune keeps its callbacks for a restore, and a run that goes on makes a new one."""
        return {}

    def __enter__(self) -> SweepProgress:
        self._tracker.update()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        self._tracker.sync()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        """Keeps the progress line and the state of the sweep up to date."""
        if time.monotonic() - self._refreshed > _REFRESH_S:
            running = sum(trial.status == "RUNNING" for trial in trials)
            self._bar.set_postfix_str(f"{running} packs running")
            self._refreshed = time.monotonic()

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A pack begins, or begins again."""
        pack: Pack = trial.config["pack"]
        self._heartbeat.begin(
            RunningPack(pack.name, pack.task, pack.label, len(pack.cells), time.time(), trial.num_failures)
        )

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A pack is on disk: count its cells and send them to MLflow."""
        pack: Pack = trial.config["pack"]
        failed = (trial.last_result or {}).get("failed", 0)
        note = f", {failed} of them FAILED: {self._results.log_path(pack.name)}" if failed else ""
        self._bar.update(len(pack.cells))
        self.say(f"done: {pack.label}, {len(pack.cells)} cells{note}")
        self._heartbeat.end(pack.name)
        self._tracker.update()

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The process or node of a pack was lost: it runs again, from its last checkpoint."""
        forget_pickled_error(trial)
        pack: Pack = trial.config["pack"]
        text = latest_error(trial)
        if is_full(text):
            self._heartbeat.stop_sweep(full_message(self._results.root))
            return
        self._results.append_log(pack.name, f"lost, runs again\n{text}")
        self.say(f"lost: {pack.label}, runs again: {last_line(text)}")
        self._heartbeat.end(pack.name)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A pack was lost too often: record its cells as failed, with the reason."""
        forget_pickled_error(trial)
        pack: Pack = trial.config["pack"]
        text = latest_error(trial)
        if is_full(text):
            self._heartbeat.stop_sweep(full_message(self._results.root))
            return
        self._results.write_failure(pack.name, [cell.identity for cell in pack.cells], text)
        self.say(f"FAILED: {pack.label}: {last_line(text)} ({self._results.log_path(pack.name)})")
        self._bar.update(len(pack.cells))
        self._heartbeat.end(pack.name)
        self._tracker.update()

    def say(self, line: str) -> None:
        """Prints a line above the progress line."""
        self._bar.write(line, file=sys.stderr)


def forget_pickled_error(trial: Any) -> None:
    """Keeps Tune from unpickling the trial's error from the results folder: the text beside it says the same."""
    trial.run_metadata.pickled_error_filename = None


def latest_error(trial: Any) -> str:
    """The traceback of a trial's latest failure; Tune appends each to one file."""
    file = Path(trial.error_file) if trial.error_file else None
    text = file.read_text() if file is not None and file.exists() else ""
    return text.rpartition("Failure # ")[2].strip() or "unknown error"
