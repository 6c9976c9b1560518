"""Which of the preferred trajectories are learnt from: `finetune.keep`, `keep_by` and `narrow`.

A preference says that a trajectory was safe. It does not say that its behaviour is: the safe ones of a reckless policy
are the lucky ones, and a random draw mixes kinds that one policy cannot imitate together. No choice here sees a reward,
and none but `narrow_by: cost` a cost. The contrast of a trajectory is its mean log pi_p(a|s) - log pi_np(a|s), where
pi_p and pi_np are clones of D_p and of D_np: what the behaviour of D_np would have produced as well has a low one, and
is lucky or wrongly labelled.

`keep` takes a share of D_p, by `keep_by`:

- base: the trajectories that the base policy finds likeliest, mean log pi_ref(a|s). The base was optimised for reward,
  so these are of one kind, and of high reward.
- both: by base, but those of negative contrast come last. Among wrongly labelled trajectories many are.

`narrow` then takes the share (1 + w)^-narrow of the kept that has the highest contrast. So the weight w acts on the
data too: at w = 0 all are learnt from, and the more weight, the fewer, those least like D_np. `narrow_by: cost` takes
the share of the lowest cost instead, where costs are recorded and a safe behaviour differs from the next by degrees.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from prefine_ray.data.trajectories import Trajectories
from prefine_ray.methods.cloning import CloneConfig, clone_sides
from prefine_ray.methods.population import SIDES, Member
from prefine_ray.methods.prefine.settings import KeepBy, NarrowBy
from prefine_ray.policies.gaussian import GaussianPolicy

CLONES = CloneConfig(steps=1000, batch_size=128)  # of D_p and D_np
_LOG_STD_MIN, _LEAST_LOG_PROB = -1.0, -50.0  # where likelihoods of trajectories are compared
_FAR_LESS = 1e6  # than any log-likelihood
_ROWS = 8192  # steps whose likelihoods are computed at once


@dataclass(frozen=True)
class Choice:
    """How the preferred trajectories of one member are chosen."""

    share: float = 1.0  # above 0 and at most 1
    by: KeepBy = "base"
    narrowed: float = 1.0  # share of those kept, above 0 and at most 1
    narrowed_by: NarrowBy = "contrast"

    @property
    def needs_contrast(self) -> bool:
        """Whether clones of both sides are needed."""
        narrows = self.narrowed < 1.0 and self.narrowed_by == "contrast"
        return narrows or (self.share < 1.0 and self.by == "both")


def keep_preferred(
    trajectories: Trajectories, members: Sequence[Member], choices: Sequence[Choice], base: GaussianPolicy
) -> list[Member]:
    """The members with the preferred trajectories that are learnt from.

    Args:
        trajectories: what the members' indices point into.
        members: any number.
        choices: per member.
        base: the base policy, a population of one.
    """
    contrasting = [index for index, choice in enumerate(choices) if choice.needs_contrast]
    contrast = dict(zip(contrasting, contrasts(trajectories, [members[i] for i in contrasting]), strict=True))
    needs_likelihood = any(choice.share < 1.0 for choice in choices)
    likelihood = mean_log_probs(base, trajectories)[0] if needs_likelihood else np.zeros(len(trajectories))
    kept = []
    for index, (member, choice) in enumerate(zip(members, choices, strict=True)):
        episodes = member.preferred
        if choice.share < 1.0:
            is_lucky = contrast[index] <= 0.0 if choice.by == "both" else False
            episodes = highest(likelihood - _FAR_LESS * is_lucky, episodes, choice.share)
        if choice.narrowed < 1.0:
            scores = -trajectories.summary.costs if choice.narrowed_by == "cost" else contrast[index]
            episodes = highest(scores, episodes, choice.narrowed)
        kept.append(replace(member, preferred=episodes))
    return kept


def highest(scores: NDArray[np.float64], episodes: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """The share of `episodes` with the highest `scores` [E], at least one, in their order."""
    count = max(1, math.ceil(share * len(episodes)))
    return np.sort(episodes[np.argsort(-scores[episodes], kind="stable")[:count]])


def contrasts(trajectories: Trajectories, members: Sequence[Member]) -> list[NDArray[np.float64]]:
    """Per member the mean log pi_p(a|s) - log pi_np(a|s) of each episode, [E]; members of the same sets share it."""
    sets = [(member.seed, *(member.side(name).tobytes() for name in SIDES)) for member in members]
    distinct = [members[sets.index(key)] for key in dict.fromkeys(sets)]
    if not distinct:
        return []
    preferred, dispreferred = (mean_log_probs(p, trajectories) for p in clone_sides(trajectories, distinct, CLONES))
    by_set = dict(zip(dict.fromkeys(sets), preferred - dispreferred, strict=True))
    return [by_set[key] for key in sets]


@torch.inference_mode()
def mean_log_probs(policy: GaussianPolicy, trajectories: Trajectories) -> NDArray[np.float64]:
    """Mean over the steps of each episode of log pi(a|s), [P, E].

    With log sigma at least _LOG_STD_MIN and single steps at least _LEAST_LOG_PROB, so that no few steps decide.
    """
    policy = policy.with_log_std_bounds((_LOG_STD_MIN, policy.architecture.log_std_bounds[1]))
    parts = []
    for first in range(0, len(trajectories.actions), _ROWS):
        rows = slice(first, first + _ROWS)
        observations, actions = (
            torch.from_numpy(a[rows])[None] for a in (trajectories.observations, trajectories.actions)
        )
        mean, log_std = policy(observations)
        parts.append(policy.log_prob(mean, log_std, actions).clamp_min(_LEAST_LOG_PROB).double().numpy())
    return np.add.reduceat(np.concatenate(parts, axis=1), trajectories.starts, axis=1) / trajectories.lengths
