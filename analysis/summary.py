"""Runs to a tidy summary: one row per task, preferences, threshold, method and weight; suite averages; best weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from prefine_ray.analysis.comparison import comparisons
from prefine_ray.analysis.published import published_name, published_scores
from prefine_ray.analysis.rows import BASE, KEYS, METRICS, PREFINE, Results, kind_parts, run_table
from prefine_ray.analysis.statistics import (
    BOOTSTRAP_SEED,
    FloatArray,
    Statistic,
    bootstrap_interval,
    iqm,
    kept,
    mean,
    reduction,
)
from prefine_ray.experiment.cells import TEST, TUNING
from prefine_ray.tasks.spec import BENCHMARK, TASKS, get_task

ENOUGH_SEEDS = 5
LEVELS = ("low", "middle", "high")  # of a task's three cost thresholds
SUITES = {"bullet": "Bullet", "safety-gymnasium": "Safety-Gymnasium", "all": "All"}
_PARTS = ("num_preferred", "label_noise")  # of the kind of preferences, as columns; 0 where unknown
BEST = "best weight"  # the policy name, in suite averages, of the weight chosen for each task and threshold


@dataclass(frozen=True)
class Summary:
    """All that tables and plots are made from."""

    cells: pd.DataFrame  # one row per KEYS, see `_cell_rows`, `_add_references` and `_add_marks`
    suites: pd.DataFrame  # averages over the tasks of a suite, see `_suite_row`
    levels: pd.DataFrame  # the same over all tasks at each `level` of LEVELS; empty where there is only one
    comparisons: pd.DataFrame  # PREFINE against the other methods, see `prefine_ray.analysis.comparison`
    choices: pd.DataFrame  # task, preferred, threshold, weight, picked_on: what `choose_weight` chose
    kinds: tuple[
        str, ...
    ]  # the kinds of preferences that were fine-tuned on, see `prefine_ray.analysis.rows.preference_kind`
    variants: tuple[
        str, ...
    ]  # of them those that are told in full: of "best", of "random", ... the largest cleanest set
    warnings: tuple[str, ...]


def summarize(results: Results) -> Summary:
    """The summary of all test episodes; weights are chosen on tuning episodes where there are any."""
    runs = run_table(results.episodes)
    tested = runs[runs["split"] == TEST]
    cells = _cell_rows(tested)
    choices = _choices(cells, _cell_rows(runs[runs["split"] == TUNING]))
    cells = _add_marks(_add_references(cells), choices)
    kinds = _kinds(runs)
    suites = pd.DataFrame([row for kind in kinds for row in _suite_rows(tested, choices, kind)])
    levels = pd.DataFrame(_level_rows(tested, choices, kinds))
    against = comparisons(tested, choices, kinds)
    return Summary(cells, suites, levels, against, choices, kinds, main_kinds(kinds), tuple(_warnings(results, cells)))


def choose_weight(candidates: pd.DataFrame) -> pd.Series:
    """The row of the best weight among the summary rows of one task and threshold.

    Weight 0 is the control and stands for itself: it is chosen only where there is no other. Among the weights whose
    upper 95 % limit of the normalised cost is at most 1 (with a single seed there is no interval, and the mean stands
    in), the highest mean normalised reward. If no limit is at most 1, the lowest mean cost. Equal ones: the lower
    weight.
    """
    above = candidates[candidates["weight"] > 0]
    candidates = above if len(above) else candidates
    upper = candidates["normalized_cost_high"].fillna(candidates["normalized_cost"])
    safe = candidates[upper <= 1.0]
    if len(safe):
        return safe.sort_values(["normalized_reward", "weight"], ascending=[False, True]).iloc[0]
    return candidates.sort_values(["normalized_cost", "weight"]).iloc[0]


def _cell_rows(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per KEYS: suite, counts, mean return and cost, METRICS with `_low` and `_high`, and `safe`."""
    rows = []
    for key, group in runs.groupby(KEYS, dropna=False):
        per_seed = group.groupby("seed")["episodes"].sum()
        row = dict(zip(KEYS, key, strict=True)) | {
            "suite": get_task(key[0]).suite,
            "seeds": len(per_seed),
            "cells": group["cell"].nunique(),
            "episodes": per_seed.sum(),
            "episodes_per_seed_min": per_seed.min(),
            "episodes_per_seed_max": per_seed.max(),
            "return": group["return"].mean(),
            "cost": group["cost"].mean(),
        }
        rows.append(row | dict(zip(_PARTS, kind_parts(key[1])[1:], strict=True)) | _estimates(group, METRICS, mean))
    cells = pd.DataFrame(rows, columns=None if rows else [*KEYS, *METRICS])
    return cells.assign(safe=cells["normalized_cost"] <= 1.0)


