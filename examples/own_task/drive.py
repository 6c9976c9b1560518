"""Logs episodes of hand-written drivers, as a stand-in for the data that you have: `python drive.py data.hdf5`."""

import sys
from pathlib import Path

import numpy as np

import prefine_ray as pr
from prefine_ray.data.hdf5 import write_dsrl
from prefine_ray.data.trajectories import Trajectories

EPISODES = 120
HERE = Path(__file__).resolve().parent


def episode(env, seed: int) -> list[tuple]:
    """One episode of a driver with a place and a speed of its own, and a shaky hand."""
    rng = np.random.default_rng(seed)
    place, speed = rng.choice([0.0, 0.2, 0.5, 0.8]), rng.uniform(0.3, 1.0)
    observation, _ = env.reset(seed=seed)
    steps, ended = [], False
    while not ended:
        action = np.array([speed, 3.0 * (place - observation[0])]) + 0.2 * rng.standard_normal(2)
        action = np.clip(action, -1.0, 1.0).astype(
            np.float32
        )  # of [-1, 1], which is mapped to the box of the environment
        successor, reward, terminated, truncated, info = env.step(action)
        steps.append((observation, successor, action, reward, info["cost"], terminated, truncated))
        observation, ended = successor, terminated or truncated
    return steps


pr.register_task("Lane", env="lane:Lane", folder=str(HERE), thresholds=[5, 10, 20], reward_range=[0, 150], horizon=50)
env = pr.make_env("Lane")
columns = [np.array(column) for column in zip(*(step for seed in range(EPISODES) for step in episode(env, seed)))]
kinds = (np.float32, np.float32, np.float32, np.float32, np.float32, np.bool_, np.bool_)
arrays = [column.astype(kind) for column, kind in zip(columns, kinds)]
data = Trajectories(*arrays, seeds=np.arange(EPISODES))
write_dsrl(Path(sys.argv[1]), data)
print(f"{len(data)} episodes, returns {data.returns.min():.1f} to {data.returns.max():.1f}")
