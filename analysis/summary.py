"""Runs to a tidy summary: one row per task, preferences, threshold, method and weight; suite averages; best weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from prefine_ray.analysis.best import SAFE, best_of_each
from prefine_ray.analysis.columns import (
    BASE,
    CONDITION,
    CONTROL_WEIGHT,
    METHOD,
    METRICS,
    PLAIN,
    PREFERRED,
    PREFINE,
    REWARD,
    SAFETY,
    SETTING,
    TASK,
    THRESHOLD,
    WEIGHT,
)
from prefine_ray.analysis.comparison import comparisons
from prefine_ray.analysis.condition_plan import missing_in
from prefine_ray.analysis.effects import effects
from prefine_ray.analysis.estimates import policy_rows
from prefine_ray.analysis.published import published_name, published_scores
from prefine_ray.analysis.rows import Coverage, Results, kind_parts, run_table
from prefine_ray.analysis.suites import gains, level_rows, suite_rows
from prefine_ray.experiment.cells import TEST, TUNING
from prefine_ray.results.folder import ResultsDir
from prefine_ray.rollouts.conditions import CONDITIONS
from prefine_ray.tasks.spec import BENCHMARK, get_task

ENOUGH_SEEDS = 5


@dataclass(frozen=True)
class Summary:
    """All that tables and plots are made from."""

    cells: pd.DataFrame  # one row per KEYS, see `policy_rows`, `_add_parts`, `_add_references` and `_add_marks`
    suites: pd.DataFrame  # averages over the tasks of a suite, see `prefine_ray.analysis.suites`
    levels: pd.DataFrame  # the same over all tasks at each `level` of LEVELS; empty where there is only one
    comparisons: pd.DataFrame  # PREFINE against the other methods, see `prefine_ray.analysis.comparison`
    effects: pd.DataFrame  # PREFINE against weight 0 and SFT on every task, see `prefine_ray.analysis.effects`
    choices: pd.DataFrame  # SETTING, weight, picked_on: the best weights, see `prefine_ray.analysis.best`
    kinds: tuple[str, ...]  # the kinds of preferences that were fine-tuned on, see `preference_kind`
    variants: tuple[str, ...]  # those told in full: of "best", of "random", ... the largest cleanest set
    conditions: tuple[str, ...]  # of CONDITIONS, those that some policy was evaluated under
    coverage: Coverage  # what intervals over replicates cover
    warnings: tuple[str, ...]


def summarize(results: Results) -> Summary:
    """The summary of all test episodes; weights are chosen on tuning episodes where there are any."""
    runs = run_table(results.episodes)
    is_test = runs["split"] == TEST
    cells = _add_parts(policy_rows(runs[is_test]))
    choices = picked_weights(cells, policy_rows(runs[runs["split"] == TUNING]))
    cells = _add_marks(_add_references(cells), choices)
    kinds = _kinds(runs)
    tested = runs[is_test & (runs[CONDITION] == PLAIN)]
    return Summary(
        cells=cells,
        suites=pd.DataFrame([row for kind in kinds for row in suite_rows(tested, choices, kind)]),
        levels=pd.DataFrame(level_rows(tested, choices, kinds)),
        comparisons=comparisons(tested, choices, kinds),
        effects=effects(tested, choices, cells),
        choices=choices,
        kinds=kinds,
        variants=main_kinds(kinds),
        conditions=tuple(name for name in CONDITIONS if name in set(runs.loc[is_test, CONDITION])),
        coverage=results.coverage,
        warnings=tuple(_warnings(results, cells)),
    )


def _add_parts(cells: pd.DataFrame) -> pd.DataFrame:
    """Adds the task's suite, and number and label noise of the kind of preferences (0 where unknown)."""
    parts = [kind_parts(kind) for kind in cells[PREFERRED]]
    return cells.assign(
        suite=[get_task(task).suite for task in cells[TASK]],
        num_preferred=[size for _, size, _ in parts],
        label_noise=[noise for *_, noise in parts],
    )


