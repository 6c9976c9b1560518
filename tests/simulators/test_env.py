"""Every task as a gymnasium environment."""

from __future__ import annotations

import contextlib
import warnings

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

from prefine_ray.simulators import TaskEnv, make_batch, make_env
from prefine_ray.tasks.spec import TASKS, UnknownTaskError


@contextlib.contextmanager
def open_env(task: str, render_mode: str | None = None):
    with contextlib.closing(make_env(task, render_mode)) as env:
        yield env


@pytest.mark.parametrize("task", TASKS)
def test_gymnasiums_checker_passes(task: str) -> None:
    with open_env(task) as env, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(infinity|not within the observation space bounds).*")
        check_env(env, skip_render_check=True)


@pytest.mark.parametrize("task", TASKS)
def test_it_is_the_batch_of_one(task: str) -> None:
    rng = np.random.default_rng(0)
    with open_env(task) as env, contextlib.closing(make_batch(task, 2)) as batch:
        first, _ = env.reset(seed=4)
        batch.reset(0, 9)
        np.testing.assert_array_equal(first, batch.reset(1, 4))
        for _ in range(5):
            action = rng.uniform(-1, 1, env.task.act_dim).astype(np.float32)
            observation, reward, terminated, truncated, info = env.step(action)
            step = batch.step(np.stack([action, action]))
            np.testing.assert_array_equal(observation, step.observations[1])
            assert (reward, info["cost"], terminated) == (step.rewards[1], step.costs[1], step.terminated[1])
            assert not truncated


@pytest.mark.parametrize("task", ["BallRun", "DroneRun"])
def test_an_episode_ends_at_the_horizon_or_by_a_fall(task: str) -> None:
    with open_env(task) as env:
        env.reset(seed=0)
        for t in range(1, env.task.horizon + 1):  # noqa: B007 (used below)
            _, _, terminated, truncated, _ = env.step(np.array([1.0, 1.0, -1.0, -1.0][: env.task.act_dim]))
            if terminated or truncated:
                break
        if task == "BallRun":
            assert (t, terminated, truncated) == (100, False, True)
        else:
            assert t < 200
            assert (terminated, truncated) == (True, False)
        with pytest.raises(ResetNeeded, match="call reset"):
            env.step(env.action_space.sample())


def test_stepping_needs_a_reset() -> None:
    with open_env("BallRun") as env, pytest.raises(ResetNeeded, match="call reset"):
        env.step(np.zeros(2))


def test_seeds_without_an_argument_follow_from_the_last_given_one() -> None:
    """Gymnasium's convention: reset() draws from np_random, which reset(seed=s) seeds."""
    with open_env("BallRun") as env:
        first, _ = env.reset(seed=1)
        second, third = env.reset()[0], env.reset()[0]
        assert not np.array_equal(first, second)
        assert not np.array_equal(second, third)
        np.testing.assert_array_equal(env.reset(seed=1)[0], first)
        np.testing.assert_array_equal(env.reset()[0], second)


def test_two_environments_do_not_disturb_one_another() -> None:
    with open_env("CarRun") as one, open_env("CarRun") as two, open_env("CarRun") as alone:
        expected = [alone.reset(seed=3)[0], *(alone.step(np.ones(2))[0] for _ in range(5))]
        got = [one.reset(seed=3)[0]]
        two.reset(seed=8)
        for _ in range(5):
            two.step(-np.ones(2))
            got.append(one.step(np.ones(2))[0])
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("action", [np.zeros(3), np.zeros((1, 2)), 0.0])
def test_actions_of_another_shape_are_refused(action: np.ndarray) -> None:
    with open_env("BallRun") as env:
        env.reset(seed=0)
        with pytest.raises(ValueError, match=r"BallRun takes \(2,\)"):
            env.step(action)


def test_nan_actions_are_refused() -> None:
    with open_env("BallRun") as env:
        env.reset(seed=0)
        with pytest.raises(ValueError, match="NaN"):
            env.step(np.array([0.0, np.nan]))


def test_pictures() -> None:
    with open_env("CarCircle", "rgb_array") as env:
        env.reset(seed=0)
        before = env.render()
        for _ in range(20):
            env.step(np.ones(2))
        after = env.render()
        assert before.shape == after.shape == (360, 480, 3)
        assert before.dtype == np.uint8
        assert (before != after).any()
    with open_env("CarCircle") as env:
        assert env.render() is None
    with pytest.raises(ValueError, match="render_mode is 'human'"):
        make_env("CarCircle", "human")


def test_unknown_tasks_and_empty_batches_are_refused() -> None:
    with pytest.raises(UnknownTaskError, match="BallRun"):
        make_env("BallRunn")
    with pytest.raises(ValueError, match="num_envs is 0"):
        make_batch("BallRun", 0)


def test_the_alias_of_cargoal() -> None:
    with open_env("CarGoal") as env:
        assert isinstance(env, TaskEnv)
        assert env.task.name == "CarGoal1"
