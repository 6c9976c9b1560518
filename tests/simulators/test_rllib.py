"""RLlib on the ids of gymnasium: one iteration of PPO on single environments, and on the vector environment."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import ray
from ray.rllib.algorithms.ppo import PPOConfig

from prefine_ray.simulators.clients.vector_env import TaskVectorEnv

ID = "prefine_ray:BallRun-v0"
STEPS = 400


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    yield
    ray.shutdown()


@pytest.mark.parametrize("mode", ["SYNC", "vector_entry_point"])
def test_rllib_trains_by_id(mode: str) -> None:
    config = (
        PPOConfig()
        .environment(ID)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=2, gym_env_vectorize_mode=mode)
        .training(train_batch_size_per_learner=STEPS, minibatch_size=100, num_epochs=1)
        .debugging(seed=0)
    )
    algorithm = config.build_algo()
    try:
        sampled = algorithm.train()["env_runners"]
        assert sampled["num_env_steps_sampled"] == STEPS
        assert sampled["episode_len_mean"] == 100
        stepped_together = isinstance(algorithm.env_runner.env.unwrapped, TaskVectorEnv)
        assert stepped_together == (mode == "vector_entry_point")
    finally:
        algorithm.stop()
