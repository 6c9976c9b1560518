"""What the best weight changes, task by task: paired differences over replicates, corrected for the number of tasks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from prefine_ray.analysis.columns import (
    BASE,
    CONTROL_WEIGHT,
    COST,
    METHOD,
    PREFERRED,
    PREFINE,
    REPLICATE,
    SCORES,
    SETTING,
    SFT,
    TASK,
    THRESHOLD,
    VIOLATIONS,
    WEIGHT,
    high,
    low,
)
from prefine_ray.analysis.statistics.intervals import holm, t_limits, t_test
from prefine_ray.analysis.thresholds import headline_threshold

ALPHA = 0.05  # of the tests, after Holm's correction
LITTLE_COST = 0.05  # a reference whose mean normalised cost is below it leaves nothing to lower
WEIGHT_0, TO_SFT = "weight 0", "SFT"  # the references
LOWER, HIGHER, OPEN, NOTHING_TO_LOWER = "lower", "higher", "not shown", "nothing to lower"  # outcomes


def effects(tested: pd.DataFrame, choices: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """One row per kind of preferences, reference and task at its headline threshold.

    Args:
        tested: runs, see `prefine_ray.analysis.rows.run_table`, of test episodes under the plain condition.
        choices: the best weights, see `prefine_ray.analysis.summary.Summary`.
        cells: see `prefine_ray.analysis.estimates.policy_rows`.

    Columns: preferred, reference, task, threshold, weight (the best), replicates (pairs); of both SCORES the
    reference's mean ("normalized_cost_reference"), the mean difference under the score's own name with its limits,
    `_p` (two-sided t test) and `_holm`, p adjusted for the tasks of this kind and reference; to_lower, whether the
    base violates and the reference costs anything (see LITTLE_COST); and outcome, of the cost. An outcome is never
    LOWER where there is nothing to lower, so it does not count as a success.
    """
    frames = [table for reference in (WEIGHT_0, TO_SFT) if len(table := _against(tested, choices, cells, reference))]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[PREFERRED, "reference"])


def _against(tested: pd.DataFrame, choices: pd.DataFrame, cells: pd.DataFrame, reference: str) -> pd.DataFrame:
    at = {task: headline_threshold(cells, task) for task in cells[TASK].unique()}
    runs = tested[tested[THRESHOLD] == tested[TASK].map(at)]
    picked = choices.loc[choices[WEIGHT] > CONTROL_WEIGHT, [*SETTING, WEIGHT]]
    ours = runs[runs[METHOD] == PREFINE].merge(picked, on=[*SETTING, WEIGHT])
    is_reference = (runs[METHOD] == PREFINE) & (runs[WEIGHT] == CONTROL_WEIGHT)
    theirs = runs[is_reference if reference == WEIGHT_0 else runs[METHOD] == SFT]
    on = [*SETTING, REPLICATE]
    pairs = _by_replicate(ours, [*on, WEIGHT]).merge(_by_replicate(theirs, on), on=on, suffixes=("", "_reference"))
    if pairs.empty:
        return pairs
    table = _differences(pairs).assign(reference=reference)
    base = cells[cells[METHOD] == BASE].set_index([TASK, THRESHOLD])[VIOLATIONS]
    violates = base.reindex(pd.MultiIndex.from_frame(table[[TASK, THRESHOLD]])).to_numpy()
    table["to_lower"] = ~(violates == 0.0) & (table[f"{COST}_reference"] >= LITTLE_COST)
    return table.assign(outcome=list(_outcomes(table)))


def _by_replicate(runs: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    return runs.groupby(keys)[SCORES].mean().reset_index()


def _differences(pairs: pd.DataFrame) -> pd.DataFrame:
    """The differences of every task and their tests; a family is one kind of preferences."""
    gaps = pairs.assign(**{name: pairs[name] - pairs[f"{name}_reference"] for name in SCORES})
    groups = gaps.groupby([*SETTING, WEIGHT])
    counts = groups.size()
    table = groups[[*SCORES, *(f"{name}_reference" for name in SCORES)]].mean().assign(replicates=counts)
    deviations = groups[SCORES].std()
    for name in SCORES:
        table[low(name)], table[high(name)] = t_limits(table[name], deviations[name], counts)
        table[f"{name}_p"] = t_test(table[name], deviations[name], counts)
        table[f"{name}_holm"] = table.groupby(PREFERRED)[f"{name}_p"].transform(lambda p: holm(p.to_numpy()))
    return table.reset_index()


def _outcomes(table: pd.DataFrame) -> Iterator[str]:
    shown = table[f"{COST}_holm"].to_numpy(dtype=np.float64) < ALPHA
    for difference, is_shown, to_lower in zip(table[COST], shown, table["to_lower"], strict=True):
        if is_shown and difference > 0:
            yield HIGHER
        elif not to_lower:
            yield NOTHING_TO_LOWER
        else:
            yield LOWER if is_shown else OPEN


def outcome_counts(rows: pd.DataFrame) -> dict[str, int]:
    """How many tasks had each outcome."""
    return {outcome: int(np.sum(rows["outcome"] == outcome)) for outcome in (LOWER, HIGHER, OPEN, NOTHING_TO_LOWER)}
