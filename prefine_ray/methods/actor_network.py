"""The actor of the compared methods: a deterministic MLP with a tanh output, as in OSRL, CPL and TraC.

Their log-probability is that of a Gaussian of unit variance around it, up to a factor and a constant that no
gradient and no log-ratio sees: log pi(a|s) = -||a - tanh(mu(s))||^2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prefine_ray.core.seeding import torch_generator
from prefine_ray.data.trajectories import Trajectories, step_rows
from prefine_ray.methods.population import Member
from prefine_ray.policies.gaussian import Architecture, GaussianPolicy, stack


def new_actors(trajectories: Trajectories, members: Sequence[Member], hidden: tuple[int, ...]) -> GaussianPolicy:
    """A fresh actor per member; seed and trajectories of the member give its weights and its normalisation."""
    dims = trajectories.observations.shape[1], trajectories.actions.shape[1]
    architecture = Architecture(*dims, hidden, squash=True)
    return stack([new_policy(architecture, trajectories, member, "actor") for member in members])


def new_policy(architecture: Architecture, trajectories: Trajectories, member: Member, purpose: str) -> GaussianPolicy:
    """One fresh policy that normalises observations by those of the member's trajectories."""
    policy = GaussianPolicy(architecture, generator=torch_generator(member.seed, purpose))
    rows = member_rows(trajectories, np.union1d(member.preferred, member.dispreferred))
    observations = trajectories.observations[rows]
    mean, std = (torch.from_numpy(f(observations, axis=0, dtype=np.float64)).float() for f in (np.mean, np.std))
    policy.set_normalization(mean, std)
    return policy


def member_rows(trajectories: Trajectories, episodes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The steps of these episodes as rows of the flat arrays."""
    return step_rows(trajectories.starts[episodes], trajectories.lengths[episodes])


def log_prob(policy: GaussianPolicy, observations: Tensor, actions: Tensor) -> Tensor:
    """log pi(a|s) as above, [P, N, ...] -> [P, N]."""
    mean, _ = policy(observations)
    return -(actions - policy.to_action(mean)).square().sum(-1)
