"""Optuna's suggestions for a search, in rounds that depend on the configuration alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from prefine_ray.core.seeding import derive
from prefine_ray.experiment.search_config import Range, SearchConfig, Values, searched_value
from prefine_ray.experiment.search_trials import (
    Outcome,
    SearchTrial,
    cutoffs,
    read_outcome,
    rungs,
    tidy,
)
from prefine_ray.orchestration.context import RunOutcome
from prefine_ray.results.folder import ResultsDir

STARTUP_TRIALS = 8  # drawn at random before Optuna's sampler models the results


class RoundSearch(OptunaSearch):
    """Optuna's suggestions in rounds, each from the results of all earlier rounds and from nothing else.

    A trial's sampler is seeded by the trial's number, and results are told in the order of the numbers: the
    suggestions depend on the configuration alone, not on which trial was faster. So a resumed search asks again
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
                given = {"number": number, "trial": trial, "cutoffs": self._cutoffs(), "rungs": rungs(self.config)}
                return given
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
        if not isinstance(dimension, Range):
            known[key] = CategoricalDistribution(dimension)
        elif isinstance(searched_value(config, key), int):
            low, high, step = int(dimension.low), int(dimension.high), int(dimension.step or 1)
            known[key] = IntDistribution(low, high, log=dimension.log, step=step)
        else:
            known[key] = FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)
    return known


def _sampler(seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(n_startup_trials=STARTUP_TRIALS, constant_liar=True, seed=seed % 2**32)
