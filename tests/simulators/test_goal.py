"""The car-and-goal tasks against the reference trajectories and against upstream's own environments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from prefine_ray.simulators import goal_world
from prefine_ray.simulators.goal import WORLDS, GoalBatch
from prefine_ray.simulators.goal_world import (
    GoalWorld,
    LayoutError,
    build_model,
    place,
    sample_goal,
    sample_layout,
)
from prefine_ray.simulators.upstream import import_safety_gymnasium
from prefine_ray.tasks.spec import get_task
from tests.simulators.reference import (
    REFERENCE_MUJOCO,
    assert_global_random_state_is_left_alone,
    assert_observations_are_fresh_and_resting_copies_still,
    assert_replayed,
    assert_seed_and_actions_decide,
    references,
)

TASKS = tuple(WORLDS)
GOAL_LIDAR = slice(24, 40)


@pytest.fixture(autouse=True)
def _small_sky(monkeypatch: pytest.MonkeyPatch) -> None:
    """Upstream decodes 190 MB of stars at every reset; they do not act on the car."""
    yaml = import_safety_gymnasium("world").yaml
    monkeypatch.setattr(yaml, "load", without_stars(yaml.load))


def without_stars(load: Callable[..., Any]) -> Callable[..., Any]:
    """Upstream's loader of assets, with a sky that is small."""

    def load_without_stars(*arguments: Any, **options: Any) -> Any:
        assets = load(*arguments, **options)
        assets["textures"]["skybox"] = {"@type": "skybox", "@builtin": "gradient", "@width": "8", "@height": "8"}
        return assets

    return load_without_stars


def upstream_env(task: str) -> Any:
    builder = import_safety_gymnasium("builder")
    return builder.Builder(f"Safety{task}-v0", {"agent_name": "Car"})


def drive_to_goal(observations: NDArray[np.float32]) -> NDArray[np.float32]:
    """Actions [N, 2] that turn the car's front to where its goal lidar sees the goal, and drive."""
    lidar = observations[:, GOAL_LIDAR]
    angles = (np.arange(16) + 0.5) * 2.0 * np.pi / 16
    x, y = lidar @ np.cos(angles), lidar @ np.sin(angles)
    forward, turn = -y / (np.hypot(x, y) + 1e-9), x / (np.hypot(x, y) + 1e-9)
    return np.clip(np.stack((forward + turn, forward - turn), axis=1), -1.0, 1.0).astype(np.float32)


