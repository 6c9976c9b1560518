"""The same policies evaluated under other conditions: a reused simulator, noise, delay."""

from __future__ import annotations

import pandas as pd

from prefine_ray.analysis.columns import BASE, COST, METHOD, PLAIN, PREFINE, REWARD, TASK, under
from prefine_ray.analysis.summary import Summary
from prefine_ray.analysis.tables.cells import Cell, Column, Row, Table, joint_cell, policy_name, style_of
from prefine_ray.analysis.tables.headline import cells_at, headline_rows
from prefine_ray.analysis.thresholds import task_order
from prefine_ray.analysis.wording import NOISE_AND_REUSE, RULE_ABOVE, kind_text, titled
from prefine_ray.rollouts.conditions import CONDITIONS


def robustness_tables(summary: Summary) -> list[Table]:
    """Reward and cost under each condition, a table per kind of preferences; none where only the plain one was run."""
    return [_table(summary, variant) for variant in summary.variants] if summary.conditions else []


def _table(summary: Summary, variant: str) -> Table:
    conditions = (PLAIN, *summary.conditions)
    columns = (
        Column("Task", numeric=False),
        Column("Threshold"),
        Column("Policy", numeric=False),
        *(Column(name or "plain", "Reward / cost") for name in conditions),
    )
    rows = []
    for task in task_order(summary.cells[TASK]):
        found = headline_rows(summary, variant, task)
        shown = [row for name in ("base", "weight0", "best") if (row := found[name]) is not None]
        others = cells_at(summary, variant, task, found["threshold"])
        shown += [row for _, row in others[~others[METHOD].isin([BASE, PREFINE])].iterrows()]
        for number, row in enumerate(shown):
            head = (Cell(task), Cell(f"{found['threshold']:g}"), Cell(_name(row)))
            rows.append(Row((*head, *(_cell(row, condition) for condition in conditions)), first=number == 0))
    listed = "; ".join(f"{name}: {CONDITIONS[name].text}" for name in summary.conditions)
    caption = (
        f"The same policies evaluated under other conditions, at the task's middle cost threshold; preferred"
        f" trajectories: {kind_text(variant)}. {listed}. {NOISE_AND_REUSE} {RULE_ABOVE}"
    )
    return Table(titled("Robustness", summary, variant), caption, columns, tuple(rows))


def _name(row: pd.Series) -> str:
    name = policy_name(row["method"], row["weight"])
    return f"best weight ({row['weight']:g})" if row["method"] == PREFINE and row["chosen"] else name


def _cell(row: pd.Series, condition: str) -> Cell:
    reward, cost = under(REWARD, condition), under(COST, condition)
    return joint_cell(row[reward], row[cost], style=style_of(row, cost))
