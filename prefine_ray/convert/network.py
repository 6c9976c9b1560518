"""A policy of another library as plain tensors, and the `GaussianPolicy` that acts as it does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prefine_ray.core.errors import PrefineError
from prefine_ray.policies.architecture import UNLIMITED, Activation, Architecture
from prefine_ray.policies.gaussian import GaussianPolicy
from prefine_ray.tasks.spec import Task

TOLERANCE = 1e-5  # of an imported or exported policy's actions
STD = 0.1  # of actions in [-1, 1], where a file holds a deterministic policy
_LOG_STD_BOUNDS = (-5.0, 2.0)  # of a policy whose library has none
_OBSERVATIONS = 1000  # of a comparison
_SCALES = (0.3, 1.0, 3.0)  # of the observations, in standard deviations
_BEYOND = 30.0  # with a limit of normalised observations: beyond it

Side = Sequence[float] | NDArray[Any] | Tensor  # [act_dim] of a box of actions
Actions = Callable[[NDArray[np.float32]], NDArray[np.floating]]  # [N, obs_dim] -> [N, act_dim] in [-1, 1]


class PolicyImportError(PrefineError, ValueError):
    """A file's policy is none that a Gaussian MLP can hold, or cannot be read; the message says why."""


@dataclass(frozen=True)
class Normalizer:
    """What is done to observations first: (x - mean) / std, limited to [-limit, limit]."""

    mean: Tensor  # [obs_dim]
    std: Tensor  # [obs_dim]
    limit: float = UNLIMITED


@dataclass(frozen=True)
class Network:
    """A policy as it stands in a file of another library: an MLP whose last layer gives the mean action.

    The action is `tanh` of the mean, stretched to the box, or the mean clipped to the box.
    """

    layers: tuple[tuple[Tensor, Tensor], ...]  # (weight [out, in], bias [out]) from the observation to the mean
    activation: Activation  # between the layers
    output: Literal["tanh", "clip"]
    low: Tensor  # [act_dim] the box of actions
    high: Tensor  # [act_dim]
    log_std: Tensor | None = None  # [act_dim]; None where the second half of the last layer gives it
    log_std_bounds: tuple[float, float] | None = None
    normalizer: Normalizer | None = None
    note: str = ""  # what the user should know

    @property
    def obs_dim(self) -> int:
        """The size of an observation."""
        return self.layers[0][0].shape[1]

    @property
    def act_dim(self) -> int:
        """The size of an action."""
        return len(self.low)

    def actions(self, observations: NDArray[np.float32]) -> NDArray[np.float64]:
        """The mean actions in the task's scale [-1, 1], in double precision from the file's own tensors.

        Args:
            observations: [N, obs_dim].

        Returns:
            [N, act_dim].
        """
        hidden = torch.from_numpy(observations).double()
        if self.normalizer:
            hidden = (hidden - self.normalizer.mean.double()) / self.normalizer.std.double()
            hidden = hidden.clamp(-self.normalizer.limit, self.normalizer.limit)
        activate = torch.relu if self.activation == "relu" else torch.tanh
        for number, (weight, bias) in enumerate(self.layers):
            hidden = hidden if number == 0 else activate(hidden)
            hidden = torch.nn.functional.linear(hidden, weight.double(), bias.double())
        mean = hidden[:, : self.act_dim]
        if self.output == "tanh":
            return torch.tanh(mean).numpy()
        low, high = self.low.double(), self.high.double()
        return (2.0 * (mean.clamp(low, high) - low) / (high - low) - 1.0).numpy()


def box(
    low: Sequence[float] | NDArray | Tensor, high: Sequence[float] | NDArray | Tensor, name: object
) -> dict[str, Any]:
    """The fields `low` and `high` of a `Network`.

    Raises:
        PolicyImportError: an action without limits.
    """
    sides = {"low": torch.as_tensor(low).float(), "high": torch.as_tensor(high).float()}
    if not all(torch.isfinite(side).all() for side in sides.values()) or not (sides["low"] < sides["high"]).all():
        raise PolicyImportError(f"{name}: its actions have no limits; a task's actions lie in a box with finite sides")
    return sides