def random_actions(steps: int, copies: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(-1.0, 1.0, (steps, copies, 2)).astype(np.float32)


@pytest.mark.parametrize("task", TASKS)
def test_reference_trajectories_are_reproduced(task: str) -> None:
    """All of them at once, each in its own copy; contacts amplify what other versions of mujoco round otherwise."""
    episodes = references(task)
    batch = GoalBatch(get_task(task), len(episodes))
    first = [batch.reset(index, episode.seed) for index, episode in enumerate(episodes)]
    np.testing.assert_allclose(first, [episode.observations[0] for episode in episodes], rtol=1e-6, atol=1e-6)
    assert_replayed(batch, episodes, tolerance=1e-6 if mujoco.__version__ == REFERENCE_MUJOCO else 1e-4)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_episodes_equal_upstreams(task: str, seed: int) -> None:
    """100 random steps, then 400 towards the goals: vases are hit, hazards entered, goals reached and drawn anew."""
    upstream, batch = upstream_env(task), GoalBatch(get_task(task), 2)
    expected, _ = upstream.reset(seed=seed)
    observation = batch.reset(1, seed)
    np.testing.assert_allclose(observation, expected, rtol=1e-6, atol=1e-6)
    goals = cost = 0.0
    for t, action in enumerate(random_actions(500, 1, seed)[:, 0]):
        if t >= 100:
            action = drive_to_goal(observation[None])[0]
        expected, reward, expected_cost, terminated, _, info = upstream.step(action)
        step = batch.step(np.stack([action, action]), np.array([False, True]))
        observation = step.observations[1]
        np.testing.assert_allclose(observation, expected, rtol=1e-6, atol=1e-6)
        assert step.rewards[1] == pytest.approx(reward, rel=1e-6, abs=1e-6)
        assert (step.costs[1], step.terminated[1]) == (expected_cost, terminated)
        goals, cost = goals + ("goal_met" in info), cost + expected_cost
    assert goals >= 1
    assert cost >= 1


@pytest.mark.parametrize("task", TASKS)
def test_objects_moved_in_a_model_equal_a_model_compiled_with_them(task: str) -> None:
    """Every number of the physics, bit for bit, also after the model held another layout."""
    world, upstream = WORLDS[task], upstream_env(task)
    upstream.reset(seed=3)
    model = build_model(world)
    data = mujoco.MjData(model)
    place(world, model, data, sample_layout(world, np.random.RandomState(99)))
    place(world, model, data, sample_layout(world, np.random.RandomState(3)))
    ignored = ("body_ipos", "body_iquat")  # of the goal, which has no mass
    for name in [name for name in dir(model) if name.startswith(("body_", "dof_", "jnt_", "actuator_", "qpos"))]:
        value = getattr(model, name)
        if isinstance(value, np.ndarray) and name not in ignored:
            expected = getattr(upstream.task.model, name)
            rows = np.arange(len(value)) != world.goal if name.startswith("body_") else slice(None)
            np.testing.assert_array_equal(value[rows], expected[rows], err_msg=name)
    assert model.stat.meaninertia == upstream.task.model.stat.meaninertia


@pytest.mark.parametrize("task", TASKS)
def test_an_episode_depends_on_its_seed_and_actions_only(task: str) -> None:
    assert_seed_and_actions_decide(lambda copies: GoalBatch(get_task(task), copies), random_actions(40, 3))


def test_global_random_state_is_neither_used_nor_changed() -> None:
    assert_global_random_state_is_left_alone(GoalBatch(get_task("CarGoal1"), 1), 2)


def test_observations_are_fresh_arrays_and_resting_copies_do_not_move() -> None:
    assert_observations_are_fresh_and_resting_copies_still(GoalBatch(get_task("CarGoal1"), 2))


def test_objects_keep_apart_and_a_full_world_is_an_error() -> None:
    world, rng = WORLDS["CarGoal2"], np.random.RandomState(0)
    layout = sample_layout(world, rng)
    places = np.array(layout.positions)
    distances = np.linalg.norm(places[:, None] - places[None], axis=2) + 10.0 * np.eye(len(places))
    assert (distances >= np.add.outer(world.keepouts, world.keepouts)).all()
    assert (np.abs(places) + np.array(world.keepouts)[:, None] <= world.extent).all()
    with pytest.raises(LayoutError, match="no free place for the goal"):
        sample_goal(GoalWorld(0.4, 0, 0, False), [(0.0, 0.0)], rng)


def test_a_goal_that_cannot_be_drawn_again_ends_the_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    """As upstream: the goal counts, the episode terminates."""
    batch = GoalBatch(get_task("CarGoal1"), 1)
    observations = batch.reset(0, 1)[None]
    monkeypatch.setattr(goal_world, "_TRIES", 0)
    for _ in range(400):
        observations, rewards, _, terminated, _ = batch.step(drive_to_goal(observations))
        assert terminated[0] == (rewards[0] > 0.5)
        if terminated[0]:
            return
    pytest.fail("the goal was not reached")


@pytest.mark.usefixtures("opengl")
def test_the_picture_shows_the_copys_own_objects() -> None:
    batch = GoalBatch(get_task("CarGoal1"), 2)
    for index in range(2):
        batch.reset(index, index)
    frames = [batch.render(index) for index in range(2)]
    batch.close()
    assert frames[0].shape == (480, 480, 3)
    assert not np.array_equal(frames[0], frames[1])
