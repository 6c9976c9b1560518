"""N copies of a task with auto-reset: what every rollout steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from prefine_ray.simulators.batch import SimulatorBatch, make_batch
from prefine_ray.tasks.spec import Task, get_task

NO_SEED = -1  # in `episode_seeds`: this copy runs no episode


class VectorStep(NamedTuple):
    """One step of all copies. Rows where `active` is False were not stepped; their values mean nothing."""

    observations: NDArray[np.float32]  # [N, obs_dim], what the policy acts on next (after auto-reset)
    next_observations: NDArray[np.float32]  # [N, obs_dim], the true successors
    rewards: NDArray[np.float64]  # [N]
    costs: NDArray[np.float64]  # [N]
    terminated: NDArray[np.bool_]  # [N], ended by a fall
    truncated: NDArray[np.bool_]  # [N], ended by the time limit
    active: NDArray[np.bool_]  # [N]


class VectorStepper:
    """N copies of a task, stepped together; a copy whose episode ended starts the next seed.

    An episode's results depend on its seed and actions only. Which copy runs which seed depends on N.

    Args:
        task: a task or its name.
        num_envs: N.
        carry_over: see `make_batch`; then results depend on the episodes that the copy ran before, too. With one copy
            they are those of an upstream environment that is reset again and again.

    Attributes:
        carry_over: as it was given.
        active: [N], which copies run an episode.
        episode_seeds: [N], the seed of the running episode of each copy, -1 where none runs.
        total_steps: steps of active copies so far.
    """

    def __init__(self, task: str | Task, num_envs: int, carry_over: bool = False) -> None:
        self.task = get_task(task)
        self.num_envs = num_envs
        self.carry_over = carry_over
        self.total_steps = 0
        self.active = np.zeros(num_envs, dtype=np.bool_)
        self.episode_seeds = np.full(num_envs, NO_SEED, dtype=np.int64)
        self._batch: SimulatorBatch = make_batch(self.task, num_envs, carry_over)
        self._seeds: list[Iterator[int]] = []  # of each copy; one for all of them after `reset`
        self._lengths = np.zeros(num_envs, dtype=np.int64)  # steps of the running episodes

    def reset(self, seeds: Iterable[int]) -> NDArray[np.float32]:
        """Start copy i with the i-th of `seeds`; episodes that end take the next ones.

        Args:
            seeds: episode seeds, possibly without end (itertools.count). A copy that finds it exhausted stays inactive.

        Returns:
            The first observations [N, obs_dim], zero for inactive copies.
        """
        shared = iter(seeds)
        return self._begin([shared] * self.num_envs)

    def reset_each(self, seeds: Sequence[Iterable[int]]) -> NDArray[np.float32]:
        """Start copy i with the first of `seeds[i]`, whose next ones it takes when an episode ends.

        Args:
            seeds: episode seeds for each of the N copies.

        Returns:
            As `reset`.
        """
        return self._begin([iter(own) for own in seeds])

    def _begin(self, seeds: list[Iterator[int]]) -> NDArray[np.float32]:
        self._seeds = seeds
        observations = np.zeros((self.num_envs, self.task.obs_dim), dtype=np.float32)
        for index in range(self.num_envs):
            self._start_next(index, observations)
        return observations

    def step(self, actions: NDArray[np.floating]) -> VectorStep:
        """Step every active copy with its row of `actions` [N, act_dim] (clipped to [-1, 1]).

        Raises:
            ValueError: `actions` has another shape, or an active row holds a NaN.
        """
        active = self.active.copy()
        result = self._batch.step(actions, active)
        self._lengths += active
        self.total_steps += int(np.count_nonzero(active))
        terminated = result.terminated & active
        truncated = (self._lengths >= self.task.horizon) & active & ~terminated
        if result.truncated is not None:
            truncated |= result.truncated & active & ~terminated
        observations = result.observations
        ended = np.flatnonzero(terminated | truncated)
        if ended.size:
            observations = observations.copy()
            for index in ended.tolist():
                self._start_next(index, observations)
        return VectorStep(
            observations, result.observations, result.rewards, result.costs, terminated, truncated, active
        )

    def close(self) -> None:
        """Free the simulators."""
        self._batch.close()

    def _start_next(self, index: int, observations: NDArray[np.float32]) -> None:
        """Start the next seed in a copy and write its first observation, or leave the copy inactive."""
        seed = next(self._seeds[index], None)
        self._lengths[index] = 0
        self.active[index] = seed is not None
        self.episode_seeds[index] = NO_SEED if seed is None else seed
        if seed is not None:
            observations[index] = self._batch.reset(index, int(seed))
