"""Episodes as flat arrays over steps, the layout of DSRL (Liu et al., arXiv 2306.09303)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prefine_ray.core.errors import PrefineError
from prefine_ray.data.episodes import EpisodeSummary

MATRICES = ("observations", "next_observations", "actions")  # [T, dim] each
NUMBERS = ("rewards", "costs")  # [T] each
FLAGS = ("terminals", "timeouts")  # [T] each, 0 or 1
STEP_DATASETS = (*MATRICES, *NUMBERS, *FLAGS)
EPISODE_DATASETS = ("seeds", "behaviours")  # [E] each, optional


class EpisodeError(PrefineError, ValueError):
    """An episode is inconsistent; the message says which, what is wrong and what would be right."""


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

    @classmethod
    def from_episodes(cls, episodes: Sequence[Mapping[str, Any]], *, no_cost: bool = False) -> Trajectories:
        """Trajectories of episodes of T steps, each a mapping of arrays.

        Args:
            episodes: each with `observations` [T + 1, obs_dim], the last one after the last action, or [T, obs_dim]
                beside `next_observations` [T, obs_dim]; `actions` [T, act_dim] in [-1, 1]; `rewards` [T]; `costs`
                [T]; `terminated`, whether the simulator ended it and not the time limit (False by default); and, in
                all of them or none, `seed`, of its reset, and `behaviour`, the number of who acted.
            no_cost: costs may be missing, and are 0 then: only labels can tell safe episodes from others.

        Raises:
            EpisodeError: an episode is inconsistent.
        """
        if not episodes:
            raise EpisodeError("there are no episodes; at least one is needed")
        rows = [_episode_steps(number, episode, no_cost) for number, episode in enumerate(episodes)]
        for number, row in enumerate(rows):
            for name in MATRICES:
                if row[name].shape[1] != rows[0][name].shape[1]:
                    sizes = f"{row[name].shape[1]} columns, and episode 0 has {rows[0][name].shape[1]}"
                    raise EpisodeError(f"episode {number}: {name} has {sizes}; all need the same")
        steps: dict[str, Any] = {name: np.concatenate([row[name] for row in rows]) for name in STEP_DATASETS}
        for name, key in zip(EPISODE_DATASETS, ("seed", "behaviour"), strict=True):
            if (having := [key in episode for episode in episodes]) and any(having):
                if not all(having):
                    raise EpisodeError(f"episode {having.index(False)}: has no {key}, and others have; all or none")
                steps[name] = np.array([int(episode[key]) for episode in episodes], dtype=np.int64)
        return cls(**steps)

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


def _episode_steps(number: int, episode: Mapping[str, Any], no_cost: bool) -> dict[str, NDArray[Any]]:
    """The step arrays of one episode, checked."""
    if missing := [name for name in ("observations", "actions", "rewards") if name not in episode]:
        raise EpisodeError(f"episode {number}: has no {missing[0]}; it has {', '.join(episode) or 'nothing'}")
    if "costs" not in episode and not no_cost:
        raise EpisodeError(f"episode {number}: has no costs; give them, or say that there are none (no_cost)")
    values = {name: np.asarray(value) for name, value in episode.items() if name in STEP_DATASETS}
    steps = len(values["actions"])
    if steps == 0:
        raise EpisodeError(f"episode {number}: has no steps; at least one is needed")
    observations = values["observations"]
    if "next_observations" not in values and len(observations) == steps + 1:
        values["observations"], values["next_observations"] = observations[:-1], observations[1:]
    values.setdefault("costs", np.zeros(steps))
    flags = np.zeros((2, steps), dtype=bool)
    flags[0 if episode.get("terminated", False) else 1, -1] = True
    found: dict[str, NDArray[Any]] = dict(zip(FLAGS, flags, strict=True))
    for name in (*MATRICES, *NUMBERS):
        found[name] = _step_array(number, name, values, steps)
    if (found["costs"] < 0).any():
        raise EpisodeError(f"episode {number}: has a cost of {found['costs'].min():g}; a step costs 0 or more")
    return found


def _step_array(number: int, name: str, values: Mapping[str, NDArray[Any]], steps: int) -> NDArray[np.float32]:
    """One array of an episode as float32."""
    if name not in values:
        raise EpisodeError(
            f"episode {number}: has {len(values['observations'])} observations and {steps} actions; one observation "
            "more than actions is needed, or next_observations"
        )
    value = values[name]
    if value.dtype.kind not in "fiub":
        raise EpisodeError(f"episode {number}: {name} holds {value.dtype}, not numbers")
    if name in NUMBERS and value.shape == (steps, 1):
        value = value[:, 0]
    if value.ndim != (2 if name in MATRICES else 1) or len(value) != steps:
        right = f"({steps}, size)" if name in MATRICES else f"({steps},)"
        raise EpisodeError(f"episode {number}: {name} has shape {value.shape}, not {right}")
    with np.errstate(over="ignore"):
        single = value.astype(np.float32)
    if not np.isfinite(single).all():
        raise EpisodeError(f"episode {number}: {name} holds NaN or infinity; every value must be a finite float32")
    return single


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
