"""Behavioural cloning of a stochastic policy: base policies, and the clones that selection compares."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prefine_ray.data.trajectories import Trajectories
from prefine_ray.methods.actor_network import member_rows, new_policy
from prefine_ray.methods.population import (
    CHUNK,
    SIDES,
    Member,
    MemberRows,
    Metrics,
    PopulationLearner,
    TrainingSettings,
)
from prefine_ray.policies.gaussian import Architecture, GaussianPolicy, stack


class Cloning(PopulationLearner):
    """Draws uniform batches of the steps of each member's preferred trajectories."""

    def __init__(
        self,
        policy: GaussianPolicy,
        trajectories: Trajectories,
        members: Sequence[Member],
        settings: TrainingSettings,
        device: str | torch.device,
    ):
        super().__init__(policy, trajectories, members, settings, device)
        self._rows = MemberRows([member_rows(trajectories, member.preferred) for member in members], self.device)

    @abstractmethod
    def _errors(self, observations: Tensor, actions: Tensor) -> Tensor:
        """What is minimised at each step of the batch, [P, B]."""

    def _draw(self, generator: np.random.Generator) -> dict[str, NDArray[np.float32]]:
        return {"uniform": generator.random((CHUNK, self.settings.batch_size), dtype=np.float32)}

    def _loss(self, logging: bool) -> tuple[Tensor, Metrics | None]:
        rows = self._rows.draw(self._random("uniform"))
        loss = self._errors(self._observations[rows], self._actions[rows]).mean(-1)
        return loss, {"loss": loss.detach().cpu()} if logging else None


@dataclass(frozen=True)
class CloneConfig:
    """Settings of the cloning of a base policy."""

    steps: int = 3000  # gradient steps
    batch_size: int = 512
    learning_rate: float = 1e-3  # Adam, falling to 0 along a cosine
    hidden: tuple[int, ...] = (256, 256)
    state_dependent_std: bool = True
    log_std_bounds: tuple[float, float] = (-2.0, 1.0)
    log_every: int = 1000


class GaussianCloning(Cloning):
    """Maximum likelihood of a stochastic policy, as fine-tuning needs for its base."""

    def __init__(self, trajectories: Trajectories, members: Sequence[Member], config: CloneConfig):
        architecture = Architecture(
            trajectories.observations.shape[1],
            trajectories.actions.shape[1],
            config.hidden,
            state_dependent_std=config.state_dependent_std,
            log_std_bounds=config.log_std_bounds,
        )
        policies = [new_policy(architecture, trajectories, member, "clone") for member in members]
        super().__init__(stack(policies), trajectories, members, config, "cpu")

    def _before_step(self) -> None:
        self._fall_along_a_cosine()

    def _errors(self, observations: Tensor, actions: Tensor) -> Tensor:
        mean, log_std = self.policy(observations)
        return -self.policy.log_prob(mean, log_std, actions)


def clone(
    trajectories: Trajectories, config: CloneConfig, seed: int, on_step: Callable[[int], object] | None = None
) -> GaussianPolicy:
    """Fits a stochastic policy to the actions at the observed states.

    Args:
        trajectories: what to imitate; its observations set the policy's normalisation.
        config: settings.
        seed: of the initial weights and the batches.
        on_step: told each finished gradient step.

    Returns:
        A population of one.
    """
    everything = np.arange(len(trajectories), dtype=np.int64)
    learner = GaussianCloning(trajectories, [Member(math.nan, everything, everything[:0], seed)], config)
    for step in range(config.steps):
        learner.train_step()
        if on_step is not None:
            on_step(step)
    return learner.policies()


def clone_sides(
    trajectories: Trajectories, members: Sequence[Member], config: CloneConfig
) -> tuple[GaussianPolicy, GaussianPolicy]:
    """Clones of each member's preferred and of its dispreferred trajectories, two populations of P."""
    nothing = np.arange(0, dtype=np.int64)
    sides = [Member(math.nan, member.side(name), nothing, member.seed) for name in SIDES for member in members]
    learner = GaussianCloning(trajectories, sides, config)
    learner.train(config.steps)
    policies, count = learner.policies(), len(members)
    return policies.select(range(count)), policies.select(range(count, 2 * count))