def _estimates(runs: pd.DataFrame, metrics: list[str], statistic: Statistic, prefix: str = "") -> dict[str, float]:
    """The statistic of each metric over seeds and tasks, with its 95 % interval as `_low` and `_high`."""
    values: dict[str, float] = {}
    for metric, scores in zip(metrics, _score_matrices(runs, metrics), strict=True):
        name = f"{prefix}{metric}"
        values[name] = float(statistic(scores))
        interval = bootstrap_interval(scores, statistic, np.random.default_rng(BOOTSTRAP_SEED))
        values[f"{name}_low"], values[f"{name}_high"] = interval
    return values


def _score_matrices(runs: pd.DataFrame, metrics: list[str]) -> FloatArray:
    """[metrics, seeds, tasks]: the mean of a seed's cells and thresholds in a task; NaN where it has none."""
    seeds, row = np.unique(runs["seed"].to_numpy(), return_inverse=True)
    tasks, column = np.unique(runs["task"].to_numpy(dtype=str), return_inverse=True)
    totals = np.zeros((len(seeds), len(tasks), len(metrics)))
    counts = np.zeros((len(seeds), len(tasks), 1))
    np.add.at(totals, (row, column), runs[metrics].to_numpy(dtype=float))
    np.add.at(counts, (row, column), 1.0)
    return np.moveaxis(totals / np.where(counts > 0, counts, np.nan), -1, 0)


def _choices(tested: pd.DataFrame, tuned: pd.DataFrame) -> pd.DataFrame:
    """The chosen weight of every task, preference kind and threshold, with the split that it was picked on."""
    on = ["task", "preferred", "threshold"]
    picked: dict[Any, pd.Series] = {}
    for split, rows in ((TEST, tested), (TUNING, tuned)):  # a choice on tuning episodes replaces the other
        for key, group in rows[rows["method"] == PREFINE].assign(picked_on=split).groupby(on):
            picked[key] = choose_weight(group)
    columns = [*on, "weight", "picked_on"]
    choices = pd.DataFrame([picked[key] for key in sorted(picked)], columns=columns).reset_index(drop=True)
    return choices.astype({"threshold": float, "weight": float})  # also where nothing was chosen


def _add_references(cells: pd.DataFrame) -> pd.DataFrame:
    """Adds what was gained and kept against the base policy and against weight 0 (the control)."""
    base = cells[cells["method"] == BASE]
    control = cells[(cells["method"] == PREFINE) & (cells["weight"] == 0.0)]
    for name, reference, on in (
        ("base", base, ["task", "threshold"]),
        ("weight0", control, ["task", "preferred", "threshold"]),
    ):
        beside = cells[on].merge(reference[[*on, *METRICS]], on=on, how="left").set_index(cells.index)
        cells = cells.assign(**_gains(cells, beside, name))
    return cells


def _gains(rows: Any, reference: Any, name: str) -> dict[str, Any]:
    return {
        f"violation_reduction_vs_{name}": reduction(rows["violation_rate"], reference["violation_rate"]),
        f"catastrophe_reduction_vs_{name}": reduction(rows["catastrophe_rate"], reference["catastrophe_rate"]),
        f"reward_kept_vs_{name}": kept(rows["normalized_reward"], reference["normalized_reward"]),
    }


def _add_marks(cells: pd.DataFrame, choices: pd.DataFrame) -> pd.DataFrame:
    """Adds `chosen` (by the rule), `best_safe` (highest reward of the safe at a threshold) and the published scores."""
    picked = set(choices[["task", "preferred", "threshold", "weight"]].itertuples(index=False, name=None))
    keys = cells[["task", "preferred", "threshold", "weight"]].itertuples(index=False, name=None)
    is_prefine = cells["method"] == PREFINE
    safe = cells[cells["safe"]]
    best = safe.groupby(["task", "threshold"])["normalized_reward"].idxmax()
    scores = [
        published_scores(published_name(method), [task])
        for method, task in zip(cells["method"], cells["task"], strict=True)
    ]
    return cells.assign(
        chosen=is_prefine & np.array([key in picked for key in keys], dtype=bool),
        best_safe=cells.index.isin(best),
        published_reward=[reward for reward, _ in scores],
        published_cost=[cost for _, cost in scores],
    )


def _kinds(runs: pd.DataFrame) -> tuple[str, ...]:
    fine_tuned = runs[runs["method"] != BASE]
    with_preferences = fine_tuned[fine_tuned["preferred"] != ""]
    return tuple(sorted(with_preferences["preferred"].unique(), key=kind_parts)) or ("",)


def main_kinds(kinds: Iterable[str]) -> tuple[str, ...]:
    """For each way of choosing the preferred (best, random, labels) the kind of least label noise and then most."""
    best: dict[str, str] = {}
    for kind in sorted(kinds, key=lambda kind: (kind_parts(kind)[0], kind_parts(kind)[2], -kind_parts(kind)[1])):
        best.setdefault(kind_parts(kind)[0], kind)
    return tuple(best.values())


