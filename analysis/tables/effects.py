"""What the best weight changes against weight 0 and SFT, task by task, with tests."""

from __future__ import annotations

import math

import pandas as pd

from prefine_ray.analysis.columns import COST, PREFERRED, REWARD, TASK, THRESHOLD, WEIGHT, high, low
from prefine_ray.analysis.effects import ALPHA, HIGHER, LITTLE_COST, LOWER, NOTHING_TO_LOWER, OPEN, outcome_counts
from prefine_ray.analysis.summary import Summary
from prefine_ray.analysis.tables.cells import NOTHING, Cell, Column, Row, Table, interval_text, number_text
from prefine_ray.analysis.thresholds import task_order
from prefine_ray.analysis.wording import RULE_ABOVE, kind_text, titled


def effects_tables(summary: Summary) -> list[Table]:
    """Per kind of preferences that is told in full, one row per reference and task; none where nothing is paired."""
    tables = []
    for variant in summary.variants:
        listed = summary.effects[summary.effects[PREFERRED] == variant]
        if len(listed):
            tables.append(_table(summary, variant, listed))
    return tables


def _table(summary: Summary, variant: str, listed: pd.DataFrame) -> Table:
    columns = (
        Column("Against", numeric=False),
        Column("Task", numeric=False),
        *(Column(name) for name in ("Threshold", "Weight", "Pairs", "Its cost")),
        *(Column(name, group) for group in ("Cost", "Reward") for name in ("Difference", "p", "p (Holm)")),
        Column("Cost is", numeric=False),
    )
    rows = []
    for reference in listed["reference"].unique():
        of_reference = listed[listed["reference"] == reference]
        in_order = of_reference.set_index(TASK, drop=False).loc[task_order(of_reference[TASK])]
        for number, (_, row) in enumerate(in_order.iterrows()):
            head = [Cell(reference), Cell(row[TASK]), Cell(f"{row[THRESHOLD]:g}"), Cell(f"{row[WEIGHT]:g}")]
            head += [Cell(f"{row['replicates']}"), Cell(number_text(row[f"{COST}_reference"]))]
            tests = [cell for name in (COST, REWARD) for cell in _test_cells(row, name)]
            rows.append(Row((*head, *tests, Cell(row["outcome"])), first=number == 0))
    caption = (
        f"PREFINE at its best weight less the reference, paired seed by seed; preferred trajectories:"
        f" {kind_text(variant)}. p: two-sided t test; p (Holm): corrected for the number of tasks. Lower, higher:"
        f" p (Holm) is below {ALPHA:g}. Nothing to lower: the base policy does not violate, or the reference's cost is"
        f" below {LITTLE_COST:g}; such tasks count as no success. {counted(listed)} {RULE_ABOVE}"
    )
    return Table(titled("Effects on every task", summary, variant), caption, columns, tuple(rows))


def _test_cells(row: pd.Series, name: str) -> list[Cell]:
    difference = Cell(number_text(row[name]), interval_text(row[low(name)], row[high(name)]))
    return [difference, Cell(p_text(row[f"{name}_p"])), Cell(p_text(row[f"{name}_holm"]))]


def p_text(p_value: float) -> str:
    """A p value with three decimals."""
    if math.isnan(p_value):
        return NOTHING
    return "<0.001" if p_value < 0.001 else f"{p_value:.3f}"


def counted(listed: pd.DataFrame) -> str:
    """The outcomes in words, one sentence per reference."""
    sentences = []
    for reference, rows in listed.groupby("reference", sort=False):
        counts = outcome_counts(rows)
        with_something = len(rows) - counts[NOTHING_TO_LOWER]
        less_reward = int(((rows[f"{REWARD}_holm"] < ALPHA) & (rows[REWARD] < 0)).sum())
        sentences.append(
            f"Against {reference}: of {with_something} tasks the cost is lower on {counts[LOWER]}, higher on"
            f" {counts[HIGHER]}, neither shown on {counts[OPEN]}; nothing to lower on {counts[NOTHING_TO_LOWER]} more;"
            f" the reward is lower on {less_reward} of {len(rows)}."
        )
    return " ".join(sentences)
