"""Counterfactual trajectories, and requests for them, as plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Mode = Literal["state_matched", "closed_loop"]


@dataclass(frozen=True)
class Counterfactuals:
    """Counterfactual trajectories beside K data episodes, flat, in the episodes' order."""

    observations: NDArray[np.float32]  # [R, obs_dim]
    actions: NDArray[np.float32]  # [R, act_dim], in [-1, 1]
    lengths: NDArray[np.int64]  # [K], sum R
    policy_step: int  # the gradient step of the policy that generated them


@dataclass(frozen=True)
class CounterfactualRequest:
    """One unit of work for one member of a population: which episodes, from which policy, with which seed."""

    policy: bytes  # a policy file's content
    policy_step: int
    episodes: NDArray[np.int64]  # [K] indices into the job's trajectories, the preferred ones first
    num_preferred: int
    seed: int
    temperature: float


class CounterfactualSource(Protocol):
    """Generates counterfactuals for a learner, elsewhere or here."""

    def request(self, requests: Sequence[CounterfactualRequest]) -> None:
        """Starts the generation, one request per member."""

    def collect(self) -> list[Counterfactuals]:
        """Waits for the requested ones; in the order of the requests."""
