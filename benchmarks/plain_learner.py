"""Fine-tuning as one would write it in plain PyTorch: one policy, one loop, a reference policy called at every step.

The objectives are those of PREFINE (as `prefine_ray.methods.prefine.objective` has it), CPL (arXiv 2310.13639;
alpha 0.1, lambda 0.5) and TraC (arXiv 2412.15429; alpha 0.2, gamma 0.99;
without its behaviour-cloning phase, which has no second side).
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn.functional import binary_cross_entropy_with_logits, logsigmoid

from prefine_ray.data.trajectories import Trajectories
from prefine_ray.policies.gaussian import GaussianPolicy

WEIGHT, BETA, LIMIT, LOG_STD_MIN = 5.0, 0.1, 5.0, -2.0  # of PREFINE
CPL_ALPHA, CPL_LAMBDA = 0.1, 0.5
TRAC_ALPHA, TRAC_GAMMA = 0.2, 0.99


class PlainPolicy(nn.Module):
    """An MLP for the mean and one parameter per action for log sigma; starts as `policy`, a population of one."""

    def __init__(self, policy: GaussianPolicy):
        super().__init__()
        sizes = policy.architecture.layer_sizes
        layers: list[nn.Module] = []
        for number, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            linear = nn.Linear(fan_in, fan_out)
            with torch.no_grad():
                linear.weight.copy_(policy.weights[number][0].T)
                linear.bias.copy_(policy.biases[number][0, 0])
            layers += [linear, nn.ReLU()]
        self.mean = nn.Sequential(*layers[:-1])
        self.log_std = nn.Parameter(policy.log_std.detach()[0, 0].clone())

    def forward(self, observations: Tensor) -> Normal:
        """The distribution of actions at [..., obs_dim]."""
        return Normal(self.mean(observations), self.log_std.clamp_min(LOG_STD_MIN).exp())


class PlainLearner:
    """One seed's training.

    Args:
        method: "prefine", "cpl" or "trac".
        policy: where it starts, and the reference.
        trajectories: the data.
        sides: episode numbers of the preferred and of the dispreferred.
        batch: segments per side and step.
        segment: steps per segment.
        learning_rate: Adam's.
        seed: of the batches.
        device: where it runs.
    """

    def __init__(
        self,
        method: str,
        policy: GaussianPolicy,
        trajectories: Trajectories,
        sides: tuple[np.ndarray, np.ndarray],
        batch: int,
        segment: int,
        learning_rate: float = 2e-4,
        seed: int = 0,
        device: str = "cpu",
    ):
        self._objective: Callable[..., Tensor] = {"prefine": self._prefine, "cpl": self._cpl, "trac": self._trac}[
            method
        ]
        self._policy = PlainPolicy(policy).to(device)
        self._reference = copy.deepcopy(self._policy).requires_grad_(False)
        self._optimizer = torch.optim.Adam(self._policy.parameters(), lr=learning_rate)
        self._observations = torch.from_numpy(trajectories.observations).to(device)
        self._actions = torch.from_numpy(trajectories.actions).to(device)
        self._starts = [self._segment_starts(trajectories, side, segment).to(device) for side in sides]
        self._along = torch.arange(segment, device=device)
        self._batch = batch
        self._generator = torch.Generator(device).manual_seed(seed)

    @staticmethod
    def _segment_starts(trajectories: Trajectories, episodes: np.ndarray, segment: int) -> Tensor:
        spans = zip(trajectories.starts[episodes], trajectories.lengths[episodes], strict=True)
        return torch.cat([torch.arange(start, start + length - segment + 1) for start, length in spans])

    def train(self, steps: int) -> None:
        """Takes gradient steps."""
        for _ in range(steps):
            loss = self.loss()
            self._optimizer.zero_grad()
            loss.backward()
            self._optimizer.step()

    def loss(self) -> Tensor:
        """The loss of a new batch."""
        return self._objective(*(self._draw(starts) for starts in self._starts))

    def _draw(self, starts: Tensor) -> tuple[Tensor, Tensor]:
        """Observations and actions [B, L, dim] of random segments."""
        device = starts.device
        chosen = starts[torch.randint(len(starts), (self._batch,), generator=self._generator, device=device)]
        rows = chosen[:, None] + self._along
        return self._observations[rows], self._actions[rows]

    def _log_ratio(self, distribution: Normal, observations: Tensor, actions: Tensor) -> Tensor:
        """log pi - log pi_ref per step, [B, L]."""
        with torch.no_grad():
            reference = self._reference(observations).log_prob(actions).sum(-1)
        return distribution.log_prob(actions).sum(-1) - reference

    def _prefine(self, preferred: tuple[Tensor, Tensor], dispreferred: tuple[Tensor, Tensor]) -> Tensor:
        total = torch.zeros(())
        for sign, (observations, actions) in ((1.0, preferred), (-1.0, dispreferred)):
            distribution = self._policy(observations)
            counterfactual = distribution.sample().clamp(-1.0, 1.0)
            ratios = [
                self._log_ratio(distribution, observations, taken).sum(-1).clamp(-LIMIT, LIMIT)
                for taken in (actions, counterfactual)
            ]
            total = total - WEIGHT * logsigmoid(sign * BETA * (ratios[0] - ratios[1])).mean()
            if sign > 0:
                total = total - distribution.log_prob(actions).sum(-1).mean()
        return total

    def _cpl(self, preferred: tuple[Tensor, Tensor], dispreferred: tuple[Tensor, Tensor]) -> Tensor:
        better, worse = (
            CPL_ALPHA * self._policy(observations).log_prob(actions).sum(-1).sum(-1)
            for observations, actions in (preferred, dispreferred)
        )
        return -logsigmoid(better - CPL_LAMBDA * worse).mean()

    def _trac(self, preferred: tuple[Tensor, Tensor], dispreferred: tuple[Tensor, Tensor]) -> Tensor:
        discount = TRAC_GAMMA**self._along
        total = torch.zeros(())
        for label, (observations, actions) in ((1.0, preferred), (0.0, dispreferred)):
            ratio = self._log_ratio(self._policy(observations), observations, actions)
            score = TRAC_ALPHA * (discount * ratio).sum(-1)
            total = total + binary_cross_entropy_with_logits(score, torch.full_like(score, label))
        return total
