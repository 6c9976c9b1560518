"""Prints digests of what must be the same bits on every CPU: data collected and policies evaluated, on three tasks.

Run by test_same_bits.py in processes whose libraries are made to choose other kernels.
"""

from __future__ import annotations

import hashlib
import sys
import warnings

import numpy as np

from prefine_ray.policies.files import load_policy
from prefine_ray.policies.zoo import ZOO
from prefine_ray.rollouts.evaluation import episode_rows, evaluate
from prefine_ray.rollouts.rollout import rollout
from prefine_ray.simulators import VectorStepper

TASKS = ("BallCircle", "CarGoal1", "HopperVelocity")  # of Bullet, and of both kinds of MuJoCo tasks


def main(episodes: int) -> None:
    """One line per task: digests of a data set of so many episodes and of the rows of an evaluation."""
    for task in TASKS:
        stepper = VectorStepper(task, 5)
        data = rollout(load_policy(ZOO / task / "base.safetensors"), stepper, np.arange(episodes), noise_seed=1)
        base = load_policy(ZOO / task / "finetuned.safetensors")
        rows = episode_rows({"task": task}, "base", evaluate(base, stepper, np.arange(100, 105)))
        stepper.close()
        arrays = (data.observations, data.next_observations, data.actions, data.rewards, data.costs, data.returns)
        content = b"".join(array.tobytes() for array in arrays)
        print(task, hashlib.sha256(content).hexdigest(), hashlib.sha256(repr(rows).encode()).hexdigest())


if __name__ == "__main__":
    warnings.simplefilter("error", UserWarning)  # a fall back to NumPy would compare that with itself
    main(int(sys.argv[1]))
