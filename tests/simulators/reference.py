"""The reference trajectories: what the upstream simulators, at the versions they pin, do for given actions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import prefine_ray
from prefine_ray.policy import Architecture, GaussianPolicy, load_policy
from prefine_ray.tasks import get_task

ZOO = Path(prefine_ray.__file__).parent / "zoo"
REFERENCE_DIR = Path(__file__).parent.parent / "data" / "reference_trajectories"


@dataclass(frozen=True)
class Reference:
    """One episode of T steps without a time limit, made by reset(seed) in a fresh environment."""

    seed: int
    observations: NDArray[np.float64]  # [T + 1, obs_dim], the first one after the kick
    actions: NDArray[np.float32]  # [T, act_dim]
    rewards: NDArray[np.float64]  # [T]
    costs: NDArray[np.float64]  # [T]
    terminals: NDArray[np.bool_]  # [T]
    kick_qvel0: float  # added to qvel[0] after the reset (MuJoCo tasks)


def references(task: str) -> list[Reference]:
    """All reference episodes of a task."""
    with np.load(REFERENCE_DIR / f"{task}.npz") as file:
        seeds = sorted({int(key.split("/")[0]) for key in file.files})
        return [_reference(seed, {key: file[f"{seed}/{key}"] for key in KEYS}) for seed in seeds]


KEYS = ("observations", "actions", "rewards", "costs", "terminals", "kick_qvel0")


def _reference(seed: int, arrays: dict[str, NDArray]) -> Reference:
    actions, kick = arrays.pop("actions").astype(np.float32), float(arrays.pop("kick_qvel0"))
    return Reference(seed=seed, actions=actions, kick_qvel0=kick, **arrays)


def policies(task: str) -> list[GaussianPolicy]:
    """Two policies to drive episodes with: shipped behaviours of the task, or random ones where it has none."""
    files = sorted((ZOO / task).glob("*.safetensors"))
    if files:
        return [load_policy(files[0]), load_policy(files[-1])]
    architecture = Architecture(get_task(task).obs_dim, get_task(task).act_dim, (32, 32))
    return [GaussianPolicy(architecture, generator=torch.Generator().manual_seed(seed)) for seed in range(2)]
