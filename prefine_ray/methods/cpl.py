"""CPL-KL: contrastive preference learning with log-ratios (Hejna et al., arXiv 2310.13639).

    A(seg) = alpha sum_t [log pi(a_t|s_t) - log pi_ref(a_t|s_t)]
    L      = mean over pairs of -log [e^A+ / (e^A+ + e^(lambda A-))]

Each pair compares a segment of a preferred trajectory with one of a dispreferred trajectory (a segment has its
trajectory's label). Published: alpha 0.2, lambda 0.75, segments of 64 steps, 96 per batch, Adam at 1e-4,
200,000 of 500,000 steps cloning; our actor is 256-256 as everywhere, theirs 512-512. See `segments` for the
phases.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from prefine_ray.core.settings import Positive, PositiveFloat
from prefine_ray.data.trajectories import Trajectories
from prefine_ray.methods.population import Member
from prefine_ray.methods.segments import PreferenceLoss, SegmentConfig, SegmentLearner


def cpl_loss(preferred: Tensor, dispreferred: Tensor, alpha: float, bias: float) -> PreferenceLoss:
    """The loss above for each member of a population.

    Args:
        preferred: [P, B, L] log-ratios to the reference along the preferred segment of each pair.
        dispreferred: [P, B, L] along the other one.
        alpha: inverse temperature, above 0.
        bias: lambda, in (0, 1]; below 1 it keeps the preferred data likely.
    """
    better, worse = (alpha * ratio.sum(-1) for ratio in (preferred, dispreferred))
    return PreferenceLoss(
        total=softplus(bias * worse - better).mean(-1),
        advantage_desirable=better.mean(-1),
        advantage_undesirable=worse.mean(-1),
        accuracy=(better > worse).float().mean(-1),
    )


class CPL(SegmentLearner):
    """CPL-KL on the preferred and dispreferred trajectories."""

    def __init__(
        self,
        trajectories: Trajectories,
        members: Sequence[Member],
        config: CPLConfig,
        device: str | torch.device = "cpu",
    ):
        super().__init__(trajectories, members, config, device)
        self._alpha, self._bias = config.alpha, config.bias

    def _sides(self, member: Member) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return self._starts(member.preferred), self._starts(member.dispreferred)

    def _preference_loss(self, desirable: Tensor, undesirable: Tensor, places: list[Tensor]) -> PreferenceLoss:
        return cpl_loss(desirable, undesirable, self._alpha, self._bias)


class CPLConfig(SegmentConfig):
    """CPL-KL; defaults are the published ones (see `prefine_ray.methods.cpl`)."""

    steps: Positive = 500_000
    bc_steps: Positive = 200_000
    alpha: PositiveFloat = 0.2  # inverse temperature
    bias: Annotated[float, Field(gt=0, le=1)] = 0.75  # lambda
