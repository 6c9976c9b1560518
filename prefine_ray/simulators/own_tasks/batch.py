"""Copies of an own task: any gymnasium environment with a cost, stepped one after the other in this process."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.spaces.utils import flatten
from numpy.typing import NDArray

from prefine_ray.simulators.batch import BatchStep, clipped_actions
from prefine_ray.tasks.definition import OwnTaskError
from prefine_ray.tasks.environment import make_environment
from prefine_ray.tasks.spec import Task

_WITH_COST = 6  # values of a step of Safety-Gymnasium: observation, reward, cost, terminated, truncated, info


class GymnasiumBatch:
    """N environments of an own task.

    Observations are flattened and cast to float32; actions in [-1, 1] are mapped to the environment's own box. An
    episode depends on its seed and its actions only where the environment draws all randomness from `reset(seed=...)`
    (`prefine tasks check` tries it).

    Args:
        task: an own task with an environment.
        num_envs: N.
        pictures: whether `render` is wanted.

    Raises:
        OwnTaskError: there is no environment, or it is not as the definition says.
    """

    def __init__(self, task: Task, num_envs: int, pictures: bool = False) -> None:
        definition = task.definition
        if definition is None or not definition.has_environment:
            raise OwnTaskError(f"{task.name} has no environment (env: none); nothing can be rolled out")
        self.num_envs = num_envs
        self._task, self._cost_key, self._pictures = task, definition.cost_key, pictures
        self._envs = [make_environment(task.name, definition, pictures) for _ in range(num_envs)]
        self._observations = np.zeros((num_envs, task.obs_dim), dtype=np.float32)
        space: Any = self._envs[0].action_space
        self._low, self._high = (np.asarray(bound, dtype=np.float64).ravel() for bound in (space.low, space.high))
        self._shape, self._dtype = space.shape, space.dtype
        if len(self._low) != task.act_dim:
            raise self._error(f"its environment takes {len(self._low)} actions here, and {task.act_dim} where it began")

    def reset(self, index: int, seed: int) -> NDArray[np.float32]:
        """Start the episode `seed` (0 to 2**32 - 1) in copy `index`; its first observation [obs_dim].

        Raises:
            OwnTaskError: `reset` gives no pair, or an observation that is not of its space.
        """
        given = self._envs[index].reset(seed=int(seed))
        if not (isinstance(given, tuple) and len(given) == 2):
            raise self._error("reset gives no pair (observation, info), as gymnasium's does")
        self._observations[index] = self._flat(given[0])
        return self._observations[index].copy()

    def step(self, actions: NDArray[np.floating], active: NDArray[np.bool_] | None = None) -> BatchStep:
        """Step the copies marked in `active` [N] (default: all) with `actions` [N, act_dim], clipped to [-1, 1].

        Raises:
            ValueError: `actions` has another shape, or an active row holds a NaN.
            OwnTaskError: an environment gives no usable observation, reward or cost.
        """
        values = clipped_actions(actions, (self.num_envs, self._task.act_dim), active)
        own = self._low + (values + 1.0) / 2.0 * (self._high - self._low)
        rewards, costs = np.zeros(self.num_envs), np.zeros(self.num_envs)
        terminated, truncated = (np.zeros(self.num_envs, dtype=np.bool_) for _ in range(2))
        for index in range(self.num_envs) if active is None else np.flatnonzero(active).tolist():
            action = own[index].astype(self._dtype).reshape(self._shape)
            given = self._envs[index].step(action)
            observation, rewards[index], costs[index], terminated[index], truncated[index] = self._read(given)
            self._observations[index] = self._flat(observation)
        return BatchStep(self._observations.copy(), rewards, costs, terminated, truncated)

    def render(self, index: int) -> NDArray[np.uint8]:
        """A picture [height, width, 3] of copy `index`.

        Raises:
            OwnTaskError: the environment gives none.
        """
        if not self._pictures or "rgb_array" not in self._envs[index].metadata.get("render_modes", ()):
            raise self._error("it draws no pictures; give it render_mode='rgb_array' and name it in its metadata")
        picture = np.asarray(self._envs[index].render())
        if picture.ndim != 3 or picture.shape[-1] != 3:
            raise self._error(f"render gives {picture.shape}; an array [height, width, 3] of bytes is needed")
        return picture.astype(np.uint8)

    def close(self) -> None:
        """Close the environments; closing twice is allowed."""
        for env in self._envs:
            env.close()
        self._envs = []

    def _read(self, given: Any) -> tuple[Any, float, float, bool, bool]:
        """Observation, reward, cost, terminated and truncated of a step of five or six values."""
        if len(given) == _WITH_COST:
            observation, reward, cost, terminated, truncated, _ = given
        elif len(given) == _WITH_COST - 1:
            observation, reward, terminated, truncated, info = given
            cost = self._cost_of(info)
        else:
            raise self._error(
                f"step gives {len(given)} values; gymnasium's five, or Safety-Gymnasium's six, are needed"
            )
        return observation, self._number("reward", reward), self._cost(cost), bool(terminated), bool(truncated)

    def _cost_of(self, info: Mapping[str, Any]) -> Any:
        if self._cost_key not in info:
            keys = ", ".join(map(repr, info)) or "nothing"
            raise self._error(f"no cost: info has no {self._cost_key!r} but {keys}; set cost_key to where the cost is")
        return info[self._cost_key]

    def _cost(self, value: Any) -> float:
        cost = self._number("cost", value)
        if cost < 0:
            raise self._error(f"the cost of a step is {cost:g}; costs are 0 or more")
        return cost

    def _number(self, what: str, value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise self._error(f"the {what} of a step is {value!r}; a number is needed") from None
        if not math.isfinite(number):
            raise self._error(f"the {what} of a step is {number}; a finite number is needed")
        return number

    def _flat(self, observation: Any) -> NDArray[np.float32]:
        try:
            flat = np.asarray(flatten(self._envs[0].observation_space, observation), dtype=np.float32).ravel()
        except (KeyError, TypeError, ValueError) as error:
            raise self._error(f"an observation is not of its space: {type(error).__name__}: {error}") from error
        if flat.shape != (self._task.obs_dim,):
            raise self._error(f"an observation has {flat.size} numbers, its space {self._task.obs_dim}")
        if not np.isfinite(flat).all():
            raise self._error("an observation holds NaN or infinity (as float32)")
        return flat

    def _error(self, text: str) -> OwnTaskError:
        return OwnTaskError(f"{self._task.name}: {text}")
