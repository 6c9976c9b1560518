"""Copies of a task as a vector environment of gymnasium, stepped together by the vector stepper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium.utils.seeding import np_random
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from prefine_ray.simulators.env import action_space, observation_space
from prefine_ray.simulators.vector import VectorStepper
from prefine_ray.tasks.spec import Task, get_task

Step = tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]


class TaskVectorEnv(VectorEnv[NDArray[np.float32], NDArray[np.float32], NDArray[Any]]):
    """What `gymnasium.make_vec` gives; the costs of a step [N] are in `infos["cost"]`.

    A copy whose episode ended starts a new one in the next step, whose action it ignores (gymnasium's default).
    Episodes are those of N single environments in gymnasium's `SyncVectorEnv`.

    Args:
        task: a task or its name.
        num_envs: N.
        max_episode_steps: steps after which an episode is truncated; the task's own number by default.
    """

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": []}  # noqa: RUF012 (gymnasium's own form)

    def __init__(self, task: str | Task, num_envs: int = 1, max_episode_steps: int | None = None) -> None:
        known = get_task(task)
        self.num_envs = num_envs
        self.single_observation_space, self.single_action_space = observation_space(known), action_space(known)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._stepper = VectorStepper(replace(known, horizon=max_episode_steps or known.horizon), num_envs)
        self._generators: list[np.random.Generator] | None = None  # of the copies' seeds
        self._first = np.zeros((num_envs, known.obs_dim), dtype=np.float32)  # of the episodes that start next
        self._ended = np.zeros(num_envs, dtype=np.bool_)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Start all copies: copy i with `seed` + i or `seed[i]`, or with seeds drawn at random."""
        seeds = [seed + index for index in range(self.num_envs)] if isinstance(seed, int | np.integer) else seed
        given = list(seeds) if seeds is not None else [None] * self.num_envs
        if len(given) != self.num_envs:
            raise ValueError(f"{len(given)} seeds for {self.num_envs} environments")
        before = self._generators or [np_random()[0] for _ in given]
        self._generators = [old if one is None else np_random(one)[0] for old, one in zip(before, given, strict=True)]
        self._ended[:] = False
        starts = [_seeds(one, generator) for one, generator in zip(given, self._generators, strict=True)]
        return self._stepper.reset_each(starts), _infos(np.zeros(self.num_envs))

    def step(self, actions: NDArray[np.floating]) -> Step:
        """Step all copies with `actions` [N, act_dim]; those whose episode has ended start a new one instead.

        Raises:
            ResetNeeded: there was no reset.
            ValueError: `actions` has another shape or holds a NaN.
        """
        if self._generators is None:
            raise gymnasium.error.ResetNeeded("no episode is running: call reset() first")
        starting = self._ended
        self._stepper.active[starting] = False
        result = self._stepper.step(np.asarray(actions))
        self._stepper.active[starting] = True
        observations = np.where(starting[:, None], self._first, result.next_observations)
        self._first, self._ended = result.observations, result.terminated | result.truncated
        rewards, costs = np.where(starting, 0.0, result.rewards), np.where(starting, 0.0, result.costs)
        return observations, rewards, result.terminated, result.truncated, _infos(costs)

    def close_extras(self, **kwargs: Any) -> None:
        """Free the simulators."""
        self._stepper.close()


def _seeds(first: int | None, generator: np.random.Generator) -> Iterator[int]:
    """Episode seeds of a copy: the given one first, then drawn as a single environment's `reset()` draws them."""
    if first is not None:
        yield first
    while True:
        yield int(generator.integers(2**32))


def _infos(costs: NDArray[np.float64]) -> dict[str, Any]:
    """The costs [N] in the form of gymnasium's vector environments: a mask beside them."""
    return {"cost": costs, "_cost": np.ones(len(costs), dtype=np.bool_)}
