"""The base policy of a task: what fine-tuning starts from and stays close to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from prefine_ray.baselines.bc import BCConfig, clone
from prefine_ray.collect import ZOO
from prefine_ray.config import digest
from prefine_ray.policy import GaussianPolicy, PolicyHeader, load_policy_for
from prefine_ray.seeding import derive
from prefine_ray.tasks import Task
from prefine_ray.trajectories import read_dsrl, read_summary

CLONE_VERSION = 1  # raise when a change of the code changes the cloned policy
BEST_SHARE = 0.2  # the base imitates this share of the episodes, those of the highest return


def base_policy(task: Task, choice: str) -> Path:
    """The base policy's file.

    Args:
        task: the task.
        choice: "zoo", the shipped base policy; or a file's path, in which {task} stands for the task's name.

    Raises:
        PolicyFileError: there is no such file, it is damaged, or its policy is not for this task.
    """
    path = ZOO / task.name / "base.safetensors" if choice == "zoo" else Path(choice.format(task=task.name))
    load_policy_for(task, path)
    return path.resolve()


def clone_name(task: Task, data_digest: str, seed: int, config: BCConfig) -> str:
    """The file name of the policy that `clone_base` makes."""
    return f"{task.name}-base-{digest([CLONE_VERSION, BEST_SHARE, data_digest, seed, asdict(config)])}.safetensors"


def clone_base(
    task: Task, data: str | Path, seed: int, config: BCConfig, on_step: Callable[[int], object] | None = None
) -> tuple[GaussianPolicy, PolicyHeader]:
    """A reward-optimised base policy: cloned from the episodes of the highest return, whatever they cost.

    Args:
        task: the task.
        data: a DSRL-schema file.
        seed: of the cloning.
        config: settings of the cloning.
        on_step: told each finished gradient step.
    """
    summary = read_summary(data, task)
    count = max(1, round(BEST_SHARE * len(summary)))
    best = np.sort(np.argsort(-summary.returns, kind="stable")[:count])
    policy = clone(read_dsrl(data, task, best), config, derive(seed, task.name, "base"), on_step)
    made_by = {
        "command": f"prefine clone --task {task.name} --seed {seed}",
        "data": Path(data).name,
        "episodes": count,
        "settings": asdict(config),
    }
    scores = {"data_return": float(summary.returns[best].mean()), "data_cost": float(summary.costs[best].mean())}
    return policy, PolicyHeader(task.name, made_by, scores)
