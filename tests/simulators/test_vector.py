"""The vector stepper: auto-reset, seeds, time limits and counts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import count

import numpy as np
import pytest
from numpy.typing import NDArray

from prefine_ray.simulators import VectorStepper, make_env

Episode = list[tuple[bytes, float, float, bool, bool]]  # true successor, reward, cost, terminated, truncated


@contextlib.contextmanager
def open_stepper(task: str, num_envs: int) -> Iterator[VectorStepper]:
    with contextlib.closing(VectorStepper(task, num_envs)) as stepper:
        yield stepper


def policy(observations: NDArray[np.float32], act_dim: int) -> NDArray[np.float32]:
    """A deterministic policy that is different in every state and makes some drones fall."""
    return np.sin(37.0 * observations[..., :act_dim] + np.arange(act_dim)).astype(np.float32)


def episodes_by_seed(task: str, num_envs: int, seeds: list[int]) -> dict[int, Episode]:
    """All episodes of these seeds, run on `num_envs` copies."""
    episodes: dict[int, Episode] = {seed: [] for seed in seeds}
    with open_stepper(task, num_envs) as stepper:
        observations = stepper.reset(seeds)
        while stepper.active.any():
            running = stepper.episode_seeds.copy()
            step = stepper.step(policy(observations, stepper.task.act_dim))
            for index in np.flatnonzero(step.active):
                values = step.rewards[index], step.costs[index], step.terminated[index], step.truncated[index]
                episodes[running[index]].append((step.next_observations[index].tobytes(), *values))
            observations = step.observations
        assert stepper.total_steps == sum(len(episode) for episode in episodes.values())
        assert (stepper.episode_seeds == -1).all()
    return episodes


@pytest.mark.parametrize("task", ["BallRun", "DroneRun"])
def test_episodes_do_not_depend_on_the_number_of_copies(task: str) -> None:
    seeds = [3, 1, 4, 15, 92]
    alone = episodes_by_seed(task, 1, seeds)
    assert episodes_by_seed(task, 3, seeds) == alone
    assert episodes_by_seed(task, 8, seeds) == alone  # three copies find no seed
    lengths = {len(episode) for episode in alone.values()}
    assert len(lengths) > 1 if task == "DroneRun" else lengths == {100}


def test_episodes_equal_the_single_environments() -> None:
    seeds = [0, 7]
    episodes = episodes_by_seed("DroneRun", 2, seeds)
    with contextlib.closing(make_env("DroneRun")) as env:
        for seed in seeds:
            observation, _ = env.reset(seed=seed)
            for expected in episodes[seed]:
                observation, reward, terminated, truncated, info = env.step(policy(observation, 4))
                assert (observation.tobytes(), reward, info["cost"], terminated, truncated) == expected
            assert terminated or truncated


def test_auto_reset_shows_both_the_last_and_the_next_observation() -> None:
    with open_stepper("BallRun", 2) as stepper, contextlib.closing(make_env("BallRun")) as env:
        stepper.reset(count(10))
        for _ in range(100):
            assert stepper.episode_seeds.tolist() == [10, 11]
            step = stepper.step(np.ones((2, 2), dtype=np.float32))
        assert step.truncated.all()
        assert not step.terminated.any()
        assert stepper.episode_seeds.tolist() == [12, 13]
        for index in range(2):
            np.testing.assert_array_equal(step.observations[index], env.reset(seed=12 + index)[0])
        assert (step.next_observations[:, 0] > 1.0).all()  # 10 m along the track
        follow = stepper.step(np.ones((2, 2), dtype=np.float32))
        np.testing.assert_array_equal(follow.observations, follow.next_observations)
        assert stepper.total_steps == 202


def test_copies_without_a_seed_rest() -> None:
    with open_stepper("BallRun", 3) as stepper:
        first = stepper.reset([5])
        assert stepper.active.tolist() == [True, False, False]
        assert stepper.episode_seeds.tolist() == [5, -1, -1]
        assert (first[1:] == 0).all()
        step = stepper.step(np.ones((3, 2)))
        assert step.active.tolist() == [True, False, False]
        assert stepper.total_steps == 1
        for _ in range(99):
            step = stepper.step(np.ones((3, 2)))
        assert step.truncated.tolist() == [True, False, False]
        assert not stepper.active.any()


def test_reset_begins_anew() -> None:
    with open_stepper("BallRun", 2) as stepper:
        first = stepper.reset(count())
        for _ in range(60):
            stepper.step(np.ones((2, 2)))
        np.testing.assert_array_equal(stepper.reset(count()), first)
        truncated = [stepper.step(np.ones((2, 2))).truncated.all() for _ in range(100)]
        assert truncated.index(True) == 99


def test_bad_actions_are_refused() -> None:
    with open_stepper("BallRun", 2) as stepper:
        stepper.reset(count())
        with pytest.raises(ValueError, match="shape"):
            stepper.step(np.ones(2))
        with pytest.raises(ValueError, match="NaN"):
            stepper.step(np.full((2, 2), np.nan))
