"""The velocity tasks against the reference trajectories and against upstream's own environments."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from prefine_ray.simulators.upstream import import_safety_gymnasium, mujoco
from prefine_ray.simulators.velocity import VelocityBatch
from prefine_ray.tasks.spec import get_task
from tests.simulators.reference import (
    REFERENCE_MUJOCO,
    Reference,
    assert_global_random_state_is_left_alone,
    assert_observations_are_fresh_and_resting_copies_still,
    assert_replayed,
    assert_seed_and_actions_decide,
    policies,
    references,
)

UPSTREAM = {
    "AntVelocity": ("ant", "SafetyAntVelocityEnv"),
    "HalfCheetahVelocity": ("half_cheetah", "SafetyHalfCheetahVelocityEnv"),
    "HopperVelocity": ("hopper", "SafetyHopperVelocityEnv"),
    "SwimmerVelocity": ("swimmer", "SafetySwimmerVelocityEnv"),
    "Walker2dVelocity": ("walker2d", "SafetyWalker2dVelocityEnv"),
}
TASKS = tuple(UPSTREAM)


def upstream_env(task: str) -> Any:
    file, name = UPSTREAM[task]
    return getattr(import_safety_gymnasium(f"tasks.safe_velocity.safety_{file}_velocity_v1"), name)()


def reset(upstream: Any, seed: int) -> NDArray[np.float64]:
    """Its first observation, with unit quaternions: mujoco 3.2 and later leave that to the first step."""
    upstream.reset(seed=seed)
    mujoco.mj_normalizeQuat(upstream.model, upstream.data.qpos)
    return upstream._get_obs()


def kick(batch: VelocityBatch, index: int, speed: float) -> NDArray[np.float32]:
    positions, velocities = batch.state(index)
    velocities[0] += speed
    return batch.set_state(index, positions, velocities)


def random_actions(task: str, steps: int, copies: int, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return rng.uniform(-1.0, 1.0, (steps, copies, get_task(task).act_dim)).astype(np.float32)


@pytest.mark.parametrize("task", TASKS)
def test_reference_trajectories_are_reproduced(task: str) -> None:
    """All of them at once, each in its own copy: freely on the version of mujoco that made them, else step by step."""
    episodes: list[Reference] = references(task)
    batch = VelocityBatch(get_task(task), len(episodes))
    start(batch, episodes)
    assert_replayed(batch, episodes, None if mujoco.__version__ == REFERENCE_MUJOCO else partial(put_back, batch))


@pytest.mark.parametrize("task", TASKS)
def test_every_step_of_the_reference_trajectories_is_reproduced(task: str) -> None:
    """To 1e-7: so much is one rounding of an observation."""
    episodes: list[Reference] = references(task)
    batch = VelocityBatch(get_task(task), len(episodes))
    start(batch, episodes)
    assert_replayed(batch, episodes, partial(put_back, batch), tolerance=1e-7)


def start(batch: VelocityBatch, episodes: list[Reference]) -> None:
    for index, episode in enumerate(episodes):
        first = batch.reset(index, episode.seed)
        if episode.kick_qvel0:
            first = kick(batch, index, episode.kick_qvel0)
        np.testing.assert_array_equal(first, episode.observations[0].astype(np.float32))


def put_back(batch: VelocityBatch, index: int, observation: NDArray[np.float64]) -> None:
    """Overwrites what the observation tells of the state: all but the position in the world and clipped velocities."""
    data, model = batch._data[index], batch._model
    positions, velocities = observation[: -model.nv], observation[-model.nv :]
    data.qpos[-len(positions) :] = positions
    data.qvel[:] = np.where(np.abs(velocities) < 10.0, velocities, data.qvel)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("seed", [11, 2**32 - 1])
def test_random_episodes_equal_upstreams(task: str, seed: int) -> None:
    upstream, batch = upstream_env(task), VelocityBatch(get_task(task), 2)
    expected = reset(upstream, seed)
    np.testing.assert_array_equal(batch.reset(1, seed), expected.astype(np.float32))
    for action in random_actions(task, 200, 1, seed)[:, 0]:
        expected, reward, cost, terminated, _, _ = upstream.step(action)
        step = batch.step(np.stack([action, action]), np.array([False, True]))
        np.testing.assert_array_equal(step.observations[1], expected.astype(np.float32))
        assert step.rewards[1] == pytest.approx(reward, rel=1e-6, abs=1e-6)
        assert (step.costs[1], step.terminated[1]) == (cost, terminated)
        if terminated:
            expected = reset(upstream, seed + 1)
            np.testing.assert_array_equal(batch.reset(1, seed + 1), expected.astype(np.float32))


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("which", [0, 1])
def test_policy_driven_episodes_equal_upstreams(task: str, which: int) -> None:
    """As above, but where policies go: upright, at speed, over the limit."""
    upstream, batch, policy = upstream_env(task), VelocityBatch(get_task(task), 1), policies(task)[which]
    reset(upstream, which)
    observations = batch.reset(0, which)[None]
    noise = np.random.default_rng(which)
    for _ in range(300):
        action = policy.act(observations)[0] + 0.2 * noise.standard_normal(get_task(task).act_dim, dtype=np.float32)
        action = action.clip(-1.0, 1.0)
        expected, reward, cost, terminated, _, _ = upstream.step(action)
        step = batch.step(action[None])
        observations = step.observations
        np.testing.assert_array_equal(observations[0], expected.astype(np.float32))
        assert step.rewards[0] == pytest.approx(reward, rel=1e-6, abs=1e-6)
        assert (step.costs[0], step.terminated[0]) == (cost, terminated)
        if terminated:
            break


@pytest.mark.parametrize("task", TASKS)
def test_cost_follows_the_speed_limit(task: str) -> None:
    limit = get_task(task).velocity_threshold
    assert limit is not None
    batch = VelocityBatch(get_task(task), 2)
    for index, speed in enumerate((0.5 * limit, 4.0 * limit + 2.0)):
        positions, velocities = batch.state(index)
        batch.reset(index, 0)
        velocities[0] = speed
        batch.set_state(index, positions, velocities)
    step = batch.step(np.zeros((2, get_task(task).act_dim), np.float32))
    assert step.costs.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("task", TASKS)
def test_an_episode_depends_on_its_seed_and_actions_only(task: str) -> None:
    assert_seed_and_actions_decide(lambda copies: VelocityBatch(get_task(task), copies), random_actions(task, 30, 3))


def test_global_random_state_is_neither_used_nor_changed() -> None:
    assert_global_random_state_is_left_alone(VelocityBatch(get_task("HopperVelocity"), 1), 3)


def test_actions_are_clipped_also_in_the_control_cost() -> None:
    batch = VelocityBatch(get_task("HalfCheetahVelocity"), 2)
    for index in range(2):
        batch.reset(index, 0)
    step = batch.step(np.array([np.full(6, 7.0), np.ones(6)], np.float32))
    np.testing.assert_array_equal(step.observations[0], step.observations[1])
    assert step.rewards[0] == step.rewards[1]


def test_observations_are_fresh_arrays_and_resting_copies_do_not_move() -> None:
    assert_observations_are_fresh_and_resting_copies_still(VelocityBatch(get_task("SwimmerVelocity"), 2))
