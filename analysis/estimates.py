"""Means of runs over replicates with their 95 % intervals: per policy and task, and averaged over tasks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from prefine_ray.analysis.best import SAFE, UNCERTAIN, safety
from prefine_ray.analysis.columns import (
    CONDITION,
    COST,
    HIGHEST,
    KEYS,
    LOWEST,
    METRICS,
    PLAIN,
    REPLICATE,
    SAFETY,
    TASK,
    high,
    low,
    under,
)
from prefine_ray.analysis.statistics.estimators import FloatArray, Statistic
from prefine_ray.analysis.statistics.intervals import jackknife_limits, t_limits
from prefine_ray.rollouts.conditions import CONDITIONS


def policy_rows(runs: pd.DataFrame, keys: Sequence[str] = KEYS) -> pd.DataFrame:
    """One row per policy, task and threshold, sorted.

    Columns: `keys`; seeds (replicates), cells, episodes (their number, and the fewest and most of a seed); return,
    cost (means); METRICS with limits; safety; and METRICS with limits under each condition that some policy was
    evaluated under, as "normalized_cost_reused" (NaN for the others).

    Args:
        runs: see `prefine_ray.analysis.rows.run_table`.
        keys: the columns that tell policies apart.
    """
    plain = _mean_rows(runs[runs[CONDITION] == PLAIN], list(keys))
    table = plain.assign(**{SAFETY: safety(plain[low(COST)], plain[high(COST)])})
    for condition in CONDITIONS:
        listed = runs[runs[CONDITION] == condition]
        if len(listed):
            found = _mean_rows(listed, list(keys)).set_index(list(keys))
            names = {end(name): end(under(name, condition)) for name in METRICS for end in (str, low, high)}
            table = table.merge(found[list(names)].rename(columns=names).reset_index(), on=list(keys), how="left")
    return table


def _mean_rows(runs: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """The plain columns of `policy_rows`: one pass over all groups, whatever their number."""
    sums = {name: (name, "mean") for name in ("return", "cost", *METRICS)}
    each = runs.groupby([*keys, REPLICATE], dropna=False).agg(
        cells=("cell", "nunique"), episodes=("episodes", "sum"), **sums
    )
    groups = each.groupby(level=list(range(len(keys))), dropna=False)
    counts = (
        groups["episodes"]
        .agg(["size", "sum", "min", "max"])
        .set_axis(["seeds", "episodes", "episodes_per_seed_min", "episodes_per_seed_max"], axis=1)
    )
    means, deviations = groups[list(sums)].mean(), groups[METRICS].std()
    table = pd.concat([counts.assign(cells=groups["cells"].sum()), means], axis=1)
    for name in METRICS:
        limits = t_limits(means[name], deviations[name], counts["seeds"])
        table[low(name)], table[high(name)] = possible(name, *limits)
    return table.reset_index()


def possible(name: str, lower: FloatArray, upper: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The part of an interval that a score can be in: costs are not negative, rates between 0 and 1."""
    return np.maximum(lower, LOWEST.get(name, -np.inf)), np.minimum(upper, HIGHEST.get(name, np.inf))


def score_matrices(runs: pd.DataFrame, names: Sequence[str]) -> FloatArray:
    """[names, replicates, tasks]: the mean of a replicate's runs in a task; NaN where it has none."""
    replicates, row = np.unique(runs[REPLICATE].to_numpy(), return_inverse=True)
    tasks, column = np.unique(runs[TASK].to_numpy(dtype=str), return_inverse=True)
    totals = np.zeros((len(replicates), len(tasks), len(names)))
    counts = np.zeros((len(replicates), len(tasks), 1))
    np.add.at(totals, (row, column), runs[list(names)].to_numpy(dtype=float))
    np.add.at(counts, (row, column), 1.0)
    return np.moveaxis(totals / np.where(counts > 0, counts, np.nan), -1, 0)


def average(scores: FloatArray, names: Sequence[str], statistic: Statistic, prefix: str = "") -> dict[str, float]:
    """The statistic of each score over replicates and tasks, with its limits.

    Args:
        scores: [names, replicates, tasks], see `score_matrices`.
        names: of the scores.
        statistic: over replicates and tasks.
        prefix: of the names of the values.
    """
    values: dict[str, float] = {}
    limits = zip(*jackknife_limits(scores, statistic), strict=True)
    for name, estimate, (lower, upper) in zip(names, statistic(scores), limits, strict=True):
        values[f"{prefix}{name}"] = float(estimate)
        least, most = possible(name, lower, upper)
        values[low(f"{prefix}{name}")], values[high(f"{prefix}{name}")] = float(least), float(most)
    return values


def safe_tasks(costs: FloatArray) -> dict[str, int]:
    """On how many tasks the costs [replicates, tasks] are safe, and on how many that is uncertain."""
    counts = (~np.isnan(costs)).sum(axis=0)
    centred = costs - np.nanmean(costs, axis=0)
    deviations = np.sqrt(np.nansum(centred**2, axis=0) / np.maximum(counts - 1, 1))
    words = safety(*t_limits(np.nanmean(costs, axis=0), deviations, counts))
    return {"safe_tasks": int((words == SAFE).sum()), "uncertain_tasks": int((words == UNCERTAIN).sum())}
