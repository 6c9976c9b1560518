"""Logs episodes of hand-written drivers, as a stand-in for the data that you have: `python drive.py data.hdf5`."""

import sys
from pathlib import Path

import numpy as np

import prefine_ray as pr
from prefine_ray.data.hdf5 import write_dsrl
from prefine_ray.data.trajectories import FLAGS, STEP_DATASETS, Trajectories

EPISODES = 120
HERE = Path(__file__).resolve().parent


def episode(env, seed: int) -> dict[str, list]:
    """One episode of a driver with a place and a speed of its own, and a shaky hand."""
    rng = np.random.default_rng(seed)
    place, speed = rng.choice([0.0, 0.2, 0.5, 0.8]), rng.uniform(0.3, 1.0)
    observation, _ = env.reset(seed=seed)
    steps = {name: [] for name in STEP_DATASETS}
    while not steps["timeouts"] or not (steps["timeouts"][-1] or steps["terminals"][-1]):
        action = np.array([speed, 3.0 * (place - observation[0])]) + 0.2 * rng.standard_normal(2)
        action = np.clip(action, -1.0, 1.0)  # make_env takes [-1, 1], and maps it to the environment's own box
        successor, reward, terminated, truncated, info = env.step(action)
        values = (observation, successor, action, reward, info["cost"], terminated, truncated)
        for name, value in zip(STEP_DATASETS, values, strict=True):
            steps[name].append(value)
        observation = successor
    return steps


pr.register_task("Lane", env="lane:Lane", folder=str(HERE), thresholds=[5, 10, 20], reward_range=[0, 150], horizon=50)
env = pr.make_env("Lane")
episodes = [episode(env, seed) for seed in range(EPISODES)]
columns = {name: np.concatenate([steps[name] for steps in episodes]) for name in STEP_DATASETS}
typed = {name: column.astype(np.bool_ if name in FLAGS else np.float32) for name, column in columns.items()}
data = Trajectories(**typed, seeds=np.arange(EPISODES))
write_dsrl(Path(sys.argv[1]), data)
print(f"{len(data)} episodes, returns {data.returns.min():.1f} to {data.returns.max():.1f}")
