"""The warm start from a controller that a search found."""

from __future__ import annotations

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch

from prefine_ray.policies.gaussian import GaussianPolicy
from prefine_ray.pretrain import start
from prefine_ray.pretrain.controllers import Gait, Orbit, Seek, Sprint
from prefine_ray.pretrain.recipes import recipe_for
from prefine_ray.pretrain.rllib import ActorCritic
from prefine_ray.pretrain.start import COPIES, demonstrate, search_controller, warm_start
from prefine_ray.pretrain.training import starts
from prefine_ray.simulators.vector import VectorStepper
from prefine_ray.tasks.spec import get_task


def test_gait_actions_match_a_hand_computation() -> None:
    observations = np.array([[0.1, 0.2, 0.3, 0.4]], dtype=np.float32)
    parameters = np.array([[np.log(2.0), 0.5, 0.6, np.pi / 2, 3.0, 0.7]])
    gait = Gait(angles=(0, 1), speeds=(2, 3), step_s=np.pi / 4)
    first, second = gait.actions(parameters, observations, 1)[0]  # phases pi / 2 and pi
    np.testing.assert_allclose([first, second], [3 * (0.5 - 0.1) - 0.7 * 0.3, 3 * (0.0 - 0.2) - 0.7 * 0.4], atol=1e-6)


def test_orbit_actions_match_a_hand_computation() -> None:
    observations = np.array([[0.8, 0.0, 0.0, -1.0]], dtype=np.float32)  # at x = 8 m, y = 0, moving down at 5 m/s
    parameters = np.array([[6.0, 4.0, 8.0, 0.5, 2.0, 0.03]])
    orbit = Orbit(place=(0, 1), velocity=(2, 3), place_scale=0.1, velocity_scale=0.2)
    # twice the semi-axis out, mean semi-axis 6: 0.5 * 1 * 6 = 3 m/s inwards, 6 m/s down
    expected = [2 * (-3 - 0) - 0.03 * 25, 2 * (-6 + 5)]
    np.testing.assert_allclose(orbit.actions(parameters, observations, 0)[0], expected, atol=1e-5)


def test_sprint_actions_match_a_hand_computation() -> None:
    sprint = Sprint(place=(0, 1), velocity=(2, 3), place_scale=0.1, velocity_scale=0.2)
    parameters = np.tile([2.0, 5.0, 3.0, 0.4, 0.5], (2, 1))
    observations = np.array([[0.4, 0.1, 0.3, 0.2], [0.6, 0.1, 0.3, 0.2]], dtype=np.float32)  # y = 1 m, 1.5 and 1 m/s
    cruising, sprinting = sprint.actions(parameters, observations, 0)  # at x = 4 and 6 m
    sideways = -0.4 * 1.0 - 0.5 * 1.0
    np.testing.assert_allclose(cruising, [3.0 * (2.0 - 1.5), sideways], atol=1e-5)
    np.testing.assert_allclose(sprinting, [3.0 * (2.0 + 100.0 - 1.5), sideways], rtol=1e-5)


@pytest.mark.parametrize(("limit", "least", "most"), [(10.0, 1.0, 10.0), (40.0, 20.0, 40.0)])
def test_a_search_with_a_limit_keeps_the_episode_cost_near_it(limit: float, least: float, most: float) -> None:
    recipe, stepper = replace(recipe_for("BallRun"), generations=10), VectorStepper("BallRun", COPIES)
    parameters = search_controller(stepper, recipe, np.random.default_rng(1), limit)
    assert recipe.start is not None
    observations, costs = stepper.reset(range(COPIES)), np.zeros(COPIES)
    for step_number in range(stepper.task.horizon):
        actions = recipe.start.actions(np.tile(parameters, (COPIES, 1)), observations, step_number)
        step = stepper.step(actions.clip(-1.0, 1.0))
        observations, costs = step.observations, costs + step.costs
    stepper.close()
    assert least <= costs.mean() <= most


SEEK = Seek(goal=0, hazards=4, velocity=(8, 9), yaw_rate=10, front=np.pi / 4, bins=4)
SEEK_PARAMETERS = np.array([[0.8, 1.5, 50.0, 0.4, 2.0, 0.1, 3.0, 0.5]])  # so sharp that the best direction is chosen


