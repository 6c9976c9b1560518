"""The progress of a search, in trials."""

from __future__ import annotations

from typing import Any

from prefine_ray.experiment.cells import Pack
from prefine_ray.experiment.search_trials import Outcome, read_outcome
from prefine_ray.orchestration.progress import RunProgress, progress_line
from prefine_ray.orchestration.search.rounds import RoundSearch
from prefine_ray.orchestration.search.rows import write_failure
from prefine_ray.results.folder import ResultsDir
from prefine_ray.results.heartbeat import Heartbeat
from prefine_ray.tracking.tracker import Tracker


class SearchProgress(RunProgress):
    """Of a search: a line per trial with its scores and its values."""

    def __init__(self, searcher: RoundSearch, results: ResultsDir, tracker: Tracker, heartbeat: Heartbeat):
        super().__init__(progress_line("search", searcher.config.search.trials, "trial"), results, tracker, heartbeat)
        self._searcher = searcher
        self._passed_over = 0  # trials that were on disk

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Trials that were on disk count, but not for the estimate of the time left."""
        stored = max(one.config["number"] for one in trials) + 1 - len(trials) - self._passed_over
        self._passed_over += stored
        self._bar.initial += stored
        self._bar.update(stored)
        super().on_trial_start(iteration, trials, trial, **info)

    def _pack(self, trial: Any) -> Pack:
        return self._searcher.trials[trial.config["number"]].pack

    def _label(self, trial: Any) -> str:
        return f"trial {trial.config['number']}"

    def _size(self, trial: Any) -> int:
        return 1

    def _result(self, trial: Any) -> str:
        outcome = read_outcome(self._results, self._pack(trial))
        assert outcome is not None
        values = ", ".join(f"{key} {value}" for key, value in trial.config["trial"].values.items())
        result = f"FAILED: {self._log(trial)}" if outcome.failed else _summary(outcome)
        return f"{self._label(trial)}: {result} ({values})"

    def _write_failure(self, trial: Any, error: str) -> None:
        number = trial.config["number"]
        write_failure(self._results, number, self._searcher.trials[number], error)


def _summary(outcome: Outcome) -> str:
    reward, cost = outcome.last
    safe = "safe" if cost <= 1.0 else "unsafe"
    return f"reward {reward:.3f}, cost {cost:.3f}, {safe}, after {max(outcome.scores)} steps"
