"""Episodes as flat arrays over steps, the layout of DSRL (Liu et al., arXiv 2306.09303)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prefine_ray.data.episodes import EpisodeSummary

MATRICES = ("observations", "next_observations", "actions")  # [T, dim] each
NUMBERS = ("rewards", "costs")  # [T] each
FLAGS = ("terminals", "timeouts")  # [T] each, 0 or 1
STEP_DATASETS = (*MATRICES, *NUMBERS, *FLAGS)
EPISODE_DATASETS = ("seeds", "behaviours")  # [E] each, optional


@dataclass(frozen=True)
class Trajectories:
    """E episodes of one task as flat arrays over T steps (the DSRL layout).

    Raises:
        ValueError: the arrays do not belong together, or the last step does not end an episode.
    """

    observations: NDArray[np.float32]  # [T, obs_dim]
    next_observations: NDArray[np.float32]  # [T, obs_dim] true successors, also at an episode's end
    actions: NDArray[np.float32]  # [T, act_dim]
    rewards: NDArray[np.float32]  # [T]
    costs: NDArray[np.float32]  # [T]
    terminals: NDArray[np.bool_]  # [T] the simulator ended the episode here
    timeouts: NDArray[np.bool_]  # [T] the time limit ended the episode here
    seeds: NDArray[np.int64] | None = None  # [E] reset seed of each episode, where known
    behaviours: NDArray[np.int64] | None = None  # [E] number of the behaviour policy, where known

    def __post_init__(self) -> None:
        steps = len(self.observations)
        for name in STEP_DATASETS:
            shape, dims = getattr(self, name).shape, 2 if name in MATRICES else 1
            if len(shape) != dims or shape[0] != steps:
                raise ValueError(f"{name} has shape {shape}, not {dims} dimension(s) with {steps} steps")
        if steps == 0 or not (self.terminals[-1] or self.timeouts[-1]):
            raise ValueError("the last step must end an episode (terminals or timeouts True)")
        for name in EPISODE_DATASETS:
            values = getattr(self, name)
            if values is not None and values.shape != (len(self),):
                raise ValueError(f"{name} has shape {values.shape}, not ({len(self)},): one per episode")

    @cached_property
    def summary(self) -> EpisodeSummary:
        """The episodes without their steps: boundaries, returns, costs."""
        steps = (self.rewards, self.costs, self.terminals, self.timeouts)
        return EpisodeSummary.from_steps(*steps, seeds=self.seeds, behaviours=self.behaviours)

    @property
    def starts(self) -> NDArray[np.int64]:
        """[E] row of each episode's first step."""
        return self.summary.starts

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[E] steps of each episode."""
        return self.summary.lengths

    @property
    def returns(self) -> NDArray[np.float64]:
        """[E] undiscounted sum of rewards of each episode."""
        return self.summary.returns

    @property
    def episode_costs(self) -> NDArray[np.float64]:
        """[E] undiscounted sum of costs of each episode."""
        return self.summary.costs

    def __len__(self) -> int:
        return int(np.count_nonzero(self.terminals | self.timeouts))

    def select(self, indices: ArrayLike) -> Trajectories:
        """The episodes with these numbers, in this order; a number may come more than once."""
        episodes = np.asarray(indices, dtype=np.int64)
        rows = step_rows(self.starts[episodes], self.lengths[episodes])
        steps = {name: getattr(self, name)[rows] for name in STEP_DATASETS}
        return Trajectories(**steps, **_episode_fields(self, episodes))


def concatenate(parts: Sequence[Trajectories]) -> Trajectories:
    """All episodes of the parts, in order; seeds and behaviours are kept where every part has them."""
    arrays: dict[str, Any] = {}
    for name in (*STEP_DATASETS, *EPISODE_DATASETS):
        values = [getattr(part, name) for part in parts]
        arrays[name] = None if any(value is None for value in values) else np.concatenate(values)
    return Trajectories(**arrays)


def step_rows(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Row numbers of these episodes, one after the other."""
    firsts = np.cumsum(lengths) - lengths  # where each episode starts in the result
    return np.arange(lengths.sum()) + np.repeat(starts - firsts, lengths)


def _episode_fields(source: Trajectories | EpisodeSummary, episodes: NDArray[np.int64]) -> dict[str, Any]:
    """Seeds and behaviours of these episodes."""
    values = {name: getattr(source, name) for name in EPISODE_DATASETS}
    return {name: None if value is None else value[episodes] for name, value in values.items()}
