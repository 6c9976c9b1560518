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

import torch
from torch import Tensor
from torch.nn.functional import softplus

from prefine_ray.core.settings import MethodSettings, Positive, PositiveFloat, Share
from prefine_ray.data.trajectories import Trajectories
from prefine_ray.methods.population import Member
from prefine_ray.methods.registry import PREFERENCE_AXES, LearnerInputs, Method, register
from prefine_ray.methods.segments import (
    PreferenceLoss,
    SegmentAdvanced,
    SegmentLearner,
    SegmentSettings,
    whole_segments,
)


class CPLAdvanced(SegmentAdvanced):
    """Settings of CPL-KL that hardly anybody changes."""

    alpha: PositiveFloat = 0.2  # inverse temperature
    bias: Share = 0.75  # lambda


class CPLSettings(SegmentSettings):
    """CPL-KL; the defaults are the published ones."""

    steps: Positive = 500_000
    bc_steps: Positive = 200_000
    advanced: CPLAdvanced = CPLAdvanced()


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
        config: CPLSettings,
        device: str | torch.device = "cpu",
    ):
        sides = [
            (
                whole_segments(trajectories, member.preferred, config.segment),
                whole_segments(trajectories, member.dispreferred, config.segment),
            )
            for member in members
        ]
        super().__init__(trajectories, members, config, sides, device)
        self._alpha, self._bias = config.advanced.alpha, config.advanced.bias

    def _preference_loss(self, desirable: Tensor, undesirable: Tensor, places: list[Tensor]) -> PreferenceLoss:
        return cpl_loss(desirable, undesirable, self._alpha, self._bias)


def _learner(settings: MethodSettings, inputs: LearnerInputs) -> CPL:
    assert isinstance(settings, CPLSettings)
    return CPL(inputs.trajectories, inputs.members, settings, inputs.device)


CPL_KL = register(
    Method(
        name="cpl",
        shown="CPL-KL",
        section="cpl",
        settings=CPLSettings,
        learner=_learner,
        axes=PREFERENCE_AXES,
        needs_dispreferred=True,
    )
)
