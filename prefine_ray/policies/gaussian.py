"""Gaussian policies: a population of P small MLPs held as one batched module, saved as safetensors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prefine_ray.policies.architecture import Architecture
from prefine_ray.policies.forward import PolicyForward

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": torch.relu_, "tanh": torch.tanh_}  # in place
_TANH_LIMIT = 1.0 - 1e-6  # squashed actions are kept inside, where atanh is finite


@dataclass(frozen=True)
class PolicyHeader:
    """Metadata stored with the weights in a policy file."""

    task: str
    made_by: dict[str, Any] = field(default_factory=dict)  # command, steps, seed, commit, ...
    scores: dict[str, float] = field(default_factory=dict)  # mean return, mean cost, ...


class GaussianPolicy(nn.Module):
    """P independent diagonal Gaussian policies evaluated in batched matrix products.

    Observation normalisation (mean and standard deviation per member) is part of the module, so that a
    policy file is complete by itself.
    """

    header: PolicyHeader | None = None
    obs_mean: Tensor
    obs_std: Tensor

    def __init__(self, architecture: Architecture, population: int = 1, generator: torch.Generator | None = None):
        super().__init__()
        self.architecture = architecture
        self.population = population
        sizes = architecture.layer_sizes
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for fan_in, fan_out in pairwise(sizes):
            bound = 1.0 / math.sqrt(fan_in)
            for store, shape in ((self.weights, (fan_in, fan_out)), (self.biases, (1, fan_out))):
                values = torch.empty(population, *shape).uniform_(-bound, bound, generator=generator)
                store.append(nn.Parameter(values))
        self._layers = tuple(zip(self.weights, self.biases, strict=True))  # reading a ParameterList takes 5 us
        if not architecture.state_dependent_std:
            self.log_std = nn.Parameter(torch.full((population, 1, architecture.act_dim), -0.5))
        self._latest: tuple[dict[str, NDArray[np.float32]], PolicyForward] | None = None  # see `_present`
        self.register_buffer("obs_mean", torch.zeros(population, 1, architecture.obs_dim))
        self.register_buffer("obs_std", torch.ones(population, 1, architecture.obs_dim))

    def set_normalization(self, mean: Tensor, std: Tensor, floor: float = 1e-3) -> None:
        """Sets the observation normalisation; `mean` and `std` broadcast to [P, 1, obs_dim]."""
        self.obs_mean.copy_(mean.expand_as(self.obs_mean))
        self.obs_std.copy_(std.clamp_min(floor).expand_as(self.obs_std))

    def forward(self, observations: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (before squashing) and log standard deviation, each [P, B, act_dim].

        Args:
            observations: [P, B, obs_dim], or [1, B, obs_dim] for the same states in every member.
        """
        limit = self.architecture.observation_limit
        hidden = (observations - self.obs_mean).div_(self.obs_std).clamp_(-limit, limit)
        activate = ACTIVATIONS[self.architecture.activation]
        *inner, (last_weight, last_bias) = self._layers
        for weight, bias in inner:
            hidden = activate(torch.baddbmm(bias, hidden, weight))
        hidden = torch.baddbmm(last_bias, hidden, last_weight)
        low, high = self.architecture.log_std_bounds
        if self.architecture.state_dependent_std:
            mean, log_std = hidden.chunk(2, dim=-1)
            return mean, log_std.clamp(low, high)
        return hidden, self.log_std.clamp(low, high).expand_as(hidden)

    def log_prob(self, mean: Tensor, log_std: Tensor, actions: Tensor) -> Tensor:
        """log pi(a|s) summed over action dimensions, [P, B].

        For the clipped kind this is the density of the unclipped Gaussian at the (clipped) action.

        Args:
            mean: [P, B, act_dim] from `forward`.
            log_std: [P, B, act_dim] from `forward`.
            actions: [P, B, act_dim] in [-1, 1].
        """
        if not self.architecture.squash:
            return gaussian_log_prob(mean, log_std, actions)
        inside = actions.clamp(-_TANH_LIMIT, _TANH_LIMIT)
        correction = torch.log1p(-inside.square()).sum(-1)
        return gaussian_log_prob(mean, log_std, torch.atanh(inside)) - correction

    def sample(
        self, mean: Tensor, log_std: Tensor, generator: torch.Generator | None = None, temperature: float = 1.0
    ) -> Tensor:
        """Actions in [-1, 1] drawn from the policy, [P, B, act_dim]; `temperature` scales sigma."""
        noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        return self.to_action(mean + temperature * log_std.exp() * noise)

    def to_action(self, gaussian: Tensor) -> Tensor:
        """The action of a value of the underlying Gaussian: squashed or clipped to [-1, 1]."""
        return torch.tanh(gaussian) if self.architecture.squash else gaussian.clamp(-1.0, 1.0)

    def act(
        self,
        observations: NDArray[np.float32],
        deterministic: bool = True,
        generator: torch.Generator | None = None,
    ) -> NDArray[np.float32]:
        """Actions in [-1, 1] for a batch of observations, mean actions with the same bits on every CPU.

        Args:
            observations: [N, obs_dim] for a population of one, or [P, N, obs_dim].
            deterministic: the mean action; else a sample.
            generator: randomness of the samples; required for reproducible ones.

        Returns:
            [N, act_dim] or [P, N, act_dim], float32.
        """
        batch = np.ascontiguousarray(observations, dtype=np.float32)
        single = batch.ndim == 2
        members = 1 if single else batch.shape[0]
        if batch.ndim not in (2, 3) or batch.shape[-1] != self.architecture.obs_dim or members != self.population:
            expected = f"[N, {self.architecture.obs_dim}] (one policy) or [{self.population}, N, ...]"
            raise ValueError(f"observations have shape {tuple(batch.shape)}; expected {expected}")
        by_member = batch[None] if single else batch
        noise = None
        if not deterministic:
            noise = torch.randn(*by_member.shape[:2], self.architecture.act_dim, generator=generator).numpy()
        actions = self._present().act(by_member, noise)
        return actions[0] if single else actions

    def predict(
        self,
        observation: NDArray[np.float32],
        deterministic: bool = True,
        generator: torch.Generator | None = None,
    ) -> tuple[NDArray[np.float32], None]:
        """`act` with the call of Stable-Baselines3; the second value (a recurrent state) is always None.

        Args:
            observation: [obs_dim] for a population of one, or a batch as `act` takes it.
            deterministic: the mean action; else a sample.
            generator: randomness of the samples; required for reproducible ones.

        Returns:
            Actions in [-1, 1], float32: [act_dim] for one observation, else as `act` returns them; and None.

        Raises:
            ValueError: the shape does not fit this policy.
        """
        if np.ndim(observation) == 1:
            return self.act(np.asarray(observation)[None], deterministic, generator)[0], None
        return self.act(observation, deterministic, generator), None

    def frozen(self) -> PolicyForward:
        """The policies with their present weights, to act with the same bits on every CPU."""
        return PolicyForward(self.architecture, self._arrays())

    def _present(self) -> PolicyForward:
        """`frozen`, laid out again only where weights have changed."""
        arrays = self._arrays()
        if self._latest is None or not all(np.array_equal(self._latest[0][name], arrays[name]) for name in arrays):
            self._latest = {name: value.copy() for name, value in arrays.items()}, self.frozen()
        return self._latest[1]

    def _arrays(self) -> dict[str, NDArray[np.float32]]:
        tensors = (*self.named_parameters(), *self.named_buffers())
        return {name: value.detach().cpu().numpy() for name, value in tensors}

    def finite_members(self) -> list[bool]:
        """[P] whether each member's weights are all finite: false where training diverged."""
        return torch.stack(list(self.finite_tensors().values())).all(0).tolist()

    def finite_tensors(self) -> dict[str, Tensor]:
        """By a tensor's name, [P] whether each member's values in it are all finite."""
        return {name: torch.isfinite(value).flatten(1).all(1) for name, value in self.state_dict().items()}

    def select(self, indices: int | Sequence[int]) -> GaussianPolicy:
        """A copy that holds only these members."""
        chosen = [indices] if isinstance(indices, int) else list(indices)
        part = GaussianPolicy(self.architecture, len(chosen))
        part.load_state_dict({name: value[chosen] for name, value in self.state_dict().items()})
        part.header = self.header
        return part

    def repeat(self, population: int) -> GaussianPolicy:
        """A population of copies of this single policy."""
        return self.select([0] * population)

    def with_log_std_bounds(self, bounds: tuple[float, float]) -> GaussianPolicy:
        """A copy whose log sigma is limited to `bounds`."""
        copy = GaussianPolicy(replace(self.architecture, log_std_bounds=bounds), self.population)
        copy.load_state_dict(self.state_dict())
        copy.header = self.header
        return copy


def gaussian_log_prob(mean: Tensor, log_std: Tensor, values: Tensor) -> Tensor:
    """Log density of a diagonal Gaussian summed over the last axis."""
    z = (values - mean) * torch.exp(-log_std)
    return -(0.5 * z.square() + log_std).sum(-1) - 0.5 * math.log(2.0 * math.pi) * mean.shape[-1]


def stack(policies: Sequence[GaussianPolicy]) -> GaussianPolicy:
    """One population from policies of the same architecture.

    Raises:
        ValueError: the architectures differ.
    """
    architectures = {policy.architecture for policy in policies}
    if len(architectures) != 1:
        raise ValueError(f"cannot stack policies of different architectures: {architectures}")
    whole = GaussianPolicy(architectures.pop(), sum(policy.population for policy in policies))
    states = [policy.state_dict() for policy in policies]
    whole.load_state_dict({name: torch.cat([state[name] for state in states]) for name in states[0]})
    return whole
