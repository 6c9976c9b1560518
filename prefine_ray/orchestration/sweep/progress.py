"""The progress of a sweep, in cells; and the rows of every task that has ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from prefine_ray.analysis.progress.status import best_texts
from prefine_ray.experiment.cells import Cell, Pack
from prefine_ray.orchestration.progress import RunProgress, progress_line
from prefine_ray.results.folder import ResultsDir
from prefine_ray.results.heartbeat import Heartbeat
from prefine_ray.tracking.tracker import Tracker


class SweepProgress(RunProgress):
    """Of a sweep: a line per pack, and the best policies of a task whose last pack has ended."""

    def __init__(self, total: int, results: ResultsDir, tracker: Tracker, heartbeat: Heartbeat):
        """Args: total: the number of cells of the whole grid."""
        super().__init__(progress_line("sweep", total, "cell"), results, tracker, heartbeat)
        self._left = Counter[str]()  # cells to train, by task

    def add(self, cells: Sequence[Cell], finished: set[str]) -> None:
        """Counts the cells of a task that is ready; those on disk do not count for the estimate of the time left."""
        there = [cell for cell in cells if cell.name in finished]
        self._bar.initial += len(there)
        self._bar.update(len(there))
        self._left.update(cell.task for cell in cells if cell.name not in finished)

    def _pack(self, trial: Any) -> Pack:
        return trial.config["pack"]

    def _label(self, trial: Any) -> str:
        return self._pack(trial).label

    def _size(self, trial: Any) -> int:
        return len(self._pack(trial).cells)

    def _result(self, trial: Any) -> str:
        failed = (trial.last_result or {}).get("failed", 0)
        note = f", {failed} of them FAILED: {self._log(trial)}" if failed else ""
        return f"done: {self._label(trial)}, {self._size(trial)} cells{note}"

    def _write_failure(self, trial: Any, error: str) -> None:
        pack = self._pack(trial)
        self._results.write_failure(pack.name, [cell.identity for cell in pack.cells], error)

    def _end(self, trial: Any, line: str) -> None:
        super()._end(trial, line)
        task = self._pack(trial).task
        self._left[task] -= self._size(trial)
        if self._left[task] == 0:
            for text in best_texts(self._results, task):
                self.say(f"best: {text}")
