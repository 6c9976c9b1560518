"""Evaluation episodes to rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefine_ray.core.provenance import physics
from prefine_ray.core.seeding import episode_seeds
from prefine_ray.data.episodes import EpisodeSummary
from prefine_ray.policies.gaussian import GaussianPolicy
from prefine_ray.rollouts.rollout import rollout
from prefine_ray.simulators import VectorStepper
from prefine_ray.tasks.spec import get_task


def evaluation_seeds(experiment_seed: int, task: str, seed: int, episodes: int) -> NDArray[np.int64]:
    """Reset seeds of the evaluation episodes: of a stream that nothing else draws from.

    Raises:
        ValueError: fewer than one episode.
    """
    if episodes < 1:
        raise ValueError(f"episodes: {episodes}; at least one is needed")
    return episode_seeds(episodes, experiment_seed, task, seed, "evaluation")


def evaluate(
    policy: GaussianPolicy, stepper: VectorStepper, seeds: Sequence[int] | NDArray[np.int64]
) -> EpisodeSummary:
    """One deterministic episode per seed."""
    return rollout(policy, stepper, seeds).summary


def episode_rows(identity: dict[str, Any], stage: str, table: EpisodeSummary) -> list[dict[str, Any]]:
    """One row per episode; `identity` names the cell (see `prefine_ray.experiment.cells`)."""
    engine = physics(get_task(identity["task"]).suite)
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
            "physics": engine,
        }
        for number, (episode_return, cost, length, fell) in enumerate(zip(*columns, strict=True))
    ]
