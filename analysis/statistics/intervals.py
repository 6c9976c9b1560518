"""95 % intervals over replicates, and tests of paired differences: vectorised, deterministic.

All use Student's t with n - 1 degrees of freedom, n being the number of replicates. Chosen by simulated coverage
(`python -m benchmarks.coverage`): with 3 to 10 replicates percentile and BCa bootstrap intervals cover 60 to 90 % where
t intervals cover 92 to 95 %, and less of all three where a cost is rare and large, which no method can see in so few.
Intervals of averages over tasks leave out one replicate of all tasks at a time (the jackknife), so that they hold also
where a replicate's tasks have something in common. For a plain mean of one task the two are the same.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from prefine_ray.analysis.statistics.estimators import FloatArray, Statistic

CONFIDENCE = 0.95
_BLOCK = 2**22  # numbers that a jackknife holds at a time, about


def t_limits(means: ArrayLike, deviations: ArrayLike, counts: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """The lower and upper limits of means, elementwise; NaN where there is a single replicate.

    Args:
        means: of the replicates.
        deviations: their standard deviation with n - 1 degrees of freedom (NaN for a single one).
        counts: n, their number.
    """
    return _around(np.asarray(means, dtype=np.float64), _standard_errors(deviations, counts), counts)


def t_test(means: ArrayLike, deviations: ArrayLike, counts: ArrayLike) -> FloatArray:
    """The two-sided p value of each mean difference being 0, elementwise; arguments as `t_limits`.

    NaN for a single replicate. Differences that do not vary have p = 1 where they are 0 and p = 0 elsewhere.
    """
    errors = _standard_errors(deviations, counts)
    size = np.abs(np.asarray(means, dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where((size == 0.0) & (errors == 0.0), 0.0, size / errors)
    return np.asarray(2.0 * stdtr(np.asarray(counts, dtype=np.float64) - 1.0, -ratios))


def holm(p_values: ArrayLike) -> FloatArray:
    """Holm's adjusted p values [N] of N tests of one family; NaN stay NaN and do not count."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)  # NaN last
    remaining = np.count_nonzero(~np.isnan(p)) - np.arange(len(p))
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.maximum(remaining, 1)).clip(max=1.0)
    return adjusted


def jackknife_limits(scores: FloatArray, statistic: Statistic) -> tuple[FloatArray, FloatArray]:
    """The limits [...] of `statistic` of `scores` [..., runs, tasks].

    A row is one replicate in all tasks. NaN where some task has fewer than two runs, whose spread is unknown.
    """
    fewest = int((~np.isnan(scores)).sum(axis=-2).min())
    estimate = statistic(scores)
    if fewest < 2:
        return np.full_like(estimate, np.nan), np.full_like(estimate, np.nan)
    runs = scores.shape[-2]
    block = max(1, _BLOCK // scores.size)  # replicates that are left out at a time: bounds the memory
    parts = np.concatenate(
        [
            _without_each(scores, np.arange(first, min(first + block, runs)), statistic)
            for first in range(0, runs, block)
        ],
        axis=-1,
    )  # [..., runs]
    spread = (parts - parts.mean(axis=-1, keepdims=True)) ** 2
    errors = np.sqrt((runs - 1) / runs * spread.sum(axis=-1))
    return _around(estimate, errors, fewest)


def _without_each(scores: FloatArray, left: NDArray[np.int64], statistic: Statistic) -> FloatArray:
    """[..., left]: the statistic without each of these replicates."""
    others = np.arange(scores.shape[-2] - 1)[None, :]
    return statistic(scores[..., others + (others >= left[:, None]), :])


def _standard_errors(deviations: ArrayLike, counts: ArrayLike) -> FloatArray:
    n = np.asarray(counts, dtype=np.float64)
    return np.asarray(np.where(n > 1, np.asarray(deviations, dtype=np.float64) / np.sqrt(np.maximum(n, 1.0)), np.nan))


def _around(means: FloatArray, errors: FloatArray, counts: ArrayLike) -> tuple[FloatArray, FloatArray]:
    degrees = np.maximum(np.asarray(counts, dtype=np.float64) - 1.0, 1.0)
    margin = stdtrit(degrees, (1.0 + CONFIDENCE) / 2.0) * errors
    return np.asarray(means - margin), np.asarray(means + margin)
