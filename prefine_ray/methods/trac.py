"""TraC: offline safe learning by trajectory classification (Gong et al., AAAI 2025, arXiv 2412.15429).

    A(seg) = alpha sum_t gamma^t [log pi(a_t|s_t) - log pi_ref(a_t|s_t)]
    L      = -1/2 { mean over desirable of w log sigmoid(A) + eta mean over undesirable of w log(1 - sigmoid(A)) }

Drawing half of each batch from either side is the same as the published weighting of a mixed batch by
eta n_desirable / n_undesirable. The published method splits all data by cost; here it has the preferred and
the dispreferred trajectories, whose label their segments take. Among the segments of the preferred ones the
published selection by reward holds: the `top` share of the highest return is desirable, with
w = kappa + (1 - kappa) (R - R_min) / (R_max - R_min); the `bottom` share of the lowest return is undesirable,
with w falling in R instead; segments of dispreferred trajectories have w = 1.

Published: alpha 0.2, eta 0.25, bottom 0 (Bullet), alpha 0.1, eta 0.5, bottom 0.5 (Safety-Gymnasium), top 0.5,
gamma 0.99, kappa 0.7, 96 segments per batch, Adam at 1e-4, 30,000 of 100,000 steps cloning, 256-256. The
length of segments is theirs by default, 64 steps; they choose it per task. See `segments` for the phases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

from prefine_ray.core.settings import Fraction, MethodSettings, PositiveFloat, Share
from prefine_ray.data.trajectories import Trajectories
from prefine_ray.methods.population import Member
from prefine_ray.methods.registry import PREFERENCE_AXES, LearnerInputs, Method, register
from prefine_ray.methods.segments import (
    PreferenceLoss,
    SegmentAdvanced,
    SegmentLearner,
    SegmentSettings,
    Sides,
    whole_segments,
)
from prefine_ray.tasks.spec import Suite

_LOG_EPS = math.log(1e-6)  # a segment that is classified this wrongly gives no more gradient


class TraCAdvanced(SegmentAdvanced):
    """Settings of TraC that hardly anybody changes; null: the published value of the task's suite."""

    alpha: PositiveFloat | None = None  # inverse temperature
    gamma: Share = 0.99  # discount along a segment
    eta: PositiveFloat | None = None  # weight of the undesirable side
    kappa: Fraction = 0.7  # least weight of a segment of a preferred trajectory
    top: Share = 0.5  # share of the preferred segments that is desirable
    bottom: Fraction | None = None  # share of them that is undesirable


class TraCSettings(SegmentSettings):
    """TraC; the defaults are the published ones."""

    advanced: TraCAdvanced = TraCAdvanced()


class SuiteSettings(NamedTuple):
    """The settings that differ between the suites."""

    alpha: float
    eta: float
    bottom: float


PUBLISHED: dict[Suite, SuiteSettings] = {
    "bullet": SuiteSettings(0.2, 0.25, 0.0),
    "safety-gymnasium": SuiteSettings(0.1, 0.5, 0.5),
    "own": SuiteSettings(0.1, 0.5, 0.5),  # nothing is published for them: as for Safety-Gymnasium
}


