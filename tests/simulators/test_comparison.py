"""Our simulators against upstream's: a few short episodes, and hundreds of whole ones with `make test-slow`."""

from __future__ import annotations

import numpy as np
import pytest

from prefine_ray.tasks.spec import get_task
from tests.simulators import test_bullet, test_goal, test_navigation, test_velocity
from tests.simulators.comparison import KINDS, TOLERANCE, Comparison, compare
from tests.simulators.reference import references

BULLET, SLOW = test_bullet.TASKS, test_goal.TASKS + test_navigation.TASKS
EPISODES = 25  # of each task, kind and precision in the slow comparison: 250 per task
SLOW_EPISODES = 2  # of tasks of which upstream's steps take milliseconds


def assert_none_left(episodes: list[Comparison]) -> None:
    assert [episode for episode in episodes if episode.left] == []


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("task", ["DroneRun", "CarRun", "BallCircle"])
def test_short_episodes_equal_upstreams(task: str, dtype: str) -> None:
    assert_none_left(compare(task, "smooth", dtype, 120, range(3)))


@pytest.mark.parametrize("task", ["DroneRun", "CarRun", "CarCircle", "AntRun"])
def test_episodes_of_a_reused_environment_equal_upstreams(task: str) -> None:
    """Motors and contacts of one episode act on the next."""
    assert_none_left(compare(task, "noisy", "float32", 100, range(3), reused=True))


def test_drones_equal_the_references_exactly() -> None:
    """Their rotors amplify a last bit 1e10 times in an episode, so whatever is not exact leaves sooner or later."""
    episodes = references("DroneRun")
    with test_bullet.bullet_batch("DroneRun", len(episodes)) as batch:
        for index, episode in enumerate(episodes):
            batch.reset(index, episode.seed)
            active = np.arange(len(episodes)) == index
            for action, expected in zip(episode.actions, episode.observations[1:], strict=True):
                step = batch.step(np.tile(action, (len(episodes), 1)), active)
                np.testing.assert_array_equal(step.observations[index], expected.astype(np.float32))


def test_the_comparison_notices_what_is_carried_over() -> None:
    """A drone that takes off with turning rotors is not the one that starts afresh."""
    episodes = compare("DroneRun", "noisy", "float64", 20, range(2), reused=True, carry_over=False)
    assert [episode.left for episode in episodes] == [False, True]  # the first has nothing to carry over
    assert_none_left(compare("DroneRun", "noisy", "float64", 20, range(2), reused=True))
    assert_none_left(compare("DroneRun", "noisy", "float64", 20, range(2)))
    assert Comparison(0, 20, observation=2 * TOLERANCE, reward=0.0, events=0).left
    assert Comparison(0, 20, observation=0.0, reward=0.0, events=1).left


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task", BULLET + test_velocity.TASKS + SLOW)
def test_whole_episodes_equal_upstreams(task: str, kind: str, dtype: str) -> None:
    """25 seeds of each kind of actions in each precision, to the horizon or a fall; 2 of the navigation tasks."""
    count = SLOW_EPISODES if task in SLOW else EPISODES
    assert_none_left(compare(task, kind, dtype, get_task(task).horizon, range(1000, 1000 + count)))


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task", BULLET)
def test_whole_episodes_of_a_reused_environment_equal_upstreams(task: str, kind: str) -> None:
    """Ten in a row."""
    assert_none_left(compare(task, kind, "float32", get_task(task).horizon, range(2000, 2010), reused=True))
