"""The progress of a search, in trials."""

from __future__ import annotations

from typing import Any

from prefine_ray.analysis.search.outcomes import Outcome
from prefine_ray.analysis.search.score import safe_count
from prefine_ray.experiment.cells import Pack
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
        """The pack that is not on disk yet, or the last one."""
        packs = self._searcher.trials[trial.config["number"]].packs
        return packs[min(self._outcome(trial).tasks, len(packs) - 1)]

    def _name(self, trial: Any) -> str:
        return self._label(trial)

    def _label(self, trial: Any) -> str:
        return f"trial {trial.config['number']}"

    def _size(self, trial: Any) -> int:
        return 1

    def _result(self, trial: Any) -> str:
        outcome = self._outcome(trial)
        values = ", ".join(f"{key} {value}" for key, value in trial.config["trial"].values.items())
        result = f"FAILED: {self._log(trial)}" if outcome.failed else self._summary(outcome)
        return f"{self._label(trial)}: {result} ({values})"

    def _summary(self, outcome: Outcome) -> str:
        problems, tasks = len(outcome.problems), len(self._searcher.config.tasks)
        safe = f"{safe_count(outcome.problems)} of {problems} problem{'s' if problems > 1 else ''} safe"
        return f"score {outcome.score:.3f}, {safe}, {outcome.tasks} of {tasks} task{'s' if tasks > 1 else ''}"

    def _outcome(self, trial: Any) -> Outcome:
        return self._searcher.outcome_of(trial.config["number"])

    def _write_failure(self, trial: Any, error: str) -> None:
        number = trial.config["number"]
        write_failure(self._results, number, self._searcher.trials[number], self._pack(trial), error)