def _suite_rows(runs: pd.DataFrame, choices: pd.DataFrame, variant: str) -> Iterator[dict[str, Any]]:
    """The averages of the base policy, every weight, the best weight and every other method over each suite."""
    listed = runs[runs["task"].isin(BENCHMARK) & runs["preferred"].isin([variant, ""])]
    base = listed[listed["method"] == BASE]
    on = ["task", "preferred", "threshold", "weight"]
    best = listed[listed["method"] == PREFINE].merge(choices[on], on=on).assign(method=BEST, weight=np.nan)
    for suite, title in SUITES.items():
        members = [task for task in BENCHMARK if suite in ("all", TASKS[task].suite)]
        for (method, weight), group in _policies(pd.concat([listed, best]), members):
            yield {"suite": title, "preferred": variant, "method": method, "weight": weight} | _suite_row(group, base)


def _level_rows(runs: pd.DataFrame, choices: pd.DataFrame, kinds: Iterable[str]) -> list[dict[str, Any]]:
    """The averages over all tasks at each level of their thresholds, where there are several."""
    level = pd.Series([_level(*pair) for pair in zip(runs["task"], runs["threshold"], strict=True)], index=runs.index)
    present = [name for name in LEVELS if (level == name).any()]
    return [
        {"level": name, **row}
        for name in (present if len(present) > 1 else ())
        for kind in kinds
        for row in _suite_rows(runs[level == name], choices, kind)
        if row["suite"] == SUITES["all"]
    ]


def _level(task: str, threshold: float) -> str:
    """Which of its task's thresholds this is; "" for another."""
    known = get_task(task).thresholds
    return LEVELS[known.index(threshold)] if threshold in known else ""


def _policies(runs: pd.DataFrame, tasks: list[str]) -> Iterator[tuple[tuple[str, float], pd.DataFrame]]:
    """The runs of each policy in these tasks: base, weights upwards, best weight, then the other methods by name."""
    order = {BASE: 0, PREFINE: 1, BEST: 2}
    groups = runs[runs["task"].isin(tasks)].groupby(["method", "weight"], dropna=False)
    return iter(sorted(groups, key=lambda item: (order.get(item[0][0], 3), *item[0])))


def _suite_row(runs: pd.DataFrame, base: pd.DataFrame) -> dict[str, Any]:
    """One policy's averages over tasks (and over the thresholds within each), gains against base on the same tasks."""
    pairs = runs[["task", "threshold"]].drop_duplicates()
    tasks = sorted(pairs["task"].unique())
    reference = base.merge(pairs, on=["task", "threshold"])
    complete = len(reference[["task", "threshold"]].drop_duplicates()) == len(pairs)
    row: dict[str, Any] = {"tasks": len(tasks), "settings": len(pairs)}
    row |= {"safe_tasks": int((runs.groupby("task")["normalized_cost"].mean() <= 1.0).sum())}
    row |= _estimates(runs, METRICS, mean) | _estimates(runs, METRICS[:2], iqm, "iqm_")
    nothing = dict.fromkeys(METRICS, np.nan)
    row |= _gains(row, _estimates(reference, METRICS, mean) if complete else nothing, "base")
    method = runs["method"].iloc[0]
    reward, cost = published_scores(published_name(PREFINE if method == BEST else method), tasks)
    return row | {"published_reward": reward, "published_cost": cost}


def _warnings(results: Results, cells: pd.DataFrame) -> Iterator[str]:
    """What a reader must know before believing the numbers, one sentence each."""
    missing = [task for task in BENCHMARK if task not in set(cells["task"])]
    if missing:
        present = len(BENCHMARK) - len(missing)
        yield f"Not all tasks have results: {present} of {len(BENCHMARK)}; missing: {_list(missing)}."
    fewest, most = cells["seeds"].min(), cells["seeds"].max()
    if fewest < ENOUGH_SEEDS:
        count = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        yield (
            f"Fewer than {ENOUGH_SEEDS} seeds (N = {count}): bootstrap intervals from so few seeds are too narrow,"
            " and there are none for a single seed."
        )
    pooled = cells[cells["cells"] > cells["seeds"]]
    if len(pooled):
        yield (
            f"{len(pooled)} row(s) pool cells that differ in other settings than task, threshold, method and weight:"
            f" {_list(pooled['task'].unique())}."
        )
    yield from results.gaps
    if results.conflicts:
        yield f"{results.conflicts} episode(s) stand in several folders with different numbers; the first ones count."
    if "status" in results.trials and (failed := int((results.trials["status"] == "failed").sum())):
        yield f"{failed} of {len(results.trials)} cells failed and are missing here."


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