def seek(goal_bin: int, hazards: dict[int, float], velocity: tuple[float, float] = (0.0, 0.0), yaw_rate: float = 0.0):
    """Torques for a goal in the middle of a bin, and hazards by bin and lidar reading."""
    observations = np.zeros((1, 11), dtype=np.float32)
    observations[0, goal_bin] = 0.5
    for hazard_bin, reading in hazards.items():
        observations[0, 4 + hazard_bin] = reading
    observations[0, 8:] = (*velocity, yaw_rate)
    return SEEK.actions(SEEK_PARAMETERS, observations, 0)[0]


def test_seek_actions_match_a_hand_computation() -> None:
    # The goal is in front: no angle; moving forwards at 0.5 m/s and turning at 0.2 rad/s.
    speed = 0.5 / np.sqrt(2)
    drive, steer = 3.0 * (0.8 - 0.5), -0.1 * 0.2
    np.testing.assert_allclose(seek(0, {}, (speed, speed), 0.2), [drive + steer, drive - steer], atol=1e-5)
    np.testing.assert_allclose(seek(2, {}), [-2.4, -2.4], atol=1e-5)  # behind: straight backwards
    # A hazard 0.4 m from its edge in the goal's direction: danger 1/e, of which half is braked away.
    np.testing.assert_allclose(seek(0, {0: 0.8}), np.full(2, 2.4 * (1 - 0.5 * np.exp(-1))), atol=1e-5)


def test_seek_goes_around_a_hazard_in_the_way() -> None:
    left, right = seek(0, {0: 0.93, 3: 0.93})  # danger of nearly 1 in front and to the right
    # Only a right angle is left: forwards to the one side, or backwards to the other.
    assert abs(left - right) == pytest.approx(2 * 2.0 * np.pi / 2, abs=0.01)


def new_module(name: str, hidden: tuple[int, int] = (64, 64)) -> ActorCritic:
    task = get_task(name)
    return ActorCritic(
        observation_space=gym.spaces.Box(-np.inf, np.inf, (task.obs_dim,)),
        action_space=gym.spaces.Box(-1.0, 1.0, (task.act_dim,)),
        model_config={"hidden": hidden},
    )


def test_later_rounds_of_imitation_follow_the_policy_through_other_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Controllers are asked at the states of the clone, in other episodes each time, and the last cloning is longer."""
    followed: list[GaussianPolicy | None] = []
    first_observations, updates = [], []

    def note_demonstration(stepper, recipe, parameters, rng, policy, first_seed):
        followed.append(policy)
        observations, actions = demonstrate(stepper, recipe, parameters, rng, policy, first_seed)
        first_observations.append(observations[:COPIES])
        return observations[:500], actions[:500]

    def note_cloning(policy, observations, actions, count, seed):
        updates.append((len(observations), count))

    monkeypatch.setattr(start, "demonstrate", note_demonstration)
    monkeypatch.setattr(start, "_clone", note_cloning)
    recipe = replace(recipe_for("BallRun"), generations=0, imitation_rounds=3, start_log_std=-1.75)
    module = new_module("BallRun", hidden=(8, 9))
    warm_start(get_task("BallRun"), recipe, module, seed=0)
    assert followed == [None, module.policy, module.policy]
    assert not np.isin(first_observations[1], first_observations[0]).all(axis=1).any()
    assert updates == [(500, 1500), (1000, 1500), (1500, 6000)]
    assert (module.policy.log_std == -1.75).all()
    assert module.policy.architecture.hidden == (8, 9)


def test_a_recipe_starts_from_its_other_controllers_and_limits_first() -> None:
    seek = recipe_for("CarGoal1")
    assert [(recipe.start, limit) for recipe, limit in starts(seek)] == [
        *((other, None) for other in seek.other_starts),
        (seek.start, None),
    ]
    assert [limit for _, limit in starts(recipe_for("BallRun"))] == [80, 60, 50, 38, 28, 18, 9, 4]


@pytest.mark.parametrize("name", ["SwimmerVelocity"])
def test_the_policy_acts_like_the_controller_that_was_found(name: str) -> None:
    task, recipe = get_task(name), replace(recipe_for(name), generations=2)
    module = new_module(name)
    warm_start(task, recipe, module, seed=1)
    stepper, rng = VectorStepper(task, COPIES), np.random.default_rng((1, 0x57A7))
    parameters = search_controller(stepper, recipe, rng)
    observations, actions = demonstrate(stepper, recipe, parameters, np.random.default_rng(5))
    stepper.close()
    assert recipe.start is not None
    assert not np.allclose(parameters, recipe.start.prior[0])
    with torch.no_grad():
        mine = module.policy(torch.from_numpy(observations)[None])[0][0].numpy()
    assert np.square(mine - actions).mean() < 0.1 * actions.var()
