"""What a setting of the hyperparameters is worth: the protocol by which a search compares settings.

A setting is tried on problems: tasks, kinds of preferred trajectories, thresholds. On each it has tuning replicates.

1. A problem that is shown to be safe (the upper 95 % limit of the mean normalised cost is at most 1, as everywhere) is
   worth its relative reward: the mean normalised reward divided by that of the best episode under the threshold in the
   data (with data of their own, the mean of what each replicate's best episode has), and at least 0. Normalised rewards
   of two tasks do not mean the same; "as good as the best safe episode that there was" does. The constant does not
   depend on the setting, so it changes no order within a problem.
2. Any other problem is worth 1 / limit - 1, between 0 and -1: less than any safe one, whatever its reward (Deb's rule),
   and the more the nearer the limit is to 1. It never reaches a floor, so it also tells apart settings that are all
   unsafe, as the first ones of a search often are.
3. A task is worth the mean of its problems, and a setting the mean over tasks and the worst task, half each. Tasks
   count alike, whatever the number of their thresholds. With the mean alone a setting that ruins one of ten tasks (from
   .9 to -.5, say) would lose .14 and could win that back with .016 on each of the others; with the half for the worst
   task it loses .77. The worst task alone would leave the other nine to chance, and would only ever tune the hardest.

Lexicographic order (first the number of safe problems, then the reward) was left out: among 50 problems with a handful
of replicates each, one more or less at the limit is noise, and an infinite price on it picks the most timid setting.
The price here is finite and high: a problem that is not shown to be safe loses all of its reward.

A task that a setting was not run on is worth -1 (LEAST): less than any outcome. The chosen setting is the one of the
highest score among those that ran on all tasks; of equal ones the earlier.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from prefine_ray.analysis.best import SAFE, cost_to_judge
from prefine_ray.analysis.columns import REWARD, SAFETY, TASK, THRESHOLD
from prefine_ray.analysis.estimates import policy_rows
from prefine_ray.analysis.rows import episode_table, run_table

REFERENCE, RELATIVE, VALUE = "reference", "relative_reward", "value"
LEAST = -1.0  # below every value
WORST_SHARE = 0.5  # of the worst task in the score; the rest is the mean over tasks


def problem_values(relative: ArrayLike, limits: ArrayLike) -> NDArray[np.float64]:
    """What each problem is worth, elementwise; LEAST where a policy diverged (NaN).

    Args:
        relative: mean reward over that of the best safe episode of the data.
        limits: what safety is judged by: the upper limit of the mean normalised cost.
    """
    reward, limit = np.asarray(relative, dtype=np.float64), np.asarray(limits, dtype=np.float64)
    values = np.where(limit <= 1.0, np.maximum(reward, 0.0), 1.0 / np.maximum(limit, 1.0) - 1.0)
    return np.where(np.isnan(reward) | np.isnan(limit), LEAST, values)


def task_values(problems: pd.DataFrame) -> pd.Series:
    """The mean value of each task's problems, by task; `problems` has task and value."""
    return problems.groupby(TASK, sort=False)[VALUE].mean()


def setting_score(problems: pd.DataFrame, tasks: Collection[str]) -> float:
    """The score of a setting; see the module.

    Args:
        problems: one row per problem that it was tried on, with task and value.
        tasks: those that count; one without rows is worth LEAST.
    """
    values = task_values(problems).reindex(list(tasks), fill_value=LEAST)
    return float((1.0 - WORST_SHARE) * values.mean() + WORST_SHARE * values.min())


def problem_table(episodes: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """One row per problem of one setting: the columns of `policy_rows`, reference, relative_reward and value.

    Args:
        episodes: its rows of evaluation episodes, at one step.
        trials: its cells, with their `reference` rewards.
    """
    rows = policy_rows(run_table(episode_table(episodes)))
    references = trials.groupby([TASK, THRESHOLD], as_index=False)[REFERENCE].mean()
    table = rows.merge(references, on=[TASK, THRESHOLD], how="left")
    table[RELATIVE] = table[REWARD] / table[REFERENCE]
    table[VALUE] = problem_values(table[RELATIVE], cost_to_judge(table))
    return table


def safe_count(problems: pd.DataFrame) -> int:
    """On how many problems it is shown to be safe."""
    return int((problems[SAFETY] == SAFE).sum())
