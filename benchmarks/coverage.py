"""How often 95 % intervals of few replicates cover the truth, for costs as skewed as ours: ours beside the bootstrap.

    python -m benchmarks.coverage [--samples N]

Prints one line per law, number of replicates and estimate.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np

from prefine_ray.analysis.statistics.estimators import FloatArray, Statistic, iqm, mean
from prefine_ray.analysis.statistics.intervals import jackknife_limits

Law = Callable[[np.random.Generator, tuple[int, ...]], FloatArray]
Limits = tuple[FloatArray, FloatArray]
LAWS: dict[str, Law] = {
    "normal": lambda rng, shape: rng.normal(1.0, 0.3, shape),
    "gamma, skewness 1.4": lambda rng, shape: rng.gamma(2.0, 0.5, shape),
    "lognormal, skewness 1.75": lambda rng, shape: rng.lognormal(0.0, 0.5, shape),
    "lognormal, skewness 6": lambda rng, shape: rng.lognormal(0.0, 1.0, shape),
    "a cost of 3 in a fifth of the runs": lambda rng, shape: np.where(
        rng.random(shape) < 0.2, rng.gamma(4.0, 0.75, shape), rng.gamma(2.0, 0.1, shape)
    ),
}
SCALES = np.array([0.1, 0.2, 0.3, 0.5, 0.5, 0.8, 1.0, 1.0, 1.5, 2.0])  # of ten tasks' costs
REPLICATES = (3, 5, 10)


def coverage(law: Law, replicates: int, statistic: Statistic, shared: float, samples: int) -> tuple[float, float]:
    """The shares of samples whose jackknife t interval, and whose bootstrap interval, cover the truth.

    Args:
        law: draws costs of a shape.
        replicates: runs of each task.
        statistic: over ten tasks with SCALES.
        shared: the share of a replicate's cost that all its tasks have in common.
        samples: simulated experiments.
    """
    rng = np.random.default_rng(0)
    truth = float(statistic(_draw(law, rng, 1, 100_000, shared))[0])
    scores = _draw(law, rng, samples, replicates, shared)
    found = jackknife_limits(scores, statistic), bootstrap_limits(scores, statistic, rng)
    ours, theirs = (float(np.mean((low <= truth) & (truth <= high))) for low, high in found)
    return ours, theirs


def bootstrap_limits(scores: FloatArray, statistic: Statistic, rng: np.random.Generator, draws: int = 300) -> Limits:
    """Percentile intervals [samples] of scores [samples, runs, tasks], runs drawn within each task."""
    samples, runs, tasks = scores.shape
    index = (np.arange(samples)[:, None, None], np.arange(tasks))
    values = [
        statistic(scores[index[0], rng.integers(runs, size=(samples, runs, tasks)), index[1]]) for _ in range(draws)
    ]
    low, high = np.quantile(values, [0.025, 0.975], axis=0)
    return low, high


def _draw(law: Law, rng: np.random.Generator, samples: int, runs: int, shared: float) -> FloatArray:
    own, common = law(rng, (samples, runs, len(SCALES))), law(rng, (samples, runs, 1))
    return np.asarray(((1.0 - shared) * own + shared * common) * SCALES)


def one_task(scores: FloatArray) -> FloatArray:
    """The mean of the first task alone."""
    return mean(scores[..., :1])


def main() -> None:
    """Prints the coverage of every case."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--samples", type=int, default=1000)
    samples = parser.parse_args().samples
    cases = [("one task", one_task, 0.0), ("mean", mean, 0.0), ("mean, half shared", mean, 0.5), ("IQM", iqm, 0.0)]
    for name, law in LAWS.items():
        for title, statistic, shared in cases:
            for replicates in REPLICATES:
                ours, theirs = coverage(law, replicates, statistic, shared, samples)
                print(f"{name:36} {title:18} n = {replicates:2}: t {ours:.3f}, bootstrap {theirs:.3f}", flush=True)


if __name__ == "__main__":
    main()
