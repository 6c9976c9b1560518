"""Episodes of somebody else's training or loop, kept as data."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces.utils import flatten
from numpy.typing import NDArray

from prefine_ray.tasks.definition import OwnTaskError
from prefine_ray.tasks.environment import check_spaces


class EpisodeRecorder(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Keeps every whole episode that is run in an environment, in the form that `Trajectories.from_episodes` takes.

    Put it directly around the environment, below whatever changes observations or rewards: then the episodes hold what
    the environment itself gives. Observations are flattened; actions are scaled from the environment's box to [-1, 1].
    An episode that `reset` cuts short is dropped.

    Args:
        env: an environment with a Box of actions.
        cost_key: where in `info` the cost of a step is.

    Attributes:
        episodes: the whole episodes, the oldest first.

    Example:
        envs = VecNormalize(make_vec_env(lambda: EpisodeRecorder(MyEnv()), n_envs=8))
        PPO("MlpPolicy", envs).learn(100_000)
        episodes = [episode for copy in envs.get_attr("episodes") for episode in copy]
        save_trajectories("training.hdf5", Trajectories.from_episodes(episodes))

    Raises:
        OwnTaskError: no policy here can serve the environment's spaces; from `step`: there is no cost.
    """

    def __init__(self, env: gymnasium.Env, cost_key: str = "cost") -> None:
        super().__init__(env)
        check_spaces(type(self).__name__, env)
        self.episodes: list[dict[str, Any]] = []
        self._cost_key = cost_key
        self._steps: dict[str, list[Any]] = {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begins an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._steps = {"observations": [self._flat(observation)], "actions": [], "rewards": [], "costs": []}
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Steps the environment, and keeps what it gives.

        Raises:
            OwnTaskError: `info` has no cost.
        """
        observation, reward, terminated, truncated, info = self.env.step(action)
        if self._cost_key not in info:
            keys = ", ".join(map(repr, info)) or "nothing"
            raise OwnTaskError(f"EpisodeRecorder: info has no {self._cost_key!r} but {keys}; say where with cost_key")
        values = (self._flat(observation), self._scaled(action), float(reward), float(info[self._cost_key]))
        for kept, value in zip(self._steps.values(), values, strict=True):
            kept.append(value)
        if terminated or truncated:
            self.episodes.append({**self._steps, "terminated": bool(terminated)})
        return observation, reward, terminated, truncated, info

    def _flat(self, observation: Any) -> NDArray[np.float32]:
        return np.array(flatten(self.env.observation_space, observation), dtype=np.float32).ravel()

    def _scaled(self, action: Any) -> NDArray[np.float32]:
        """The action of the environment's box in [-1, 1]."""
        space: Any = self.env.action_space
        low, high = (np.asarray(bound, dtype=np.float64).ravel() for bound in (space.low, space.high))
        shares = (np.asarray(action, dtype=np.float64).ravel() - low) / (high - low)
        return (2.0 * shares - 1.0).clip(-1.0, 1.0).astype(np.float32)
