"""The warm start from a periodic gait."""

from __future__ import annotations

from dataclasses import replace

import gymnasium as gym
import numpy as np
import torch

from prefine_ray.pretrain_gait import _demonstrations, gait_actions, search_gait, warm_start
from prefine_ray.pretrain_recipes import recipe_for
from prefine_ray.pretrain_rllib import ActorCritic
from prefine_ray.simulators.vector import VectorStepper
from prefine_ray.tasks import get_task

TASK = get_task("SwimmerVelocity")
RECIPE = recipe_for(TASK)
assert RECIPE.gait is not None
GAIT = replace(RECIPE.gait, generations=3)


def test_gait_actions_match_a_hand_computation() -> None:
    observations = np.zeros((1, TASK.obs_dim), dtype=np.float32)
    observations[0, [1, 2, 6, 7]] = 0.1, 0.2, 0.3, 0.4
    parameters = np.array([[np.log(2.0), 0.5, 0.6, np.pi / 2, 3.0, 0.7]])
    first, second = gait_actions(GAIT, parameters, observations, np.pi / 4)[0]  # phases pi / 2 and pi
    np.testing.assert_allclose([first, second], [3 * (0.5 - 0.1) - 0.7 * 0.3, 3 * (0.0 - 0.2) - 0.7 * 0.4], atol=1e-6)


def test_the_policy_acts_like_the_gait_that_was_found() -> None:
    recipe = replace(RECIPE, gait=GAIT)
    module = ActorCritic(
        observation_space=gym.spaces.Box(-np.inf, np.inf, (TASK.obs_dim,)),
        action_space=gym.spaces.Box(-1.0, 1.0, (TASK.act_dim,)),
    )
    warm_start(TASK, recipe, module, seed=1)
    stepper, rng = VectorStepper(TASK, 48), np.random.default_rng((1, 0x6A17))
    parameters = search_gait(stepper, recipe, GAIT, rng)
    observations, actions = _demonstrations(stepper, GAIT, parameters, np.random.default_rng(5))
    stepper.close()
    assert not np.allclose(parameters, GAIT.prior[0])
    with torch.no_grad():
        mine = module.policy(torch.from_numpy(observations)[None])[0][0].numpy()
    assert np.square(mine - actions).mean() < 0.1 * actions.var()
