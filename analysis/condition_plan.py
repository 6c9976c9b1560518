"""Which evaluations under other conditions a sweep needs, and which of them are not on disk yet.

Cells that a weight is picked on are evaluated under every condition; of those that are reported only the ones of
weight 0 and of the picked weight. Without tuning cells the pick is made on the reported ones, and so all of these are;
methods without a weight and the base policy always.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

import pandas as pd

from prefine_ray.analysis.best import best
from prefine_ray.analysis.columns import CONDITION, CONTROL_WEIGHT, METRICS, PLAIN, REPLICATE, WEIGHT
from prefine_ray.analysis.estimates import policy_rows
from prefine_ray.analysis.rows import episode_table, run_table
from prefine_ray.experiment.axes import axes
from prefine_ray.experiment.cells import TUNING
from prefine_ray.results.folder import ResultsDir
from prefine_ray.rollouts.conditions import CONDITIONS
from prefine_ray.tasks.spec import get_task

Evaluation = tuple[str, str]  # cell, condition


def asked_conditions(results: ResultsDir) -> tuple[str, ...]:
    """The conditions that a folder's configuration asks for and this version knows."""
    asked = (results.saved_config().get("evaluation") or {}).get("conditions") or ()
    return tuple(name for name in asked if name in CONDITIONS)


def missing_in(results: ResultsDir) -> list[Evaluation]:
    """The evaluations that a folder lacks of those that are known to be needed (see `missing_evaluations`)."""
    conditions = asked_conditions(results) if results.config_path.exists() else ()
    grid = results.read_grid()
    if not conditions or grid.empty:
        return []
    cells = set(grid["cell"])
    return missing_evaluations(grid, results.read("trials", cells), results.read("episodes", cells), conditions)


def missing_evaluations(
    grid: pd.DataFrame, trials: pd.DataFrame, episodes: pd.DataFrame, conditions: Collection[str]
) -> list[Evaluation]:
    """The evaluations that are needed and not there, in the grid's order.

    Until all tuning cells of a setting have ended and are evaluated, its weight is not picked, and only weight 0 is
    known to be needed of its reported cells.

    Args:
        grid: the identity columns of all cells.
        trials: of the cells that have ended; others count as not ended.
        episodes: their rows, plain and under conditions.
        conditions: those that are asked for.
    """
    if not conditions or trials.empty or episodes.empty:
        return []
    grid = grid[[get_task(task).has_environment for task in grid["task"]]]
    finished, there = set(trials.loc[trials["status"] == "finished", "cell"]), _present(episodes)
    cells = grid.assign(ended=grid["cell"].isin(trials["cell"]), finished=grid["cell"].isin(finished))
    cells = cells.merge(cells.loc[cells["finished"], _setting(grid)].drop_duplicates())  # settings with any of them
    missing = []
    for _, setting in cells.groupby(_setting(grid), dropna=False, sort=False):
        for cell in _needed(setting, episodes, there, conditions):
            missing += [(cell, name) for name in conditions if (cell, name) not in there]
    return missing


def _needed(
    setting: pd.DataFrame, episodes: pd.DataFrame, there: set[Evaluation], conditions: Collection[str]
) -> Iterator[str]:
    """The finished cells of one setting that have to be evaluated under the conditions."""
    own, tuning = setting[setting["finished"]], setting[setting["split"] == TUNING]
    tuned, ended = own[own["split"] == TUNING], bool(tuning["ended"].all())
    evaluated = all((cell, name) in there for cell in tuned["cell"] for name in conditions)
    everywhere = ended and tuned.empty  # nothing to pick on but the reported cells
    wanted = own[WEIGHT].isna() | (own[WEIGHT] == CONTROL_WEIGHT) | (own["split"] == TUNING) | everywhere
    if len(tuned) and ended and evaluated:
        wanted |= own[WEIGHT] == picked_weight(tuned, episodes)
    yield from own.loc[wanted, "cell"]


def picked_weight(tuned: pd.DataFrame, episodes: pd.DataFrame) -> float:
    """The best weight of one setting on its tuning cells, as the report picks it.

    Args:
        tuned: the identity columns of its finished tuning cells.
        episodes: rows of these and possibly other cells.
    """
    runs = run_table(episode_table(episodes[episodes["cell"].isin(tuned["cell"])]))
    values = runs[["cell", REPLICATE, CONDITION, "episodes", "return", "cost", *METRICS]]
    return float(best(policy_rows(values.merge(tuned[["cell", WEIGHT]], on="cell"), [WEIGHT]))[WEIGHT])


def _setting(grid: pd.DataFrame) -> list[str]:
    """The columns that tell apart what a weight is picked for."""
    return ["method", "task", *(name for name in axes() if name != WEIGHT and name in grid)]


def _present(episodes: pd.DataFrame) -> set[Evaluation]:
    """The evaluations that have as many episodes as the plain one."""
    counts = Counter(zip(episodes["cell"], _condition_of(episodes), strict=True))
    return {(cell, name) for (cell, name), count in counts.items() if name and count >= counts[cell, PLAIN]}


def _condition_of(episodes: pd.DataFrame) -> pd.Series:
    return episodes["stage"].str.partition("-")[2]