def to_policy(network: Network) -> GaussianPolicy:
    """The policy that acts as the network does, in the task's scale of actions [-1, 1]."""
    architecture = _architecture(network)
    policy = GaussianPolicy(architecture)
    half, middle = (network.high - network.low) / 2, (network.high + network.low) / 2
    clipped = network.output == "clip"
    with torch.no_grad():
        for number, (weight, bias) in enumerate(network.layers):
            policy.weights[number].copy_(weight.T[None])
            policy.biases[number].copy_(bias[None, None])
        if clipped:
            actions = slice(0, network.act_dim)
            policy.weights[-1][..., actions] /= half
            policy.biases[-1][..., actions] = (policy.biases[-1][..., actions] - middle) / half
        if network.log_std is None:
            policy.biases[-1][..., network.act_dim :] -= half.log() if clipped else 0.0
        else:
            policy.log_std.copy_(_log_std(network)[None, None])
        if network.normalizer:
            policy.set_normalization(network.normalizer.mean.float(), network.normalizer.std.float(), floor=0.0)
    return policy


def _architecture(network: Network) -> Architecture:
    return Architecture(
        obs_dim=network.obs_dim,
        act_dim=network.act_dim,
        hidden=tuple(len(bias) for _, bias in network.layers[:-1]),
        activation=network.activation,
        state_dependent_std=network.log_std is None,
        squash=network.output == "tanh",
        log_std_bounds=_bounds(network),
        observation_limit=min(network.normalizer.limit, UNLIMITED) if network.normalizer else UNLIMITED,
    )


def _log_std(network: Network) -> Tensor:
    """The free log sigma in the task's scale of actions."""
    assert network.log_std is not None
    bounds = network.log_std_bounds or (-math.inf, math.inf)
    values = network.log_std.float().clamp(*bounds)
    return values - ((network.high - network.low) / 2).log() if network.output == "clip" else values


def _bounds(network: Network) -> tuple[float, float]:
    low, high = network.log_std_bounds or _LOG_STD_BOUNDS
    if network.log_std is not None:
        values = _log_std(network)
        return min(low, float(values.min())), max(high, float(values.max()))
    if network.output == "clip":
        shift = ((network.high - network.low) / 2).log()
        return low - float(shift.max()), high - float(shift.min())
    return low, high


def check_sizes(obs_dim: int, act_dim: int, task: Task, name: object) -> None:
    """Refuses a policy of other sizes than the task's.

    Raises:
        PolicyImportError: it takes other observations or gives other actions.
    """
    if (obs_dim, act_dim) != (task.obs_dim, task.act_dim):
        raise PolicyImportError(
            f"{name}: takes {obs_dim} observations and gives {act_dim} actions; {task.name} has "
            f"{task.obs_dim} and {task.act_dim}; name the task that it was trained for"
        )


def observations_for(policy: GaussianPolicy, seed: int = 0) -> NDArray[np.float32]:
    """Random observations of a comparison, [N, obs_dim]: within the normalisation and, where it has a limit, beyond."""
    limited = policy.architecture.observation_limit < UNLIMITED
    scales = np.resize((*_SCALES, _BEYOND) if limited else _SCALES, (_OBSERVATIONS, 1))
    mean, std = policy.obs_mean[0].numpy(), policy.obs_std[0].numpy()
    noise = np.random.default_rng(seed).standard_normal((_OBSERVATIONS, mean.shape[-1]))
    return (mean + scales * std * noise).astype(np.float32)


def largest_difference(policy: GaussianPolicy, actions: Actions) -> float:
    """The largest difference of any action between a policy and another's `actions`, on random observations."""
    observations = observations_for(policy)
    return float(np.abs(policy.act(observations).astype(np.float64) - actions(observations)).max())
