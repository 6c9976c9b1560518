"""The Bullet tasks against the reference trajectories, against upstream's own environments, and against themselves."""

from __future__ import annotations

import contextlib
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from prefine_ray.simulators.bullet import BulletBatch
from prefine_ray.tasks.spec import get_task
from tests.simulators.reference import (
    assert_global_random_state_is_left_alone,
    assert_replayed,
    policies,
    references,
)

PLANE, OCTAGON = {"name": "Plane200", "factor": 1}, {"name": "Octagon"}
UPSTREAM = {
    "CarRun": ("RaceCar", "RunTask", PLANE),
    "BallRun": ("Ball", "RunTask", PLANE),
    "DroneRun": ("Drone", "RunTask", PLANE),
    "BallCircle": ("Ball", "CircleTask", OCTAGON),
    "CarCircle": ("RaceCar", "CircleTask", OCTAGON),
    "AntRun": ("Ant", "RunTask", PLANE),
    "AntCircle": ("Ant", "CircleTask", OCTAGON),
    "DroneCircle": ("Drone", "CircleTask", OCTAGON),
}
TASKS = tuple(UPSTREAM)
BENCHMARK = TASKS[:5]  # of which there are reference trajectories
Outcome = list[tuple[bytes, float, float, bool]]  # observation, reward, cost, terminated of every step


@contextlib.contextmanager
def bullet_batch(task: str, num_envs: int) -> Iterator[BulletBatch]:
    with contextlib.closing(BulletBatch(get_task(task), num_envs)) as batch:
        yield batch


@contextlib.contextmanager
def plain_streams() -> Iterator[None]:
    """Upstream redirects file descriptors of sys.stdout and sys.stderr, which breaks those of pytest."""
    null = os.open(os.devnull, os.O_WRONLY)
    with open(null, "w") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        yield


def new_upstream(task: str) -> Any:
    """A fresh upstream environment."""
    agent, kind, world = UPSTREAM[task]
    with plain_streams():
        from bullet_safety_gym.envs.builder import EnvironmentBuilder

        env = EnvironmentBuilder(agent=agent, task=kind, obstacles={}, world=world)
    multiply_in_double_precision(env.agent)
    return env


def multiply_in_double_precision(agent: Any) -> None:
    """Makes the factors of upstream's commands NumPy's float64.

    `float32 scalar * Python float` is a float64 with NumPy 1, for which upstream was written and with which the
    references were made, and a float32 with NumPy 2, which moves cars and ants with float32 actions by 0.03 and more.
    `float32 scalar * np.float64` is a float64 with both. (The drone computes with arrays: float32 with both.)
    """
    for factor in ("speed_multiplier", "steering_multiplier", "max_force"):
        if hasattr(agent, factor):
            setattr(agent, factor, np.float64(getattr(agent, factor)))


