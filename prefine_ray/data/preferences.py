"""Preferred and dispreferred trajectories: by a cost threshold, or by labels from a file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from prefine_ray.core.errors import PrefineError
from prefine_ray.data.description import cost_histogram
from prefine_ray.data.episodes import EpisodeSummary

NUM_PREFERRED = 100  # the method's set sizes
NUM_DISPREFERRED = 20


class NotEnoughTrajectoriesError(PrefineError, ValueError):
    """A side of the split has too few trajectories; the message has the costs and the thresholds that work."""

    @property
    def short(self) -> str:
        """Without the costs."""
        return str(self).split("\nCosts of")[0]


@dataclass(frozen=True)
class PreferenceSets:
    """Numbers of episodes in one data set, ascending; no episode is on both sides."""

    preferred: NDArray[np.int64]  # [N_p]
    dispreferred: NDArray[np.int64]  # [N_np]


def split_by_threshold(
    summary: EpisodeSummary,
    threshold: float,
    *,
    preferred: Literal["best", "random"] = "best",
    num_preferred: int = NUM_PREFERRED,
    num_dispreferred: int = NUM_DISPREFERRED,
    rng: np.random.Generator,
    label_noise: float = 0.0,
    margin: float = 1.0,
) -> PreferenceSets:
    """Draws preferred trajectories among the safe ones and dispreferred ones among those over the threshold.

    Safe means cost <= margin * threshold: with a margin below 1 trajectories just under the threshold are on neither
    side. A policy scatters around what it imitates, so that one cloned from trajectories that use the whole threshold
    is over it half of the time.

    Preferred are the highest returns ("best"; the earlier episode wins a tie) or a uniform draw ("random").
    Dispreferred are a uniform draw over all unsafe trajectories, not the costliest ones, so that behaviour
    just over the threshold is among them (our choice; the costliest were not compared).

    `label_noise` is the fraction of wrong labels on each side. The sets are drawn as without noise, then
    k = round(label_noise * N) uniformly drawn members of each side (N its size, halves rounded up) are
    replaced by trajectories of the wrong kind: unsafe ones among the preferred, safe ones among the
    dispreferred, each drawn uniformly from those that the other side does not keep. So the sizes stay, the
    fraction of wrong labels is exact, and with the same `rng` state the other members are those without noise.

    Raises:
        NotEnoughTrajectoriesError: a side has too few trajectories.
        ValueError: `preferred` is neither word, a size is below 1, or the label noise outside [0, 1].
    """
    if preferred not in ("best", "random"):
        raise ValueError(f"preferred must be 'best' or 'random', not {preferred!r}")
    if min(num_preferred, num_dispreferred) < 1:
        raise ValueError(f"num_preferred and num_dispreferred must be at least 1: {num_preferred}, {num_dispreferred}")
    if not 0.0 <= label_noise <= 1.0:
        raise ValueError(f"label_noise is a fraction from 0 to 1, not {label_noise}")
    if not 0.0 <= margin <= 1.0:
        raise ValueError(f"margin is a fraction of the threshold from 0 to 1, not {margin}")
    wrong_preferred, wrong_dispreferred = (_round(label_noise * n) for n in (num_preferred, num_dispreferred))
    need_safe = num_preferred + max(0, wrong_dispreferred - wrong_preferred)
    need_unsafe = num_dispreferred + max(0, wrong_preferred - wrong_dispreferred)
    safe, unsafe = np.flatnonzero(summary.costs <= margin * threshold), np.flatnonzero(summary.costs > threshold)
    if len(safe) < need_safe or len(unsafe) < need_unsafe:
        raise NotEnoughTrajectoriesError(_not_enough(summary.costs, threshold, margin, need_safe, need_unsafe))

    if preferred == "best":
        chosen_safe = safe[np.argsort(-summary.returns[safe], kind="stable")[:num_preferred]]
    else:
        chosen_safe = rng.choice(safe, num_preferred, replace=False)
    chosen_unsafe = rng.choice(unsafe, num_dispreferred, replace=False)
    kept_safe = rng.choice(chosen_safe, num_preferred - wrong_preferred, replace=False)
    kept_unsafe = rng.choice(chosen_unsafe, num_dispreferred - wrong_dispreferred, replace=False)
    wrongly_preferred = rng.choice(np.setdiff1d(unsafe, kept_unsafe), wrong_preferred, replace=False)
    wrongly_dispreferred = rng.choice(np.setdiff1d(safe, kept_safe), wrong_dispreferred, replace=False)
    return PreferenceSets(
        preferred=np.sort(np.concatenate([kept_safe, wrongly_preferred])),
        dispreferred=np.sort(np.concatenate([kept_unsafe, wrongly_dispreferred])),
    )


def _round(value: float) -> int:
    return math.floor(value + 0.5)


def _not_enough(costs: NDArray[np.float64], threshold: float, margin: float, need_safe: int, need_unsafe: int) -> str:
    limit = "threshold" if margin == 1.0 else f"{margin:g} * threshold"
    return (
        f"threshold {threshold:g}: {need_safe} safe trajectories (cost <= {limit}) and {need_unsafe} unsafe ones are "
        f"needed, the data has {(costs <= margin * threshold).sum()} and {(costs > threshold).sum()}.\n"
        f"{_thresholds_that_work(costs, margin, need_safe, need_unsafe)}\n"
        f"Costs of the {len(costs)} trajectories:\n{cost_histogram(costs)}"
    )


def _thresholds_that_work(costs: NDArray[np.float64], margin: float, need_safe: int, need_unsafe: int) -> str:
    if need_safe + need_unsafe <= len(costs) and margin > 0:
        ordered = np.sort(costs)
        low, above = ordered[need_safe - 1] / margin, ordered[len(costs) - need_unsafe]
        if low < above:
            return f"Thresholds that work: at least {low:.9g} and below {above:.9g}."
        tied = f"too many trajectories cost {low * margin:.9g}"
        return f"No threshold works for these sizes ({tied}): ask for fewer trajectories."
    return f"No threshold works for these sizes: the data has {len(costs)} trajectories; ask for fewer."
