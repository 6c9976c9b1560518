"""Behavioural cloning: BC-All and BC-Safe, and the cloning of base policies.

BC-All imitates all trajectories of the data, BC-Safe all whose cost is at most the threshold; both from fresh
weights, by the mean squared error of a deterministic tanh actor. Published settings are those of OSRL (Liu et
al., arXiv 2306.09303): MLP 256-256, Adam at 1e-3, batches of 512 steps, 100,000 gradient steps. Ours also
normalises observations.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from prefine_ray.core.settings import Positive, PositiveFloat, Section
from prefine_ray.data.trajectories import Trajectories
from prefine_ray.methods.actor import log_prob, new_actors
from prefine_ray.methods.cloning import Cloning
from prefine_ray.methods.population import (
    Member,
)


class BehaviouralCloning(Cloning):
    """BC-All or BC-Safe, by what the members' preferred trajectories are."""

    def __init__(
        self,
        trajectories: Trajectories,
        members: Sequence[Member],
        config: BCConfig,
        device: str | torch.device = "cpu",
    ):
        super().__init__(new_actors(trajectories, members, config.hidden), trajectories, members, config, device)

    def _errors(self, observations: Tensor, actions: Tensor) -> Tensor:
        return -log_prob(self.policy, observations, actions) / actions.shape[-1]


class BCConfig(Section):
    """BC-All and BC-Safe; defaults are OSRL's (see `prefine_ray.methods.bc`)."""

    steps: Positive = 100_000  # gradient steps
    batch_size: Positive = 512
    learning_rate: PositiveFloat = 1e-3  # Adam
    hidden: tuple[Positive, ...] = (256, 256)
    log_every: Positive = 500
    checkpoint_every: Positive = 10_000
