"""The reference trajectories: what the upstream simulators, at the versions they pin, do for given actions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import prefine_ray
from prefine_ray.policies.files import load_policy
from prefine_ray.policies.gaussian import Architecture, GaussianPolicy
from prefine_ray.tasks.spec import get_task

ZOO = Path(prefine_ray.__file__).parent / "zoo"
REFERENCE_MUJOCO = "2.3.3"  # the version that the MuJoCo references were made with
REFERENCE_DIR = Path(__file__).parent.parent / "data" / "reference_trajectories"


@dataclass(frozen=True)
class Reference:
    """One episode of T steps without a time limit, made by reset(seed) in a fresh environment."""

    seed: int
    observations: NDArray[np.float64]  # [T + 1, obs_dim], the first one after the kick
    actions: NDArray[np.float64]  # [T, act_dim], float32 values, which upstream was given as float64
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
    return Reference(seed=seed, kick_qvel0=float(arrays.pop("kick_qvel0")), **arrays)


def policies(task: str) -> list[GaussianPolicy]:
    """Two policies to drive episodes with: shipped behaviours of the task, or random ones where it has none."""
    files = sorted((ZOO / task).glob("*.safetensors"))
    if files:
        return [load_policy(files[0]), load_policy(files[-1])]
    architecture = Architecture(get_task(task).obs_dim, get_task(task).act_dim, (32, 32))
    return [GaussianPolicy(architecture, generator=torch.Generator().manual_seed(seed)) for seed in range(2)]


def assert_replayed(
    batch: Any,
    episodes: Sequence[Reference],
    put_back: Callable[[int, NDArray[np.float64]], None] | None = None,
    tolerance: float = 1e-6,
) -> None:
    """Steps all episodes at once, each in its own copy, which was reset; the ones that have ended rest.

    Args:
        batch: as many copies as episodes.
        episodes: what is expected.
        put_back: called after each step with a copy and the expected observation, to put the copy there: contacts
            amplify what another version of the engine rounds otherwise.
        tolerance: absolute and relative, of observations and rewards.
    """
    for t in range(max(len(episode.actions) for episode in episodes)):
        active = np.array([t < len(episode.actions) for episode in episodes])
        actions = np.array([episode.actions[min(t, len(episode.actions) - 1)] for episode in episodes])
        step = batch.step(actions, active)
        for index in np.flatnonzero(active):
            episode = episodes[index]
            np.testing.assert_allclose(step.observations[index], episode.observations[t + 1], tolerance, tolerance)
            np.testing.assert_allclose(step.rewards[index], episode.rewards[t], tolerance, tolerance)
            assert step.costs[index] == episode.costs[t]
            assert step.terminated[index] == episode.terminals[t]
            if put_back is not None:
                put_back(index, episode.observations[t + 1])


def assert_seed_and_actions_decide(
    make_batch: Callable[[int], Any], actions: NDArray[np.float32], seed: int = 5, other: int = 100
) -> None:
    """Same rows in a fresh batch of one, and in a used copy of a larger batch whose neighbours do something else.

    Args:
        make_batch: a batch of so many copies.
        actions: [T, 3, act_dim].
        seed: of the episode.
        other: the seed of what the copies run before.
    """
    fresh, used = make_batch(1), make_batch(3)
    for index in range(3):
        used.reset(index, other)
    for row in actions:
        used.step(-row)
    np.testing.assert_array_equal(fresh.reset(0, seed), used.reset(2, seed))
    for row in actions:
        alone, among = fresh.step(row[2:]), used.step(row)
        for one, many in zip(alone, among, strict=True):
            assert (one is None) == (many is None)  # only batches of own tasks tell that an episode was truncated
            if one is not None:
                np.testing.assert_array_equal(one[0], many[2])


def assert_global_random_state_is_left_alone(batch: Any, act_dim: int) -> None:
    """An episode of a batch of one neither draws from NumPy's global state nor depends on it."""
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    first = batch.reset(0, 3)
    batch.step(np.zeros((1, act_dim), np.float32))
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    np.random.seed(2)
    np.testing.assert_array_equal(batch.reset(0, 3), first)


def assert_observations_are_fresh_and_resting_copies_still(batch: Any) -> None:
    """A step of a batch of two (with two actions each) changes no earlier array, and no copy that is not active."""
    first = np.stack([batch.reset(index, index) for index in range(2)])
    one = batch.step(np.ones((2, 2), np.float32), np.array([True, False])).observations
    kept = one.copy()
    batch.step(-np.ones((2, 2), np.float32))
    np.testing.assert_array_equal(one, kept)
    np.testing.assert_array_equal(one[1], first[1])
    assert not np.array_equal(one[0], first[0])
