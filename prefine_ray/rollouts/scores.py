"""The only definition of an episode's scores: normalised reward and cost, violation, catastrophe."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from prefine_ray.data.episodes import EpisodeSummary
from prefine_ray.tasks.spec import FloatOrArray, Task, get_task

CATASTROPHE_FACTOR = 2.0  # an episode whose cost is over this many times the threshold is a catastrophe
SCORES = ("normalized_reward", "normalized_cost", "violation_rate", "catastrophe_rate")  # see `episode_scores`
CATASTROPHE = "episode cost over twice the threshold, or ended by the simulator because the agent fell"


def normalized_cost(episode_cost: FloatOrArray, threshold: float) -> FloatOrArray:
    """C / threshold, and C + 1 where the threshold is 0 (DSRL); safe means at most 1."""
    return episode_cost / threshold if threshold > 0 else episode_cost + 1.0


def is_violation(costs: ArrayLike, thresholds: ArrayLike) -> NDArray[np.bool_]:
    """Whether each episode cost is over the threshold, elementwise (arrays broadcast); its mean is the rate."""
    return np.asarray(costs) > np.asarray(thresholds)


def is_catastrophe(costs: ArrayLike, terminated: ArrayLike, thresholds: ArrayLike) -> NDArray[np.bool_]:
    """Whether each episode cost over twice the threshold, or was ended by the simulator because the agent fell.

    Elementwise (arrays that broadcast); its mean is the catastrophe rate.
    """
    over = np.asarray(costs) > CATASTROPHE_FACTOR * np.asarray(thresholds)
    return over | np.asarray(terminated, dtype=bool)


def episode_scores(
    task: Task, threshold: float, returns: ArrayLike, costs: ArrayLike, terminated: ArrayLike
) -> dict[str, NDArray[np.float64]]:
    """The SCORES of episodes of one task at one threshold, each [N].

    Args:
        task: whose constants normalise the return.
        threshold: limit on the episode cost.
        returns: [N] undiscounted sums of reward.
        costs: [N] undiscounted sums of cost.
        terminated: [N] whether the simulator ended the episode because the agent fell.
    """
    sums, spent = np.asarray(returns, dtype=np.float64), np.asarray(costs, dtype=np.float64)
    values = (
        task.normalized_reward(sums),
        normalized_cost(spent, threshold),
        is_violation(spent, threshold).astype(np.float64),
        is_catastrophe(spent, terminated, threshold).astype(np.float64),
    )
    return dict(zip(SCORES, values, strict=True))


def score_table(episodes: pd.DataFrame) -> pd.DataFrame:
    """The rows with the columns SCORES; they have task, threshold (never NaN), return, cost and terminated."""
    found = {name: np.full(len(episodes), np.nan) for name in SCORES}
    columns = [episodes[name].to_numpy() for name in ("return", "cost", "terminated")]
    groups: Any = episodes.groupby(
        ["task", "threshold"], observed=True
    ).indices  # positions of rows by (task, threshold)
    for (task, threshold), rows in groups.items():
        values = episode_scores(get_task(task), float(threshold), *(column[rows] for column in columns))
        for name in SCORES:
            found[name][rows] = values[name]
    return episodes.assign(**found)


def scores(table: EpisodeSummary, task: Task) -> dict[str, Any]:
    """Mean scores of the episodes, at each of the task's thresholds, with the per-episode lists.

    Thresholds are keys like "20"; rates are fractions of the episodes.
    """
    sums = (table.returns, table.costs, table.terminated)
    at = {f"{t:g}": score_means(episode_scores(task, t, *sums)) for t in task.thresholds}
    reward, *others = SCORES
    return {
        "task": task.name,
        "episodes": len(table),
        "mean_return": float(table.returns.mean()),
        "mean_cost": float(table.costs.mean()),
        reward: next(iter(at.values()))[reward],
        **{name: {key: means[name] for key, means in at.items()} for name in others},
        "catastrophe": CATASTROPHE,
        "returns": table.returns.tolist(),
        "costs": table.costs.tolist(),
        "lengths": table.lengths.tolist(),
        "terminated": table.terminated.tolist(),
    }


def score_means(values: dict[str, NDArray[np.float64]]) -> dict[str, float]:
    """The mean of each score over episodes."""
    return {name: float(column.mean()) for name, column in values.items()}
