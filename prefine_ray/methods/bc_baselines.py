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

from prefine_ray.core.settings import Advanced, MethodSettings, Positive, PositiveFloat
from prefine_ray.data.trajectories import Trajectories
from prefine_ray.methods.actor_network import log_prob, new_actors
from prefine_ray.methods.gaussian_cloning import Cloning
from prefine_ray.methods.population import Member
from prefine_ray.methods.registry import LearnerInputs, Method, register


class BCAdvanced(Advanced):
    """Settings of behavioural cloning that hardly anybody changes."""

    hidden: tuple[Positive, ...] = (256, 256)  # units of the hidden layers


class BCSettings(MethodSettings):
    """BC-All and BC-Safe; the defaults are OSRL's."""

    steps: Positive = 100_000  # gradient steps
    batch_size: Positive = 512
    learning_rate: PositiveFloat = 1e-3  # Adam
    advanced: BCAdvanced = BCAdvanced()


class BehaviouralCloning(Cloning):
    """BC-All or BC-Safe, by what the members' preferred trajectories are."""

    def __init__(
        self,
        trajectories: Trajectories,
        members: Sequence[Member],
        config: BCSettings,
        device: str | torch.device = "cpu",
    ):
        actors = new_actors(trajectories, members, config.advanced.hidden)
        super().__init__(actors, trajectories, members, config, device)

    def _errors(self, observations: Tensor, actions: Tensor) -> Tensor:
        return -log_prob(self.policy, observations, actions) / actions.shape[-1]


def _learner(settings: MethodSettings, inputs: LearnerInputs) -> BehaviouralCloning:
    assert isinstance(settings, BCSettings)
    return BehaviouralCloning(inputs.trajectories, inputs.members, settings, inputs.device)


BC_ALL = register(
    Method("bc_all", "BC-All", section="bc", settings=BCSettings, learner=_learner, axes=(), trains_on="all")
)
BC_SAFE = register(
    Method("bc_safe", "BC-Safe", "bc", settings=BCSettings, learner=_learner, axes=("threshold",), trains_on="safe")
)
