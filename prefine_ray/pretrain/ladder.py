"""Choosing and scoring the snapshots that a pretraining run ships."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from prefine_ray.policies.files import load_policy, save_policy
from prefine_ray.policies.gaussian import GaussianPolicy, PolicyHeader
from prefine_ray.simulators.vector import VectorStepper
from prefine_ray.tasks.spec import FloatOrArray, Task

LADDER_SIZE = 12
EVALUATION_EPISODES = 10
ENVELOPE = (0.0, 1.05)  # normalised reward that the data sets cover, about
FIRST_EVALUATION_SEED = 2**32 - 2**20  # above the seeds that training uses


@dataclass(frozen=True)
class Snapshot:
    """A saved policy of a run."""

    name: str  # file name
    made_by: dict[str, Any]
    scores: dict[str, float]  # "return" and "cost": mean episode return and cost

    @property
    def place(self) -> tuple[float, float]:
        """Return and cost."""
        return self.scores["return"], self.scores["cost"]


def plane_point(task: Task, returns: FloatOrArray, costs: FloatOrArray) -> NDArray[np.float64]:
    """Normalised reward and cost / cost_max, where costs beyond cost_max count as little more than it. [..., 2]."""
    return np.stack([task.normalized_reward(returns), np.minimum(costs / task.cost_max, 1.2)], axis=-1)


def select_ladder(task: Task, snapshots: list[Snapshot], size: int = LADDER_SIZE) -> list[Snapshot]:
    """At most `size` snapshots, in order of their making.

    First the base (best return of phase 1) and, for each threshold and for cost_max, the best return under it;
    then, one after another, the snapshot farthest from those chosen in the plane of normalised reward and cost,
    as long as there are any inside the data sets' envelope (cost up to cost_max, normalised reward in ENVELOPE).
    """
    if not snapshots:
        return []
    returns = np.array([snapshot.scores["return"] for snapshot in snapshots])
    costs = np.array([snapshot.scores["cost"] for snapshot in snapshots])
    reward_only = np.array([snapshot.made_by["phase"] == 1 for snapshot in snapshots])
    chosen = {_best(returns, reward_only)}
    chosen |= {_best(returns, costs <= limit) for limit in (*task.thresholds, task.cost_max)}
    chosen.discard(-1)
    plane = plane_point(task, returns, costs)
    inside = (costs <= task.cost_max) & (plane[:, 0] >= ENVELOPE[0]) & (plane[:, 0] <= ENVELOPE[1])
    for _ in range(size - len(chosen)):
        distance = np.linalg.norm(plane[:, None] - plane[None, sorted(chosen)], axis=-1).min(axis=1)
        distance[~inside] = 0.0
        if distance.max() > 0:
            chosen.add(int(distance.argmax()))
    return [snapshots[index] for index in sorted(chosen)]


def _best(returns: NDArray[np.float64], allowed: NDArray[np.bool_]) -> int:
    """Index of the best return among the allowed ones, -1 if there is none."""
    return int(np.where(allowed, returns, -np.inf).argmax()) if allowed.any() else -1


def make_ladder(task: Task, source: Path, snapshots: list[Snapshot], target: Path) -> list[dict[str, Any]]:
    """Scores snapshots on fresh episodes and writes the chosen ones to `target`; the entries of the manifest.

    Scores: "return" and "cost" with exploration noise, "deterministic_return" and "deterministic_cost" without.
    """
    stepper = VectorStepper(task, EVALUATION_EPISODES)
    scored = []
    for snapshot in tqdm(snapshots, desc="scoring", unit="policy", mininterval=2.0):
        returns, cost = mean_episode(stepper, load_policy(source / snapshot.name), deterministic=False)
        scores = {"return": returns, "cost": cost, "normalized_reward": float(task.normalized_reward(returns))}
        scored.append(replace(snapshot, scores=scores))
    entries = []
    for snapshot in select_ladder(task, scored):
        policy = load_policy(source / snapshot.name)
        returns, cost = mean_episode(stepper, policy, deterministic=True)
        snapshot.scores.update(deterministic_return=returns, deterministic_cost=cost, episodes=EVALUATION_EPISODES)
        save_policy(policy, target / snapshot.name, PolicyHeader(task.name, snapshot.made_by, snapshot.scores))
        entries.append(asdict(snapshot))
    stepper.close()
    return entries


def mean_episode(stepper: VectorStepper, policy: GaussianPolicy, deterministic: bool) -> tuple[float, float]:
    """Mean return and cost of one episode per copy, on seeds that no other rollout uses."""
    generator = torch.Generator().manual_seed(0)
    observations = stepper.reset(islice(count(FIRST_EVALUATION_SEED), stepper.num_envs))
    total = np.zeros(2)
    while stepper.active.any():
        step = stepper.step(policy.act(observations, deterministic, generator))
        total += step.rewards[step.active].sum(), step.costs[step.active].sum()
        observations = step.observations
    returns, cost = (total / stepper.num_envs).tolist()
    return returns, cost
