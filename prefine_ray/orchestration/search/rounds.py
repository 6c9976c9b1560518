"""Optuna's suggestions for a search, in rounds that depend on the configuration alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from prefine_ray.analysis.search.outcomes import Outcome, Parts, cutoffs, read_outcome
from prefine_ray.core.seeding import derive
from prefine_ray.experiment.search_config import SearchConfig
from prefine_ray.experiment.search_space import Range, Values, own_value
from prefine_ray.experiment.search_trials import SearchTrial, rungs, tidy
from prefine_ray.orchestration.context import RunOutcome
from prefine_ray.orchestration.search.rows import grid_rows
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
        self._trial_of, self._results, self._rungs = trial_of, results, rungs(config)
        self._numbers: dict[str, int] = {}  # of Tune's trials that run
        self._told: list[Outcome] = []  # by number, of the rounds before
        self._needed = dict[int, dict[int, float]]()  # cutoffs, by number
        self._ended = dict[int, Outcome]()  # by number; what has ended does not change
        start = [config.search.start] if config.search.start else None
        space = distributions(config)
        super().__init__(space, metric="score", mode="max", points_to_evaluate=start, sampler=_sampler(0))

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next trial that has to run; None while a round waits for its last trials; FINISHED after the last."""
        while len(self.trials) < self.config.search.trials:
            number = len(self.trials)
            if number % self.config.search.round == 0 and not self._close_round():
                return None
            trial = self._ask(number)
            if not self.outcome_of(number).ended and not self._is_running(trial):
                self._numbers[trial_id] = number
                needed = {str(rung): score for rung, score in self._needed[number].items()}
                return {"number": number, "trial": trial, "cutoffs": needed, "rungs": self._rungs}
        return Searcher.FINISHED  # type: ignore[return-value]  # as Tune documents it

    def on_trial_result(self, trial_id: str, result: dict) -> None:
        """Nothing: a trial counts when it is on disk."""

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """The trial no longer runs; its outcome is read from disk when its round closes."""
        self._numbers.pop(trial_id, None)

    def outcome(self) -> RunOutcome:
        """How far the search is, on disk."""
        ended = [one for number in self.trials if (one := self.outcome_of(number)).ended]
        return RunOutcome(self.config.search.trials, len(ended), sum(outcome.failed for outcome in ended))

    def outcome_of(self, number: int) -> Outcome:
        """What is on disk of a trial that was suggested."""
        if number in self._ended:
            return self._ended[number]
        packs = [pack.name for pack in self.trials[number].packs]
        outcome = read_outcome(Parts(self._results, packs, self.config.tasks), self._rungs, self._needed[number])
        if outcome.ended:
            self._ended[number] = outcome
        return outcome

    def _ask(self, number: int) -> SearchTrial:
        assert self._ot_study is not None
        self._ot_study.sampler = _sampler(derive(self.config.seed, "search", number))
        values = super().suggest(str(number))
        assert values is not None
        self.trials[number] = self._trial_of(tidy(self.config, values))
        good = [outcome for outcome in self._told if not outcome.failed]
        self._needed[number] = cutoffs(self._rungs, self.config.search.reduction_factor, good)
        self._results.write_grid(grid_rows(self.trials))
        return self.trials[number]

    def _is_running(self, trial: SearchTrial) -> bool:
        return any(self.trials[number].packs == trial.packs for number in self._numbers.values())

    def _close_round(self) -> bool:
        """Tells Optuna the scores of the last round, if all its trials have ended."""
        if self._numbers:
            return False
        for number in range(len(self._told), len(self.trials)):
            found = self.outcome_of(number)
            outcome = found if found.ended else Outcome(ended=True, failed=True)
            self._told.append(outcome)
            told = None if outcome.failed else {"score": outcome.score}
            super().on_trial_complete(str(number), told, error=outcome.failed)
        return True


def distributions(config: SearchConfig) -> dict[str, BaseDistribution]:
    """The search space in Optuna's terms."""
    known: dict[str, BaseDistribution] = {}
    for key, dimension in config.search.space.items():
        if not isinstance(dimension, Range):
            known[key] = CategoricalDistribution(dimension)
        elif isinstance(own_value(config, key), int):
            low, high, step = int(dimension.low), int(dimension.high), int(dimension.step or 1)
            known[key] = IntDistribution(low, high, log=dimension.log, step=step)
        else:
            known[key] = FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)
    return known


def _sampler(seed: int) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(n_startup_trials=STARTUP_TRIALS, constant_liar=True, seed=seed % 2**32)