def picked_weights(tested: pd.DataFrame, tuned: pd.DataFrame) -> pd.DataFrame:
    """The chosen weight of every task, preference kind and threshold, with the split that it was picked on.

    Args:
        tested: rows of the reported episodes, see `policy_rows`.
        tuned: of the tuning episodes, which decide where there are any.
    """
    ours = [
        rows[rows[METHOD] == PREFINE].assign(picked_on=split) for split, rows in ((TUNING, tuned), (TEST, tested))
    ]  # a choice on tuning episodes comes before the other
    picked = pd.concat([best_of_each(rows, SETTING) for rows in ours if len(rows)] or ours)
    choices = picked.drop_duplicates(SETTING)[[*SETTING, WEIGHT, "picked_on"]].sort_values(SETTING, ignore_index=True)
    return choices.astype({"threshold": float, "weight": float})  # also where nothing was chosen


def _add_references(cells: pd.DataFrame) -> pd.DataFrame:
    """Adds what was gained and kept against the base policy and against weight 0 (the control)."""
    base = cells[cells[METHOD] == BASE]
    control = cells[(cells[METHOD] == PREFINE) & (cells[WEIGHT] == CONTROL_WEIGHT)]
    for name, reference, on in (("base", base, [TASK, THRESHOLD]), ("weight0", control, SETTING)):
        beside = cells[on].merge(reference[[*on, *METRICS]], on=on, how="left").set_index(cells.index)
        cells = cells.assign(**gains(cells, beside, name))
    return cells


def _add_marks(cells: pd.DataFrame, choices: pd.DataFrame) -> pd.DataFrame:
    """Adds `chosen` (by the rule), `best_safe` (highest reward of the safe at a threshold) and the published scores."""
    picked = set(choices[[*SETTING, WEIGHT]].itertuples(index=False, name=None))
    keys = cells[[*SETTING, WEIGHT]].itertuples(index=False, name=None)
    is_prefine = cells[METHOD] == PREFINE
    highest = cells[cells[SAFETY] == SAFE].groupby([TASK, THRESHOLD])[REWARD].idxmax()
    scores = [
        published_scores(published_name(method), [task])
        for method, task in zip(cells[METHOD], cells[TASK], strict=True)
    ]
    return cells.assign(
        chosen=is_prefine & np.array([key in picked for key in keys], dtype=bool),
        best_safe=cells.index.isin(highest),
        published_reward=[reward for reward, _ in scores],
        published_cost=[cost for _, cost in scores],
    )


def _kinds(runs: pd.DataFrame) -> tuple[str, ...]:
    fine_tuned = runs[runs[METHOD] != BASE]
    with_preferences = fine_tuned[fine_tuned[PREFERRED] != ""]
    return tuple(sorted(with_preferences[PREFERRED].unique(), key=kind_parts)) or ("",)


def main_kinds(kinds: Iterable[str]) -> tuple[str, ...]:
    """For each way of choosing the preferred (best, random, labels) the kind of least label noise and then most."""
    best: dict[str, str] = {}
    for kind in sorted(kinds, key=lambda kind: (kind_parts(kind)[0], kind_parts(kind)[2], -kind_parts(kind)[1])):
        best.setdefault(kind_parts(kind)[0], kind)
    return tuple(best.values())


def _warnings(results: Results, cells: pd.DataFrame) -> Iterator[str]:
    """What a reader must know before believing the numbers, one sentence each."""
    missing = [task for task in BENCHMARK if task not in set(cells[TASK])]
    if 0 < len(missing) < len(BENCHMARK):  # a report of other tasks alone lacks none
        present = len(BENCHMARK) - len(missing)
        yield f"Not all tasks have results: {present} of {len(BENCHMARK)}; missing: {_list(missing)}."
    fewest, most = cells["seeds"].min(), cells["seeds"].max()
    if fewest < ENOUGH_SEEDS:
        count = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        yield (
            f"Fewer than {ENOUGH_SEEDS} seeds (N = {count}): intervals from so few are wide and leave much uncertain,"
            " and there are none for a single seed."
        )
    pooled = cells[cells["cells"] > cells["seeds"]]
    if len(pooled):
        yield (
            f"{len(pooled)} row(s) pool cells that differ in other settings than task, threshold, method and weight:"
            f" {_list(pooled['task'].unique())}."
        )
    yield from results.gaps
    for folder in results.folders:
        if lacking := len(missing_in(ResultsDir(folder))):
            yield f"{folder}: {lacking} evaluation(s) under other conditions are missing; run the sweep again."
    if results.conflicts:
        yield f"{results.conflicts} episode(s) stand in several folders with different numbers; the first ones count."
    if "status" in results.trials and (failed := int((results.trials["status"] == "failed").sum())):
        yield f"{failed} of {len(results.trials)} cells failed and are missing here."


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
