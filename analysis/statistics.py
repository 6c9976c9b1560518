"""Statistics of evaluation scores: arrays in, scalars or arrays out, pure NumPy.

Shape contract (that of rliable, Agarwal et al., arXiv 2108.13264): `scores` is a float array
[..., runs, tasks]. A run is one seed's mean over its evaluation episodes; leading axes are bootstrap
replicates. A task that has fewer runs than another is padded with NaN; every task has at least one run.

The bootstrap resamples runs (seeds) with all their episodes, separately within each task, and nothing
below: episodes of one run share one trained policy and are no independent evidence about the method.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
Statistic = Callable[[FloatArray], FloatArray]  # [..., runs, tasks] -> [...]

REPLICATES = 2000
BOOTSTRAP_SEED = 0  # every interval starts from it, so that it depends on its own runs only


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


def resample_runs(scores: FloatArray, replicates: int, rng: np.random.Generator) -> FloatArray:
    """[runs, tasks] -> [replicates, runs, tasks]: runs drawn with replacement within each task (stratified).

    A task with n runs gets n draws in every replicate; its other rows stay NaN.
    """
    missing = np.isnan(scores)
    counts = (~missing).sum(axis=0)  # [tasks]
    packed = np.take_along_axis(scores, np.argsort(missing, axis=0, kind="stable"), axis=0)  # its runs first
    draws = (rng.random((replicates, *scores.shape)) * counts).astype(np.intp)
    resampled = np.take_along_axis(packed[None], draws, axis=1)
    resampled[:, np.arange(len(scores))[:, None] >= counts] = np.nan
    return resampled


def bootstrap_interval(
    scores: FloatArray,
    statistic: Statistic,
    rng: np.random.Generator,
    replicates: int = REPLICATES,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Percentile interval (low, high) of `statistic` of `scores` [runs, tasks] under resampled runs.

    (NaN, NaN) where no task has a second run: one run says nothing about the spread between runs.
    """
    if (~np.isnan(scores)).sum(axis=0).max() < 2:
        return float("nan"), float("nan")
    values = statistic(resample_runs(scores, replicates, rng))
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(values, [tail, 1.0 - tail])
    return float(low), float(high)


def front_area(rewards: FloatArray, costs: FloatArray, worst_cost: float = 2.0) -> FloatArray:
    """Hypervolume of reward-cost points [..., points] -> [...], as a share of the largest.

    The area that they dominate between normalised reward 0 and 1 and normalised cost 0 and `worst_cost`; scores beyond
    are cut off. A policy of reward 1 without cost has 1.
    """
    order = np.argsort(costs, axis=-1)
    reached = np.maximum.accumulate(np.take_along_axis(rewards, order, axis=-1).clip(0.0, 1.0), axis=-1)
    cost = np.take_along_axis(costs, order, axis=-1).clip(0.0, worst_cost)
    widths = np.diff(cost, axis=-1, append=worst_cost)
    return np.asarray((reached * widths).sum(axis=-1) / worst_cost)


def reduction(rate: ArrayLike, reference: ArrayLike) -> FloatArray:
    """1 - rate / reference, elementwise: 1 is none left, negative is more than before; NaN where the reference is 0."""
    return 1.0 - _ratio(rate, reference)


def kept(reward: ArrayLike, reference: ArrayLike) -> FloatArray:
    """Reward / reference, elementwise; NaN where the reference is not positive (a share of it means nothing then)."""
    return _ratio(reward, reference)


def _ratio(value: ArrayLike, reference: ArrayLike) -> FloatArray:
    below = np.asarray(reference, dtype=np.float64)
    return np.asarray(value, dtype=np.float64) / np.where(below > 0, below, np.nan)
