"""Behavioural cloning: a Gaussian policy fitted to trajectories by maximum likelihood."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from prefine_ray.policy import Architecture, GaussianPolicy
from prefine_ray.seeding import torch_generator
from prefine_ray.trajectories import Trajectories


@dataclass(frozen=True)
class BCConfig:
    """Settings of a cloning run."""

    steps: int = 3000  # gradient steps
    batch_size: int = 512
    learning_rate: float = 1e-3  # Adam, falling to 0 along a cosine
    hidden: tuple[int, ...] = (256, 256)
    state_dependent_std: bool = True
    log_std_bounds: tuple[float, float] = (-2.0, 1.0)


def clone(
    trajectories: Trajectories, config: BCConfig, seed: int, on_step: Callable[[int], object] | None = None
) -> GaussianPolicy:
    """Fits a policy to the actions at the observed states.

    Args:
        trajectories: what to imitate; its observations set the policy's normalisation.
        config: settings.
        seed: of the initial weights and the batches.
        on_step: told each finished gradient step.

    Returns:
        A population of one.
    """
    generator = torch_generator(seed, "clone")
    observations, actions = torch.from_numpy(trajectories.observations), torch.from_numpy(trajectories.actions)
    architecture = Architecture(
        observations.shape[1],
        actions.shape[1],
        config.hidden,
        state_dependent_std=config.state_dependent_std,
        log_std_bounds=config.log_std_bounds,
    )
    policy = GaussianPolicy(architecture, generator=generator)
    policy.set_normalization(observations.mean(0), observations.std(0))
    optimizer = torch.optim.Adam(policy.parameters(), lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    for step in range(config.steps):
        rows = torch.randint(len(observations), (config.batch_size,), generator=generator)
        mean, log_std = policy(observations[rows][None])
        loss = -policy.log_prob(mean, log_std, actions[rows][None]).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if on_step is not None:
            on_step(step)
    return policy