def select_segments(
    returns: NDArray[np.float64], kappa: float, top: float, bottom: float
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """The desirable segments among those of preferred trajectories, and the undesirable ones, with weights.

    Args:
        returns: [N] sum of rewards of each segment.
        kappa: the least weight.
        top: share that is desirable.
        bottom: share that is undesirable.

    Returns:
        Indices and weights of the desirable, then of the undesirable.
    """
    span = float(np.ptp(returns))
    score = (returns - returns.min()) / span if span > 0 else np.ones(len(returns))
    order = np.argsort(returns, kind="stable")
    desirable = order[len(order) - math.ceil(top * len(order)) :]
    undesirable = order[: math.ceil(bottom * len(order))]
    rising, falling = (kappa + (1 - kappa) * value for value in (score, 1 - score))
    return desirable, rising[desirable].astype(np.float32), undesirable, falling[undesirable].astype(np.float32)


def trac_loss(
    desirable: Tensor, undesirable: Tensor, weights: Sequence[Tensor], alpha: float, gamma: float, eta: float
) -> PreferenceLoss:
    """The loss above for each member of a population.

    Args:
        desirable: [P, B, L] log-ratios to the reference along each desirable segment.
        undesirable: [P, B, L].
        weights: w of both, [P, B] each.
        alpha: inverse temperature, above 0.
        gamma: discount along a segment.
        eta: weight of the undesirable side.
    """
    discount = alpha * gamma ** torch.arange(desirable.shape[-1], device=desirable.device)
    good, bad = ((ratio * discount).sum(-1) for ratio in (desirable, undesirable))
    likely, unlikely = (logsigmoid(value).clamp_min(_LOG_EPS) for value in (good, -bad))
    return PreferenceLoss(
        total=-0.5 * ((weights[0] * likely).mean(-1) + eta * (weights[1] * unlikely).mean(-1)),
        advantage_desirable=good.mean(-1),
        advantage_undesirable=bad.mean(-1),
        accuracy=0.5 * ((good > 0).float().mean(-1) + (bad < 0).float().mean(-1)),
    )


class TraC(SegmentLearner):
    """TraC on the preferred and dispreferred trajectories."""

    def __init__(
        self,
        trajectories: Trajectories,
        members: Sequence[Member],
        config: TraCSettings,
        suite: Suite,
        device: str | torch.device = "cpu",
    ):
        self._trac, published = config.advanced, PUBLISHED[suite]
        self._alpha = published.alpha if self._trac.alpha is None else self._trac.alpha
        self._eta = published.eta if self._trac.eta is None else self._trac.eta
        bottom = published.bottom if self._trac.bottom is None else self._trac.bottom
        labelled = [label_segments(trajectories, member, config, bottom) for member in members]
        super().__init__(trajectories, members, config, [sides for sides, _ in labelled], device)
        self._weights = [
            torch.from_numpy(np.concatenate(part)).to(self.device)
            for part in zip(*(weights for _, weights in labelled), strict=True)
        ]

    def _preference_loss(self, desirable: Tensor, undesirable: Tensor, places: list[Tensor]) -> PreferenceLoss:
        weights = [table[at] for table, at in zip(self._weights, places, strict=True)]
        return trac_loss(desirable, undesirable, weights, self._alpha, self._trac.gamma, self._eta)


def label_segments(
    trajectories: Trajectories, member: Member, config: TraCSettings, bottom: float
) -> tuple[Sides, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """First steps of a member's desirable and undesirable segments, and their weights."""
    starts, unsafe = (
        whole_segments(trajectories, episodes, config.segment) for episodes in (member.preferred, member.dispreferred)
    )
    if len(starts) == 0:
        return (starts, unsafe), (np.ones(0, dtype=np.float32), np.ones(len(unsafe), dtype=np.float32))
    total = np.concatenate([[0.0], np.cumsum(trajectories.rewards, dtype=np.float64)])
    returns = total[starts + config.segment] - total[starts]
    good, good_weights, bad, bad_weights = select_segments(returns, config.advanced.kappa, config.advanced.top, bottom)
    weights = (good_weights, np.concatenate([np.ones(len(unsafe), dtype=np.float32), bad_weights]))
    return (starts[good], np.concatenate([unsafe, starts[bad]])), weights


def _learner(settings: MethodSettings, inputs: LearnerInputs) -> TraC:
    assert isinstance(settings, TraCSettings)
    return TraC(inputs.trajectories, inputs.members, settings, inputs.task.suite, inputs.device)


TRAC = register(
    Method(
        name="trac",
        shown="TraC",
        section="trac",
        settings=TraCSettings,
        learner=_learner,
        axes=PREFERENCE_AXES,
        needs_dispreferred=True,
    )
)
