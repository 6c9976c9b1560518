"""PREFINE at its best weight against the other methods on the same data, seed by seed, and areas of their fronts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from prefine_ray.analysis.rows import BASE, PREFINE, SCORES
from prefine_ray.analysis.statistics import (
    BOOTSTRAP_SEED,
    REPLICATES,
    FloatArray,
    bootstrap_interval,
    front_area,
    mean,
    resample_runs,
)
from prefine_ray.tasks.spec import BENCHMARK

_ON = ["task", "preferred", "threshold", "weight"]


def comparisons(tested: pd.DataFrame, choices: pd.DataFrame, kinds: tuple[str, ...]) -> pd.DataFrame:
    """One row per kind of preferences and rival: weight 0, then the other methods that have all its tasks.

    Args:
        tested: runs, see `prefine_ray.analysis.rows.run_table`, of test episodes.
        choices: the best weights, see `prefine_ray.analysis.summary.Summary`.
        kinds: the kinds of preferences.

    Columns: preferred, method, weight, tasks; `reward` and `cost`, PREFINE's less the rival's; `area`, that of
    PREFINE's front over its weights, and `rival_area` (see `front_area`); each with 95 % bootstrap limits, `_low` and
    `_high`.
    """
    listed = tested[tested["task"].isin(BENCHMARK)]
    return pd.DataFrame([row for kind in kinds for row in _of_kind(listed, choices, kind)])


def _of_kind(runs: pd.DataFrame, choices: pd.DataFrame, kind: str) -> Iterator[dict[str, Any]]:
    ours = runs[(runs["method"] == PREFINE) & (runs["preferred"] == kind)]
    best = ours.merge(choices[_ON], on=_ON)
    rivals = runs[runs["preferred"].isin([kind, ""]) & ~runs["method"].isin([BASE, PREFINE])]
    rivals = pd.concat([ours[(ours["weight"] == 0.0) & (best["weight"].max() > 0.0)], rivals])
    for (method, weight), theirs in rivals.groupby(["method", "weight"], dropna=False, sort=False):
        theirs = theirs.merge(best[["task", "threshold", "seed"]], on=["task", "threshold", "seed"])
        if len(theirs) == len(best) > 0:
            front = [group.merge(theirs[["task", "threshold", "seed"]]) for _, group in ours.groupby("weight")]
            identity = {"preferred": kind, "method": method, "weight": weight, "tasks": best["task"].nunique()}
            yield identity | _differences(best, theirs) | _areas("area", front) | _areas("rival_area", [theirs])


def _differences(best: pd.DataFrame, theirs: pd.DataFrame) -> dict[str, float]:
    values: dict[str, float] = {}
    for score, name in zip(SCORES, ("reward", "cost"), strict=True):
        gaps = _matrix(best, score) - _matrix(theirs, score)
        values[name] = float(mean(gaps))
        interval = bootstrap_interval(gaps, mean, np.random.default_rng(BOOTSTRAP_SEED))
        values[f"{name}_low"], values[f"{name}_high"] = interval
    return values


def _areas(name: str, front: list[pd.DataFrame]) -> dict[str, float]:
    """The area of each task's front of seed means, averaged over tasks; the bootstrap draws the same seeds for all."""
    points = [[_matrix(runs, score) for score in SCORES] for runs in front]

    def area(rows: list[list[FloatArray]]) -> FloatArray:
        means = [[np.nanmean(scores, axis=-2) for scores in point] for point in rows]
        rewards, costs = (np.stack([point[i] for point in means], axis=-1) for i in (0, 1))
        return np.asarray(front_area(rewards, costs).mean(axis=-1))

    drawn = [[resample_runs(m, REPLICATES, np.random.default_rng(BOOTSTRAP_SEED)) for m in point] for point in points]
    several = (~np.isnan(points[0][0])).sum(axis=0).max() > 1
    low, high = np.quantile(area(drawn), [0.025, 0.975]) if several else (np.nan, np.nan)
    return {name: float(area(points)), f"{name}_low": float(low), f"{name}_high": float(high)}


def _matrix(runs: pd.DataFrame, score: str) -> FloatArray:
    """[seeds, tasks]: the mean over a seed's thresholds."""
    table = runs.pivot_table(index="seed", columns="task", values=score, aggfunc="mean")
    return table.to_numpy(dtype=np.float64)