@contextlib.contextmanager
def plain_arithmetic() -> Iterator[None]:
    """Gives upstream's resets a length and an arctan2 that are the same on every CPU; NumPy's are not.

    They differ in the last bit, which turns the start of a car, and its wheels make much of that.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np.linalg, "norm", lambda vector: math.sqrt(sum(x * x for x in vector.tolist())))
        patch.setattr(np, "arctan2", math.atan2)
        yield


@contextlib.contextmanager
def upstream_env(task: str, seed: int) -> Iterator[tuple[Any, NDArray[np.float64]]]:
    """A fresh upstream environment and its first observation; the global random state is left as it was."""
    state = np.random.get_state()
    try:
        env = new_upstream(task)
        np.random.seed(seed)
        with plain_arithmetic():
            observation, _ = env.reset(seed=seed)
    finally:
        np.random.set_state(state)
    yield env, observation
    env.close()


def random_actions(task: str, seed: int, steps: int) -> NDArray[np.float32]:
    """Actions [steps, act_dim] that each hold for a few steps, from gentle to violent.

    Some are beyond the bounds, but of the ant: upstream charges for those.
    """
    rng = np.random.default_rng(seed)
    size = rng.choice([0.3, 1.0, 1.0 if task.startswith("Ant") else 1.5])
    held = rng.uniform(-size, size, (steps, get_task(task).act_dim)).astype(np.float32)
    return np.repeat(held, rng.integers(1, 12), axis=0)[:steps]


def run(batch: BulletBatch, index: int, seed: int, actions: NDArray[np.float32]) -> Outcome:
    """One episode in one copy while the others rest."""
    active = np.arange(batch.num_envs) == index
    outcome: Outcome = [(batch.reset(index, seed).tobytes(), 0.0, 0.0, False)]
    for action in actions:
        step = batch.step(np.tile(action, (batch.num_envs, 1)), active)
        values = step.rewards[index], step.costs[index], bool(step.terminated[index])
        outcome.append((step.observations[index].tobytes(), *values))
        if step.terminated[index]:
            break
    return outcome


@pytest.mark.parametrize("task", BENCHMARK)
def test_reference_trajectories_are_reproduced(task: str) -> None:
    """All of them at once, each in its own copy; the ones that have ended rest."""
    episodes = references(task)
    with bullet_batch(task, len(episodes)) as batch:
        for index, episode in enumerate(episodes):
            first = batch.reset(index, episode.seed)
            np.testing.assert_allclose(first, episode.observations[0], rtol=1e-6, atol=1e-6)
        assert_replayed(batch, episodes)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("seed", [0, 12, 2**32 - 1])
def test_random_episodes_equal_upstreams(task: str, seed: int) -> None:
    """To float32 precision; both are given the actions as float32."""
    actions = random_actions(task, seed, 120)
    with bullet_batch(task, 2) as batch, upstream_env(task, seed) as (upstream, expected):
        np.testing.assert_allclose(batch.reset(1, seed), expected, rtol=1e-6, atol=1e-6)
        for action in actions:
            expected, reward, terminated, _, info = upstream.step(action)
            step = batch.step(np.stack([action, action]), np.array([False, True]))
            np.testing.assert_allclose(step.observations[1], expected, rtol=1e-6, atol=1e-6)
            assert step.rewards[1] == pytest.approx(reward, rel=1e-6, abs=1e-6)
            assert (step.costs[1], step.terminated[1]) == (info["cost"], terminated)
            if terminated:
                break


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("which", [0, 1])
def test_policy_driven_episodes_equal_upstreams(task: str, which: int) -> None:
    """As above, but where policies go: along the track or the circle, at speed, with noise."""
    seed, noise = 5 + which, np.random.default_rng(which)
    policy = policies(task)[which]
    with bullet_batch(task, 1) as batch, upstream_env(task, seed) as (upstream, _):
        observations = batch.reset(0, seed)[None]
        for _ in range(150):
            action = policy.act(observations)[0] + 0.3 * noise.standard_normal(get_task(task).act_dim)
            action = np.clip(action, -1.0, 1.0) if task.startswith("Ant") else action
            expected, reward, terminated, _, info = upstream.step(action)
            step = batch.step(action[None])
            observations = step.observations
            np.testing.assert_allclose(observations[0], expected, rtol=1e-6, atol=1e-6)
            assert step.rewards[0] == pytest.approx(reward, rel=1e-6, abs=1e-6)
            assert (step.costs[0], step.terminated[0]) == (info["cost"], terminated)
            if terminated:
                break


@pytest.mark.parametrize("task", TASKS)
def test_the_seed_alone_determines_an_episode(task: str) -> None:
    """In a copy that has run others (cut short near the start, where old contacts would bite) as in a fresh one."""
    rng = np.random.default_rng(3)
    seeds = [5, 2**32 - 1, 40, 41]
    actions = {seed: random_actions(task, seed, 10) for seed in seeds}
    expected = {}
    for seed in seeds:
        with bullet_batch(task, 1) as fresh:
            expected[seed] = run(fresh, 0, seed, actions[seed])
    with bullet_batch(task, 3) as used:
        for repeat in range(8):
            run(used, 2, int(rng.integers(99)), random_actions(task, repeat, 1 + 3 * (repeat % 4)))
            for seed in seeds:
                assert run(used, 2, seed, actions[seed]) == expected[seed]


@pytest.mark.parametrize("task", ["CarRun", "DroneRun", "BallCircle", "AntCircle"])
def test_copies_do_not_disturb_one_another(task: str) -> None:
    """An episode among others that run, rest and restart equals the same episode alone."""
    seed, actions = 8, random_actions(task, 1, 40)
    noise = np.random.default_rng(0)
    with bullet_batch(task, 1) as alone:
        expected = run(alone, 0, seed, actions)
    with bullet_batch(task, 4) as together:
        for index in range(4):
            first = together.reset(index, seed if index == 1 else 100 + index)
            if index == 1:
                assert first.tobytes() == expected[0][0]
        for action, (observation, reward, cost, terminated) in zip(actions, expected[1:], strict=False):
            everyone = noise.uniform(-1, 1, (4, len(action))).astype(np.float32)
            everyone[1] = action
            step = together.step(everyone, np.array([noise.random() < 0.7, True, noise.random() < 0.7, False]))
            assert step.observations[1].tobytes() == observation
            assert (step.rewards[1], step.costs[1], bool(step.terminated[1])) == (reward, cost, terminated)
            if noise.random() < 0.3:
                together.reset(0, int(noise.integers(99)))


def test_copies_at_rest_keep_their_state() -> None:
    actions = np.ones((2, 2), dtype=np.float32)
    with bullet_batch("BallRun", 2) as batch:
        first = [batch.reset(index, 7) for index in range(2)]
        for _ in range(5):
            step = batch.step(actions, np.array([True, False]))
        np.testing.assert_array_equal(step.observations[1], first[1])
        late = batch.step(actions, np.array([False, True]))
        batch.reset(0, 7)
        early = batch.step(actions, np.array([True, False]))
        assert late.observations[1].tobytes() == early.observations[0].tobytes()
        assert late.rewards[1] == early.rewards[0]


def test_observations_are_fresh_arrays() -> None:
    with bullet_batch("BallRun", 1) as batch:
        batch.reset(0, 0)
        step = batch.step(np.ones((1, 2)))
        kept = step.observations.copy()
        batch.step(np.ones((1, 2)))
        np.testing.assert_array_equal(step.observations, kept)
        assert step.observations.dtype == np.float32
        assert step.rewards.dtype == step.costs.dtype == np.float64
        assert step.terminated.dtype == np.bool_


@pytest.mark.parametrize("task", ["CarRun", "DroneRun", "BallCircle", "AntRun"])
def test_the_global_random_state_is_left_alone(task: str) -> None:
    with bullet_batch(task, 1) as batch:
        assert_global_random_state_is_left_alone(batch, get_task(task).act_dim)


def test_bad_actions_are_refused() -> None:
    with bullet_batch("BallRun", 2) as batch:
        batch.reset(0, 0)
        batch.reset(1, 1)
        with pytest.raises(ValueError, match=r"shape \(2, 3\).*\(2, 2\)"):
            batch.step(np.zeros((2, 3)))
        with pytest.raises(ValueError, match=r"copies \[1\] hold NaN"):
            batch.step(np.array([[0.0, 0.0], [0.0, np.nan]]))
        step = batch.step(np.array([[0.0, 0.0], [0.0, np.nan]]), np.array([True, False]))
        assert np.isfinite(step.rewards).all()


def test_actions_are_clipped() -> None:
    with bullet_batch("DroneRun", 2) as batch:
        for index in range(2):
            batch.reset(index, 0)
        step = batch.step(np.array([[3.0, -np.inf, 1.0, np.inf], [1.0, -1.0, 1.0, 1.0]]))
        assert step.observations[0].tobytes() == step.observations[1].tobytes()


def test_a_drone_falls() -> None:
    with bullet_batch("DroneRun", 1) as batch:
        batch.reset(0, 0)
        steps = [batch.step(np.array([[1.0, 1.0, -1.0, -1.0]])) for _ in range(200)]
        fallen = next(step for step in steps if step.terminated[0])
        assert fallen.rewards[0] < -5  # -10 instead of 1


def test_an_ant_dies_with_its_torso_on_the_ground() -> None:
    with bullet_batch("AntCircle", 1) as batch:
        batch.reset(0, 0)
        rng = np.random.default_rng(0)
        for _ in range(300):
            step = batch.step(np.repeat(rng.choice([-1.0, 1.0], (1, 4)), 2, axis=1))
            if step.terminated[0]:
                break
        assert step.terminated[0]
        assert 10 * step.observations[0, 2] <= 0.26


def test_pictures_show_the_agent() -> None:
    """The ball stays in the picture wherever it runs, and the picture follows the copy asked for."""
    with bullet_batch("BallRun", 2) as batch:
        for index in range(2):
            batch.reset(index, 0)
        for _ in range(40):
            batch.step(np.array([[1.0, 0.8], [0.0, 0.0]]))
        far, near = batch.render(0), batch.render(1)
        assert far.shape == (360, 480, 3)
        assert far.dtype == np.uint8
        assert (far != near).any()
        assert (far < 20).all(axis=2).sum() > 200  # the ball's black patches; nothing else is black


def test_many_copies_open_and_close() -> None:
    """More instances in turn than the engine has room for at once."""
    for _ in range(20):
        with bullet_batch("BallRun", 64) as batch:
            batch.reset(63, 0)


def test_closing_twice_is_allowed(capfd: pytest.CaptureFixture[str]) -> None:
    batch = BulletBatch(get_task("BallRun"), 2)
    batch.reset(0, 0)
    batch.render(0)
    batch.close()
    batch.close()
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_the_engine_says_nothing() -> None:
    """In a process of its own, where the engine's library is loaded anew."""
    code = (
        "from prefine_ray.simulators import make_env; e = make_env('CarRun', 'rgb_array'); e.reset(seed=0); e.render()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=120)
    assert done.stdout == done.stderr == b""
