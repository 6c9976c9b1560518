"""Every weight at every threshold, cost by weight, and the published numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable

import pandas as pd

from prefine_ray.analysis.columns import BASE, COST, METHOD, PREFINE, SCORES, WEIGHT
from prefine_ray.analysis.published import published_results, published_scores
from prefine_ray.analysis.rows import same_kind
from prefine_ray.analysis.suites import SUITES
from prefine_ray.analysis.summary import Summary
from prefine_ray.analysis.tables.cells import (
    CHOSEN,
    NOTHING,
    STAR,
    Cell,
    Column,
    Row,
    Table,
    counts_text,
    gain_cells,
    joint_cell,
    number_text,
    pair_cells,
    policy_name,
    published_cells,
    rate_cells,
    score_cells,
    style_of,
)
from prefine_ray.analysis.tables.headline import cells_at
from prefine_ray.analysis.thresholds import headline_threshold, task_order
from prefine_ray.analysis.wording import PUBLISHED_NOTE, PUBLISHED_SHORT, kind_text, picked_on, titled


def dial_tables(summary: Summary) -> list[Table]:
    """Whether cost falls with the weight, task by task; none where there are fewer than three weights."""
    ours = summary.cells[summary.cells["method"] == PREFINE]
    weights = sorted(ours["weight"].unique())
    if len(weights) < 3:
        return []
    columns = (
        Column("Preferred trajectories", numeric=False),
        Column("Task", numeric=False),
        Column("Threshold"),
        *(Column(f"{weight:g}", "Cost at weight") for weight in weights),
        Column("Rank correlation"),
    )
    rows = []
    for variant in summary.variants:
        for number, task in enumerate(task_order(ours.loc[ours["preferred"] == variant, "task"])):
            threshold = headline_threshold(summary.cells, task)
            at = cells_at(summary, variant, task, threshold)
            rows_at = at[at[METHOD] == PREFINE].set_index(WEIGHT).reindex(weights)
            scores = [Cell(number_text(row[COST]), style=style_of(row)) for _, row in rows_at.iterrows()]
            head = [Cell(kind_text(variant)), Cell(task), Cell(f"{threshold:g}")]
            rows.append(Row((*head, *scores, Cell(number_text(rank_correlation(rows_at[COST])))), first=number == 0))
    caption = (
        "Mean normalised cost at each weight, and Spearman's rank correlation of the two: -1 where every step of the"
        " weight lowers the cost. Where the cost is near 0 at weight 0 already there is nothing to lower."
    )
    return [Table("Cost by weight at the middle cost threshold", caption, columns, tuple(rows))]


def rank_correlation(costs: pd.Series) -> float:
    """Spearman's rank correlation of costs with the weights that index them; NaN where either does not vary."""
    known = costs.dropna()
    ranks = known.rank()
    if ranks.nunique() < 2:
        return math.nan
    return float(ranks.corr(pd.Series(known.index, index=known.index).rank()))


def published_table(summary: Summary, variant: str) -> Table:
    """PREFINE's best weights, averaged over thresholds, beside what was published for every method."""
    methods = list(published_results()["method"].unique())[::-1]
    columns = (
        Column("Task", numeric=False),
        *(Column(name, "Ours, best weight") for name in ("Thresholds", "Reward", "Cost")),
        *(Column(name, "Published reward / cost") for name in methods),
    )
    ours = summary.cells[(summary.cells["preferred"] == variant) & summary.cells["chosen"]]
    rows = []
    for task in task_order(summary.cells["task"]):
        mine = ours[ours["task"] == task].sort_values("threshold")
        means = mine[SCORES].mean()
        thresholds = ", ".join(f"{value:g}" for value in mine["threshold"])
        cells = [Cell(task), Cell(thresholds or NOTHING), *pair_cells(means.iloc[0], means.iloc[1])]
        cells += [joint_cell(*published_scores(method, [task])) for method in methods]
        rows.append(Row(tuple(cells)))
    ours_note = (
        "Ours: the mean over the thresholds listed, each at its best weight. Means without intervals are not marked as"
        f" safe or unsafe. {picked_on(summary, variant)}"
    )
    return Table(
        titled("Beside the published numbers", summary, variant), f"{ours_note} {PUBLISHED_NOTE}", columns, tuple(rows)
    )


def detail_tables(summary: Summary, variant: str) -> list[Table]:
    """Every weight and baseline, one table per suite and threshold."""
    cells = summary.cells[summary.cells["preferred"].isin(same_kind(variant))]
    tables = []
    for (suite, threshold), group in cells.groupby(["suite", "threshold"]):
        title = titled(f"{SUITES[suite]}, cost threshold {threshold:g}", summary, variant)
        caption = (
            f"All rows at cost threshold {threshold:g} per episode; preferred trajectories: {kind_text(variant)}."
            f" {STAR} the highest reward among the safe of a task; {CHOSEN} the best weight."
            f" {picked_on(summary, variant)} {PUBLISHED_SHORT}"
        )
        tables.append(Table(title, caption, _detail_columns(), tuple(_detail_rows(group))))
    return tables


def _detail_columns() -> tuple[Column, ...]:
    gains = ("Fewer violations", "Fewer catastrophes", "Reward kept")
    return (
        Column("Task", numeric=False),
        Column("Policy", numeric=False),
        *(Column(name) for name in ("Reward", "Cost", "Violations", "Catastrophes")),
        *(Column(name, "Against base") for name in gains),
        *(Column(name, "Against weight 0") for name in gains),
        *(Column(name, "Published") for name in ("Reward", "Cost")),
        Column("Seeds x episodes"),
    )


def _detail_rows(cells: pd.DataFrame) -> Iterable[Row]:
    order = {BASE: 0, PREFINE: 1}
    for task in task_order(cells["task"]):
        rows = [row for _, row in cells[cells["task"] == task].iterrows()]
        rows.sort(key=lambda row: (order.get(row["method"], 2), row["method"], row["weight"]))
        for position, row in enumerate(rows):
            mark = f" {STAR}" * bool(row["best_safe"]) + f" {CHOSEN}" * bool(row["chosen"])
            yield Row(
                (
                    Cell(task),
                    Cell(policy_name(row["method"], row["weight"]) + mark),
                    *score_cells(row),
                    *rate_cells(row),
                    *gain_cells(row, ["base", "weight0"]),
                    *published_cells(row, row["method"] != PREFINE or row["chosen"]),
                    Cell(counts_text(row)),
                ),
                first=position == 0,
            )
