"""A policy's mean action as plain layers, which every target writes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from prefine_ray.policies.architecture import UNLIMITED
from prefine_ray.policies.gaussian import GaussianPolicy


@dataclass(frozen=True)
class MeanLayers:
    """What leads from an observation to the mean action."""

    mean: Tensor  # [obs_dim], of observations
    std: Tensor  # [obs_dim]
    limit: float | None  # of normalised observations; None: there is none
    layers: tuple[tuple[Tensor, Tensor], ...]  # (weight [out, in], bias [out])
    activation: str  # "relu" or "tanh"
    squash: bool  # tanh at the end; else the mean is clipped to [-1, 1]

    @property
    def plain(self) -> bool:
        """Whether observations go in as they are."""
        return self.limit is None and bool((self.mean == 0).all() and (self.std == 1).all())


def mean_layers(policy: GaussianPolicy) -> MeanLayers:
    """The layers of a population of one; of a last layer that also gives log sigma, the mean's part."""
    architecture = policy.architecture
    with torch.no_grad():
        layers = [
            (weight[0].T.clone().contiguous(), bias[0, 0].clone())
            for weight, bias in zip(policy.weights, policy.biases, strict=True)
        ]
    weight, bias = layers[-1]
    layers[-1] = weight[: architecture.act_dim].contiguous(), bias[: architecture.act_dim].contiguous()
    limit = architecture.observation_limit
    return MeanLayers(
        mean=policy.obs_mean[0, 0].clone(),
        std=policy.obs_std[0, 0].clone(),
        limit=None if limit >= UNLIMITED else limit,
        layers=tuple(layers),
        activation=architecture.activation,
        squash=architecture.squash,
    )
