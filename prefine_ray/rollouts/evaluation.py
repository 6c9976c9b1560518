"""Evaluation episodes to rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefine_ray.core.provenance import made_on, physics
from prefine_ray.core.seeding import episode_seeds
from prefine_ray.data.episodes import EpisodeSummary
from prefine_ray.policies.gaussian import GaussianPolicy
from prefine_ray.rollouts.conditions import Condition
from prefine_ray.rollouts.rollout import rollout
from prefine_ray.simulators import VectorStepper
from prefine_ray.tasks.spec import Task, get_task


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


def evaluate_under(
    condition: Condition, policy: GaussianPolicy, task: str | Task, seeds: Sequence[int] | NDArray[np.int64]
) -> EpisodeSummary:
    """One deterministic episode per seed under a condition.

    Args:
        condition: any.
        policy: a population of one; or of P, and then member p runs the p-th part of the seeds.
        task: a task or its name.
        seeds: reset seeds; where the condition carries over, each member runs its own one after the other.
    """
    copies = policy.population if condition.carry_over else len(seeds)
    with closing(VectorStepper(task, copies, condition.carry_over)) as stepper:
        return rollout(policy, stepper, seeds, condition=condition).summary


def episode_rows(
    identity: dict[str, Any], stage: str, table: EpisodeSummary, machine: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """One row per episode.

    Args:
        identity: names the cell (see `prefine_ray.experiment.cells`).
        stage: which policy, and under which condition (see `Condition.stage`).
        table: the episodes.
        machine: `made_on` of the process in which they ran; this one by default.
    """
    made_with = {"physics": physics(get_task(identity["task"]).suite), **(machine or made_on())}
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
            **made_with,
        }
        for number, (episode_return, cost, length, fell) in enumerate(zip(*columns, strict=True))
    ]
