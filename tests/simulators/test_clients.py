"""Other libraries, as they are, on the ids of gymnasium: Stable-Baselines3, TorchRL, Minari, pictures with MoviePy."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from prefine_ray.policies.architecture import Architecture
from prefine_ray.tasks.spec import get_task

ID = "prefine_ray:BallRun-v0"


@contextlib.contextmanager
def made(**options: Any) -> Iterator[gymnasium.Env]:
    with contextlib.closing(gymnasium.make(ID, **options)) as env:
        yield env


def run(env: gymnasium.Env, seed: int) -> list[float]:
    """The costs of an episode of random actions."""
    env.reset(seed=seed)
    rng, costs, ended = np.random.default_rng(seed), [], False
    while not ended:
        *_, terminated, truncated, info = env.step(rng.uniform(-1.0, 1.0, 2).astype(np.float32))
        costs.append(info["cost"])
        ended = terminated or truncated
    return costs


def test_stable_baselines3_checks_the_environment_and_trains(recwarn: pytest.WarningsRecorder) -> None:
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_checker import check_env

    with made() as env:
        check_env(env, warn=True)
        assert [str(one.message) for one in recwarn if "stable_baselines3" in one.filename] == []
    model = PPO("MlpPolicy", ID, n_steps=200, batch_size=50, n_epochs=1, device="cpu", seed=0).learn(400)
    assert model.num_timesteps == 400
    assert [episode["l"] for episode in model.ep_info_buffer] == [100] * 4
    model.get_env().close()


def test_stable_baselines3_trains_on_several_copies() -> None:
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env

    copies = make_vec_env(ID, n_envs=3, seed=0)
    model = PPO("MlpPolicy", copies, n_steps=100, batch_size=50, n_epochs=1, device="cpu", seed=0).learn(300)
    assert model.num_timesteps == 300
    copies.reset()
    *_, infos = copies.step(np.zeros((3, 2), np.float32))
    assert [info["cost"] for info in infos] == [0.0] * 3
    copies.close()


def test_torchrl_reads_the_cost_of_every_step() -> None:
    from torchrl.envs import GymEnv
    from torchrl.envs.utils import check_env_specs

    env = GymEnv(ID).auto_register_info_dict()
    check_env_specs(env)
    env.set_seed(0)
    rollout = env.rollout(120)
    assert rollout.shape == (100,)
    assert rollout["next", "cost"].shape == (100,)
    assert rollout["observation"].shape == (100, 7)
    assert rollout["next", "truncated"].nonzero()[:, 0].tolist() == [99]
    env.close()


def test_minari_collects_a_data_set_and_makes_the_environment_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    import minari

    collector = minari.DataCollector(gymnasium.make(ID), record_infos=True)
    costs = [run(collector, seed) for seed in range(2)]
    collector.create_dataset("prefine/ball-v0", algorithm_name="random", author="a", description="d")
    collector.close()
    data = minari.load_dataset("prefine/ball-v0")
    for episode, expected in zip(data, costs, strict=True):
        assert episode.observations.shape == (101, 7)
        np.testing.assert_array_equal(episode.infos["cost"], [0.0, *expected])  # the first is that of the reset
    again = data.recover_environment()
    np.testing.assert_array_equal(again.reset(seed=0)[0], data[0].observations[0])
    again.close()


def test_videos_are_recorded(tmp_path: Path) -> None:
    from imageio.v3 import immeta

    with made(render_mode="rgb_array", max_episode_steps=30) as env:
        with contextlib.closing(gymnasium.wrappers.RecordVideo(env, str(tmp_path), disable_logger=True)) as recorder:
            run(recorder, 0)
    (video,) = tmp_path.glob("*.mp4")
    about = immeta(video, plugin="FFMPEG")
    assert about["size"] == (480, 360)
    assert about["duration"] == pytest.approx(31 / 30, abs=0.05)


def test_a_policy_acts_in_gymnasiums_vector_environment() -> None:
    """Our policies take the observations as they come."""
    import torch

    from prefine_ray.policies.gaussian import GaussianPolicy

    task = get_task("BallRun")
    architecture = Architecture(task.obs_dim, task.act_dim, (8,))
    policy = GaussianPolicy(architecture, generator=torch.Generator().manual_seed(0))
    with contextlib.closing(gymnasium.make_vec(ID, 4)) as env:
        observations, _ = env.reset(seed=0)
        for _ in range(3):
            observations, *_ = env.step(policy.act(observations))
        assert env.observation_space.contains(observations)
