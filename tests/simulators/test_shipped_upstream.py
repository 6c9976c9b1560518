"""Shipped policies in upstream's own environments, each reused over episodes as everybody evaluates there."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import pytest

from prefine_ray.analysis.statistics.intervals import t_limits
from prefine_ray.policies.files import load_policy
from prefine_ray.policies.gaussian import GaussianPolicy
from prefine_ray.policies.zoo import ZOO
from prefine_ray.rollouts.conditions import CONDITIONS
from prefine_ray.rollouts.evaluation import evaluate_under, evaluation_seeds
from prefine_ray.tasks.spec import get_task
from tests.simulators.comparison import Upstream

EPISODES = 20
NOISE = 0.01  # in standard deviations of the policy's own normalisation


@contextlib.contextmanager
def reused_upstream(task: str) -> Iterator[Upstream]:
    """One environment for all episodes; the global random state, which it draws from, is left as it was."""
    state = np.random.get_state()
    try:
        with contextlib.closing(Upstream(task)) as upstream:
            yield upstream
    finally:
        np.random.set_state(state)


def episode_cost(upstream: Upstream, policy: GaussianPolicy, seed: int, horizon: int, noise: float) -> float:
    """The cost of one episode with mean actions."""
    random, sigma = np.random.default_rng(seed), noise * policy.obs_std.numpy().reshape(-1)
    observation, total = upstream.reset(seed), 0.0
    for _ in range(horizon):
        seen = observation + sigma * random.standard_normal(len(sigma))
        observation, _, cost, terminated = upstream.step(policy.act(seen[None].astype(np.float32))[0])
        total += cost
        if terminated:
            break
    return total


def costs_of(name: str, episodes: int, noise: float = 0.0) -> np.ndarray:
    """The episode costs of a shipped fine-tuned policy, normalised at the task's middle threshold."""
    task, policy = get_task(name), load_policy(ZOO / name / "finetuned.safetensors")
    seeds = evaluation_seeds(0, name, 0, episodes).tolist()
    with reused_upstream(name) as upstream:
        costs = [episode_cost(upstream, policy, seed, task.horizon, noise) for seed in seeds]
    return np.array(costs) / task.middle_threshold


@pytest.mark.parametrize("task", ["CarRun", "BallCircle", "HopperVelocity"])
def test_a_shipped_policy_is_safe_in_a_reused_upstream_environment_under_noise(task: str):
    costs = costs_of(task, EPISODES, NOISE)
    _, upper = t_limits(costs.mean(), costs.std(ddof=1), EPISODES)
    assert upper <= 1.0


@pytest.mark.parametrize("task", ["DroneRun", "CarRun"])
def test_the_condition_gives_upstreams_costs(task: str):
    """Without it they are others: a drone that takes off with turning rotors is too fast."""
    policy, seeds = load_policy(ZOO / task / "finetuned.safetensors"), evaluation_seeds(0, task, 0, 3)
    ours = evaluate_under(CONDITIONS["reused"], policy, task, seeds).costs / get_task(task).middle_threshold
    assert ours == pytest.approx(costs_of(task, 3), abs=0.1)
