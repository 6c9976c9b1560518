"""Averages over the tasks of a suite: the base policy, every weight, the best weight, the other methods."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from prefine_ray.analysis.columns import (
    BASE,
    CATASTROPHES,
    COST,
    METHOD,
    METRICS,
    PREFERRED,
    PREFINE,
    REWARD,
    SCORES,
    SETTING,
    TASK,
    THRESHOLD,
    VIOLATIONS,
    WEIGHT,
)
from prefine_ray.analysis.estimates import average, safe_tasks, score_matrices
from prefine_ray.analysis.published import published_name, published_scores
from prefine_ray.analysis.rows import same_kind
from prefine_ray.analysis.statistics.estimators import iqm, kept, mean, reduction
from prefine_ray.analysis.thresholds import LEVELS, threshold_level
from prefine_ray.tasks.spec import BENCHMARK, TASKS

SUITES = {"bullet": "Bullet", "safety-gymnasium": "Safety-Gymnasium", "own": "Own", "all": "All"}
BEST = "best weight"  # the policy name, in suite averages, of the weight chosen for each task and threshold
Pairs = frozenset[tuple[str, float]]  # of task and threshold


def suite_rows(
    runs: pd.DataFrame, choices: pd.DataFrame, variant: str, suites: Collection[str] = tuple(SUITES)
) -> Iterator[dict[str, Any]]:
    """The averages of the base policy, every weight, the best weight and every other method over each suite.

    Args:
        runs: see `prefine_ray.analysis.rows.run_table`, of test episodes under the plain condition.
        choices: the best weights, see `prefine_ray.analysis.summary.Summary`.
        variant: the kind of preferences.
        suites: keys of SUITES.
    """
    listed = runs[runs[TASK].isin(BENCHMARK) & runs[PREFERRED].isin(same_kind(variant))]
    reference = _Reference(listed[listed[METHOD] == BASE])
    on = [*SETTING, WEIGHT]
    chosen = listed[listed[METHOD] == PREFINE].merge(choices[on], on=on).assign(method=BEST, weight=np.nan)
    policies = pd.concat([listed, chosen])
    for suite in suites:
        members = [task for task in BENCHMARK if suite in ("all", TASKS[task].suite)]
        for (method, weight), group in _policies(policies, members):
            head = {"suite": SUITES[suite], "preferred": variant, "method": method, "weight": weight}
            yield head | _suite_row(group, reference)


def level_rows(runs: pd.DataFrame, choices: pd.DataFrame, kinds: Iterable[str]) -> list[dict[str, Any]]:
    """The averages over all tasks at each level of their thresholds, where there are several."""
    level = pd.Series(
        [threshold_level(*pair) for pair in zip(runs[TASK], runs[THRESHOLD], strict=True)], index=runs.index
    )
    present = [name for name in LEVELS if (level == name).any()]
    return [
        {"level": name, **row}
        for name in (present if len(present) > 1 else ())
        for kind in kinds
        for row in suite_rows(runs[level == name], choices, kind, ["all"])
    ]


def gains(rows: Any, reference: Any, name: str) -> dict[str, Any]:
    """What was saved and kept against a reference, elementwise, under names that end with `name`."""
    return {
        f"violation_reduction_vs_{name}": reduction(rows[VIOLATIONS], reference[VIOLATIONS]),
        f"catastrophe_reduction_vs_{name}": reduction(rows[CATASTROPHES], reference[CATASTROPHES]),
        f"reward_kept_vs_{name}": kept(rows[REWARD], reference[REWARD]),
    }


class _Reference:
    """The base policy's averages over sets of tasks and thresholds, each computed once."""

    def __init__(self, base: pd.DataFrame):
        self._base = base
        self._pairs = pd.MultiIndex.from_frame(base[[TASK, THRESHOLD]])
        self._known: dict[Pairs, dict[str, float]] = {}

    def over(self, pairs: Pairs) -> dict[str, float]:
        """The means of METRICS; NaN where the base policy lacks one of the pairs."""
        if pairs not in self._known:
            self._known[pairs] = self._averages(pairs)
        return self._known[pairs]

    def _averages(self, pairs: Pairs) -> dict[str, float]:
        found = self._base[self._pairs.isin(list(pairs))]
        if len(_pairs(found)) < len(pairs):
            return dict.fromkeys(METRICS, np.nan)
        return average(score_matrices(found, METRICS), METRICS, mean)


def _pairs(runs: pd.DataFrame) -> Pairs:
    return frozenset(zip(runs[TASK], runs[THRESHOLD], strict=True))


def _policies(runs: pd.DataFrame, tasks: list[str]) -> Iterator[tuple[tuple[str, float], pd.DataFrame]]:
    """The runs of each policy in these tasks: base, weights upwards, best weight, then the other methods by name."""
    order = {BASE: 0, PREFINE: 1, BEST: 2}
    groups = runs[runs[TASK].isin(tasks)].groupby([METHOD, WEIGHT], dropna=False)
    return iter(sorted(groups, key=lambda item: (order.get(item[0][0], 3), *item[0])))


def _suite_row(runs: pd.DataFrame, base: _Reference) -> dict[str, Any]:
    """One policy's averages over tasks (and over the thresholds within each), gains against base on the same tasks."""
    pairs, scores = _pairs(runs), score_matrices(runs, METRICS)
    tasks = sorted({task for task, _ in pairs})
    row: dict[str, Any] = {"tasks": len(tasks), "settings": len(pairs)}
    row |= safe_tasks(scores[METRICS.index(COST)])
    row |= average(scores, METRICS, mean)
    row |= average(scores[[METRICS.index(name) for name in SCORES]], SCORES, iqm, "iqm_")
    row |= gains(row, base.over(pairs), "base")
    method = runs[METHOD].iloc[0]
    reward, cost = published_scores(published_name(PREFINE if method == BEST else method), tasks)
    return row | {"published_reward": reward, "published_cost": cost}
