"""Trains a driver for reward alone with Stable-Baselines3's PPO, and keeps the episodes of the training."""

import sys

import torch
from bus_lane import BusLane
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

import prefine_ray as pr

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 40_000
torch.set_num_threads(1)  # so small a network is no faster with more
envs = VecNormalize(make_vec_env(lambda: pr.EpisodeRecorder(BusLane()), n_envs=8, seed=0))
model = PPO("MlpPolicy", envs, n_steps=128, batch_size=256, seed=0, device="cpu").learn(steps)
model.save("policy.zip")
envs.save("vecnormalize.pkl")

episodes = [episode for copy in envs.get_attr("episodes") for episode in copy]
pr.save_trajectories("training.hdf5", pr.Trajectories.from_episodes(episodes))
print(f"policy.zip, vecnormalize.pkl and the {len(episodes)} episodes of the training, training.hdf5")
