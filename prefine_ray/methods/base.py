"""The base policy of a task: what fine-tuning starts from and stays close to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prefine_ray.core.digests import digest
from prefine_ray.core.paths import path_of
from prefine_ray.core.seeding import derive
from prefine_ray.data.episodes import EpisodeSummary
from prefine_ray.data.hdf5 import read_dsrl, read_summary
from prefine_ray.methods.gaussian_cloning import CloneConfig, clone
from prefine_ray.policies.files import PolicyFileError, load_policy_for
from prefine_ray.policies.gaussian import GaussianPolicy, PolicyHeader
from prefine_ray.policies.zoo import ZOO
from prefine_ray.tasks.spec import Task

CLONE_VERSION = 2  # raise when a change of the code changes the cloned policy
BEST_SHARE = 0.2  # the base imitates at most this share of the episodes
MIN_EPISODES = 10  # fewer unsafe episodes than this are too few to imitate


def base_policy(task: Task, choice: str) -> Path:
    """The base policy's file.

    Args:
        task: the task.
        choice: "zoo", the shipped base policy; or a file's path, in which {task} stands for the task's name.

    Raises:
        PolicyFileError: there is no such file, it is damaged, or its policy is not for this task.
    """
    if choice == "zoo" and not (ZOO / task.name).is_dir():
        raise PolicyFileError(f"base: no policy of {task.name} is shipped; write base: clone, bc_all or a policy file")
    path = ZOO / task.name / "base.safetensors" if choice == "zoo" else path_of(choice, task.name)
    load_policy_for(task, path)
    return path.resolve()


def clone_name(task: Task, data_digest: str, seed: int, config: CloneConfig, choice: str) -> str:
    """The file name of the policy that `clone_base` makes."""
    made_of = digest(
        [CLONE_VERSION, choice, BEST_SHARE, data_digest, seed, asdict(config), *task.determinants.values()]
    )
    return f"{task.name}-base-{made_of}.safetensors"


def best_unsafe_episodes(summary: EpisodeSummary, task: Task) -> NDArray[np.int64]:
    """The episodes that the base imitates, ascending: of the unsafe ones, those of the highest return.

    Unsafe means a cost over the largest threshold, so that the base violates every one; where hardly any
    episode costs so much (CarRun's data end at it), over the middle threshold. Without any unsafe episode the
    best of all.
    """
    wanted = max(1, round(BEST_SHARE * len(summary)))
    for threshold in (task.thresholds[-1], task.middle_threshold, -1.0):
        unsafe = np.flatnonzero(summary.costs > threshold)
        if len(unsafe) >= min(wanted, MIN_EPISODES):
            break
    best = unsafe[np.argsort(-summary.returns[unsafe], kind="stable")[:wanted]]
    return np.sort(best)


def clone_base(
    task: Task,
    data: str | Path,
    seed: int,
    config: CloneConfig,
    choice: str = "clone",
    on_step: Callable[[int], object] | None = None,
    episodes: Sequence[int] | None = None,
) -> tuple[GaussianPolicy, PolicyHeader]:
    """A base policy cloned from a data set.

    Args:
        task: the task.
        data: a DSRL-schema file.
        seed: of the cloning.
        config: settings of the cloning.
        choice: "clone", reward-optimised and unsafe: imitates the unsafe episodes of the highest return; "bc_all":
            imitates all episodes.
        on_step: told each finished gradient step.
        episodes: numbers of those that count; None: all of the file.
    """
    whole = read_summary(data, task)
    among = np.arange(len(whole)) if episodes is None else np.asarray(episodes, dtype=np.int64)
    summary = whole.select(among)
    imitated = np.arange(len(summary)) if choice == "bc_all" else best_unsafe_episodes(summary, task)
    policy = clone(read_dsrl(data, task, among[imitated]), config, derive(seed, task.name, "base"), on_step)
    made_by = {
        "command": f"prefine clone --task {task.name} --seed {seed}" + " --all" * (choice == "bc_all"),
        "data": Path(data).name,
        "episodes": len(imitated),
        "settings": asdict(config),
    }
    returns, costs = summary.returns[imitated], summary.costs[imitated]
    return policy, PolicyHeader(
        task.name, made_by, {"data_return": float(returns.mean()), "data_cost": float(costs.mean())}
    )
