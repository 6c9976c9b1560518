"""The ids of gymnasium, the vector environment behind `make_vec`, and Safety-Gymnasium's six values."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import VectorEnv

import prefine_ray
from prefine_ray.gymnasium_ids import gymnasium_id
from prefine_ray.simulators import TaskEnv
from prefine_ray.simulators.clients.vector_env import TaskVectorEnv
from prefine_ray.tasks.spec import TASKS

ID = "prefine_ray:BallRun-v0"


@contextlib.contextmanager
def vector(num_envs: int, **options: Any) -> Iterator[VectorEnv]:
    with contextlib.closing(gymnasium.make_vec(ID, num_envs, **options)) as env:
        yield env


def output_of(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_every_task_has_an_id() -> None:
    for task in TASKS.values():
        spec = gymnasium.spec(gymnasium_id(task.name))
        assert spec.max_episode_steps == task.horizon
        assert spec.kwargs == {"task": task.name}


@pytest.mark.parametrize("order", ["prefine_ray, gymnasium", "gymnasium, prefine_ray", "gymnasium"])
def test_the_ids_are_there_whatever_is_imported_first(order: str) -> None:
    code = f"import {order}\nenv = gymnasium.make({ID!r}); print(type(env.unwrapped).__name__)"
    assert output_of(code) == "TaskEnv"


def test_registering_imports_nothing_and_leaves_nothing_behind() -> None:
    """`import prefine_ray` costs nothing; gymnasium is loaded by its own loader all the same."""
    code = (
        "import sys, prefine_ray; print(sorted({'gymnasium', 'numpy', 'mujoco', 'pybullet'} & set(sys.modules)))\n"
        "import importlib.util; spec = importlib.util.find_spec('gymnasium'); print('gymnasium' in sys.modules)\n"
        "import gymnasium; print(type(gymnasium.__loader__).__name__, type(gymnasium.__spec__.loader).__name__)\n"
        "print([one for one in sys.meta_path if 'prefine' in type(one).__module__], 'BallRun-v0' in gymnasium.registry)"
    )
    assert output_of(code).splitlines() == [
        "[]",
        "False",
        "SourceFileLoader SourceFileLoader",
        "[] True",
    ]


def test_an_id_gives_the_environment_of_make_env() -> None:
    with (
        contextlib.closing(gymnasium.make(ID)) as env,
        contextlib.closing(prefine_ray.make_env("BallRun")) as expected,
    ):
        assert isinstance(env.unwrapped, TaskEnv)
        np.testing.assert_array_equal(env.reset(seed=3)[0], expected.reset(seed=3)[0])
        action, steps, truncated = np.array([0.3, -0.1], np.float32), 0, False
        while not truncated:
            observation, reward, _, truncated, info = env.step(action)
            other = expected.step(action)
            np.testing.assert_array_equal(observation, other[0])
            assert (reward, truncated, info) == (other[1], other[3], other[4])
            steps += 1
        assert steps == 100


def test_reset_and_step_give_the_same_keys_and_numpy_costs() -> None:
    """Minari's DataCollector needs the one, TorchRL the other."""
    with contextlib.closing(gymnasium.make(ID)) as env:
        _, first = env.reset(seed=0)
        *_, info = env.step(env.action_space.sample())
    assert first.keys() == info.keys() == {"cost"}
    assert isinstance(first["cost"], np.float64)
    assert isinstance(info["cost"], np.float64)


def test_own_tasks_get_ids() -> None:
    code = (
        "import gymnasium, prefine_ray\n"
        "prefine_ray.register_task('Swing', env='Pendulum-v1', thresholds=[1, 2, 3], reward_range=[0, 1])\n"
        "env = gymnasium.make('prefine_ray:Swing-v0'); print(env.unwrapped.task.name, env.spec.max_episode_steps)"
    )
    assert output_of(code) == "Swing 200"


@pytest.mark.parametrize("seed", [4, [9, 2, 7]])
def test_vector_environments_equal_gymnasiums_own(seed: int | list[int]) -> None:
    """Three copies over two ends of episodes; the episodes after the first have seeds that follow from the given one."""
    rng = np.random.default_rng(0)
    with vector(3) as ours, vector(3, vectorization_mode="sync") as expected:
        assert isinstance(ours, TaskVectorEnv)
        np.testing.assert_array_equal(ours.reset(seed=seed)[0], expected.reset(seed=seed)[0])
        for _ in range(230):
            actions = rng.uniform(-1.0, 1.0, (3, 2)).astype(np.float32)
            step, other = ours.step(actions), expected.step(actions)
            for one, two in zip(step[:4], other[:4], strict=True):
                np.testing.assert_array_equal(one, two)
            for key in ("cost", "_cost"):
                np.testing.assert_array_equal(step[4][key], other[4][key])
        np.testing.assert_array_equal(ours.reset()[0], expected.reset()[0])


def test_copies_of_which_one_falls_equal_gymnasiums_own() -> None:
    """Falls end episodes of different lengths, so that copies start anew beside others that run."""
    rng, ends = np.random.default_rng(1), np.zeros(3, dtype=int)
    name = "prefine_ray:HopperVelocity-v0"
    with (
        contextlib.closing(gymnasium.make_vec(name, 3)) as ours,
        contextlib.closing(gymnasium.make_vec(name, 3, vectorization_mode="sync")) as expected,
    ):
        ours.reset(seed=0)
        expected.reset(seed=0)
        for _ in range(150):
            actions = rng.uniform(-1.0, 1.0, (3, 3)).astype(np.float32)
            step, other = ours.step(actions), expected.step(actions)
            for one, two in zip(step[:4], other[:4], strict=True):
                np.testing.assert_array_equal(one, two)
            ends += step[2]
    assert (ends >= 2).all()
    assert len(set(ends)) > 1


def test_vector_environments_take_another_time_limit() -> None:
    with vector(2, max_episode_steps=5) as env:
        env.reset(seed=0)
        truncated = [env.step(np.zeros((2, 2), np.float32))[3].all() for _ in range(6)]
    assert truncated == [False] * 4 + [True, False]


def test_wrong_use_of_a_vector_environment_is_refused() -> None:
    with vector(2) as env:
        with pytest.raises(ResetNeeded, match="call reset"):
            env.step(np.zeros((2, 2), np.float32))
        with pytest.raises(ValueError, match="3 seeds for 2 environments"):
            env.reset(seed=[1, 2, 3])


def test_six_values() -> None:
    """The cost stands third, as in Safety-Gymnasium; a ball that is too fast costs."""
    with contextlib.closing(prefine_ray.SixValuedEnv(gymnasium.make(ID))) as env:
        env.reset(seed=0)
        costs = []
        for _ in range(100):
            _, reward, cost, terminated, truncated, info = env.step(np.ones(2, np.float32))
            assert info["cost"] == cost
            costs.append(cost)
        assert isinstance(cost, float)
        assert isinstance(reward, float)
        assert (terminated, truncated) == (False, True)
        assert costs[0] == 0.0
        assert costs[-1] == 1.0


def test_six_values_need_a_cost() -> None:
    with contextlib.closing(prefine_ray.SixValuedEnv(gymnasium.make("CartPole-v1"))) as env:
        env.reset(seed=0)
        with pytest.raises(KeyError, match="cost"):
            env.step(env.action_space.sample())
