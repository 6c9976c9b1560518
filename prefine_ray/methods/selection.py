"""Selection: which of the preferred trajectories are trained on.

A preference says that a trajectory was safe. It does not say that its behaviour is: the safe ones of a reckless policy
are the lucky ones, and a random draw mixes kinds that one policy cannot imitate together. A rule takes a share of D_p:

- none: all of them.
- likely: those that the base policy finds likeliest, by mean log pi_ref(a|s). The base was optimised for reward, so
  these are of one kind, and of high reward.
- contrast: as likely, but trajectories of negative contrast come last. The contrast of a trajectory is its mean
  log pi_p(a|s) - log pi_np(a|s), where pi_p and pi_np are clones of D_p and of D_np: what the behaviour of D_np would
  have produced as well has a low one, and is lucky or wrongly labelled.
- cheapest: those of the lowest recorded cost. It is the only rule that sees a cost.

No rule sees a reward, and none the weight.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BeforeValidator, model_validator

from prefine_ray.core.settings import Section, Share
from prefine_ray.data.trajectories import Trajectories
from prefine_ray.methods.gaussian_cloning import CloneConfig, clone_sides
from prefine_ray.methods.population import SIDES, Member
from prefine_ray.policies.gaussian import GaussianPolicy

CLONES = CloneConfig(steps=1000, batch_size=128)  # of D_p and D_np
_LOG_STD_MIN, _LEAST_LOG_PROB = -1.0, -50.0  # where likelihoods of trajectories are compared
_ROWS = 8192  # steps whose likelihoods are computed at once

Rule = Literal["none", "likely", "contrast", "cheapest"]
_FORM = "a rule (none, likely, contrast or cheapest), or {rule: likely, share: 0.3}"


class SelectionSettings(Section):
    """A rule and the share of the preferred trajectories that it takes."""

    rule: Rule = "none"
    share: Share = 0.5  # of D_p; at least one trajectory is taken

    @model_validator(mode="before")
    @classmethod
    def _all_without_a_rule(cls, content: Any) -> Any:
        return (
            {**content, "share": 1.0}
            if isinstance(content, dict) and content.get("rule", "none") == "none"
            else content
        )

    def __str__(self) -> str:
        return self.rule if self.rule == "none" else f"{self.rule} {self.share:g}"


def _from_word(value: Any) -> Any:
    """A rule's name alone, or with a share as `SelectionSettings` is written in rows."""
    if not isinstance(value, str):
        return value
    rule, _, share = value.partition(" ")
    return {"rule": rule, "share": share} if share else {"rule": rule}


Selection = Annotated[SelectionSettings, BeforeValidator(_from_word)]
ALL = SelectionSettings()


def select_preferred(
    trajectories: Trajectories,
    members: Sequence[Member],
    selections: Sequence[SelectionSettings],
    base: GaussianPolicy,
    clones: CloneConfig | None = None,
) -> list[Member]:
    """The members with the preferred trajectories that are trained on.

    Args:
        trajectories: what the members' indices point into.
        members: any number.
        selections: per member.
        base: the base policies that `Member.base` numbers.
        clones: settings of the clones that contrasts compare; CLONES by default.
    """
    rules = [selection.rule for selection in selections]
    comparing = [index for index, rule in enumerate(rules) if rule in ("likely", "contrast")]
    contrasting = [index for index, rule in enumerate(rules) if rule == "contrast"]
    likelihood = dict(zip(comparing, _likelihoods(base, trajectories, [members[i] for i in comparing]), strict=True))
    contrast = dict(zip(contrasting, contrasts(trajectories, [members[i] for i in contrasting], clones), strict=True))
    chosen = []
    for index, (member, selection) in enumerate(zip(members, selections, strict=True)):
        equal = np.zeros(len(trajectories))
        keys: dict[str, list[NDArray[Any]]] = {
            "none": [equal],
            "likely": [likelihood.get(index, equal)],
            "contrast": [likelihood.get(index, equal), contrast.get(index, equal) > 0.0],
            "cheapest": [-trajectories.episode_costs],
        }
        chosen.append(replace(member, preferred=highest(keys[selection.rule], member.preferred, selection.share)))
    return chosen


def _likelihoods(
    base: GaussianPolicy, trajectories: Trajectories, members: Sequence[Member]
) -> list[NDArray[np.float64]]:
    """Per member mean log pi_ref(a|s) of each of its preferred episodes, [E]; 0 for others."""
    found: dict[Any, NDArray[np.float64]] = {}
    keys = [(member.base, member.preferred.tobytes()) for member in members]
    for key, member in zip(keys, members, strict=True):
        if key not in found:
            found[key] = _of_episodes(base.select(member.base), trajectories, member.preferred)
    return [found[key] for key in keys]


def _of_episodes(
    policy: GaussianPolicy, trajectories: Trajectories, episodes: NDArray[np.int64]
) -> NDArray[np.float64]:
    """`mean_log_probs` of one policy, [E], on these episodes alone; 0 for others."""
    values = np.zeros(len(trajectories))
    values[episodes] = mean_log_probs(policy, trajectories.select(episodes))[0]
    return values


def highest(keys: Sequence[NDArray[Any]], episodes: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """The share of `episodes` that is highest by the last of the keys [E], then by those before it; at least one.

    The result is in the order of their numbers; of equal ones the earlier in `episodes` are taken.
    """
    count = max(1, math.ceil(share * len(episodes)))
    order = np.lexsort([-1.0 * key[episodes] for key in keys])
    return np.sort(episodes[order[:count]])


def contrasts(
    trajectories: Trajectories, members: Sequence[Member], config: CloneConfig | None = None
) -> list[NDArray[np.float64]]:
    """Per member the mean log pi_p(a|s) - log pi_np(a|s) of each of its preferred episodes, [E]; 0 for others.

    Members of the same sets share it.
    """
    sets = [(member.seed, *(member.side(name).tobytes() for name in SIDES)) for member in members]
    distinct = [members[sets.index(key)] for key in dict.fromkeys(sets)]
    if not distinct:
        return []
    clones = clone_sides(trajectories, distinct, config or CLONES)
    of_side = [
        [_of_episodes(side.select(index), trajectories, member.preferred) for index, member in enumerate(distinct)]
        for side in clones
    ]
    differences = [preferred - dispreferred for preferred, dispreferred in zip(*of_side, strict=True)]
    by_set = dict(zip(dict.fromkeys(sets), differences, strict=True))
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
