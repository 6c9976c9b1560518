"""Reads a data file as DSRL's package does and trains OSRL's BC on it, with their own code.

osrl_bc.py FOLDER FILE ENV COST_LIMIT: prints numbers as JSON.
"""

import json
import sys

import dsrl.offline_bullet_safety_gym  # noqa: F401  (registers the environments)
import gymnasium
import numpy as np
import torch
from osrl.algorithms.bc import BC, BCTrainer
from osrl.common.dataset import SequenceDataset, TransitionDataset, process_bc_dataset
from torch.utils.data import DataLoader

_, _, file, name, limit = sys.argv
np.random.seed(0)
torch.manual_seed(0)
env = gymnasium.make(name)
data = env.unwrapped.get_dataset(h5path=file)
whole = env.unwrapped.pre_process_data(dict(data))
sequences = SequenceDataset(dict(data), seq_len=10, reward_scale=1.0, cost_scale=1.0)
episodes = len(sequences.dataset)
process_bc_dataset(data, float(limit), 1.0, "safe")
model = BC(data["observations"].shape[1], data["actions"].shape[1], 1.0, a_hidden_sizes=[32, 32], episode_len=100)
trainer = BCTrainer(model, env, actor_lr=1e-2, bc_mode="safe", cost_limit=float(limit))
batches = iter(DataLoader(TransitionDataset(data), batch_size=64))
losses = []
for _ in range(200):
    observations, _, actions, *_ = next(batches)
    losses.append(model.actor_loss(observations, actions)[1]["loss/actor_loss"])
kept = int(data["observations"].shape[0])
numbers = {"steps": int(whole["observations"].shape[0]), "episodes": episodes, "kept": kept}
print(json.dumps({**numbers, "first": losses[0], "last": sum(losses[-20:]) / 20, "keys": sorted(map(str, data))}))
