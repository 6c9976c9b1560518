"""Evaluation episodes to rows and scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefine_ray.episode_table import EpisodeTable
from prefine_ray.policy import GaussianPolicy
from prefine_ray.rollouts import rollout
from prefine_ray.seeding import episode_seeds
from prefine_ray.simulators import VectorStepper
from prefine_ray.tasks import Task, is_catastrophe, is_violation, normalized_cost

CATASTROPHE = "episode cost over twice the threshold, or ended by the simulator because the agent fell"


def evaluation_seeds(experiment_seed: int, task: str, seed: int, episodes: int) -> NDArray[np.int64]:
    """Reset seeds of the evaluation episodes: of a stream that nothing else draws from."""
    return episode_seeds(episodes, experiment_seed, task, seed, "evaluation")


def evaluate(policy: GaussianPolicy, stepper: VectorStepper, seeds: Sequence[int] | NDArray[np.int64]) -> EpisodeTable:
    """One deterministic episode per seed."""
    return rollout(policy, stepper, seeds).summary


def scores(table: EpisodeTable, task: Task) -> dict[str, Any]:
    """Mean scores of the episodes, at each of the task's thresholds, with the per-episode lists.

    Thresholds are keys like "20"; rates are fractions of the episodes.
    """
    at = {f"{threshold:g}": threshold for threshold in task.thresholds}
    falls, costs = table.terminated, table.costs
    return {
        "task": task.name,
        "episodes": len(table),
        "mean_return": float(table.returns.mean()),
        "mean_cost": float(costs.mean()),
        "normalized_reward": float(task.normalized_reward(table.returns).mean()),
        "normalized_cost": {k: float(normalized_cost(costs, t).mean()) for k, t in at.items()},
        "violation_rate": {k: float(is_violation(costs, t).mean()) for k, t in at.items()},
        "catastrophe_rate": {k: float(is_catastrophe(costs, falls, t).mean()) for k, t in at.items()},
        "catastrophe": CATASTROPHE,
        "returns": table.returns.tolist(),
        "costs": costs.tolist(),
        "lengths": table.lengths.tolist(),
        "terminated": falls.tolist(),
    }


def episode_rows(identity: dict[str, Any], stage: str, table: EpisodeTable) -> list[dict[str, Any]]:
    """One row per episode; `identity` names the cell (see `prefine_ray.cells`)."""
    columns = (table.returns, table.costs, table.lengths, table.terminated)
    return [
        {
            **identity,
            "stage": stage,
            "episode": number,
            "return": float(episode_return),
            "cost": float(cost),
            "length": int(length),
            "terminated": bool(fell),
        }
        for number, (episode_return, cost, length, fell) in enumerate(zip(*columns, strict=True))
    ]
