"""PREFINE on pairs: a pairwise loss whose two margins each have the counterfactual term.

With r(s, a) = log pi_theta(a|s) - log pi_ref(a|s), the margin m = r(s, a) - r(s', a') of a data action a over a
counterfactual one a' ~ pi_theta(.|s), and a pair of a better and a worse trajectory:

    L_safety = mean over pairs of -log sigmoid(beta [m_better - m_worse])
    L_reward = mean over pairs of -log pi_theta(a|s) on the better one
    L        = w L_safety + L_reward

Beside the sides of PREFINE, which say of a trajectory that it is good or bad, a pair says only that one is the better:
what both have in common cancels. An answer is a pair as often as it was given, so that contradictions cancel, too; ties
are no pairs. Where only sides are known, each preferred trajectory is better than each dispreferred one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

from prefine_ray.core.settings import MethodSettings
from prefine_ray.data.trajectories import Trajectories
from prefine_ray.methods.population import CHUNK, SIDES, Member, MemberRows
from prefine_ray.methods.prefine.learner import PrefineLearner
from prefine_ray.methods.prefine.objective import Loss, SidedLogProbs, preference_margin
from prefine_ray.methods.prefine.settings import FineTuneSettings
from prefine_ray.methods.registry import PREFERENCE_AXES, LearnerInputs, Method, register
from prefine_ray.policies.gaussian import GaussianPolicy


def pair_loss(better: SidedLogProbs, worse: SidedLogProbs, weight: Tensor, beta: float, limit: float) -> Loss:
    """The objective above for each member of a population.

    Args:
        better: log-probabilities of the better trajectory of each pair, [P, B, L] each.
        worse: of the other one, in the same order.
        weight: [P], the reward/safety weight w of each member, at least 0.
        beta: inverse temperature of the preference, above 0.
        limit: bound on the absolute log-ratio of a segment, above 0.
    """
    margin_better, margin_worse = preference_margin(better, limit), preference_margin(worse, limit)
    safety = -logsigmoid(beta * (margin_better - margin_worse)).mean(-1)
    reward = -better.data.mean((-1, -2))
    return Loss(
        total=weight * safety + reward,
        safety=safety,
        reward=reward,
        margin_preferred=margin_better.mean(-1),
        margin_dispreferred=margin_worse.mean(-1),
        accuracy=(margin_better > margin_worse).float().mean(-1),
    )


class PairTable:
    """For each member the pairs of episodes; a draw takes a pair, and a segment of either episode.

    Raises:
        ValueError: a member has no pair whose episodes are both as long as a segment.
    """

    def __init__(self, trajectories: Trajectories, members: Sequence[Member], segment: int, device: torch.device):
        starts, room = trajectories.starts, trajectories.lengths - segment + 1
        fitting = [(room[member.preferred] > 0) & (room[member.dispreferred] > 0) for member in members]
        pairs = [np.flatnonzero(fits) for fits in fitting]
        offsets = np.cumsum([0, *(len(member.preferred) for member in members)])
        self._pairs = MemberRows([own + offset for own, offset in zip(pairs, offsets, strict=False)], device)
        self._sides = []
        for name in SIDES:
            episodes = np.concatenate([member.side(name) for member in members])
            self._sides.append(tuple(torch.as_tensor(values[episodes], device=device) for values in (starts, room)))

    def draw(self, uniform: Tensor) -> tuple[Tensor, Tensor]:
        """First steps [P, B] of the better and of the worse segments, from uniform numbers [P, 3, B] in [0, 1)."""
        pairs = self._pairs.draw(uniform[:, 0])
        better, worse = (
            start[pairs] + (uniform[:, side] * room[pairs]).long().clamp_max(room[pairs] - 1)
            for side, (start, room) in enumerate(self._sides, start=1)
        )
        return better, worse


class PairLearner(PrefineLearner):
    """Trains P policies with the pairwise objective; a member's sides are its pairs, in order."""

    def __init__(
        self,
        reference: GaussianPolicy,
        trajectories: Trajectories,
        members: Sequence[Member],
        config: FineTuneSettings,
        device: str | torch.device = "cpu",
    ):
        super().__init__(reference, trajectories, members, config, device)
        self._table = PairTable(trajectories, members, config.advanced.segment, self.device)

    def _draw(self, generator: np.random.Generator) -> dict[str, NDArray[np.float32]]:
        pairs = {"pairs": generator.random((CHUNK, 3, self.config.batch_size), dtype=np.float32)}
        return {**pairs, **super()._draw(generator)}

    def _draw_batch(self) -> tuple[Tensor, Tensor]:
        """Flat data steps [P, 2 B L], the better half first; the counterfactuals are sampled at the same."""
        along = torch.arange(self.config.advanced.segment, device=self.device)
        steps = torch.cat(self._table.draw(self._random("pairs")), dim=1)
        flat = (steps[..., None] + along).flatten(1)
        return flat, flat

    def _objective(self, preferred: SidedLogProbs, dispreferred: SidedLogProbs) -> Loss:
        return pair_loss(preferred, dispreferred, self._weight, self.config.beta, self.config.log_ratio_limit)


def _learner(settings: MethodSettings, inputs: LearnerInputs) -> PairLearner:
    assert isinstance(settings, FineTuneSettings)
    assert inputs.base is not None
    return PairLearner(inputs.base, inputs.trajectories, inputs.members, settings, inputs.device)


PREFINE_PAIRS = register(
    Method(
        name="prefine_pairs",
        shown="PREFINE on pairs",
        section="finetune",
        settings=FineTuneSettings,
        learner=_learner,
        axes=(*PREFERENCE_AXES, "weight"),
        needs_base=True,
        needs_dispreferred=True,
        on_pairs=True,
    )
)
