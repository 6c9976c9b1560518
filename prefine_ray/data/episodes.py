"""The episodes of a data set without their steps: boundaries, returns, costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class EpisodeSummary:
    """The E episodes of a data set without their steps.

    Returns and costs are undiscounted sums over the episode, in float64.
    """

    starts: NDArray[np.int64]  # [E] row of the first step in the flat arrays
    lengths: NDArray[np.int64]  # [E] steps
    returns: NDArray[np.float64]  # [E]
    costs: NDArray[np.float64]  # [E]
    terminated: NDArray[np.bool_]  # [E] ended by the simulator (a fall), not by the time limit
    seeds: NDArray[np.int64] | None = None  # [E] reset seeds, where known
    behaviours: NDArray[np.int64] | None = None  # [E] which behaviour policy made it, where known

    @classmethod
    def from_steps(
        cls,
        rewards: NDArray[np.float32],
        costs: NDArray[np.float32],
        terminals: NDArray[np.bool_],
        timeouts: NDArray[np.bool_],
        seeds: NDArray[np.int64] | None = None,
        behaviours: NDArray[np.int64] | None = None,
    ) -> EpisodeSummary:
        """Sums up flat arrays of T steps ([T] each) whose last step ends an episode."""
        ends = np.flatnonzero(terminals | timeouts)
        starts = np.concatenate([[0], ends[:-1] + 1])
        return cls(
            starts=starts,
            lengths=ends + 1 - starts,
            returns=np.add.reduceat(rewards, starts, dtype=np.float64),
            costs=np.add.reduceat(costs, starts, dtype=np.float64),
            terminated=terminals[ends],
            seeds=seeds,
            behaviours=behaviours,
        )

    def __len__(self) -> int:
        return len(self.starts)

    def part(self, first: int, end: int) -> EpisodeSummary:
        """The episodes from number `first` to before `end`."""
        return self._of(slice(first, end))

    def select(self, episodes: NDArray[np.int64]) -> EpisodeSummary:
        """The episodes with these numbers, in this order; `starts` still point into the same arrays."""
        return self._of(episodes)

    def _of(self, chosen: slice | NDArray[np.int64]) -> EpisodeSummary:
        fields: dict[str, Any] = {
            name: None if values is None else values[chosen] for name, values in vars(self).items()
        }
        return EpisodeSummary(**fields)
