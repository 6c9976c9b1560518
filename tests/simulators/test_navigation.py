"""The navigation tasks that run upstream's classes: against fresh upstream environments, and against themselves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from prefine_ray.simulators.batch import make_batch
from prefine_ray.simulators.goal_world import LayoutError
from prefine_ray.simulators.navigation.batch import NavigationBatch
from prefine_ray.simulators.navigation.builder import new_environment
from prefine_ray.simulators.upstream import import_safety_gymnasium
from prefine_ray.tasks.spec import get_task
from tests.simulators.reference import (
    assert_global_random_state_is_left_alone,
    assert_observations_are_fresh_and_resting_copies_still,
    assert_seed_and_actions_decide,
)

TASKS = (
    *(f"{agent}{kind}{level}" for agent in ("Car", "Point") for kind in ("Button", "Circle", "Push") for level in "12"),
    "PointGoal1",
    "PointGoal2",
)
# Seeds of layouts that are soon found; that of most takes seconds upstream.
QUICK = {"CarButton1": (19, 18), "CarButton2": (20, 22), "PointButton1": (9, 8), "PointButton2": (22, 20)}
STEPS = 40


def seeds(task: str) -> tuple[int, int]:
    """Of two episodes."""
    return QUICK.get(task, (3, 11))


@contextlib.contextmanager
def navigation_batch(task: str, num_envs: int) -> Iterator[NavigationBatch]:
    with contextlib.closing(NavigationBatch(get_task(task), num_envs)) as batch:
        yield batch


def upstream_env(task: str) -> Any:
    """A fresh upstream environment; what it draws from the global random state, it puts back."""
    agent = "Point" if task.startswith("Point") else "Car"
    state = np.random.get_state()
    try:
        return import_safety_gymnasium("builder").Builder(f"Safety{task}-v0", {"agent_name": agent})
    finally:
        np.random.set_state(state)


def random_actions(steps: int, copies: int, seed: int = 0) -> NDArray[np.float32]:
    """Actions [steps, copies, 2] that hold for five steps."""
    held = np.random.default_rng(seed).uniform(-1.0, 1.0, (-(-steps // 5), copies, 2)).astype(np.float32)
    return np.repeat(held, 5, axis=0)[:steps]


@pytest.mark.parametrize("task", TASKS)
def test_short_episodes_equal_upstreams(task: str) -> None:
    """Bit for bit, in a copy that another one stands beside."""
    seed = seeds(task)[0]
    upstream = upstream_env(task)
    with navigation_batch(task, 2) as batch:
        expected, _ = upstream.reset(seed=seed)
        np.testing.assert_array_equal(batch.reset(1, seed), expected.astype(np.float32))
        for action in random_actions(STEPS, 1, seed)[:, 0]:
            expected, reward, cost, terminated, _, _ = upstream.step(action.astype(np.float64))
            step = batch.step(np.stack([action, action]), np.array([False, True]))
            np.testing.assert_array_equal(step.observations[1], expected.astype(np.float32))
            assert (step.rewards[1], step.costs[1], step.terminated[1]) == (reward, cost, terminated)


@pytest.mark.parametrize("task", TASKS)
def test_an_episode_depends_on_its_seed_and_actions_only(task: str) -> None:
    seed, other = seeds(task)
    assert_seed_and_actions_decide(lambda copies: make_batch(task, copies), random_actions(10, 3), seed, other)


def test_a_reused_upstream_environment_does_not_repeat_itself() -> None:
    """So the test above has something to find: the wheels of a car carry over 1e-13 or so, but with mujoco 3.3."""
    upstream, actions = upstream_env("CarPush2"), random_actions(STEPS, 2)

    def episode(seed: int, column: int) -> list[NDArray[np.float64]]:
        return [upstream.reset(seed=seed)[0], *(upstream.step(action)[0] for action in actions[:, column])]

    first = episode(3, 0)
    episode(11, 1)
    carried_over = np.abs(np.subtract(first, episode(3, 0))).max()
    assert carried_over < 1e-9
    assert (carried_over > 0) == (mujoco.mj_version() < 330)


@pytest.mark.parametrize(("seed", "upwards"), [(0, 4.2892265), (1, 9.5289431), (3, 0.0), (8, 9.5289431)])
def test_a_car_starts_alike_with_every_mujoco(seed: int, upwards: float) -> None:
    """By its accelerometer (m/s^2): whether its wheels touch the ground hangs on the last bit of its quaternion."""
    with navigation_batch("CarCircle1", 1) as batch:
        assert batch.reset(0, seed)[2] == pytest.approx(upwards, abs=1e-6)


def test_costs_arise_and_episodes_go_on_beyond_upstreams_time_limit() -> None:
    """A point that drives straight on leaves the circle's bounds; time limits are the stepper's."""
    with navigation_batch("PointCircle2", 1) as batch:
        batch.reset(0, 0)
        costs = [batch.step(np.array([[1.0, 0.0]])).costs[0] for _ in range(510)]
    assert costs[0] == 0.0
    assert costs[-1] == 1.0


def test_global_random_state_is_neither_used_nor_changed() -> None:
    with navigation_batch("PointGoal1", 1) as batch:
        assert_global_random_state_is_left_alone(batch, 2)


def test_observations_are_fresh_arrays_and_resting_copies_do_not_move() -> None:
    with navigation_batch("PointPush1", 2) as batch:
        assert_observations_are_fresh_and_resting_copies_still(batch)


@pytest.mark.parametrize("task", ["PointButton1", "CarPush2", "PointCircle1"])
def test_layouts_are_upstreams(task: str) -> None:
    """The distances that are computed without NumPy refuse the same draws."""
    seed = seeds(task)[0]
    ours, upstream = new_environment(get_task(task)), upstream_env(task)
    for environment in (ours, upstream):
        environment.reset(seed=seed)
    layouts = [environment.task.world_info.reset_layout for environment in (ours, upstream)]
    assert layouts[0].keys() == layouts[1].keys()
    for name, place in layouts[0].items():
        np.testing.assert_array_equal(place, layouts[1][name])


def test_a_world_without_room_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prefine_ray.simulators.navigation.builder._TRIES", 0)
    with navigation_batch("PointPush1", 1) as batch, pytest.raises(LayoutError, match="PointPush1, seed 4: Failed"):
        batch.reset(0, 4)


@pytest.mark.usefixtures("opengl")
def test_the_picture_shows_the_copys_own_episode() -> None:
    with navigation_batch("PointGoal1", 2) as batch:
        for index in range(2):
            batch.reset(index, index)
        frames = [batch.render(index) for index in range(2)]
        batch.reset(0, 1)
        again = batch.render(0)
    assert frames[0].shape == (480, 480, 3)
    assert not np.array_equal(frames[0], frames[1])
    np.testing.assert_array_equal(again, frames[1])
