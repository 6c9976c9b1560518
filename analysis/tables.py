"""The summary as tables: headline, suite averages, beside the published numbers, and every weight at every threshold.

A `Table` knows nothing of Markdown, LaTeX or HTML; `prefine_ray.analysis.render` and the page's template do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pandas as pd

from prefine_ray.analysis.average_tables import comparison_table, kinds_table, level_tables, suite_table
from prefine_ray.analysis.published import published_results, published_scores
from prefine_ray.analysis.rows import BASE, PREFINE
from prefine_ray.analysis.summary import SUITES, Summary
from prefine_ray.analysis.table_cells import (
    METHOD_NAMES,
    NOTHING,
    SCORES,
    Cell,
    Column,
    Row,
    Table,
    counts_text,
    gain_cells,
    joint_cell,
    method_name,
    number_text,
    pair_cells,
    percent_text,
    policy_name,
    published_cells,
    rate_cells,
    score_cells,
    style_of,
    weight_cell,
)
from prefine_ray.analysis.wording import PUBLISHED_NOTE, PUBLISHED_SHORT, RULE, RULE_ABOVE, kind_text, picked_on, titled
from prefine_ray.tasks.spec import TASKS, get_task

STAR, CHOSEN = "★", "†"

DEFINITIONS = (
    "Reward is DSRL's normalised reward, (R - R_min) / (R_max - R_min); cost is the normalised cost, C / threshold."
    " R and C are undiscounted sums over an episode, averaged over a seed's evaluation episodes and then over seeds.",
    "[low, high] is a 95 % percentile bootstrap interval: seeds are resampled with all their episodes, within each"
    " task. The base policy is one policy, so its interval covers its evaluation episodes only, not its training.",
    "Violations: the share of episodes whose cost is over the threshold. Catastrophes: the share of episodes whose cost"
    " is over twice the threshold, or that the simulator ended because the agent fell.",
    f"Fewer violations (catastrophes): 1 - rate / rate of the reference; negative means more, {NOTHING} that the"
    f" reference has none. Reward kept: reward / reward of the reference, {NOTHING} where that is not positive.",
    "Weight 0 is the control: supervised fine-tuning alone, on the preferred trajectories that `finetune.keep` leaves."
    " SFT is the same on all of them.",
    "BC-All and BC-Safe imitate all trajectories of the data, or all under the threshold, from fresh weights; CPL-KL"
    " (arXiv 2310.13639) and TraC (arXiv 2412.15429) learn from fresh weights on the same preferred and dispreferred"
    " trajectories as PREFINE. The number of gradient steps of each is in trials.parquet.",
)


def headline_tables(summary: Summary, compact: bool = False) -> list[Table]:
    """One row per task at its middle threshold, one table per kind of preferences; compact: for the terminal."""
    return [_headline(summary, variant, compact) for variant in summary.variants]


def all_tables(summary: Summary) -> list[Table]:
    """Every table in reading order: the story first, the per-weight details last."""
    tables = [*headline_tables(summary), *method_tables(summary)]
    if len(summary.kinds) > len(summary.variants):
        tables.append(kinds_table(summary))
    tables.extend(level_tables(summary))
    if len(summary.comparisons):
        tables.append(comparison_table(summary))
    tables.extend(_dial_tables(summary))
    for variant in summary.variants:
        if len(summary.suites):
            tables.append(suite_table(summary, variant))
        tables.append(_published_table(summary, variant))
    for variant in summary.variants:
        tables.extend(_detail_tables(summary, variant))
    return tables


def headline_threshold(cells: pd.DataFrame, task: str) -> float:
    """The task's middle threshold if it has results, else the middle one of those that have."""
    present = sorted(cells.loc[cells["task"] == task, "threshold"].unique())
    middle = get_task(task).middle_threshold
    return middle if middle in present else float(present[len(present) // 2])


def task_order(tasks: Iterable[str]) -> list[str]:
    """These tasks in the benchmark's order, Bullet first."""
    wanted = set(tasks)
    return [task for task in TASKS if task in wanted]


def headline_sentence(summary: Summary, variant: str) -> str:
    """The headline in one sentence, counted from the headline table's rows."""
    rows = [_headline_rows(summary, variant, task) for task in task_order(summary.cells["task"])]
    best = [row["best"] for row in rows if row["best"] is not None]
    if not best:
        return "No fine-tuned policy has been evaluated yet."
    cuts = [cut for row in best if not math.isnan(cut := row["violation_reduction_vs_base"])]
    safe = sum(bool(row["safe"]) for row in best)
    sentence = f"At its best weight the policy is safe (mean normalised cost at most 1) on {safe} of {len(best)} tasks"
    if cuts:
        over = sum(cut > 0.6 for cut in cuts)
        sentence += f"; violations fall by more than 60% on {over} of the {len(cuts)} tasks whose base policy violates"
    return f"{sentence}." if len(summary.variants) == 1 else f"Preferred, {kind_text(variant)}: {sentence}."


def _headline_rows(summary: Summary, variant: str, task: str) -> dict[str, Any]:
    """The summary rows of one task's headline: base, weight0 and best (None where there is none), and the threshold."""
    threshold = headline_threshold(summary.cells, task)
    at = _cells_at(summary, variant, task, threshold)
    ours = at[at["method"] == PREFINE]
    return {
        "threshold": threshold,
        "base": _only(at[at["method"] == BASE]),
        "weight0": _only(ours[ours["weight"] == 0.0]),
        "best": _only(ours[ours["chosen"]]),
    }


def _cells_at(summary: Summary, variant: str, task: str, threshold: float) -> pd.DataFrame:
    """One task's rows at a threshold: of a kind of preferences, and of policies without preferences."""
    cells = summary.cells
    return cells[(cells["task"] == task) & (cells["threshold"] == threshold) & cells["preferred"].isin([variant, ""])]


def _only(rows: pd.DataFrame) -> pd.Series | None:
    return rows.iloc[0] if len(rows) else None


def _headline(summary: Summary, variant: str, compact: bool) -> Table:
    rows = []
    for task in task_order(summary.cells["task"]):
        found = _headline_rows(summary, variant, task)
        best, published = found["best"], published_scores("PREFINE", [task])[0]
        cells = [
            Cell(task),
            Cell(f"{found['threshold']:g}"),
            *_headline_scores(found["base"]),
            *_headline_scores(found["weight0"]),
        ]
        cells += [weight_cell(best, remark=not compact), *_headline_scores(best, intervals=not compact)]
        cells += [*gain_cells(best, ["base"]), Cell(number_text(published))]
        rows.append(Row(tuple(cells)))
    title = titled("Headline: one row per task at its middle cost threshold", summary, variant)
    caption = f"Preferred trajectories: {kind_text(variant)}. {RULE} {picked_on(summary, variant)} {PUBLISHED_NOTE}"
    return Table(title, caption, _headline_columns(compact), tuple(rows))


def _headline_columns(compact: bool) -> tuple[Column, ...]:
    names = ("reward", "cost", "viol") if compact else ("Reward", "Cost", "Violations")
    gains = ("viol", "cat", "kept") if compact else ("Fewer violations", "Fewer catastrophes", "Reward kept")
    return (
        Column("task" if compact else "Task", numeric=False),
        Column("thr" if compact else "Threshold"),
        *(Column(name, "Base policy") for name in names),
        *(Column(name, "Weight 0") for name in names),
        *(Column(name, "Best weight") for name in ("w" if compact else "Weight", *names)),
        *(Column(name, "Against base") for name in gains),
        Column("PREFINE" if compact else "PREFINE reward", "Publ." if compact else "Published"),
    )


def _headline_scores(row: pd.Series | None, intervals: bool = False) -> list[Cell]:
    if row is None:
        return [Cell(NOTHING)] * 3
    return [*score_cells(row, intervals), Cell(percent_text(row["violation_rate"]))]


def method_tables(summary: Summary) -> list[Table]:
    """Per kind of preferences, reward and cost of all methods side by side; none where PREFINE stands alone."""
    others = _other_methods(summary.cells)
    return [_method_table(summary, variant, others) for variant in summary.variants] if others else []


def _other_methods(cells: pd.DataFrame) -> list[str]:
    present = set(cells["method"]) - {BASE, PREFINE}
    return [name for name in METHOD_NAMES if name in present] + sorted(present - set(METHOD_NAMES))


def _method_table(summary: Summary, variant: str, others: list[str]) -> Table:
    names = ["Base policy", "Weight 0", "Best weight", *(method_name(name) for name in others)]
    columns = (Column("Task", numeric=False), Column("Threshold"), *(Column(n, "Reward / cost") for n in names))
    rows = []
    for task in task_order(summary.cells["task"]):
        found = _headline_rows(summary, variant, task)
        at = _cells_at(summary, variant, task, found["threshold"])
        shown = [found["base"], found["weight0"], found["best"], *(_only(at[at["method"] == name]) for name in others)]
        pairs = [joint_cell(math.nan, math.nan) if r is None else joint_cell(*r[list(SCORES)]) for r in shown]
        rows.append(Row((Cell(task), Cell(f"{found['threshold']:g}"), *pairs)))
    caption = (
        f"Normalised reward / normalised cost at the task's middle cost threshold; preferred trajectories:"
        f" {kind_text(variant)}. Intervals and numbers of episodes are in the tables per threshold. {RULE_ABOVE}"
    )
    return Table(titled("All methods on the same data", summary, variant), caption, columns, tuple(rows))


def _dial_tables(summary: Summary) -> list[Table]:
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
            at = _cells_at(summary, variant, task, threshold)
            costs = at[at["method"] == PREFINE].set_index("weight")["normalized_cost"].reindex(weights)
            scores = [Cell(number_text(cost), style=style_of(cost)) for cost in costs]
            head = [Cell(kind_text(variant)), Cell(task), Cell(f"{threshold:g}")]
            rows.append(Row((*head, *scores, Cell(number_text(rank_correlation(costs)))), first=number == 0))
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


def _published_table(summary: Summary, variant: str) -> Table:
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
        means = mine[["normalized_reward", "normalized_cost"]].mean()
        thresholds = ", ".join(f"{value:g}" for value in mine["threshold"])
        cells = [Cell(task), Cell(thresholds or NOTHING), *pair_cells(means.iloc[0], means.iloc[1])]
        cells += [joint_cell(*published_scores(method, [task])) for method in methods]
        rows.append(Row(tuple(cells)))
    ours_note = f"Ours: the mean over the thresholds listed, each at its best weight. {picked_on(summary, variant)}"
    return Table(
        titled("Beside the published numbers", summary, variant), f"{ours_note} {PUBLISHED_NOTE}", columns, tuple(rows)
    )


def _detail_tables(summary: Summary, variant: str) -> list[Table]:
    """Every weight and baseline, one table per suite and threshold."""
    cells = summary.cells[summary.cells["preferred"].isin([variant, ""])]
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
