"""PREFINE at its best weight against the other methods on the same data, replicate by replicate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from prefine_ray.analysis.columns import (
    BASE,
    CONTROL_WEIGHT,
    COST,
    METHOD,
    PREFERRED,
    PREFINE,
    REPLICATE,
    REWARD,
    SETTING,
    TASK,
    THRESHOLD,
    WEIGHT,
    high,
    low,
)
from prefine_ray.analysis.estimates import score_matrices
from prefine_ray.analysis.rows import same_kind
from prefine_ray.analysis.statistics.estimators import FloatArray, dominated_area, mean
from prefine_ray.analysis.statistics.intervals import jackknife_limits
from prefine_ray.tasks.spec import BENCHMARK

_PAIRED = [TASK, THRESHOLD, REPLICATE]
_AREA = "area"


def comparisons(tested: pd.DataFrame, choices: pd.DataFrame, kinds: tuple[str, ...]) -> pd.DataFrame:
    """One row per kind of preferences and rival: weight 0, then the other methods that have all its tasks.

    Args:
        tested: runs, see `prefine_ray.analysis.rows.run_table`, of test episodes under the plain condition.
        choices: the best weights, see `prefine_ray.analysis.summary.Summary`.
        kinds: the kinds of preferences.

    Columns: preferred, method, weight, tasks; `reward` and `cost`, PREFINE's less the rival's; `area`, what PREFINE's
    policy of the best weight dominates (see `dominated_area`), and `rival_area`; each with limits.
    """
    listed = tested[tested[TASK].isin(BENCHMARK)]
    listed = listed.assign(**{_AREA: dominated_area(listed[REWARD], listed[COST])})
    return pd.DataFrame([row for kind in kinds for row in _of_kind(listed, choices, kind)])


def _of_kind(runs: pd.DataFrame, choices: pd.DataFrame, kind: str) -> Iterator[dict[str, Any]]:
    ours = runs[(runs[METHOD] == PREFINE) & (runs[PREFERRED] == kind)]
    best = ours.merge(choices[[*SETTING, WEIGHT]], on=[*SETTING, WEIGHT])
    rivals = runs[runs[PREFERRED].isin(same_kind(kind)) & ~runs[METHOD].isin([BASE, PREFINE])]
    rivals = pd.concat([ours[(ours[WEIGHT] == CONTROL_WEIGHT) & (best[WEIGHT].max() > CONTROL_WEIGHT)], rivals])
    for (method, weight), theirs in rivals.groupby([METHOD, WEIGHT], dropna=False, sort=False):
        theirs = theirs.merge(best[_PAIRED], on=_PAIRED)
        if len(theirs) == len(best) > 0:
            identity = {PREFERRED: kind, METHOD: method, WEIGHT: weight, "tasks": best[TASK].nunique()}
            yield identity | _against(best, theirs)


def _against(best: pd.DataFrame, theirs: pd.DataFrame) -> dict[str, float]:
    mine, other = (score_matrices(runs, [REWARD, COST, _AREA]) for runs in (best, theirs))
    reward, cost = (mine - other)[:2]
    return {
        **_estimate("reward", reward),
        **_estimate("cost", cost),
        **_estimate("area", mine[2]),
        **_estimate("rival_area", other[2]),
    }


def _estimate(name: str, scores: FloatArray) -> dict[str, float]:
    """The mean over tasks of scores [replicates, tasks], with its limits."""
    lower, upper = jackknife_limits(scores, mean)
    return {name: float(mean(scores)), low(name): float(lower), high(name): float(upper)}
