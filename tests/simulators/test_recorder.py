"""Episodes of other people's training: those of a real `PPO.learn`, behind what SB3's users put around it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

import prefine_ray as pr
from prefine_ray.tasks.definition import OwnTaskError
from tests.toy.toy_envs import Choices, NoCost, Parts, Short, Walk

STEPS = 3  # of an episode of `Short`


class Watched(Short):
    """Keeps what it gives and takes itself."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[np.ndarray] = []
        self.given: list[tuple[Any, ...]] = []

    def reset(self, **options: Any) -> Any:
        observation, info = super().reset(**options)
        self.seen.append(observation)
        return observation, info

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = super().step(action)
        self.given.append((np.array(action), observation, reward, info["cost"]))
        return observation, reward, terminated, truncated, info


def test_what_ppo_was_trained_on_is_kept_as_the_environment_gave_it():
    envs = VecNormalize(make_vec_env(lambda: pr.EpisodeRecorder(Watched()), n_envs=2, seed=0))
    PPO("MlpPolicy", envs, n_steps=32, batch_size=32, n_epochs=1, seed=0, device="cpu").learn(64)
    copies = envs.get_attr("episodes")
    assert [len(copy) for copy in copies] == [32 // STEPS] * 2
    data = pr.Trajectories.from_episodes([episode for copy in copies for episode in copy])
    assert data.lengths.tolist() == [STEPS] * 20
    assert data.timeouts.sum() == 20
    parts = [(watched.given[:30], watched.seen) for watched in envs.get_attr("unwrapped")]
    steps = [*parts[0][0], *parts[1][0]]
    actions, observations, rewards, costs = (np.array(column) for column in zip(*steps, strict=True))
    low, high = Walk.action_space.low, Walk.action_space.high
    np.testing.assert_allclose((data.actions + 1) / 2 * (high - low) + low, actions, atol=1e-6)
    np.testing.assert_allclose(data.next_observations, observations, rtol=1e-6)
    np.testing.assert_allclose(data.observations[data.starts], [*parts[0][1][:10], *parts[1][1][:10]], rtol=1e-6)
    np.testing.assert_allclose(data.rewards, rewards, rtol=1e-6)
    np.testing.assert_array_equal(data.costs, costs)


def test_dict_observations_are_flat_and_episodes_that_are_cut_short_are_dropped():
    env = pr.EpisodeRecorder(Parts())
    env.reset(seed=0)
    env.step(env.action_space.sample())
    env.reset(seed=1)
    assert env.episodes == []
    assert np.shape(env._steps["observations"]) == (1, 3)


def test_what_cannot_be_data_is_refused():
    with pytest.raises(OwnTaskError, match=r"EpisodeRecorder\.env: its actions are Discrete\(3\)"):
        pr.EpisodeRecorder(Choices())
    env = pr.EpisodeRecorder(NoCost())
    env.reset(seed=0)
    with pytest.raises(OwnTaskError, match="info has no 'cost' but 'hazard'; say where with cost_key"):
        env.step(env.action_space.sample())
