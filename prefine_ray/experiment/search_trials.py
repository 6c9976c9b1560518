"""The trials of a hyperparameter search: what each one runs, when it is cut short, and what is on disk of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from prefine_ray.core.hashing import digest
from prefine_ray.experiment.cells import TUNING, Pack, make_cells
from prefine_ray.experiment.config import make_config
from prefine_ray.experiment.replicates import TaskInputs
from prefine_ray.experiment.search_config import WEIGHT, Range, SearchConfig, Values, with_values
from prefine_ray.results.folder import ResultsDir
from prefine_ray.rollouts.scores import score_table

_SEARCHED = "search."  # prefix of the rows' columns that hold the searched values
_UNSAFE = -1e6  # per unit of cost: under every normalised reward
_DIGITS = 3  # significant digits of a suggested number


@dataclass(frozen=True)
class SearchTrial:
    """One setting of the hyperparameters and the pack of cells, one per tuning seed, that tries it."""

    values: Values
    pack: Pack


@dataclass(frozen=True)
class Outcome:
    """What a finished trial showed on the tuning episodes: (normalised reward, normalised cost) by gradient step."""

    scores: Mapping[int, tuple[float, float]]
    failed: bool

    @property
    def last(self) -> tuple[float, float]:
        """At the step where it ended."""
        return self.scores[max(self.scores)]


def rungs(config: SearchConfig) -> tuple[int, ...]:
    """The gradient steps at which a trial is evaluated: those of the decisions to continue, then the last step."""
    settings = config.search
    if settings.early_stopping is None:
        return ()
    steps = [settings.first_rung]
    while steps[-1] * settings.reduction_factor < config.settings("prefine").steps:
        steps.append(steps[-1] * settings.reduction_factor)
    return tuple(steps)


def make_trial(config: SearchConfig, values: Values, inputs: Mapping[str, TaskInputs]) -> SearchTrial:
    """The trial of these values. Its pack is named by all that determines its rows, not by when it was suggested."""
    weight = float(values.get(WEIGHT, config.fixed_weights[0] if config.fixed_weights else 0.0))
    plain = {**config.model_dump(exclude={"search"}), "weights": (weight,)}
    plain["finetune"] = with_values(config, {key: value for key, value in values.items() if key != WEIGHT})
    tried = make_config(**plain)
    cells = [
        replace(cell, name=digest(["search", cell.name, rungs(config)]))  # a sweep's cell has no rungs
        for cell in make_cells(tried, inputs)
        if cell.axes["weight"] == weight and cell.split == TUNING
    ]
    return SearchTrial(values, Pack(digest([cell.name for cell in cells]), tuple(cells)))


def tidy(config: SearchConfig, values: Mapping[str, Any]) -> Values:
    """Suggested values as they are used: a few significant digits, whole numbers where the key asks for them."""
    known: Values = {}
    for key, value in values.items():
        dimension = config.search.space[key]
        if isinstance(value, float) and isinstance(dimension, Range) and dimension.step is None:
            value = min(max(float(f"{value:.{_DIGITS}g}"), dimension.low), dimension.high)
        known[key] = value
    return known


def rung_rank(reward: float, cost: float) -> float:
    """One number that ranks trials at a rung: those of a mean cost of at most 1 by reward, the others below, by cost.

    This (Deb's rule) is no choice of the best trial: that is `prefine_ray.analysis.best`'s, made once, on the upper
    limits of the cost. ASHA only asks which part of the unfinished trials is worth more steps, and from the few
    tuning seeds of one rung nearly every interval contains 1, which would rank them all alike.

    Args:
        reward: normalised.
        cost: normalised; safe means at most 1.
    """
    return reward if cost <= 1.0 else _UNSAFE * cost


def cutoffs(config: SearchConfig, earlier: Sequence[Outcome]) -> dict[int, float]:
    """The `rung_rank` that a trial needs at each rung to continue, from the trials of earlier rounds.

    The rule of ASHA (Li et al., arXiv 1810.05934): of all that reached a rung, the top 1/eta continue. Here the others
    are those of earlier rounds, so that the decision does not depend on which trial was faster; the first round
    runs to the end.
    """
    needed = {}
    for step in rungs(config):
        reached = [rung_rank(*outcome.scores[step]) for outcome in earlier if step in outcome.scores]
        if reached:
            needed[step] = float(np.quantile(reached, 1 - 1 / config.search.reduction_factor))
    return needed


def mean_scores(episodes: pd.DataFrame, task: str, threshold: float) -> dict[int, tuple[float, float]]:
    """Mean normalised reward and cost by gradient step; a policy that diverged makes its step's NaN."""
    scored = score_table(episodes.assign(task=task, threshold=threshold))
    means = scored.groupby("step")[["normalized_reward", "normalized_cost"]].agg(
        lambda values: values.mean(skipna=False)
    )
    return {int(str(step)): (float(reward), float(cost)) for step, reward, cost in means.itertuples()}


def stops(episodes: pd.DataFrame, pack: Pack, needed: Mapping[int, float]) -> bool:
    """Whether the latest of these looks ends a trial: it diverged, or is under what its rung needs (`cutoffs`)."""
    if episodes.empty:
        return False
    scores = mean_scores(episodes, pack.task, pack.cells[0].axes["threshold"])
    step = max(scores)
    score = rung_rank(*scores[step])
    return math.isnan(score) or score < needed.get(step, -math.inf)


def read_outcome(results: ResultsDir, pack: Pack) -> Outcome | None:
    """What is on disk of a trial; None where it has not ended."""
    trials = results.read_part("trials", pack.name)
    if trials.empty:
        return None
    episodes = results.read_part("episodes", pack.name)
    first = pack.cells[0]
    scores = {} if episodes.empty else mean_scores(episodes, first.task, first.axes["threshold"])
    return Outcome(scores, failed=bool((trials["status"] != "finished").any()) or not scores)


def searched_columns(values: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a trial's rows that hold its searched values, by key of the search space."""
    return {f"{_SEARCHED}{key}": value for key, value in values.items()}


def searched_values(row: Mapping[str, Any]) -> dict[str, Any]:
    """The searched values in a trial's row, by key of the search space."""
    return {name.removeprefix(_SEARCHED): value for name, value in row.items() if name.startswith(_SEARCHED)}
