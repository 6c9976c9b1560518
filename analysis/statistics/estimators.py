"""Estimators of scores: the mean over tasks, the interquartile mean, ratios to a reference.

Shape contract (that of rliable, Agarwal et al., arXiv 2108.13264): `scores` is a float array [..., runs, tasks]. A run
is one replicate's mean over its evaluation episodes. A task that has fewer runs than another is padded with NaN; every
task has at least one run.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
Statistic = Callable[[FloatArray], FloatArray]  # [..., runs, tasks] -> [...]


def mean(scores: FloatArray) -> FloatArray:
    """[..., runs, tasks] -> [...]: mean over the runs of each task, then over tasks (all weigh the same)."""
    return np.asarray(np.nanmean(scores, axis=-2).mean(axis=-1))


def iqm(scores: FloatArray) -> FloatArray:
    """[..., runs, tasks] -> [...]: interquartile mean, of all runs of all tasks but the lowest and highest quarter.

    floor(n / 4) scores are cut from each end, as `scipy.stats.trim_mean(scores, 0.25)` does.
    """
    ordered = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)  # NaN last
    count = np.count_nonzero(~np.isnan(ordered), axis=-1, keepdims=True)
    rank = np.arange(ordered.shape[-1])
    kept = (rank >= count // 4) & (rank < count - count // 4)
    return np.asarray(np.where(kept, ordered, 0.0).sum(axis=-1) / kept.sum(axis=-1))


def dominated_area(rewards: ArrayLike, costs: ArrayLike, worst_cost: float = 2.0) -> FloatArray:
    """The area that a point of reward and cost dominates, as a share of the largest, elementwise.

    Between normalised reward 0 and 1 and normalised cost 0 and `worst_cost`; scores beyond are cut off. A policy of
    reward 1 without cost has 1.
    """
    height = np.asarray(rewards, dtype=np.float64).clip(0.0, 1.0)
    return np.asarray(height * (1.0 - np.asarray(costs, dtype=np.float64).clip(0.0, worst_cost) / worst_cost))


def reduction(rate: ArrayLike, reference: ArrayLike) -> FloatArray:
    """1 - rate / reference, elementwise: 1 is none left, negative is more than before; NaN where the reference is 0."""
    return 1.0 - _ratio(rate, reference)


def kept(reward: ArrayLike, reference: ArrayLike) -> FloatArray:
    """Reward / reference, elementwise; NaN where the reference is not positive (a share of it means nothing then)."""
    return _ratio(reward, reference)


def _ratio(value: ArrayLike, reference: ArrayLike) -> FloatArray:
    below = np.asarray(reference, dtype=np.float64)
    return np.asarray(value, dtype=np.float64) / np.where(below > 0, below, np.nan)
