"""The headline in a table and in a sentence, and all methods side by side.

A `Table` knows nothing of Markdown, LaTeX or HTML; `prefine_ray.analysis.tables.formats` and the page's template do.
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from prefine_ray.analysis.best import SAFE, UNCERTAIN, UNSAFE
from prefine_ray.analysis.columns import BASE, COST, PREFINE, REWARD, SAFETY, VIOLATIONS
from prefine_ray.analysis.published import published_scores
from prefine_ray.analysis.rows import same_kind
from prefine_ray.analysis.summary import Summary
from prefine_ray.analysis.tables.cells import (
    NOTHING,
    Cell,
    Column,
    Row,
    Table,
    gain_cells,
    joint_cell,
    method_name,
    number_text,
    percent_text,
    score_cells,
    weight_cell,
)
from prefine_ray.analysis.thresholds import headline_threshold, task_order
from prefine_ray.analysis.wording import (
    PUBLISHED_NOTE,
    RULE,
    RULE_ABOVE,
    kind_text,
    own_tasks_note,
    picked_on,
    titled,
)
from prefine_ray.methods.registry import methods


def headline_tables(summary: Summary, compact: bool = False) -> list[Table]:
    """One row per task at its middle threshold, one table per kind of preferences; compact: for the terminal."""
    return [_headline(summary, variant, compact) for variant in summary.variants]


def headline_sentence(summary: Summary, variant: str) -> str:
    """The headline in one sentence, counted from the headline table's rows."""
    rows = [headline_rows(summary, variant, task) for task in task_order(summary.cells["task"])]
    best = [row["best"] for row in rows if row["best"] is not None]
    if not best:
        return "No fine-tuned policy has been evaluated yet."
    cuts = [cut for row in best if not math.isnan(cut := row["violation_reduction_vs_base"])]
    counts = {word: sum(row[SAFETY] == word for row in best) for word in (SAFE, UNCERTAIN, UNSAFE)}
    sentence = (
        "At its best weight the policy is safe (upper 95 % limit of the mean normalised cost at most 1) on"
        f" {counts[SAFE]} of {len(best)} tasks, uncertain on {counts[UNCERTAIN]}, unsafe on {counts[UNSAFE]}"
    )
    if cuts:
        was_needed = sum(row[SAFETY] == SAFE and not math.isnan(row["violation_reduction_vs_base"]) for row in best)
        over = sum(cut > 0.6 for cut in cuts)
        sentence += (
            f"; of the {len(cuts)} whose base policy violates, it is safe on {was_needed}, and violations fall by more"
            f" than 60 % on {over}"
        )
    return f"{sentence}." if len(summary.variants) == 1 else f"Preferred, {kind_text(variant)}: {sentence}."


def headline_rows(summary: Summary, variant: str, task: str) -> dict[str, Any]:
    """The summary rows of one task's headline: base, weight0 and best (None where there is none), and the threshold."""
    threshold = headline_threshold(summary.cells, task)
    at = cells_at(summary, variant, task, threshold)
    ours = at[at["method"] == PREFINE]
    return {
        "threshold": threshold,
        "base": only_row(at[at["method"] == BASE]),
        "weight0": only_row(ours[ours["weight"] == 0.0]),
        "best": only_row(ours[ours["chosen"]]),
    }


def cells_at(summary: Summary, variant: str, task: str, threshold: float) -> pd.DataFrame:
    """One task's rows at a threshold: of a kind of preferences, and of policies without preferences."""
    cells = summary.cells
    return cells[
        (cells["task"] == task) & (cells["threshold"] == threshold) & cells["preferred"].isin(same_kind(variant))
    ]


def only_row(rows: pd.DataFrame) -> pd.Series | None:
    """The first row, None where there is none."""
    return rows.iloc[0] if len(rows) else None


def _headline(summary: Summary, variant: str, compact: bool) -> Table:
    rows = []
    for task in task_order(summary.cells["task"]):
        found = headline_rows(summary, variant, task)
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
    caption = (
        f"Preferred trajectories: {kind_text(variant)}. {RULE} {picked_on(summary, variant)} {PUBLISHED_NOTE}"
        f"{own_tasks_note(task_order(summary.cells['task']))}"
    )
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
    return [*score_cells(row, intervals), Cell(percent_text(row[VIOLATIONS]))]


def method_tables(summary: Summary) -> list[Table]:
    """Per kind of preferences, reward and cost of all methods side by side; none where PREFINE stands alone."""
    others = _other_methods(summary.cells)
    return [_method_table(summary, variant, others) for variant in summary.variants] if others else []


def _other_methods(cells: pd.DataFrame) -> list[str]:
    present = set(cells["method"]) - {BASE, PREFINE}
    return [name for name in methods() if name in present] + sorted(present - {*methods()})


def _method_table(summary: Summary, variant: str, others: list[str]) -> Table:
    names = ["Base policy", "Weight 0", "Best weight", *(method_name(name) for name in others)]
    columns = (Column("Task", numeric=False), Column("Threshold"), *(Column(n, "Reward / cost") for n in names))
    rows = []
    for task in task_order(summary.cells["task"]):
        found = headline_rows(summary, variant, task)
        at = cells_at(summary, variant, task, found["threshold"])
        shown = [
            found["base"],
            found["weight0"],
            found["best"],
            *(only_row(at[at["method"] == name]) for name in others),
        ]
        pairs = [Cell(NOTHING) if r is None else joint_cell(r[REWARD], r[COST], r[SAFETY]) for r in shown]
        rows.append(Row((Cell(task), Cell(f"{found['threshold']:g}"), *pairs)))
    caption = (
        f"Normalised reward / normalised cost at the task's middle cost threshold; preferred trajectories:"
        f" {kind_text(variant)}. Intervals and numbers of episodes are in the tables per threshold. {RULE_ABOVE}"
    )
    return Table(titled("All methods on the same data", summary, variant), caption, columns, tuple(rows))
